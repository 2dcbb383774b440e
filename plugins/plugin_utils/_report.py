# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run found, did and reached, as data (``report.json``), as Markdown and as the lines an operator sees. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _findings

SCHEMA = 1
# What only a person can end is listed in full in the report; the terminal shows this many.
TERMINAL_FINDINGS = 12


def _picture(diagnosis: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    state = diagnosis["state"]
    return {
        "expected": state["expected"], "connected": state["connected"], "leader": state["leader"], "leader_agreed": state["leader_agreed"],
        "quorum": {key: state["quorum"][key] for key in ("voters", "alive", "majority", "ok")},
        "nodes": diagnosis["nodes"], "findings": diagnosis["findings"],
    }


def build(before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any] | None, changes: t.Mapping[str, t.Sequence[str]],
          run: t.Mapping[str, t.Any], problems: t.Sequence[str] = ()) -> dict[str, t.Any]:
    """The report.

    ``before`` and ``after`` are results of ``_diagnosis.diagnose`` (``after`` is None where nothing was to be done or check
    mode ran), ``changes`` {node or "controller": [what was done]}, ``run`` {id, started, finished, user, controller, revision,
    limit, check_mode, rollback}, ``problems`` what went wrong beyond the diagnosis (a refused guard, a node that did not come back).
    Going back brings back what was wrong before, so the aim of a rollback is only that every node came back and the majority stands.
    """
    last = after or before
    left = last["problems"] if not run.get("rollback") else [] if last["state"]["quorum"]["ok"] else ["no majority of the voters"]
    reasons = list(dict.fromkeys([*problems, *left]))
    return {
        "schema": SCHEMA, "run": dict(run), "before": _picture(before), "after": _picture(last), "verified": after is not None,
        "changes": {node: list(items) for node, items in sorted(changes.items()) if items},
        "reached": not reasons, "problems": reasons,
    }


def _counts(picture: t.Mapping[str, t.Any]) -> str:
    quorum = picture["quorum"]
    leader = picture["leader"] if picture["leader_agreed"] else "%s (not agreed)" % (picture["leader"] or "none")
    return "connected %d of %d, voters %d of %d (majority %d: %s), leader %s" % (
        picture["connected"], picture["expected"], quorum["alive"], quorum["voters"], quorum["majority"],
        "yes" if quorum["ok"] else "NO", leader)


def _what(item: t.Mapping[str, t.Any]) -> list[str]:
    """What a finding says beyond its code: a summary of its own, then its evidence."""
    entry = _findings.CATALOGUE.get(item["code"])
    general = entry is not None and item["summary"] == entry.summary
    return [*([] if general and item["evidence"] else [item["summary"]]), *item["evidence"]]


def _finding_line(item: t.Mapping[str, t.Any]) -> str:
    what = _what(item)
    told = "%s (%s)" % (what[0], what[1]) if what[0] == item["summary"] and len(what) > 1 else what[0]
    return "%-8s %-20s %-18s %s" % (item["severity"], item["code"], item["node"] or "cluster", told)


def diagnosis_lines(diagnosis: t.Mapping[str, t.Any]) -> list[str]:
    """A diagnosis in lines: the state, every finding, and what a repair would do."""
    work = diagnosis["work"]
    lines = [_counts(_picture(diagnosis))] + [_finding_line(item) for item in diagnosis["findings"]]
    for title, key in (("to configure", "configure"), ("to start", "down")):
        if work[key]:
            lines.append("%s: %s" % (title, ", ".join(work[key])))
    restart = [name for name in work["restart"] if name not in work["down"]]
    if restart:
        lines.append("to restart: " + ", ".join(restart))
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _findings_table(findings: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    lines = ["| Severity | Code | Node | Evidence | Remedy |", "|---|---|---|---|---|"]
    for item in findings:
        lines.append("| %s | `%s` | %s | %s | %s |" % (
            item["severity"], item["code"], item["node"] or "cluster", _cell("; ".join(_what(item))), _cell(item["remedy"])))
    return lines


def _success(report: t.Mapping[str, t.Any]) -> str:
    return "The nodes went back one generation." if report["run"].get("rollback") else "The cluster is healthy."


def as_markdown(report: t.Mapping[str, t.Any]) -> str:
    """The report as a page for people."""
    run = report["run"]
    lines = ["# Cluster report", "", "Run `%s` by %s on %s, %s to %s%s%s." % (
        run.get("id"), run.get("user"), run.get("controller"), run.get("started"), run.get("finished"),
        ", limited to `%s`" % run["limit"] if run.get("limit") else "", ", check mode" if run.get("check_mode") else ""), ""]
    if report["reached"]:
        lines += ["**%s**" % _success(report), ""]
    else:
        lines += ["**The aim was not reached:**", ""] + ["- %s" % item for item in report["problems"]] + [""]
    lines += ["| | Connected | Voters alive | Majority | Leader |", "|---|---|---|---|---|"]
    for title in ("before", "after"):
        picture = report[title]
        quorum = picture["quorum"]
        lines.append("| %s | %d of %d | %d of %d | %s (%d needed) | %s%s |" % (
            title.capitalize(), picture["connected"], picture["expected"], quorum["alive"], quorum["voters"],
            "yes" if quorum["ok"] else "**no**", quorum["majority"], picture["leader"] or "none", "" if picture["leader_agreed"] else " (not agreed)"))
    lines += ["", "## Nodes", "", "| Node | Before | Found | After | Left | Done |", "|---|---|---|---|---|---|"]
    for name in sorted(report["before"]["nodes"]):
        old, new = report["before"]["nodes"][name], report["after"]["nodes"][name]
        lines.append("| %s | %s | %s | %s | %s | %s |" % (
            name, "connected" if old["connected"] else "**out**", ", ".join(old["findings"]) or "–",
            "connected" if new["connected"] else "**out**", ", ".join(new["findings"]) or "–",
            _cell("; ".join(report["changes"].get(name, ()))) or "–"))
    others = {name: items for name, items in report["changes"].items() if name not in report["before"]["nodes"]}
    for name, items in others.items():
        lines += ["", "Done on %s: %s." % (name, "; ".join(items))]
    for title in ("before", "after"):
        if report[title]["findings"]:
            lines += ["", "## Findings %s" % title, ""] + _findings_table(report[title]["findings"])
    return "\n".join(lines) + "\n"


def as_lines(report: t.Mapping[str, t.Any]) -> list[str]:
    """What the operator sees at the end of the run: a few lines, worst things first."""
    lines = ["before: " + _counts(report["before"])]
    if report["verified"]:
        lines.append("after:  " + _counts(report["after"]))
    touched = sorted(report["changes"])
    if report["run"].get("check_mode"):
        lines.append("check mode: nothing was changed")
    elif touched:
        lines.append("changed: " + ", ".join(touched))
    else:
        lines.append("changed: nothing")
    left = report["after"]["findings"]
    lines += [_finding_line(item) for item in left[:TERMINAL_FINDINGS]]
    if len(left) > TERMINAL_FINDINGS:
        lines.append("… and %d more findings, see the report" % (len(left) - TERMINAL_FINDINGS))
    if report["reached"]:
        lines.append(_success(report))
    else:
        lines.append("NOT REACHED:")
        lines += ["  - " + item for item in report["problems"]]
    return lines
