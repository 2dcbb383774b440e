# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible_collections.ringrift.p2p.plugins.plugin_utils import _bundle

ARGUMENTS = {
    "kind": {"type": "str", "choices": list(_bundle.KINDS), "default": "embedded"},
    "python_version": {"type": "str", "required": True},
    "machine": {"type": "str", "required": True},
    "cache_dir": {"type": "str", "default": "~/.cache/ringrift-p2p"},
}


class ActionModule(ActionBase):
    """Builds a bundle on the controller, or finds it in the cache."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _validation, wanted = self.validate_argument_spec(ARGUMENTS)
        try:
            planned = _bundle.plan(wanted["kind"], wanted["python_version"], wanted["machine"])
            if self._task.check_mode:
                return dict(result, changed=False, path=None, sha256=None, release=planned.release, built=False)
            bundle = _bundle.build(planned, wanted["cache_dir"])
        except _bundle.BundleError as exc:
            return dict(result, failed=True, msg=str(exc))
        return dict(result, changed=False, path=bundle.path, sha256=bundle.sha256, release=bundle.release, built=bundle.built)
