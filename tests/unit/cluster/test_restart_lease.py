# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time

import pytest
from ansible_collections.ringrift.p2p.plugins.module_utils import _lease
from ansible_collections.ringrift.p2p.plugins.modules import restart_lease


@pytest.fixture
def run(run_module, tmp_path):
    def call(run_id, check_mode=False, **arguments):
        given = {"path": str(tmp_path / "restart.lease"), "holder": _lease.identity(os.getpid(), run_id), "wait": 1}
        return run_module(restart_lease, check_mode=check_mode, **dict(given, **arguments))

    return call


def test_one_run_after_the_other(run):
    first = run("one")
    assert first["changed"] and first["held"] and first["decision"] == "acquire" and first["diff"]["after"] == "held by: one\n"
    again = run("one")
    assert not again["changed"] and again["held"] and again["decision"] == "renew"
    refused = run("two")
    assert refused["failed"] and not refused["held"] and refused["lease"]["holder"]["run_id"] == "one"
    assert "Another run is at work" in refused["msg"] and "run one of" in refused["msg"]
    assert not run("two", state="released")["changed"]
    assert run("one", state="released")["changed"] and not run("one", state="released")["changed"]
    assert run("two")["held"]


def test_check_mode_takes_nothing(run, tmp_path):
    answer = run("one", check_mode=True)
    assert answer["changed"] and answer["held"] and os.listdir(tmp_path) == []
    run("one")
    assert run("two", check_mode=True)["failed"]
    assert run("one", check_mode=True, state="released")["changed"]
    assert run("one")["decision"] == "renew"


def test_an_expired_lease_is_taken_over(run):
    run("one", time_to_live=0.1)
    time.sleep(0.2)
    answer = run("two")
    assert answer["changed"] and answer["decision"] == "take_over"


def test_what_is_no_lease_is_left_alone(run, tmp_path):
    (tmp_path / "restart.lease").write_text("{")
    answer = run("one")
    assert answer["failed"] and "can't be used" in answer["msg"] and (tmp_path / "restart.lease").read_text() == "{"


def test_a_restart_under_way_is_waited_for_and_then_refuses(run, tmp_path):
    with _lease.exclusive(str(tmp_path / "restart.lease"), 1):
        assert "has not ended within 0.2 s" in run("one", wait=0.2)["msg"]


def test_all_faults_of_the_parameters_come_at_once(run_module):
    answer = run_module(restart_lease, path="relative", holder={}, time_to_live=0)
    for part in ("holder.pid is missing", "time_to_live must be above 0", "path must be absolute"):
        assert part in answer["msg"]


PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  vars:
    ansible_python_interpreter: {python}
  tasks:
    - ringrift.p2p.restart_lease:
        path: {path}
      register: lease
    - ansible.builtin.copy:
        content: "{{{{ lease | to_json }}}}"
        dest: {answer}
    - ansible.builtin.wait_for:
        path: {hold}
        state: absent
"""


def start_run(folder, name):
    """A run of a playbook that takes the lease, tells what it got, and lives on while a file of its name is there."""
    playbook, answer = folder / f"{name}.yml", folder / f"{name}.json"
    playbook.write_text(textwrap.dedent(PLAYBOOK.format(path=folder / "restart.lease", answer=answer, hold=folder / f"{name}.hold", python=sys.executable)))
    (folder / "ansible.cfg").touch()
    environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH="playbooks/collections", ANSIBLE_CONFIG=str(folder / "ansible.cfg"))
    process = subprocess.Popen(
        [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "-i", "localhost,", "-c", "local", str(playbook)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return process, answer


def test_the_lease_dies_with_the_process_of_its_run(tmp_path):
    """A second operator is refused while the first run lives, and goes on at once after `kill -9` of it."""
    hold = tmp_path / "first.hold"
    hold.touch()
    first, answer = start_run(tmp_path, "first")
    try:
        end = time.monotonic() + 30
        while not answer.exists() and first.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(0.2)
        held = json.loads(answer.read_text())
        assert held["held"] and held["lease"]["holder"]["pid"] == first.pid

        second, unused = start_run(tmp_path, "second")
        output = second.communicate(timeout=30)[0]
        assert second.returncode != 0 and "Another run is at work" in output and held["run_id"] in output

        first.kill()
        first.wait()
        third, answer = start_run(tmp_path, "third")
        output = third.communicate(timeout=30)[0]
        assert third.returncode == 0, output
        assert json.loads(answer.read_text())["decision"] == "take_over"
    finally:
        # The child that carries out a task outlives the process that was killed; this ends it.
        hold.unlink()
        first.kill()
        first.wait()
        first.stdout.close()
