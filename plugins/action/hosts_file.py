# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import fcntl
import hashlib
import os
import shutil
import tempfile
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _cluster_file, _hosts_edit, _regular_file, _yaml_lines


def plain(value: t.Any) -> t.Any:
    """``value`` in Python's own types: what comes out of templates is often a subclass that carries tags."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    return _yaml_lines.plain_text(value) if isinstance(value, str) else value


def edit_faults(edits: dict[str, t.Any]) -> list[str]:
    """What in ``edits`` the reader of the file would refuse: a quoted boolean, a port that is none."""
    faults = []
    for name, values in edits.items():
        if not isinstance(values, dict):
            faults.append(f"edits.{name}: expected a mapping of keys to values")
            continue
        for key, value in values.items():
            fault = _cluster_file.value_fault(key, value)
            if fault:
                faults.append(f"edits.{name}.{key}: {fault}")
    return faults


def replace(path: str, before: bytes, after: bytes, backup: bool) -> str | None:
    """Put ``after`` in the place of ``before`` in one step, keeping mode and owner. Returns the path of the backup, if there is one.

    Raises AnsibleActionFail if the file holds something else by now, OSError if it cannot be written; then nothing has changed.
    """
    path = os.path.realpath(path)
    with open(path, "rb") as held:
        # Holds off other runs of this plugin; other writers are found by what they wrote.
        fcntl.flock(held, fcntl.LOCK_EX)
        status = os.stat(path)
        if (status.st_ino, status.st_dev) != (os.fstat(held.fileno()).st_ino, os.fstat(held.fileno()).st_dev) or held.read() != before:
            raise AnsibleActionFail(
                f"{path} has been changed by somebody else since it was read; nothing was written. Run again, to start from what it says now.")
        handle, temporary = tempfile.mkstemp(prefix=os.path.basename(path) + ".", suffix=".tmp", dir=os.path.dirname(path))
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(after)
                stream.flush()
                os.fsync(stream.fileno())
            if os.geteuid() == 0:
                os.chown(temporary, status.st_uid, status.st_gid)
            os.chmod(temporary, status.st_mode & 0o7777)
            backup_file = _back_up(path) if backup else None
            if _regular_file.read(path) != before:
                raise AnsibleActionFail(f"{path} has been changed by somebody else while it was edited; nothing was written. Run again.")
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    return backup_file


def _back_up(path: str) -> str:
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%S")
    number = 0
    while True:
        name = f"{path}.{stamp}{f'-{number}' if number else ''}.bak"
        try:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            number += 1
            continue
        shutil.copy2(path, name)
        return name


class ActionModule(ActionBase):
    """Edits the operator's own file, here on the controller."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        arguments = self.validate_argument_spec({
            "path": {"type": "path", "required": True},
            "edits": {"type": "dict", "required": True},
            "backup": {"type": "bool", "default": True},
            "digest": {"type": "str"},
            "return_content": {"type": "bool", "default": False},
        })[1]
        arguments = plain(arguments)
        path = os.path.abspath(arguments["path"])
        edits = arguments["edits"]
        faults = edit_faults(edits)
        if faults:
            raise AnsibleActionFail("\n".join(["The edits cannot be made:", *(f"  {fault}" for fault in faults)]))
        try:
            before = _regular_file.read(path)
        except OSError as exc:
            raise AnsibleActionFail(f"{path} cannot be read: {exc.strerror}. Give the path of the cluster's distributed_hosts.yaml.") from exc
        if arguments["digest"] and hashlib.sha256(before).hexdigest() != arguments["digest"]:
            raise AnsibleActionFail(
                f"{path} is not the file any more that the edits were planned from; nothing was written. Run again, to start from what it says now.")
        try:
            edited = _hosts_edit.edit(before, edits, path)
        except _hosts_edit.HostsEditError as exc:
            raise AnsibleActionFail(str(exc)) from exc

        result.update(
            changed=edited.content != before, path=path, changes=edited.changes, digest=hashlib.sha256(edited.content).hexdigest(), backup_file=None)
        if arguments["return_content"]:
            result["content"] = edited.content.decode("utf-8")
        if self._task.diff:
            result["diff"] = {
                "before": before.decode("utf-8"), "after": edited.content.decode("utf-8"), "before_header": path, "after_header": path,
            }
        if result["changed"] and not self._task.check_mode:
            try:
                result["backup_file"] = replace(path, before, edited.content, arguments["backup"])
            except OSError as exc:
                raise AnsibleActionFail(
                    f"{exc.filename or path} cannot be written: {exc.strerror}. {path} was left as it is; give this user the right to write there.") from exc
        return result
