# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Carries the archive to the node, then lets the module install it."""

    TRANSFERS_FILES = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if arguments.get("archive"):
            return dict(result, failed=True, msg="archive is set by the action plugin; give bundle, which lies on the controller")
        bundle = arguments.get("bundle")
        if bundle and not self._task.check_mode:
            bundle = os.path.expanduser(bundle)
            if not os.path.isfile(bundle):
                message = "there is no archive %s on the controller; build it with ringrift.p2p.orchestrator_bundle" % bundle
                return dict(result, failed=True, msg=message)
            arguments["archive"] = self._transfer_file(bundle, self._connection._shell.join_path(self._connection._shell.tmpdir, "bundle.tar.gz"))
            self._fixup_perms2((self._connection._shell.tmpdir, arguments["archive"]))
        try:
            result.update(self._execute_module(module_name="ringrift.p2p.orchestrator_release", module_args=arguments, task_vars=task_vars))
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result
