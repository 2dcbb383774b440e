# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the report of a run on the controller. See the module of the same name for its documentation."""

from __future__ import annotations

import fcntl
import json
import os

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _report


class ActionModule(ActionBase):
    """Writes ``report.json``, ``report.md``, the link ``latest`` and the audit log."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec({
            "report": {"type": "dict", "required": True},
            "directory": {"type": "path", "required": True},
            "audit": {"type": "list", "elements": "dict", "default": []},
        })
        report = arguments["report"]
        directory = os.path.abspath(os.path.expanduser(arguments["directory"]))
        target = os.path.join(directory, report["run"]["id"])
        try:
            os.makedirs(target, exist_ok=True)
            _write(os.path.join(target, "report.json"), json.dumps(report, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
            _write(os.path.join(target, "report.md"), _report.as_markdown(report))
            _point(os.path.join(directory, "latest"), report["run"]["id"])
            _append(os.path.join(directory, "audit.jsonl"), arguments["audit"])
        except OSError as exc:
            raise AnsibleActionFail(
                "the report cannot be written to %s: %s; set p2p_reports_directory to a folder that can be written" % (directory, exc)) from exc
        lines = _report.as_lines(report)
        result.update(changed=False, path=target, lines=lines, problems=report["problems"],
                      ansible_stats={"data": {"p2p_report": report}, "per_host": False, "aggregate": False})
        return result


def _write(path, text):
    temporary = "%s.%d" % (path, os.getpid())
    with open(temporary, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)


def _point(link, name):
    """Points ``link`` to its sibling ``name`` in one step, so that there is always a latest report."""
    temporary = "%s.%d" % (link, os.getpid())
    os.symlink(name, temporary)
    os.replace(temporary, link)


def _append(path, events):
    if not events:
        return
    with open(path, "a", encoding="utf-8") as handle:
        # Two runs may append to one log; whole lines only.
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.write("".join(json.dumps(event, sort_keys=True, ensure_ascii=False) + "\n" for event in events))
        handle.flush()
        os.fsync(handle.fileno())
