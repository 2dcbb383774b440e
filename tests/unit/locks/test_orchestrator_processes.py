# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""orchestrator_processes among real processes, in a PID namespace of its own so that nothing else on this machine can be meant."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ansible_collections.ringrift.p2p.plugins.module_utils import _processes

HERE = Path(__file__).resolve().parent
SCENES = ("bystanders", "duplicates", "stubborn", "unmanaged", "make_room", "container", "holder")


@pytest.fixture(scope="module")
def scenes(isolation):
    with tempfile.TemporaryDirectory() as work:
        done = subprocess.run(
            [*isolation, sys.executable, str(HERE / "process_lab.py"), work, *SCENES], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
            check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def names(scene, result):
    return sorted(scene["names"].get(str(item["pid"]), "child") for item in result["ended"])


@pytest.mark.parametrize(("scene", "ended", "left"), [
    ("bystanders", [], ["inline", "only", "pager", "shell", "training"]),
    ("duplicates", ["child", "first", "forking"], ["service"]),
    ("stubborn", ["stubborn"], ["service"]),
    ("unmanaged", ["second"], ["first"]),
    ("make_room", ["first", "second"], []),
    ("container", ["other"], ["contained", "service"]),
    ("holder", ["first"], ["holder"]),
])
def test_exactly_the_others_are_ended(scenes, scene, ended, left):
    found = scenes[scene]
    assert names(found, found["result"]) == ended
    assert found["after"] == left
    assert found["untouched"]
    assert names(found, found["predicted"]) == ended
    assert found["predicted"]["changed"] == found["result"]["changed"] == bool(ended)
    assert found["again"]["changed"] is False


def test_a_stubborn_one_is_killed_after_its_time(scenes):
    killed, = scenes["stubborn"]["result"]["ended"]
    assert killed["signal"] == "KILL"
    assert killed["seconds"] >= 0.3
    assert {item["signal"] for item in scenes["duplicates"]["result"]["ended"]} == {"TERM"}


def test_one_of_another_container_is_left_alone_and_named(scenes):
    result = scenes["container"]["result"]
    assert "failed" not in result
    assert [(item["foreign"], "PID namespace" in item["reason"]) for item in result["refused"]] == [(True, True)]


def test_the_services_own_is_told_by_its_supervisor_and_shows_no_secret(scenes):
    kept = scenes["duplicates"]["result"]["kept"]
    assert kept["service"] is True
    assert kept["environment"] == {"RINGRIFT_TOKEN": _processes.MASK}


def orchestrator(pid, ppid=1, ticks=None, **facts):
    return {
        "pid": pid, "ppid": ppid, "start_ticks": ticks or pid, "kind": "orchestrator", "service": False, "holds_lock": False,
        "executable": "/usr/bin/python3", "pid_namespace": "here", "argv": ["python3"], **facts}


def test_children_belong_to_the_family_of_their_root():
    found = _processes.families([orchestrator(12, 11), orchestrator(11, 10), orchestrator(10), orchestrator(20), {**orchestrator(30), "kind": "manager"}])
    assert [[process["pid"] for process in family] for family in found] == [[10, 11, 12], [20]]


def test_an_unreadable_executable_is_never_ended():
    choice = _processes.choose([orchestrator(10, service=True), orchestrator(20, executable=None)], "here")
    assert choice["end"] == []
    assert [(item["pid"], item["foreign"]) for item in choice["refused"]] == [(20, False)]


def test_a_pid_that_went_to_another_process_is_not_ended():
    with subprocess.Popen(["sleep", "60"]) as other:
        told = {"pid": other.pid, "argv": ["python3", "p2p_orchestrator.py"], "start_ticks": 1, "kind": "orchestrator"}
        result = _processes.end(told, 0.1, 0.1)
        survived = other.poll() is None
        other.kill()
    assert survived
    assert (result["ended"], result["signal"]) == (True, None)


def test_a_process_that_became_another_program_is_not_ended():
    with subprocess.Popen(["sleep", "60"]) as other:
        now = _processes.look(other.pid)
        result = _processes.end({**now, "kind": "orchestrator"}, 0.1, 0.1)
        survived = other.poll() is None
        other.kill()
    assert survived
    assert not result["ended"]


def test_secrets_never_leave_the_node():
    environment = (b"RINGRIFT_CLUSTER_AUTH_TOKEN=x\0RINGRIFT_CLUSTER_AUTH_TOKEN_FILE=/etc/t\0P2P_PASSWORD=y\0PYTHONPATH=/a\0HOME=/root\0"
                   b"RINGRIFT_NODE_ID=n\0broken\0")
    assert _processes.shown_environment(environment) == {
        "RINGRIFT_CLUSTER_AUTH_TOKEN": _processes.MASK, "RINGRIFT_CLUSTER_AUTH_TOKEN_FILE": "/etc/t", "P2P_PASSWORD": _processes.MASK, "PYTHONPATH": "/a",
        "RINGRIFT_NODE_ID": "n"}
    assert _processes.shown_arguments(["p", "--auth-token", "x", "--auth-token=y", "--port=1"]) == [
        "p", "--auth-token", _processes.MASK, "--auth-token=" + _processes.MASK, "--port=1"]
