# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

from ansible.plugins.action import ActionBase
from ansible_collections.ringrift.p2p.plugins.module_utils._lease import identity, proven_dead


class ActionModule(ActionBase):
    """Tells the module who this run is, and whether the process of the run that holds the lease has ended, where that ran here."""

    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        # A task runs in a child of the process that is the run.
        own = identity(os.getppid(), arguments.get("run_id"))
        arguments.setdefault("holder", own)

        answer = self._ask(arguments, task_vars)
        holder = (answer.get("lease") or {}).get("holder") or {}
        if answer.get("decision") == "refuse" and proven_dead(holder, own):
            answer = self._ask(dict(arguments, dead=[*(arguments.get("dead") or []), holder]), task_vars)
        result.update(answer)
        return result

    def _ask(self, arguments, task_vars):
        return self._execute_module(module_name="ringrift.p2p.restart_lease", module_args=arguments, task_vars=task_vars)
