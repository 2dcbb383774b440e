# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import pathlib
import stat
import subprocess
import sys
import types

import pytest
from ansible.errors import AnsibleActionFail
from ansible.playbook.task import Task
from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.ringrift.p2p.plugins.action import hosts_file

ROOT = pathlib.Path(__file__).parents[4]
BEFORE = "hosts:\r\n  a:   # first\r\n    role: coordinator  # wrong\r\n    gpu: GH200\r\n"
AFTER = "hosts:\r\n  a:   # first\r\n    role: gpu_training_primary  # wrong\r\n    gpu: GH200\r\n    training_enabled: true\r\n"
EDITS = {"a": {"role": "gpu_training_primary", "training_enabled": True}}


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "distributed_hosts.yaml"
    file.write_bytes(BEFORE.encode())
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    return file


def act(arguments, check=False, diff=False):
    """The result of the task, from the action itself."""
    task = Task()
    task.args, task.check_mode, task.diff = arguments, check, diff
    connection = types.SimpleNamespace(_shell=types.SimpleNamespace(tmpdir=None))
    return hosts_file.ActionModule(task, connection, None, None, None, None).run(task_vars={})


def play(path, *options):
    """What the operator sees of one task."""
    (path.parent / "play.yml").write_text(f"""\
- hosts: localhost
  gather_facts: false
  vars:
    edits: {{a: {{role: "{{{{ 'gpu_training_primary' }}}}", training_enabled: "{{{{ 1 == 1 }}}}"}}}}
  tasks:
    - ringrift.p2p.hosts_file:
        path: {path}
        edits: "{{{{ edits }}}}"
""")
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local", "play.yml", *options], cwd=path.parent,
        capture_output=True, text=True, timeout=120, check=False,
        env={**{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}, "ANSIBLE_CONFIG": str(path.parent / "ansible.cfg"),
             "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(path.parent / "ansible")})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def backups(path):
    return sorted(path.parent.glob("*.bak"))


def test_a_playbook_shows_in_check_mode_what_it_would_do_and_then_does_it(path):
    output = play(path, "--check", "--diff")
    assert "-    role: coordinator  # wrong" in output and "+    role: gpu_training_primary  # wrong" in output and "changed=1" in output
    assert path.read_bytes() == BEFORE.encode() and backups(path) == []
    assert "changed=1" in play(path)
    assert path.read_bytes() == AFTER.encode()
    (backup,) = backups(path)
    assert backup.read_bytes() == BEFORE.encode()


@pytest.mark.parametrize("check", [True, False])
def test_check_mode_says_the_same_as_the_run(path, check):
    result = act({"path": str(path), "edits": EDITS}, check=check)
    assert result["changed"] and result["digest"] == hashlib.sha256(AFTER.encode()).hexdigest()
    assert [(change["key"], change["line"], change["before"], change["after"]) for change in result["changes"]] == [
        ("training_enabled", 2, None, True), ("role", 3, "coordinator", "gpu_training_primary")]
    assert path.read_bytes() == (BEFORE if check else AFTER).encode()
    assert [str(backup) for backup in backups(path)] == ([] if check else [result["backup_file"]])


def test_the_second_time_nothing_changes(path):
    path.write_bytes(AFTER.encode())
    result = act({"path": str(path), "edits": EDITS, "return_content": True}, diff=True)
    assert not result["changed"] and result["changes"] == [] and result["backup_file"] is None
    assert result["content"] == AFTER
    assert result["diff"]["before"] == result["diff"]["after"] == AFTER
    assert backups(path) == []


@pytest.mark.parametrize("arguments, expected", [
    ({"edits": {"b": {"role": "x"}, "a": {"nat_blocked": "yes"}}}, "edits.a.nat_blocked: expected true or false without quotes"),
    ({"edits": {"b": {"role": "x"}}}, "hosts.b: there is no such host"),
    ({"edits": {"a": "x"}}, "edits.a: expected a mapping"),
    ({"edits": EDITS, "digest": "0" * 64}, "is not the file any more that the edits were planned from"),
    ({"edits": EDITS, "path": "/nonexistent/hosts.yaml"}, "/nonexistent/hosts.yaml cannot be read: No such file or directory"),
    ({"edits": EDITS, "path": "/dev/null"}, "/dev/null cannot be read: a pipe or a device, not a file"),
    ({"edits": "x"}, "dict"),
])
@pytest.mark.parametrize("check", [True, False])
def test_refusals_leave_the_file_as_it_is_and_say_why(path, arguments, expected, check):
    with pytest.raises(AnsibleActionFail) as caught:
        act({"path": str(path), **arguments}, check=check)
    assert expected in str(caught.value)
    assert path.read_bytes() == BEFORE.encode() and backups(path) == []


def test_a_folder_that_cannot_be_written_to_is_named(path, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hosts_file.tempfile, "mkstemp", full)
    with pytest.raises(AnsibleActionFail, match="No space left on device.*was left as it is"):
        act({"path": str(path), "edits": EDITS})
    assert path.read_bytes() == BEFORE.encode()


def test_mode_and_links_stay(path):
    path.chmod(0o640)
    link = path.parent / "link.yaml"
    link.symlink_to(path.name)
    hosts_file.replace(str(link), BEFORE.encode(), AFTER.encode(), backup=True)
    assert link.is_symlink() and path.read_bytes() == AFTER.encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(backups(path)[0].stat().st_mode) == 0o640


def test_two_backups_in_one_second_do_not_overwrite_each_other(path):
    first = hosts_file.replace(str(path), BEFORE.encode(), AFTER.encode(), backup=True)
    second = hosts_file.replace(str(path), AFTER.encode(), BEFORE.encode(), backup=True)
    assert first != second
    assert (pathlib.Path(first).read_bytes(), pathlib.Path(second).read_bytes()) == (BEFORE.encode(), AFTER.encode())


def test_no_backup_where_none_is_wanted(path):
    assert hosts_file.replace(str(path), BEFORE.encode(), AFTER.encode(), backup=False) is None
    assert sorted(file.name for file in path.parent.iterdir()) == ["ansible.cfg", "distributed_hosts.yaml"]


def test_another_writer_is_noticed_before_anything_is_written(path):
    path.write_bytes(b"hosts: {}\n")
    with pytest.raises(AnsibleActionFail, match="changed by somebody else"):
        hosts_file.replace(str(path), BEFORE.encode(), AFTER.encode(), backup=True)
    assert path.read_bytes() == b"hosts: {}\n"
    assert sorted(file.name for file in path.parent.iterdir()) == ["ansible.cfg", "distributed_hosts.yaml"]


def test_another_writer_is_noticed_up_to_the_last_moment(path, monkeypatch):
    genuine = hosts_file._back_up

    def and_somebody_writes(name):
        backup = genuine(name)
        path.write_bytes(b"hosts: {}\n")
        return backup

    monkeypatch.setattr(hosts_file, "_back_up", and_somebody_writes)
    with pytest.raises(AnsibleActionFail, match="changed by somebody else"):
        hosts_file.replace(str(path), BEFORE.encode(), AFTER.encode(), backup=True)
    assert path.read_bytes() == b"hosts: {}\n"
    assert not list(path.parent.glob("*.tmp"))


def test_values_lose_what_templates_add_to_them():
    class TaggedNumber(int):
        """Stands for a number with tags."""

    found = hosts_file.plain({wrap_var("a"): [wrap_var("b"), TaggedNumber(3), True, None, 1.5]})
    assert found == {"a": ["b", 3, True, None, 1.5]}
    assert [item.__class__ for item in found["a"]] == [str, int, bool, None.__class__, float]
    assert next(iter(found)).__class__ is str
