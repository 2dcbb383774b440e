# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parser, the plans, the diagnosis and the report as filters: data in, data out."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _cluster_file, _diagnosis, _plan, _plan_restarts, _report


def cluster_file(text: str, source: str, providers: dict[str, list[str]] | None = None) -> dict[str, t.Any]:
    """The cluster that a hosts file describes; every fault of the file in one error."""
    try:
        return _cluster_file.parse(text, source, providers).to_dict()
    except _cluster_file.ClusterFileError as exc:
        raise AnsibleFilterError(str(exc)) from exc


def cluster_plan(cluster: dict[str, t.Any], observations: dict[str, t.Any] | None = None, settings: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
    """Seeds, relays and the edits of the hosts file that follow from them."""
    return _plan.plan(cluster, observations or {}, settings or {})


def cluster_diagnosis(cluster: dict[str, t.Any], plan: dict[str, t.Any], observations: dict[str, t.Any],
                      settings: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
    """Findings, state and work."""
    return _diagnosis.diagnose(cluster, plan, observations, settings)


def cluster_waves(names: list[str], cluster: dict[str, t.Any], plan: dict[str, t.Any], state: dict[str, t.Any],
                  settings: dict[str, t.Any] | None = None) -> list[list[str]]:
    """The order of restarts, as waves of nodes that may go together."""
    return _plan_restarts.waves(names, cluster, plan, state, settings or {})


def cluster_report(before: dict[str, t.Any], after: dict[str, t.Any] | None, changes: dict[str, list[str]], run: dict[str, t.Any],
                   problems: t.Sequence[str] = ()) -> dict[str, t.Any]:
    """The report of a run."""
    return _report.build(before, after, changes, run, problems)


class FilterModule:
    """Filters of ringrift.p2p."""

    def filters(self):
        return {
            "cluster_file": cluster_file,
            "cluster_plan": cluster_plan,
            "cluster_diagnosis": cluster_diagnosis,
            "cluster_waves": cluster_waves,
            "cluster_report": cluster_report,
            "cluster_report_markdown": _report.as_markdown,
            "cluster_report_lines": _report.as_lines,
        }
