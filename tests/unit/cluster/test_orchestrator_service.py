# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import shlex
import signal
import time

import pytest
from ansible_collections.ringrift.p2p.plugins.module_utils import _lease
from ansible_collections.ringrift.p2p.plugins.modules import orchestrator_service

HERE = pathlib.Path(__file__).parent


@pytest.fixture
def node(cluster, run_module, monkeypatch):
    """A cluster whose member `a` is run by the stand-in of systemd; calling it runs the module there."""

    class Node:
        def __init__(self):
            self.cluster = None

        def build(self, names="abc", leader="b"):
            self.cluster = cluster(names, start=False)
            self.cluster.set("leader", leader)
            folder = self.cluster.folder
            tools = folder / "tools"
            tools.mkdir()
            (tools / "systemctl").symlink_to(HERE / "systemctl")
            (tools / "journalctl").write_text(f"#!/bin/sh\ncat {shlex.quote(str(folder / 'unit.log'))}\n")
            (tools / "journalctl").chmod(0o755)
            monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
            monkeypatch.setenv("STANDIN_FOLDER", str(folder))
            monkeypatch.setenv("STANDIN_COMMAND", shlex.join(self.cluster.command("a")))
            self.cluster.start(*(name for name in names if name != "a"))
            return self

        def up(self, generation="one"):
            os.environ["RINGRIFT_P2P_GENERATION"] = generation
            try:
                os.system("systemctl start ringrift-p2p.service")
            finally:
                del os.environ["RINGRIFT_P2P_GENERATION"]
            self.cluster.wait("a")
            return self

        @property
        def pid(self):
            return int(self.cluster.read("unit.pid"))

        def orders(self):
            log = self.cluster.read("systemctl.log") if (self.cluster.folder / "systemctl.log").exists() else ""
            return [line.split()[0] for line in log.splitlines() if not line.startswith("show")]

        def refused(self, **arguments):
            """What the module answers where the guard has nothing to wait for."""
            return self(**dict({"guard_timeout": 1.6}, **arguments))

        def __call__(self, check_mode=False, **arguments):
            given = {
                "manager": "systemd",
                "node_id": "a",
                "port": self.cluster.ports["a"],
                "voters": list(self.cluster.names),
                "endpoints": self.cluster.endpoints,
                "window": 0.6,
                "interval": 0.15,
                "guard_timeout": 8,
                "handover_timeout": 5,
                "stop_timeout": 3,
                "start_timeout": 10,
                "join_timeout": 8,
                "request_timeout": 1,
                "token_file": "/nonexistent",
            }
            given.update(arguments)
            return run_module(orchestrator_service, check_mode=check_mode, **given)

    return Node()


def test_a_voter_is_restarted_when_the_others_prove_a_majority(node):
    node.build().up()
    before = node.pid
    answer = node(state="restarted")
    assert not answer.get("failed"), answer
    assert answer["changed"] and answer["guard"]["required"] and answer["guard"]["allowed"]
    assert answer["guard"]["asked"] == ["b", "c"] and len(answer["guard"]["answers"]) == 2 and answer["guard"]["samples"] >= 2
    assert answer["before"]["pid"] == before and answer["after"]["pid"] == node.pid != before
    assert answer["stopped_after"] is not None and answer["started_after"] is not None and answer["joined_after"] is not None
    assert answer["handover"] == {} and not answer["killed"]


def test_a_voter_stays_up_when_another_is_down(node):
    node.build().up()
    node.cluster.stop("c")
    before, orders = node.pid, node.orders()
    answer = node.refused(state="restarted")
    assert answer["failed"] and answer["failed_at"] == "guard" and not answer["changed"]
    assert "of 3 voters are proven alive, a majority is 2" in answer["msg"] and "c did not answer" in answer["msg"]
    assert node.pid == before and node.orders() == orders
    assert node.cluster.wait("a")["node_id"] == "a"


def test_a_voter_that_hangs_does_not_count(node):
    node.build().up()
    node.cluster.processes["c"].send_signal(signal.SIGSTOP)
    answer = node.refused(state="stopped")
    assert answer["failed"] and answer["failed_at"] == "guard" and "majority is 2" in answer["guard"]["reason"]


def test_a_voter_without_endpoint_counts_as_down(node):
    node.build().up()
    endpoints = {name: where for name, where in node.cluster.endpoints.items() if name != "c"}
    answer = node.refused(state="stopped", endpoints=endpoints)
    assert answer["failed_at"] == "guard" and answer["guard"]["asked"] == ["b"]


def test_a_voter_is_not_stopped_without_an_agreed_leader(node):
    node.build().up()
    node.cluster.set("leader", "nobody-here")
    answer = node.refused(state="restarted")
    assert answer["failed_at"] == "guard" and "do not agree on one leader" in answer["guard"]["reason"]
    # The repair of what keeps the cluster leaderless needs a restart all the same; the majority is still asked for.
    assert node(state="restarted", leader_required=False)["changed"]
    node.cluster.stop("c")
    assert node.refused(state="restarted", leader_required=False)["failed_at"] == "guard"


def test_the_leader_hands_over_before_it_stops(node):
    node.build(leader="a").up()
    answer = node(state="restarted")
    assert not answer.get("failed"), answer
    assert answer["handover"] == {"supported": True, "leader": "b", "detail": None}
    assert node.cluster.read("leader") == "b"
    assert answer["leader"] == "b"


def test_who_leads_in_the_end_is_told(node):
    node.build(leader="b").up()
    assert node(state="restarted", check_mode=True)["leader"] == "b"
    refused = node.refused(state="stopped", endpoints={"a": node.cluster.endpoints["a"]})
    assert refused["failed_at"] == "guard" and refused["leader"] is None
    assert node(state="started")["leader"] is None
    node.cluster.stop("b")
    node.cluster.set("leader", "c")
    # Only the start is left to do, so that no guard has told it before.
    os.system("systemctl stop ringrift-p2p.service")
    assert node(state="started")["leader"] == "c"


def test_a_leader_that_cannot_hand_over_is_restarted_all_the_same(node):
    node.build(leader="a").up()
    node.cluster.set("no-transfer")
    answer = node(state="restarted")
    assert not answer.get("failed"), answer
    assert answer["handover"]["supported"] is False and answer["joined_after"] is not None


def test_a_node_that_is_down_needs_no_guard(node):
    node.build()
    node.cluster.stop("c")
    answer = node(state="started")
    assert not answer.get("failed"), answer
    assert answer["changed"] and not answer["guard"]["required"] and answer["stopped_after"] is None and answer["joined_after"] is not None


def test_a_worker_needs_no_guard_unless_asked(node):
    node.build().up()
    node.cluster.stop("c")
    assert node(state="restarted", voters=["b", "c", "d"], leader_required=False)["changed"]
    assert node.refused(state="restarted", voters=["b", "c", "d"], guard="always")["failed_at"] == "guard"


def test_check_mode_asks_the_guard_and_touches_nothing(node):
    node.build().up()
    before, orders = node.pid, node.orders()
    answer = node(state="restarted", check_mode=True)
    assert answer["changed"] and answer["guard"]["allowed"] and answer["guard"]["samples"] >= 2
    assert answer["diff"]["before"] != answer["diff"]["after"]
    assert node.pid == before and node.orders() == orders
    node.cluster.stop("c")
    assert node.refused(state="restarted", check_mode=True)["failed_at"] == "guard"


def test_what_runs_as_wanted_is_left_alone(node):
    node.build().up(generation="one")
    orders = node.orders()
    answer = node(state="started", expected_generation="one")
    assert not answer["changed"] and answer["before"] == answer["after"] and answer["before"]["generation"] == "one"
    assert node.orders() == orders


def test_what_runs_with_another_configuration_is_restarted(node, monkeypatch):
    node.build().up(generation="one")
    monkeypatch.setenv("RINGRIFT_P2P_GENERATION", "two")
    answer = node(state="started", expected_generation="two")
    assert not answer.get("failed"), answer
    assert answer["changed"] and (answer["before"]["generation"], answer["after"]["generation"]) == ("one", "two")
    assert answer["guard"]["required"]


def test_a_service_that_reads_other_files_is_noticed(node):
    node.build().up(generation="one")
    answer = node(state="started", expected_generation="two")
    assert answer["failed_at"] == "generation" and "instead of two" in answer["msg"]


def test_a_refused_start_that_exits_0_is_noticed(node):
    node.build().up()
    node.cluster.set("refuse-a")
    answer = node(state="restarted")
    assert answer["failed"] and answer["failed_at"] == "start" and answer["changed"]
    assert "the process has ended" in answer["msg"] and "claim refused: held by pid 4711" in answer["msg"]


def test_a_node_under_another_name_is_not_up(node):
    node.build()
    node.cluster.set("as-a", "c0ffee")
    answer = node(state="started", start_timeout=1.5)
    assert answer["failed_at"] == "start" and "answers under the name c0ffee" in answer["msg"]


def test_an_orchestrator_started_by_hand_is_ended_and_replaced(node):
    node.build()
    node.cluster.start("a")
    by_hand = node.cluster.processes["a"]
    answer = node(state="restarted")
    assert not answer.get("failed"), answer
    assert answer["guard"]["required"] and answer["before"]["pid"] == by_hand.pid and answer["after"]["pid"] == node.pid
    assert by_hand.wait(5) == 0


def test_one_that_hangs_is_killed_after_its_time(node):
    node.build().up()
    os.kill(node.pid, signal.SIGSTOP)
    answer = node(state="restarted", stop_timeout=1)
    assert not answer.get("failed"), answer
    assert answer["killed"] and answer["joined_after"] is not None


def test_a_node_that_is_not_seen_by_others_has_not_joined(node):
    node.build()
    node.cluster.set("leader", "b")
    answer = node(state="started", join_timeout=1, endpoints={"c": ["127.0.0.1:1"]})
    assert answer["failed_at"] == "join" and "no other voter's record" in answer["msg"]


def test_stopped_stays_stopped(node):
    node.build().up()
    assert node(state="stopped")["changed"]
    answer = node(state="stopped")
    assert not answer["changed"] and not answer["guard"]["required"]


def test_the_unit_is_enabled_once(node):
    node.build().up()
    assert node(state="started", enabled=True)["changed"]
    assert not node(state="started", enabled=True)["changed"]


def lease_of(run_id, folder, age=0.0):
    clock = _lease.node_clock()
    clock.update(time=clock["time"] - age, uptime=clock["uptime"] - age)
    path = str(folder / "lease" / "restart.lease")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _lease.write_lease(path, _lease.new_lease(None, "acquire", _lease.identity(os.getpid(), run_id), clock, 60))
    return path


def test_the_run_that_holds_the_lease_restarts_and_renews_it(node, tmp_path):
    node.build().up()
    path = lease_of("run-1", tmp_path, age=30)
    before = _lease.read_lease(path)
    assert node(state="restarted", lease="run-1", lease_path=path)["changed"]
    assert _lease.read_lease(path)["renewed_at"] > before["renewed_at"] + 20


@pytest.mark.parametrize("held_by", ["run-2", None])
def test_a_run_without_the_lease_touches_no_voter(node, tmp_path, held_by):
    node.build().up()
    before = node.pid
    path = lease_of(held_by, tmp_path) if held_by else str(tmp_path / "none")
    answer = node(state="restarted", lease="run-1", lease_path=path)
    assert answer["failed_at"] == "lease" and not answer["changed"] and node.pid == before
    assert (held_by or "never taken") in answer["msg"]


def test_the_lease_is_kept_from_others_during_the_act(node, tmp_path):
    node.build().up()
    path = lease_of("run-1", tmp_path)
    child = os.fork()
    if not child:
        # The other run tries all the while; it may only get in before the guard's end or after the node's return.
        time.sleep(0.5)
        try:
            with _lease.exclusive(path, 0.2):
                os._exit(0)
        except BlockingIOError:
            os._exit(7)
    assert node(state="restarted", lease="run-1", lease_path=path)["changed"]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_all_faults_of_the_parameters_come_at_once(run_module):
    answer = run_module(orchestrator_service, manager="supervisord", node_id="a", voters=["a"], endpoints={"b": "x"}, window=1, interval=1, guard_timeout=0.5)
    assert answer["failed_at"] == "parameters"
    for part in ("endpoints.b must be a list", "at most half of window", "guard_timeout must be at least window", "supervisor_command is required"):
        assert part in answer["msg"]
