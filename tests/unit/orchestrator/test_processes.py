# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded orchestrator as its users meet it: real processes on loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import time

import pytest
from real_cluster import FAST, Cluster

VOTERS = ["v1", "v2", "v3"]


def moved(cluster, observer, seconds):
    """Names of the peers whose record moved in `observer`'s view within `seconds`."""
    before = {name: peer["last_heartbeat"] for name, peer in cluster.get(observer)["all_peers"].items()}
    time.sleep(seconds)
    return {name for name, peer in cluster.get(observer)["all_peers"].items() if peer["last_heartbeat"] > before.get(name, float("inf"))}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """Three voters, a worker, and a node behind NAT (its advertised port is closed) with two relays."""
    entries = {"nat": {"force_relay_mode": True, "nat_blocked": True, "relay_primary": "v1", "relay_secondary": "v2"}, "worker": {"gpu": "H100"}}
    with Cluster(tmp_path_factory.mktemp("healthy"), VOTERS + ["worker", "nat"], VOTERS, entries, {"nat": ["--advertise-port", "9"]}) as cluster:
        cluster.start()
        cluster.wait(cluster.joined)
        yield cluster


def test_everybody_sees_everybody_move_and_one_leader(healthy):
    for name in healthy.names:
        assert moved(healthy, name, 1.5) == set(healthy.names) - {name}
    leaders = [name for name in healthy.names if healthy.get(name, "/health")["role"] == "leader"]
    assert leaders == [healthy.leader()]


def test_status_has_the_keys_of_the_field_and_tells_the_truth(healthy):
    status = healthy.get("worker")
    assert {"node_id", "role", "leader_id", "effective_leader_id", "voter_node_ids", "voters_alive", "voter_quorum_size", "voter_quorum_ok",
            "alive_peers", "peers", "all_peers", "self", "term"} <= set(status)
    assert status["voting"] is False and healthy.get("v1")["voting"] is True
    assert status["voter_node_ids"] == VOTERS and status["voters_alive"] == 3 and status["voter_quorum_size"] == 2 and status["voter_quorum_ok"]
    assert status["alive_peers"] == 4 and status["self"]["capabilities"] == ["selfplay", "training", "gpu"] and status["self"]["has_gpu"]
    assert status["self"]["nat_blocked"] is False and status["self"]["relay_via"] is None
    assert 0 <= status["event_loop_lag_ms"]["p99"] <= status["event_loop_lag_ms"]["max"]
    health = healthy.get("worker", "/health")
    assert health["healthy"] and health["active_peers"] == 4 and health["leader_id"] == status["leader_id"]
    assert 0 <= health["leader_last_seen_seconds"] < 5


def test_node_behind_nat_is_shown_with_its_relay(healthy):
    healthy.wait(lambda: sorted(healthy.get("worker")["peers"]["nat"]["relays"]) == ["v1", "v2"], 30, "the relays that the file names")
    for name in ("v1", "worker"):
        peer = healthy.get(name)["peers"]["nat"]
        assert peer["nat_blocked"] is True and peer["relay_via"] in ("v1", "v2") and sorted(peer["relays"]) == ["v1", "v2"]
    assert set(healthy.get("v1", "/relay/peers")["peers"]) == {"nat"}
    assert healthy.get("v1", "/relay/status")["relay_capable"] is True
    assert healthy.get("nat", "/relay/health")["healthy"] is False


def test_mail_for_a_node_behind_nat_reaches_it_through_its_relay(healthy):
    asked = healthy.counter("nat", "mail_not_understood")
    assert healthy.post("v1", "/relay/message", {"to": "nat", "message": {"kind": "of a later version"}})[0] == 200
    healthy.wait(lambda: healthy.counter("nat", "mail_not_understood") == asked + 1, 30)
    assert healthy.post("v1", "/relay/message", {"to": "worker", "message": {}})[0] == 429


def test_token_is_asked_for_everywhere_but_at_health(healthy):
    assert healthy.request("v1", "/health", token=None)[0] == 200
    for path in ("/status", "/metrics", "/relay/peers", "/state/v1", "/nowhere"):
        assert healthy.request("v1", path, token=None)[0] == 401
        assert healthy.request("v1", path, token="wrong")[0] == 401
    before = healthy.counter("v1", "token_refused")
    assert healthy.request("v1", "/heartbeat", b"{}", token="wr\u00f6ng".encode().decode("latin-1"))[0] == 401
    assert healthy.counter("v1", "token_refused") == before + 1


def test_state_travels_as_deltas_and_is_the_same_everywhere(healthy):
    assert healthy.post("worker", "/state", {"section": "jobs", "value": {"running": 3}}) == (200, {"changed": True, "version": healthy.get(
        "worker", "/state/worker")["version"]})
    healthy.wait(lambda: healthy.request("nat", "/state/worker?section=jobs") == (200, b'{"running":3}'), 30)
    quiet = healthy.counter("v3", "bytes_sent")
    time.sleep(1)
    assert healthy.counter("v3", "bytes_sent") - quiet < 60000


def test_oversized_body_is_refused_with_413_and_counted(healthy):
    assert healthy.request("v2", "/heartbeat", b"x" * ((1 << 20) + 1))[0] == 413
    assert healthy.counter("v2", "huge") == 1


def test_leadership_is_handed_over_on_request(healthy):
    old = healthy.leader()
    to = next(name for name in VOTERS if name != old)
    term = healthy.get(old)["term"]
    status, answer = healthy.post(old, "/leadership/transfer", {"to": to})
    assert status == 200 and answer["transferred"] and answer["leader_id"] == to
    healthy.wait(lambda: healthy.leader() == to, 30)
    assert healthy.get(to)["term"] > term
    assert healthy.post(old, "/leadership/transfer", {})[0] == 409
    assert healthy.post("worker", "/leadership/transfer", {})[0] == 409


def test_second_orchestrator_of_a_folder_is_refused_until_it_may_end_the_first(healthy):
    refused = healthy.run("worker")
    assert refused.returncode == 1 and "refused" in refused.stderr and "Traceback" not in refused.stderr
    first = healthy.processes["worker"]
    argv, environment = healthy.command("worker", "--kill-duplicates", "--force-supervisor")
    with open(os.path.join(healthy.path("worker"), "log"), "ab") as log:
        healthy.processes["worker"] = type(first)(argv, env=environment, stderr=log)
    assert first.wait(8) == 0
    healthy.wait(lambda: healthy.joined() and moved(healthy, "v1", 0.7) >= {"worker"})


def test_what_dies_stops_moving_and_its_duties_go_to_others(tmp_path):
    entries = {"nat": {"force_relay_mode": True, "relay_primary": "v1", "relay_secondary": "worker"}}
    with Cluster(tmp_path, VOTERS + ["worker", "nat"], VOTERS, entries, {"nat": ["--advertise-port", "9"]}) as cluster:
        cluster.start()
        cluster.wait(cluster.joined)
        old, term = cluster.leader(), cluster.get("nat")["term"]
        if old != "v1":
            # The leader and the first relay die as one node.
            cluster.post(old, "/leadership/transfer", {"to": "v1"})
            cluster.wait(lambda: cluster.leader() == "v1", 30)
        cluster.wait(lambda: cluster.get("nat")["self"]["relay_via"] == "v1", 30)
        cluster.kill("v1")
        rest = ["v2", "v3", "worker", "nat"]
        assert cluster.wait(lambda: cluster.leader(*rest) in ("v2", "v3"), 30, "a new leader") < 15
        assert cluster.wait(lambda: len(cluster.get("nat")["self"]["relays"]) == 2 and "v1" not in cluster.get("nat")["self"]["relays"], 30, "a new relay") < 15
        cluster.wait(lambda: all(cluster.get(name)["all_peers"]["v1"]["status"] == "dead" for name in rest), 30, "v1 to be told dead")
        assert moved(cluster, "nat", 1.5) == {"v2", "v3", "worker"} and moved(cluster, "v2", 1.5) == {"v3", "worker", "nat"}
        status = cluster.get("nat")
        assert status["term"] > term and status["voters_alive"] == 2 and status["voter_quorum_ok"]
        start = time.monotonic()
        assert cluster.kill("worker", signal.SIGTERM) == 0 and time.monotonic() - start < 4
        cluster.wait(lambda: cluster.get("v2")["all_peers"]["worker"]["status"] == "left", 30, "worker to be told left")
        with open(cluster.coordination("worker", "p2p_supervisor.json"), encoding="utf-8") as stream:
            claim = json.load(stream)
        assert claim["managed_by"] == "none" and claim["pid"] == 0
        # What died comes back under its name and is one of them again.
        cluster.start("v1")
        cluster.wait(lambda: cluster.joined("v1", "v2", "v3", "nat"))


def test_node_behind_nat_is_a_member_as_long_as_one_of_its_relays_lives(tmp_path):
    unwilling = {name: {"relay_capable": False} for name in ("v2", "v3")}
    entries = dict(unwilling, nat={"force_relay_mode": True, "nat_blocked": True, "relay_primary": "v1", "relay_secondary": "worker"})
    with Cluster(tmp_path, VOTERS + ["worker", "nat"], VOTERS, entries, {"nat": ["--advertise-port", "9"]}) as cluster:
        cluster.start()
        cluster.wait(cluster.joined)
        cluster.wait(lambda: sorted(cluster.get("nat")["self"]["relays"]) == ["v1", "worker"], 30, "both relays")
        cluster.kill("v1")
        cluster.wait(lambda: cluster.get("v2")["all_peers"]["v1"]["status"] == "dead", 30, "v1 to be told dead")
        assert moved(cluster, "v2", 1.5) == {"v3", "worker", "nat"}
        cluster.kill("worker")
        # It still dials out to the others, and nobody can come to it.
        cluster.wait(lambda: all(cluster.get(name)["all_peers"]["nat"]["status"] == "dead" for name in ("v2", "v3")), 30, "nat to be told dead")
        assert moved(cluster, "v2", 1.5) == {"v3"}
        cluster.start("worker")
        cluster.wait(lambda: cluster.joined("v2", "v3", "worker", "nat"), 40, "nat to come back through the relay that came back")


def test_cut_off_leader_steps_down(tmp_path):
    with Cluster(tmp_path, VOTERS, VOTERS, timing=dict(FAST, RAFT_APPEND="0.4", RAFT_MINIMUM="1.5", RAFT_MAXIMUM="2.5", RAFT_FALLBACK="1.2")) as cluster:
        cluster.start()
        cluster.wait(cluster.joined)
        old = cluster.leader()
        others = [name for name in VOTERS if name != old]
        for name in others:
            cluster.kill(name, signal.SIGSTOP)
        assert cluster.wait(lambda: cluster.get(old, "/health")["role"] != "leader", 20, "the leader to step down") < 5
        assert cluster.get(old, "/health")["leader_id"] is None and cluster.get(old, "/health")["healthy"] is False
        cluster.wait(lambda: not cluster.get(old)["voter_quorum_ok"], 30, "the quorum to be told lost")
        for name in others:
            cluster.kill(name, signal.SIGCONT)
        cluster.wait(lambda: cluster.leader() is not None)


def test_restart_of_all_voters_keeps_term_and_data(tmp_path):
    with Cluster(tmp_path, VOTERS, VOTERS) as cluster:
        cluster.start()
        cluster.wait(cluster.joined)
        before = cluster.get(cluster.leader())
        cluster.wait(lambda: cluster.get("v2")["election"]["history"] != [], 30)
        history = cluster.get("v2")["election"]["history"]
        for name in VOTERS:
            cluster.kill(name)
        cluster.start()
        cluster.wait(cluster.joined)
        for name in VOTERS:
            cluster.wait(lambda: len(cluster.get(name)["election"]["history"]) > len(history), 30)
            assert cluster.get(name)["election"]["history"][:len(history)] == history
        assert cluster.get("v1")["term"] > before["term"]
        # A voter that lost its journal must not vote again, and says where it should be.
        cluster.kill("v3", signal.SIGTERM)
        os.unlink(os.path.join(cluster.path("v3"), "data", "p2p_embedded", "election.journal"))
        lost = cluster.run("v3")
        assert lost.returncode == 2 and "election.journal is lost" in lost.stderr and "Traceback" not in lost.stderr
        # The term and the vote lie beside it; PySyncObj takes a file that it can't read for no vote at all.
        cluster.kill("v2", signal.SIGTERM)
        with open(os.path.join(cluster.path("v2"), "data", "p2p_embedded", "election.journal.meta"), "wb"):
            pass
        lost = cluster.run("v2")
        assert lost.returncode == 2 and "election.journal.meta is lost" in lost.stderr and "Traceback" not in lost.stderr


def test_a_voter_without_its_state_does_not_vote_before_the_others_have_a_leader_without_it(tmp_path):
    with Cluster(tmp_path, VOTERS, VOTERS) as cluster:
        cluster.start()
        cluster.wait(cluster.joined)
        wiped, witness, away = cluster.leader(), *(name for name in VOTERS if name != cluster.leader())
        cluster.kill(away)
        cluster.kill(wiped)
        shutil.rmtree(os.path.join(cluster.path(wiped), "data", "p2p_embedded"))
        # Not in a second try either: what it said of itself in the first one does not hide its earlier life.
        for unused_life in range(2):
            cluster.start(wiped)
            cluster.wait(lambda: cluster.get(wiped).get("alive_peers") == 1 and cluster.get(witness)["alive_peers"] == 1, 30, "the two to meet")
            time.sleep(3 * float(FAST["RAFT_MAXIMUM"]))
            told = cluster.get(wiped, "/health")
            assert told["leader_id"] is None and cluster.get(witness, "/health")["leader_id"] is None and cluster.get(wiped)["voting"] is False
            assert cluster.get(witness)["voters_alive"] == cluster.get(wiped)["voters_alive"] == 1
            assert any("election.journal is lost, and %s knows this voter" % witness in reason for reason in told["reasons"])
            cluster.kill(wiped)
        cluster.start(wiped, away)
        cluster.wait(lambda: cluster.joined() and cluster.get(wiped)["voting"])
        assert cluster.get(wiped)["election_fault"] is None
        # A majority without state is beyond that; the operator may have them begin anew.
        for name in (wiped, away):
            cluster.kill(name)
            shutil.rmtree(os.path.join(cluster.path(name), "data", "p2p_embedded"))
            os.mkdir(os.path.join(cluster.path(name), "data", "p2p_embedded"))
            with open(os.path.join(cluster.path(name), "data", "p2p_embedded", "election.anew"), "wb"):
                pass
        cluster.start(wiped, away)
        cluster.wait(cluster.joined)


def test_a_voter_without_its_state_does_not_trust_what_was_said_of_a_leader_before_its_end(tmp_path):
    # For seconds after it ended, the others still name it.
    timing = dict(FAST, RAFT_MINIMUM="6", RAFT_MAXIMUM="8", RAFT_FALLBACK="4", SUSPECT_AFTER="30")
    with Cluster(tmp_path, VOTERS, VOTERS, timing=timing) as cluster:
        cluster.start()
        cluster.wait(cluster.joined)
        wiped, witness, away = cluster.leader(), *(name for name in VOTERS if name != cluster.leader())
        cluster.wait(lambda: cluster.get(witness)["all_peers"][away]["leader_id"] == wiped)
        cluster.kill(away)
        cluster.kill(wiped)
        shutil.rmtree(os.path.join(cluster.path(wiped), "data", "p2p_embedded"))
        cluster.start(wiped)
        cluster.wait(lambda: cluster.get(wiped, "/health").get("leader_id") == wiped, 30, "the past to be believed")
        time.sleep(4 * float(FAST["HEARTBEAT"]))
        assert cluster.get(wiped)["voting"] is False and cluster.get(witness, "/health")["leader_id"] in (None, wiped)


def test_who_does_not_know_the_password_costs_the_election_no_memory_and_no_connection(tmp_path):
    with Cluster(tmp_path, VOTERS, VOTERS) as cluster:
        cluster.start("v1")
        cluster.wait(lambda: cluster.get("v1").get("election"), 30)
        port = ("127.0.0.1", cluster.ports["v1"] + 1)
        with socket.create_connection(port, 5) as stranger:
            # A length of 1 GiB is announced, and that much would be kept.
            stranger.sendall(struct.pack("i", 1 << 30))
            with pytest.raises(ConnectionError):
                for unused in range(512):
                    stranger.sendall(b"x" * 65536)
        cluster.wait(lambda: cluster.get("v1")["election"]["connections_dropped"] == 1, 10, "it to be dropped")
        idle = [socket.create_connection(port, 5) for unused in range(80)]
        try:
            cluster.wait(lambda: cluster.get("v1")["election"]["connections_dropped"] == 81, 30, "those who say nothing to be dropped")
            cluster.start("v2", "v3")
            cluster.wait(cluster.joined)
        finally:
            for connection in idle:
                connection.close()


def _attempts(port):
    """Local ports of the connections to `port` that are being opened."""
    with open("/proc/net/tcp", encoding="ascii") as stream:
        lines = [line.split() for line in list(stream)[1:]]
    return {line[1] for line in lines if line[2].endswith(":%04X" % port) and line[3] == "02"}


def test_voters_whose_packets_were_dropped_meet_soon_after(tmp_path):
    with Cluster(tmp_path, VOTERS, VOTERS) as cluster, socket.socket() as deaf:
        # Who has the higher address connects.
        low, high = (sorted(VOTERS, key=lambda name: "127.0.0.1:%d" % (cluster.ports[name] + 1))[place] for place in (0, -1))
        port = cluster.ports[low] + 1
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deaf.bind(("127.0.0.1", port))
        deaf.listen(0)
        # Nobody accepts: once its queue is full, the kernel drops whatever asks for a connection.
        full = [socket.socket() for unused in range(4)]
        try:
            for filler in full:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            own, seen = _attempts(port), set()
            cluster.start(high)
            # The kernel asks again and again from one port, at longer and longer intervals.
            cluster.wait(lambda: seen.update(_attempts(port) - own) or len(seen) > 2, 30, "a third attempt to connect")
        finally:
            for filler in full:
                filler.close()


def test_who_must_stay_outside_stays_outside(tmp_path):
    """One behind NAT that no relay serves, one with another token, one that bears a member's name."""
    with Cluster(tmp_path, VOTERS + ["nat", "stranger"], VOTERS, flags={"nat": ["--advertise-port", "9"]}) as cluster:
        wrong = tmp_path / "wrong-token"
        wrong.write_text("another", encoding="utf-8")
        cluster.environment["stranger"] = {"RINGRIFT_CLUSTER_AUTH_TOKEN_FILE": str(wrong)}
        cluster.start()
        cluster.wait(lambda: cluster.joined(*VOTERS))
        cluster.wait(lambda: cluster.get("nat")["self"]["nat_blocked"], 30, "the node to notice that nobody can dial it")
        cluster.wait(lambda: sum(cluster.counter(name, "token_refused") for name in VOTERS) > 0, 30)
        for name in VOTERS:
            assert set(cluster.get(name)["all_peers"]) == set(VOTERS) - {name}
        assert cluster.get("nat")["peers"] == {} and cluster.get("nat", "/health")["healthy"] is False
        assert cluster.get("stranger", token="another")["peers"] == {}


def test_wrong_settings_end_the_start_with_all_faults_and_no_trace(tmp_path):
    with Cluster(tmp_path, VOTERS + ["worker"], VOTERS) as cluster:
        wrong = cluster.run("worker", "--peers", "a:b:c", "--auth-token", "s3cret", environment={"RINGRIFT_P2P_HEARTBEAT": "soon"})
        assert wrong.returncode == 2 and len(wrong.stderr.strip().splitlines()) == 3 and "s3cret" not in wrong.stderr
        assert cluster.run("worker", "--no-such-flag").returncode == 2
        assert cluster.run("worker", "--help").returncode == 0
        assert os.listdir(os.path.join(cluster.path("worker"), "data", "coordination")) == []
        no_password = cluster.run("v1", environment={"RINGRIFT_P2P_ELECTION_PASSWORD_FILE": ""})
        assert no_password.returncode == 2 and "RINGRIFT_P2P_ELECTION_PASSWORD_FILE" in no_password.stderr
    with Cluster(tmp_path / "two", VOTERS, ["v1", "v2", "ghost"]) as cluster:
        ghost = cluster.run("v1")
        assert ghost.returncode == 2 and "p2p_voters: ghost is not among the hosts" in ghost.stderr and "Traceback" not in ghost.stderr
    with Cluster(tmp_path / "few", VOTERS, ["v1", "v2"]) as cluster:
        few = cluster.run("v2")
        assert few.returncode == 2 and "at least 3" in few.stderr


def test_stale_claim_blocks_only_who_judges_as_the_field_does(tmp_path):
    with Cluster(tmp_path, VOTERS + ["worker"], VOTERS) as cluster:
        path = cluster.coordination("worker", "p2p_supervisor.json")
        # A live process that is no orchestrator: a recycled PID.
        claim = {"managed_by": "manual", "pid": os.getpid(), "started_at": "2026-01-01T00:00:00Z", "last_health_check": "2999-01-01T00:00:00Z"}
        with open(path, "w", encoding="utf-8") as stream:
            json.dump(claim, stream)
        blocked = cluster.run("worker", "--no-lock-cleanup")
        assert blocked.returncode == 1 and "p2p_supervisor.json" in blocked.stderr
        cluster.start("worker")
        cluster.wait(lambda: cluster.get("worker", "/health").get("node_id") == "worker", 30)
        assert cluster.get("worker")["locks_cleaned"] == [path]
        with open(cluster.coordination("worker", "ringrift_p2p_orchestrator.lock"), encoding="ascii") as stream:
            assert int(stream.read()) == cluster.processes["worker"].pid
