# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parser, the plans, the diagnosis and the report as filters: data in, data out."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _changes, _cluster_file, _diagnosis, _hosts_edit, _plan, _plan_reach, _plan_restarts, _report


def cluster_file(text: str, source: str, providers: dict[str, list[str]] | None = None) -> dict[str, t.Any]:
    """The cluster that a hosts file describes; every fault of the file in one error."""
    try:
        # What stands in the operator's file is data and never rendered, by whatever version of Ansible.
        return wrap_var(_cluster_file.parse(text, source, providers).to_dict())
    except _cluster_file.ClusterFileError as exc:
        raise AnsibleFilterError(str(exc)) from exc


def hosts_file_edited(text: str, edits: dict[str, dict[str, t.Any]], source: str) -> str:
    """The text of a hosts file with edits applied, as the module hosts_file would write it."""
    try:
        return wrap_var(_hosts_edit.edit(text.encode("utf-8"), edits, source).content.decode("utf-8"))
    except _hosts_edit.HostsEditError as exc:
        raise AnsibleFilterError(str(exc)) from exc


def cluster_plan(cluster: dict[str, t.Any], observations: dict[str, t.Any] | None = None, settings: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
    """Seeds, relays and the edits of the hosts file that follow from them."""
    try:
        return _plan.plan(cluster, observations or {}, settings or {})
    except _plan.PlanError as exc:
        raise AnsibleFilterError(str(exc)) from exc


def cluster_diagnosis(cluster: dict[str, t.Any], plan: dict[str, t.Any], observations: dict[str, t.Any],
                      settings: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
    """Findings, state and work."""
    return _diagnosis.diagnose(cluster, plan, observations, settings)


def cluster_waves(names: list[str], cluster: dict[str, t.Any], plan: dict[str, t.Any], state: dict[str, t.Any],
                  settings: dict[str, t.Any] | None = None) -> list[list[str]]:
    """The order of restarts, as waves of nodes that may go together."""
    return _plan_restarts.waves(names, cluster, plan, state, settings or {})


def cluster_next_wave(planned: list[list[str]], done: list[str], leader: str | None = None) -> list[str]:
    """The wave to restart now: the next one that is left, and whoever leads at this moment last."""
    return _plan_restarts.next_wave(planned, done, leader or None)


def cluster_report(before: dict[str, t.Any], after: dict[str, t.Any] | None, changes: dict[str, list[str]], run: dict[str, t.Any],
                   problems: t.Sequence[str] = ()) -> dict[str, t.Any]:
    """The report of a run."""
    return _report.build(before, after, changes, run, problems)


def cluster_endpoints(names: t.Iterable[str], cluster: dict[str, t.Any]) -> dict[str, list[str]]:
    """{node: [host:port, …]}: where each node is asked by others, its public address first; nodes without any are left out."""
    found = {}
    for name in names:
        host = cluster["hosts"].get(name) or {}
        addresses = [address for address in (_plan_reach.public(host), _plan_reach.overlay(host)) if address]
        if addresses:
            found[name] = addresses
    return found


def cluster_gather(hosts: t.Iterable[str], hostvars: t.Mapping[str, t.Any], *path: str) -> dict[str, t.Any]:
    """{host: value} of the host variable that ``path`` leads to, for the hosts that have it."""
    found = {}
    for host in hosts:
        value = hostvars.get(host) or {}
        for key in path:
            value = value.get(key) if isinstance(value, t.Mapping) else None
        if value is not None:
            found[host] = value
    return found


def _registered(hosts: t.Iterable[str], hostvars: t.Mapping[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    return {host: {name: (hostvars.get(host) or {}).get(name) for name in _changes.REGISTERED} for host in hosts}


def cluster_changes(hosts: t.Iterable[str], hostvars: t.Mapping[str, t.Any]) -> dict[str, list[str]]:
    """{node or "controller": [what was done, in words]} out of what the stages registered."""
    return _changes.changes(_registered(hosts, hostvars))


def cluster_events(hosts: t.Iterable[str], hostvars: t.Mapping[str, t.Any], run: dict[str, t.Any], summary: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The events of a run for the audit log."""
    return _changes.events(_registered(hosts, hostvars), run, summary)


def _came_through(result: t.Mapping[str, t.Any] | None) -> bool:
    return bool(result) and not result.get("unreachable") and not result.get("failed")


def cluster_stopped(wave: t.Iterable[str], hostvars: t.Mapping[str, t.Any]) -> str:
    """Why the run must stop after this wave of restarts; empty when every node of it came back."""
    reasons = []
    for name in wave:
        host = hostvars.get(name) or {}
        if host.get("p2p_restart_failure"):
            reasons.append("%s: %s" % (name, host["p2p_restart_failure"]))
        elif not any(_came_through(host.get(register)) for register in ("p2p_restarted", "p2p_answering")):
            reasons.append("%s became unreachable while it was being restarted" % name)
    return "; ".join(reasons)


def cluster_unreachable(hosts: t.Iterable[str], hostvars: t.Mapping[str, t.Any], register: str) -> dict[str, str]:
    """{host: reason} for the hosts that could not be reached, or not worked on, by the task that registered ``register``."""
    results = cluster_gather(hosts, hostvars, register)
    return {host: _reason(result) for host, result in results.items() if result.get("unreachable") or result.get("failed")}


def _reason(result: t.Mapping[str, t.Any]) -> str:
    """Why a task came to nothing on a host: its message, and the last of what a module said that could not run."""
    message = str(result.get("msg") or "unreachable").splitlines()[0]
    said = str(result.get("module_stderr") or result.get("module_stdout") or "").strip().splitlines()
    return "%s: %s" % (message.rstrip(".:"), said[-1]) if said else message


def cluster_views(asked: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """{node: View or None} out of a registered loop of node_info over nodes; None where the node could not be asked."""
    return {result["item"]: (result.get("observation") or {}).get("view") for result in asked.get("results", ()) if not result.get("skipped")}


class FilterModule:
    """Filters of ringrift.p2p."""

    def filters(self):
        return {
            "cluster_events": cluster_events,
            "cluster_file": cluster_file,
            "hosts_file_edited": hosts_file_edited,
            "cluster_plan": cluster_plan,
            "cluster_changes": cluster_changes,
            "cluster_diagnosis": cluster_diagnosis,
            "cluster_waves": cluster_waves,
            "cluster_diagnosis_lines": _report.diagnosis_lines,
            "cluster_endpoints": cluster_endpoints,
            "cluster_gather": cluster_gather,
            "cluster_next_wave": cluster_next_wave,
            "cluster_report": cluster_report,
            "cluster_report_markdown": _report.as_markdown,
            "cluster_report_lines": _report.as_lines,
            "cluster_stopped": cluster_stopped,
            "cluster_unreachable": cluster_unreachable,
            "cluster_views": cluster_views,
        }
