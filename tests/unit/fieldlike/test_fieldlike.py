# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for the orchestrator in the field has the faults that the collection must cope with: real processes on loopback."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ansible_collections.ringrift.p2p.plugins.module_utils import _cluster_view, _seeds_probe, _start_mechanisms
from ansible_collections.ringrift.p2p.plugins.module_utils._node_files import Files

FIELDLIKE = Path(__file__).resolve().parents[2] / "fieldlike"
SCALE = 0.01


def load(name, path):
    specification = importlib.util.spec_from_file_location(name, str(path))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


starts = load("fieldlike_starts", FIELDLIKE / "starts.py")


def free_port():
    """A port that is free, and the one two above it as well."""
    while True:
        with contextlib.ExitStack() as stack:
            first, third = (stack.enter_context(socket.socket()) for _number in range(2))
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            if port > 65000:
                continue
            try:
                third.bind(("127.0.0.1", port + 2))
            except OSError:
                continue
            return port


def ask(port, path="/status"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def post(port, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("POST", "/heartbeat", json.dumps({"node_id": "x", "host": "127.0.0.1", "port": 1}), headers)
        return connection.getresponse().status
    finally:
        connection.close()


def until(condition, limit=15.0):
    deadline = time.monotonic() + limit
    while True:
        try:
            value = condition()
        except (OSError, http.client.HTTPException):
            value = None
        if value:
            return value
        assert time.monotonic() < deadline, "it did not happen within %d s" % limit
        time.sleep(0.05)


class Lab:
    """Nodes of the stand-in below one folder."""

    def __init__(self, folder, voters, hosts):
        self.folder = folder
        self.voters = voters
        self.hosts = hosts
        self.processes = {}
        self.ports = {}

    def root(self, name):
        root = self.folder / name
        if not root.exists():
            shutil.copytree(str(FIELDLIKE / "ai_service"), str(root), ignore=shutil.ignore_patterns("__pycache__"))
            (root / "config").mkdir()
            hosts = "".join("  %s:\n%s" % (host, "".join("    %s: %s\n" % item for item in entry.items())) for host, entry in self.hosts.items())
            text = "hosts:\n%sp2p_voters:\n%s" % (hosts, "".join("  - %s\n" % voter for voter in self.voters))
            (root / "config" / "distributed_hosts.yaml").write_text(text, encoding="utf-8")
            self.ports[name] = free_port()
        return root

    def launch(self, name, *arguments, **environment):
        root = self.root(name)
        base = {key: value for key, value in os.environ.items() if not key.startswith(("RINGRIFT_", "P2P_"))}
        mark = "mark-%d-%s" % (os.getpid(), self.folder.name)
        base.update({"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "RINGRIFT_FIELDLIKE_SCALE": str(SCALE),
                     "RINGRIFT_FIELDLIKE_STOP_SECONDS": "0.2", "RINGRIFT_FIELDLIKE_MARK": mark}, **environment)
        words = [sys.executable, "scripts/p2p_orchestrator.py", "--node-id", name, "--host", "127.0.0.1", "--port", str(self.ports[name]),
                 "--advertise-host", "127.0.0.1", *arguments]
        with open(str(self.folder / (name + ".log")), "ab") as stream:
            process = subprocess.Popen(words, cwd=str(root), env=base, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        self.processes.setdefault(name, []).append(process)
        return process

    def up(self, name):
        until(lambda: ask(self.ports[name], "/health"))

    def start(self, name, *arguments, **environment):
        process = self.launch(name, *arguments, **environment)
        self.up(name)
        return process

    def peers(self, *names):
        for name in names:
            self.root(name)
        return ",".join("127.0.0.1:%d" % self.ports[name] for name in names)

    def said(self, name):
        return (self.folder / (name + ".log")).read_text(encoding="utf-8")

    def views(self, names, window):
        """What the nodes say over a window, as the collection samples it."""
        samples = {name: [] for name in names}
        for number in range(3):
            time.sleep(window / 2 if number else 0)
            for name in names:
                try:
                    samples[name].append({"time": time.time(), "status": ask(self.ports[name]), "health": None, "error": None})
                except OSError as exc:
                    samples[name].append({"time": time.time(), "status": None, "health": None, "error": str(exc)})
        return {name: _cluster_view.view_from_samples(name, list_of) for name, list_of in samples.items()}

    def claim(self, name, pid, age):
        path = self.root(name) / "data" / "coordination" / "p2p_supervisor.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        checked = (datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(seconds=age)).isoformat() + "Z"
        path.write_text(json.dumps({"managed_by": "manual", "pid": pid, "started_at": checked, "last_health_check": checked}), encoding="utf-8")
        return path

    def end(self):
        for processes in self.processes.values():
            for process in processes:
                process.kill()
                process.wait()


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path, ["a", "b", "c"], {"a": {}, "b": {}, "c": {}})
    yield made
    made.end()


def test_a_live_number_and_a_young_claim_refuse_a_start_with_status_0(lab):
    # This very process is no orchestrator; nobody looks.
    path = lab.claim("a", os.getpid(), 30)
    assert lab.launch("a").wait(15) == 0
    assert "Supervisor role already claimed by manual (pid %d)" % os.getpid() in lab.said("a")
    assert json.loads(path.read_text(encoding="utf-8"))["pid"] == os.getpid()
    lab.claim("a", os.getpid(), 700)
    assert lab.start("a").poll() is None


def test_a_second_start_beside_a_healthy_one_ends_with_status_0_and_beside_a_locked_one_with_1(lab):
    first = lab.start("a")
    assert lab.launch("a").wait(15) == 0
    assert "already running on port" in lab.said("a")
    lock = lab.root("a") / "data" / "coordination" / "ringrift_p2p_orchestrator.lock"
    assert lock.read_bytes() == str(first.pid).encode()
    assert lab.launch("a", "--skip-port-check", "--ignore-supervisor").wait(15) == 1
    assert first.poll() is None


def test_a_bad_flag_is_noticed_only_behind_the_claim(lab):
    process = lab.launch("a", "--no-such-flag")
    assert process.wait(15) == 2
    claim = json.loads((lab.root("a") / "data" / "coordination" / "p2p_supervisor.json").read_text(encoding="utf-8"))
    assert claim["pid"] == process.pid


def test_a_stop_takes_its_time_and_a_start_within_it_is_refused(lab):
    first = lab.start("a", RINGRIFT_FIELDLIKE_STOP_SECONDS="3")
    began = time.monotonic()
    first.terminate()
    until(lambda: "stopping" in lab.said("a"))
    assert lab.launch("a").wait(15) == 0
    assert first.poll() is None
    assert first.wait(15) == 0
    assert time.monotonic() - began >= 3
    claim = json.loads((lab.root("a") / "data" / "coordination" / "p2p_supervisor.json").read_text(encoding="utf-8"))
    assert (claim["managed_by"], claim["pid"]) == ("none", 0)
    assert lab.start("a").poll() is None


def test_kill_duplicates_hits_whatever_has_the_name_in_its_command_line(lab):
    first = lab.start("a")
    environment = dict(os.environ, RINGRIFT_FIELDLIKE_MARK="mark-%d-%s" % (os.getpid(), lab.folder.name))
    bystander = subprocess.Popen(["sh", "-c", "sleep 60; : scripts/p2p_orchestrator.py"], env=environment)
    lab.processes["bystander"] = [bystander]
    lab.launch("a", "--skip-port-check", "--force-supervisor", "--kill-duplicates")
    assert first.wait(15) == -signal.SIGKILL
    assert bystander.wait(15) == -signal.SIGKILL


def test_one_coordinator_one_leader_and_the_dead_look_alive(lab):
    peers = lab.peers("a", "b", "c")
    lab.start("a", "--peers", peers, RINGRIFT_IS_COORDINATOR="true")
    dying = lab.start("b", "--peers", peers)
    lab.start("c", "--peers", peers)
    until(lambda: all(ask(lab.ports[name])["leader_id"] == "a" for name in "abc"))
    until(lambda: _cluster_view.judge(lab.views("abc", 2.4), ["a", "b", "c"], lab.voters)["connected"] == 3)
    dying.kill()
    dying.wait()
    # All heartbeats that were on their way have arrived.
    time.sleep(0.3)
    views = lab.views("abc", 1.2)
    record = ask(lab.ports["a"])["peers"]["b"]
    assert (record["is_alive"], record["status"]) == (True, "alive")
    state = _cluster_view.judge(views, ["a", "b", "c"], lab.voters)
    assert state["missing"] == ["b"]
    status = ask(lab.ports["a"])
    assert status["voter_quorum_ok"] is True and status["voter_quorum_size"] == 2
    assert status["gossip"] == {"error": "not_collected"}


def test_three_coordinators_give_three_leaders_and_none_gives_none(lab):
    peers = lab.peers("a", "b", "c")
    for name in "abc":
        lab.launch(name, "--peers", peers, RINGRIFT_IS_COORDINATOR="true")
    until(lambda: all(ask(lab.ports[name])["role"] == "leader" for name in "abc"))
    until(lambda: all(len(ask(lab.ports[name])["peers"]) == 2 for name in "abc"))
    assert [ask(lab.ports[name])["leader_id"] for name in "abc"] == ["a", "b", "c"]
    lab.end()
    for name in "abc":
        lab.launch(name, "--peers", peers, "--force-supervisor")
    until(lambda: all(len(ask(lab.ports[name])["peers"]) == 2 for name in "abc"))
    # Twice the time after which a coordinator makes itself the leader.
    time.sleep(120 * SCALE)
    assert [ask(lab.ports[name])["leader_id"] for name in "abc"] == [None, None, None]


def test_a_relay_serves_only_who_names_it_literally_alike_in_both_lists(tmp_path):
    lab = Lab(tmp_path, ["a"], {"a": {}, "b": {}, "literal": {"nat_blocked": "true"}, "other": {"nat_blocked": "true"},
                                "forced": {"nat_blocked": "true", "force_relay_mode": "true"}})
    # Behind NAT: what they advertise is a port at which nobody listens.
    closed = ["--advertise-port", str(free_port())]
    try:
        peers = lab.peers("a", "b")
        relay = lab.peers("a")
        lab.start("a", "--peers", peers, RINGRIFT_IS_COORDINATOR="true")
        lab.launch("b", "--peers", peers)
        lab.launch("literal", "--peers", relay, "--relay-peers", relay, *closed)
        lab.launch("other", "--peers", relay, "--relay-peers", relay.replace("127.0.0.1", "localhost"), *closed)
        lab.launch("forced", "--peers", relay, *closed)
        wanted = ["a", "b", "literal", "forced"]
        for name in ("b", "literal", "other", "forced"):
            lab.up(name)
        until(lambda: set(_cluster_view.judge(lab.views(lab.hosts, 2.4), list(lab.hosts), ["a"])["connected_ids"]) == set(wanted))
        assert ask(lab.ports["b"])["peers"]["literal"]["relay_via"] == "a"
        assert ask(lab.ports["literal"])["leader_id"] == "a"
        assert ask(lab.ports["a"])["peers"]["other"]["is_alive"] is False
        # It dials others all the same, and sees what they know only if they tell it as its relay.
        assert ask(lab.ports["other"])["peers"]["a"]["last_heartbeat"] > 0
    finally:
        lab.end()


def test_the_side_port_stays_green_while_the_node_hangs(lab):
    process = lab.start("a")
    process.send_signal(signal.SIGUSR1)

    def hangs():
        try:
            ask(lab.ports["a"], "/health")
        except socket.timeout:
            return True
        return False

    until(hangs)
    assert ask(lab.ports["a"] + 2, "/health")["healthy"] is True
    assert process.poll() is None


def test_a_token_is_asked_of_posts_alone(lab):
    lab.start("a", "--auth-token", "secret")
    assert ask(lab.ports["a"])["node_id"] == "a"
    assert [post(lab.ports["a"], headers) for headers in ({}, {"Authorization": "Bearer secret"}, {"X-RingRift-Auth": "secret"})] == [401, 200, 200]


def test_six_addresses_are_tried_and_the_built_in_ones_come_last():
    manager = load("fieldlike_seeds", FIELDLIKE / "ai_service" / "scripts" / "p2p" / "managers" / "initialization_manager.py")
    import random

    tried = manager.candidates(["c:1"], ["p:1", "p:2", "own:1"], {"own:1"}, random.Random(1))
    assert tried[:3] == ["c:1", "p:1", "p:2"]
    assert len(tried) == 6 and set(tried[3:]) <= set(manager.BOOTSTRAP_SEEDS)


def test_the_collection_finds_both_lists_and_tells_the_one_in_effect():
    literals, _names = _seeds_probe.read(Files("/"), str(FIELDLIKE / "ai_service"), {})
    lists = {(os.path.basename(item["file"]), len(item["entries"])): item for item in literals if item["refusal"] is None}
    assert lists["initialization_manager.py", 4]["in_effect"] is True
    assert lists["constants.py", 3]["in_effect"] is False


@pytest.mark.parametrize("provider", sorted(starts.BY_PROVIDER))
def test_each_start_has_a_shape_that_starts(provider):
    start = starts.Start("node-1", "root", "/root/ringrift", ("--peers", "192.0.2.1:8770"), (("RINGRIFT_TIER", "gold"),))
    files = starts.BY_PROVIDER[provider](start)
    text = "".join(item.text for item in files.values())
    for word in ("node-1", "192.0.2.1:8770", "RINGRIFT_TIER=gold", "PYTHONPATH=/root/ringrift"):
        assert word in text
    for path, item in files.items():
        if item.text.startswith("#!"):
            subprocess.run(["bash", "-n"], input=item.text.encode(), check=True)
            assert item.mode == 0o755
        elif path.endswith((".service", ".conf")) and "/systemd/" in path:
            merged = _start_mechanisms.merge_unit(_start_mechanisms.parse_unit(files[starts.UNIT].text, starts.UNIT) + (
                _start_mechanisms.parse_unit(item.text, path) if path != starts.UNIT else []))
            assert len(merged["commands"]["ExecStart"]) == 1
