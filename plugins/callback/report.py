# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: report
type: aggregate
short_description: Show what a run of the collection found, did and reached
version_added: 1.0.0
author:
  - RingRift P2P contributors (@ringrift)
description:
  - After the recap of C(ringrift.p2p.stabilize), C(ringrift.p2p.diagnose) and C(ringrift.p2p.rollback) it prints the state of
    the cluster before and after, what was changed, the findings that are left, and why the aim was not reached where it was not.
  - It reads what the playbooks put into the run's custom statistics under C(p2p_report), and prints nothing for other playbooks.
requirements:
  - To be enabled in C(ansible.cfg) with C(callbacks_enabled = ringrift.p2p.report).
"""

from ansible import constants as C
from ansible.plugins.callback import CallbackBase

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _report


class CallbackModule(CallbackBase):
    """Prints the report's lines after the recap."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "ringrift.p2p.report"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_stats(self, stats):
        report = (stats.custom or {}).get("_run", {}).get("p2p_report")
        if not report:
            return
        self._display.banner("CLUSTER")
        colour = C.COLOR_OK if report["reached"] else C.COLOR_ERROR
        for line in _report.as_lines(report):
            self._display.display(line, color=colour)
