# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run did, out of what its tasks registered: for the report in words, for the audit log as events. Pure."""

from __future__ import annotations

import typing as t

Results = t.Mapping[str, t.Any]

CONTROLLER = "controller"


def _edits(result: Results) -> list[str]:
    return ["hosts file, %s.%s: %s → %s" % (item["host"], item["key"], _value(item["before"]), _value(item["after"])) for item in result.get("changes") or []]


def _value(value: t.Any) -> str:
    return "none" if value is None else ("true" if value is True else "false" if value is False else str(value))


def _installed(result: Results) -> list[str]:
    return ["installed release %s" % str(result.get("release") or "")[:12]]


def _configured(result: Results) -> list[str]:
    files = [item for item in result.get("files") or [] if item.get("action") != "unchanged"]
    return ["wrote generation %s: %s" % (result.get("generation"), ", ".join("%s (%s)" % (item["path"], item["action"]) for item in files))]


def _seeded(result: Results) -> list[str]:
    return ["put seeds into %s" % item.get("path") for item in result.get("results") or [] if item.get("changed")]


def _unlocked(result: Results) -> list[str]:
    return ["%s %s: %s" % (lock["action"], lock["path"], lock["reason"]) for lock in result.get("locks") or [] if lock.get("action") not in (None, "none")]


def _rivals(result: Results) -> list[str]:
    words = {"disabled": "disabled", "held": "held off", "released": "put back", "restored": "put back"}
    return ["%s %s %s" % (words[item["action"]], item.get("kind"), item.get("name")) for item in result.get("rivals") or [] if item.get("action") in words]


def _processes(result: Results) -> list[str]:
    return ["ended process %s" % item.get("pid") for item in result.get("ended") or []]


def _restarted(result: Results) -> list[str]:
    if result.get("failed"):
        return ["tried to restart the orchestrator: %s" % result.get("msg")]
    before = (result.get("before") or {}).get("pid")
    if result.get("started_after") is None and result.get("stopped_after") is not None:
        return ["stopped the orchestrator"]
    done = "restarted" if before else "started"
    joined = result.get("joined_after")
    return ["%s the orchestrator%s" % (done, ", joined after %.0f s" % joined if isinstance(joined, (int, float)) else "")]


def _rolled_back(result: Results) -> list[str]:
    return ["took back generation %s" % result.get("previous")]


# Registered name: what it did, in words. The order is that of the run.
REGISTERED: dict[str, t.Callable[[Results], list[str]]] = {
    "p2p_hosts_edited": _edits,
    "p2p_rivals_disabled": _rivals,
    "p2p_rivals_held": _rivals,
    "orchestrator_installed": _installed,
    "orchestrator_configured": _configured,
    "orchestrator_seeded": _seeded,
    "orchestrator_unlocked": _unlocked,
    "p2p_processes_ended": _processes,
    "p2p_restart_failed": _restarted,
    "p2p_rolled_back": _rolled_back,
    "p2p_rivals_restored": _rivals,
    "p2p_restarted": _restarted,
    "p2p_rivals_put_back": _rivals,
}
# Tasks that act on the controller, whichever host ran them.
ON_CONTROLLER = frozenset(("p2p_hosts_edited",))


def changes(registered: t.Mapping[str, Results]) -> dict[str, list[str]]:
    """``{node: [what was done, in words]}`` from ``{host: {registered name: result}}``; only what changed something."""
    found: dict[str, list[str]] = {}
    for host in sorted(registered):
        for name, describe in REGISTERED.items():
            result = registered[host].get(name)
            if isinstance(result, t.Mapping) and result.get("changed"):
                place = found.setdefault(CONTROLLER if name in ON_CONTROLLER else host, [])
                place += [line for line in describe(result) if line not in place]
    return found


def events(registered: t.Mapping[str, Results], run: t.Mapping[str, t.Any], summary: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The audit log of a run: one event for the run, one for each act, one for each answer of a guard.

    Every event has ``run``, ``time`` (when the run ended), ``user``, ``controller``, ``event``; acts have ``node``, ``act``, ``done`` (words), ``before``
    and ``after`` where the act knows them, ``failed``; guards have ``node`` and the guard's answer.
    """
    common = {"run": run.get("id"), "time": run.get("finished"), **{key: run.get(key) for key in ("user", "controller", "check_mode")}}
    log: list[dict[str, t.Any]] = [{**common, "event": "run", **{key: run.get(key) for key in ("started", "revision", "limit")}, **summary}]
    for host in sorted(registered):
        for name, describe in REGISTERED.items():
            result = registered[host].get(name)
            if not isinstance(result, t.Mapping) or result.get("skipped"):
                continue
            guard = result.get("guard")
            if isinstance(guard, t.Mapping) and guard.get("required"):
                log.append({**common, "event": "guard", "node": host, "answer": dict(guard)})
            if result.get("changed") or result.get("failed"):
                log.append({
                    **common, "event": "act", "node": CONTROLLER if name in ON_CONTROLLER else host, "act": name.partition("_")[2],
                    "done": describe(result) if result.get("changed") else [], "failed": str(result.get("msg")) if result.get("failed") else None,
                    "before": result.get("before", result.get("previous")), "after": result.get("after", result.get("generation")),
                })
    return log
