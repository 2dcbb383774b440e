# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The orchestrator's judgements, on plain data."""

from __future__ import annotations

import asyncio
import random
import socket
from datetime import datetime, timezone
from types import SimpleNamespace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ringrift_p2p import configuration, hosts, locks, loop_lag, membership, relays, service, standing, wire
from ringrift_p2p import exchange as sender

BOUNDED = settings(derandomize=True, max_examples=150, deadline=None)
NAMES = st.from_regex(wire.NAME, fullmatch=True).filter(lambda name: len(name) < 40)
WHOLE = st.integers(0, wire.MAX_INTEGER - 1)


def card(**fields):
    return dict({"host": "127.0.0.1", "port": 8770}, **fields)


def member_of(name, incarnation=1, **fields):
    found = membership.Membership(name, incarnation, draw=random.Random(1))
    found.set_section(membership.CARD, card(**fields))
    return found


def exchange(asker, answerer, now):
    """What two nodes do on a heartbeat, without the network."""
    want, owed = answerer.compare(asker.entries(), now, now)
    answer = answerer.entries()
    for section in answerer.deltas(owed):
        asker.apply(section, now, now)
    for section in asker.deltas(want):
        answerer.apply(section, now, now)
    want, unused_owed = asker.compare(answer, now, now)
    for section in answerer.deltas(want):
        asker.apply(section, now, now)


# The frame

@BOUNDED
@given(st.dictionaries(NAMES, st.tuples(WHOLE, WHOLE, WHOLE).map(list), max_size=5),
       st.lists(st.tuples(NAMES, WHOLE, NAMES, WHOLE, st.binary(max_size=300)), max_size=5))
def test_what_is_encoded_is_decoded_again(entries, sections):
    header, found = wire.decode(wire.encode({"from": "a", "inc": 1, "seq": 2, "entries": entries}, sections))
    assert header["entries"] == entries and found == sections and (header["from"], header["inc"], header["seq"]) == ("a", 1, 2)


@BOUNDED
@given(st.one_of(st.binary(max_size=400), st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers(-5, 1 << 60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["from", "inc", "seq", "entries", "want", "sections", "mail", "card", "page", "next", "reason", "admitted", "x"]), inner, max_size=6),
    max_leaves=20).filter(lambda value: not isinstance(value, int) or abs(value) < 1 << 53).map(lambda value: orjson.dumps(value) + b"\nrest")))
def test_no_message_does_more_than_raise_wire_error(body):
    try:
        header, sections = wire.decode(body)
    except wire.WireError as problem:
        assert problem.reason in ("malformed", "huge")
    else:
        assert wire.is_name(header["from"]) and isinstance(sections, list)


@pytest.mark.parametrize("body, reason", [
    (b"[" * 100000, "malformed"), (b'{"from":"a","inc":1}' + b"x" * wire.MAX_MESSAGE, "huge"), (b'{"from":"a","inc":true}', "malformed"),
    (b'{"from":"../a","inc":1}', "malformed"), (b'{"from":"a","inc":1}\nleft over', "malformed"), (b"", "malformed"),
    (b'{"from":"a","inc":1,"sections":[["b",1,"x",1,99]]}\nshort', "malformed"), (b'{"from":"a","inc":1,"sections":[["b",1,"x",1,9999999]]}\n', "huge"),
    (b'{"from":"a","inc":1,"entries":{"b":[1,2]}}', "malformed"), (b'{"from":"a","inc":1,"want":{"b":[1,-2]}}', "malformed"),
])
def test_malformed_and_huge_messages_are_told_apart(body, reason):
    with pytest.raises(wire.WireError) as caught:
        wire.decode(body)
    assert caught.value.reason == reason


# Membership

def test_two_nodes_know_each_other_after_one_exchange():
    left, right = member_of("left"), member_of("right", has_gpu=True)
    right.set_section("jobs", {"running": 2})
    exchange(left, right, 1.0)
    assert left.members["right"].card["has_gpu"] is True and left.members["right"].sections["jobs"][1] == b'{"running":2}'
    assert "left" in right.members and left.members["right"].version == right.me.version


def test_only_what_changed_travels():
    left, right = member_of("left"), member_of("right")
    for number in range(10):
        right.set_section("s%d" % number, "x" * 1000)
    exchange(left, right, 1.0)
    assert right.set_section("s3", "y" * 1000) and not right.set_section("s3", "y" * 1000)
    want, unused_owed = left.compare(right.entries(), 2.0, 2.0)
    assert [(section[2], section[3]) for section in right.deltas(want)] == [("s3", right.me.version)]


@BOUNDED
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 200)), min_size=1, max_size=25), st.integers(1, 400))
def test_a_state_cut_into_small_deltas_arrives_whole(changes, limit):
    source, copy = member_of("source"), member_of("copy")
    for section, value in changes:
        source.set_section("s%d" % section, "v" * value)
    for unused_round in range(60):
        want, unused_owed = copy.compare(source.entries(), 1.0, 1.0)
        for section in source.deltas(want, limit):
            copy.apply(section, 1.0, 1.0)
    assert copy.members["source"].sections == source.me.sections


def test_a_beat_moves_the_record_and_silence_stops_it():
    left, right = member_of("left"), member_of("right")
    exchange(left, right, 1.0)
    for now in (2.0, 3.0):
        right.beat(now, now)
        exchange(left, right, now)
        assert left.members["right"].last_heartbeat == now
    assert left.judge(7.0) == [] and left.judge(8.5) == [("right", "alive", "suspect")] and left.judge(13.5) == [("right", "suspect", "dead")]
    assert left.members["right"].last_heartbeat == 3.0 and left.alive() == []


def test_the_dead_are_not_passed_on_nor_brought_back_by_others():
    left, right, third = member_of("left"), member_of("right"), member_of("third")
    for now in (1.0, 2.0):
        right.beat(now, now)
        exchange(left, right, now)
    left.judge(20.0)
    assert "right" not in left.entries()
    exchange(third, left, 20.0)
    assert "right" not in third.members
    # An old word about it, from one who has not noticed yet, moves nothing.
    left.compare({"right": [right.me.incarnation, right.me.version, right.me.beat]}, 21.0, 21.0)
    assert left.members["right"].status == membership.DEAD and left.members["right"].last_heartbeat == 2.0
    right.beat(22.0, 22.0)
    exchange(left, right, 22.0)
    assert left.members["right"].status == membership.ALIVE
    left.judge(22.0 + 3601)
    assert "right" not in left.members


def test_leaving_is_told_apart_from_failing():
    left, right = member_of("left"), member_of("right")
    exchange(left, right, 1.0)
    right.set_section(membership.CARD, card(leaving=True))
    exchange(left, right, 2.0)
    assert left.members["right"].status == membership.LEFT and left.judge(30.0) == []


def test_a_restarted_node_wins_over_its_former_self_even_with_a_clock_that_went_back():
    left, old = member_of("left"), member_of("right", 100)
    old.set_section("jobs", 1)
    exchange(left, old, 1.0)
    new = member_of("right", 50)
    exchange(left, new, 2.0)
    assert new.counters["superseded"] == 1 and new.me.incarnation == 101
    exchange(left, new, 3.0)
    assert left.members["right"].incarnation == 101 and "jobs" not in left.members["right"].sections


def test_a_slow_node_suspects_itself_first():
    health, view = membership.LocalHealth(), member_of("left")
    exchange(view, member_of("right"), 1.0)
    health.bad(2)
    assert view.judge(8.0, health.multiplier) == []
    for unused in range(9):
        health.good()
    assert health.multiplier == 1.0 and view.judge(8.0, health.multiplier) == [("right", "alive", "suspect")]
    for unused in range(50):
        health.bad()
    assert health.multiplier == 1 + membership.LocalHealth.LIMIT


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"host":"a"}', b'{"host":"a","port":70000}', b'{"host":5,"port":1}', b'{"host":"a","port":1,"relays":["/"]}',
                                  b'{"host":"%s","port":1}' % (b"a" * 300)])
def test_a_bad_card_is_dropped_and_counted(body):
    view = member_of("left")
    assert not view.apply(("right", 1, membership.CARD, 1, body), 1.0, 1.0)
    assert view.counters["sections_malformed"] == 1 and view.alive() == []


def test_members_and_their_state_are_bounded(monkeypatch):
    monkeypatch.setattr(membership, "MAX_MEMBERS", 10)
    monkeypatch.setattr(membership, "MAX_NODE_BYTES", 100)
    view = membership.Membership("left", 1)
    for number in range(50):
        view.apply(("n%d" % number, 1, "s", 1, b'"x"'), 1.0, 1.0)
    assert len(view.members) == 10 and view.counters["members_refused"] == 41
    assert not view.apply(("n0", 1, "t", 2, b'"%s"' % (b"y" * 200)), 1.0, 1.0) and view.counters["sections_huge"] == 1
    with pytest.raises(wire.WireError):
        view.set_section("big", "z" * (wire.MAX_SECTION + 1))


def test_pages_give_every_member_once():
    view = member_of("m000")
    for number in range(1, 200):
        view.apply(("m%03d" % number, 1, membership.CARD, 1, orjson.dumps(card())), 1.0, 1.0)
    seen, after = [], ""
    while after is not None:
        entries, after = view.page(after, 64)
        seen += entries
    assert sorted(seen) == sorted(view.members) and len(seen) == 200
    assert len(view.entries()) <= membership.ENTRIES_PER_MESSAGE and "m000" in view.entries()


# Relays

def test_mailboxes_are_bounded_in_number_size_and_age(monkeypatch):
    monkeypatch.setattr(relays, "MAX_CLIENTS", 2)
    boxes = relays.Mailboxes()
    assert boxes.register("a", 0.0) and boxes.register("b", 0.0) and not boxes.register("c", 0.0) and boxes.register("a", 1.0)
    assert not boxes.put("c", 10, {}, 1.0) and not boxes.put("a", relays.MAX_MESSAGE_BYTES + 1, {}, 1.0)
    kept = [boxes.put("a", 5000, {"n": number}, 1.0) for number in range(100)]
    assert kept.count(True) == relays.MAX_MAILBOX_BYTES // 5000
    assert [boxes.put("b", 1, {}, 1.0) for unused in range(100)].count(True) == relays.MAX_MESSAGES
    assert boxes.take("a", 2.0)[0] == {"n": 0} and boxes.take("a", 2.0) == []
    assert boxes.clients(40.0) == {} and boxes.waiting() == 0 and boxes.register("c", 40.0)


def test_a_working_relay_is_kept_and_a_failing_one_replaced_within_two_heartbeats():
    choice = relays.RelayChoice()
    assert choice.update(["r1", "r2"], ["r3"], 0.0) == ["r1", "r2"]
    choice.good("r1", "one")
    choice.good("r2", "two")
    assert choice.names == ["one", "two"]
    assert not choice.bad("r1", 1.0) and choice.bad("r1", 2.0) and choice.replaced == 1
    assert choice.update(["r1", "r2"], ["r3"], 2.0) == ["r2", "r3"]
    choice.good("r3", "three")
    assert choice.names == ["two", "three"]
    # Back from its rest, the named one is tried beside them and then takes its place again.
    assert choice.update(["r1", "r2"], ["r3"], 13.0) == ["r1", "r2", "r3"] and choice.names == ["two", "three"]
    choice.good("r1", "one")
    assert choice.names == ["one", "two"] and choice.update(["r1", "r2"], ["r3"], 14.0) == ["r1", "r2"]


def test_two_addresses_of_one_relay_count_once_and_rest_never_means_cut_off():
    choice = relays.RelayChoice()
    choice.update(["r1", "r1b"], ["r2"], 0.0)
    choice.good("r1", "one")
    choice.good("r1b", "one")
    assert choice.update(["r1", "r1b"], ["r2"], 1.0) == ["r1", "r2"]
    alone = relays.RelayChoice()
    alone.update(["r1"], [], 0.0)
    alone.bad("r1", 0.0)
    assert alone.update(["r1"], [], 0.1) == ["r1"]


def test_unnamed_relays_are_the_leader_then_voters_then_the_least_loaded_that_can_be_dialled():
    view = member_of("me")
    for name, fields in {"busy": {"relay_clients": 9}, "idle": {}, "voter": {"relay_clients": 5}, "leader": {"relay_clients": 7},
                         "nat": {"nat_blocked": True}, "relayed": {"relays": ["x"]}, "unwilling": {"relay_capable": False}}.items():
        view.apply((name, 1, membership.CARD, 1, orjson.dumps(card(**fields))), 1.0, 1.0)
    assert relays.candidates(view.alive(), "leader", ["voter", "leader"]) == ["leader", "voter", "idle", "busy"]


# The hosts file

FILE = {
    "hosts": {
        "a": {"ssh_host": "root@203.0.113.1", "tailscale_ip": "100.64.0.1"}, "b": {"ssh_host": "203.0.113.2", "tailscale_ip": "100.64.0.2", "p2p_port": 9000},
        "c": {"ssh_host": "100.64.0.3", "p2p_public_host": "203.0.113.3", "p2p_public_port": 18770}, "gateway": {"ssh_host": "ssh5.vast.ai", "ssh_port": 12345},
        "placeholder": {"ssh_host": "<public-ip>", "tailscale_ip": "100.x.x.x"}, "nat": {"relay_primary": "a", "relay_secondary": "nat", "relay_tertiary": "b"},
        "flagged": {"ssh_host": "203.0.113.9", "p2p_voter": True},
    },
    "p2p_voters": ["a", "b", "c"],
}


def test_addresses_depend_on_who_asks_and_a_gateway_or_placeholder_is_none():
    found = hosts.Directory(FILE, "hosts.yaml")
    assert found.own("a").address(True) == "100.64.0.1:8770" and found.own("a").address(False) == "203.0.113.1:8770"
    assert found.own("b").address(False) == "203.0.113.2:9000"
    assert found.own("c").address(True) == "100.64.0.3:8770" and found.own("c").address(False) == "203.0.113.3:18770"
    for name in ("gateway", "placeholder", "nat", "unknown"):
        assert found.own(name).address(True) is None and found.own(name).address(False) is None
    assert found.relays("nat") == ["a", "b"]


def test_voters_elect_in_the_overlay_only_if_all_of_them_are_in_it():
    data = dict(FILE, hosts={name: entry for name, entry in FILE["hosts"].items() if name != "flagged"})
    assert hosts.Directory(data, "f").voter_addresses() == {"a": "100.64.0.1:8771", "b": "100.64.0.2:9001", "c": "100.64.0.3:8771"}
    assert hosts.Directory(FILE, "f").voter_addresses() == {
        "a": "203.0.113.1:8771", "b": "203.0.113.2:9001", "c": "203.0.113.3:8771", "flagged": "203.0.113.9:8771"}


def test_election_faults_name_place_and_way_out():
    assert hosts.Directory(FILE, "f").election_faults() == []
    faults = hosts.Directory({"hosts": {"a": {"ssh_host": "ssh1.vast.ai"}}, "p2p_voters": ["a", "ghost"]}, "f").election_faults()
    assert len(faults) == 3 and "f: p2p_voters: 2 listed" in faults[0] and "hosts.a" in faults[1] and "ghost is not among the hosts" in faults[2]
    same = {"hosts": {name: {"ssh_host": "203.0.113.1"} for name in "abc"}, "p2p_voters": list("abc")}
    assert len(hosts.Directory(same, "f").election_faults()) == 2


@pytest.mark.parametrize("content", [b"hosts: [", b"- a", b"hosts: 5", b"\xff\xfe\x00", b""])
def test_a_broken_hosts_file_is_a_fault_not_an_exception(tmp_path, content):
    path = tmp_path / "distributed_hosts.yaml"
    path.write_bytes(content)
    found = hosts.read(str(path))
    assert found.faults and str(path) in found.faults[0] and found.hosts == {}
    assert hosts.read(str(tmp_path / "missing")).faults


# Settings

def test_all_faults_are_told_at_once_and_no_secret_among_them(tmp_path):
    with pytest.raises(configuration.UsageError) as caught:
        configuration.settings(
            ["--auth-token", "s3cret", "--peers", "ok:1,http://fine:2/,bad:99999", "--require-auth", "--port", "0"], ["seed:1"], str(tmp_path),
            {"RINGRIFT_NODE_ID": "no good", "RINGRIFT_P2P_RAFT_FALLBACK": "9"}, str(tmp_path))
    text = "\n".join(caught.value.faults)
    assert len(caught.value.faults) >= 6 and "s3cret" not in text
    for place in ("--auth-token", "--peers", "--require-auth", "--port", "RINGRIFT_NODE_ID", "RINGRIFT_P2P_RAFT_FALLBACK"):
        assert place in text


def test_settings_come_from_flags_files_and_environment_in_the_order_of_the_field(tmp_path):
    (tmp_path / ".env.local").write_text("# copied\nexport RINGRIFT_IS_COORDINATOR='true'\nRINGRIFT_PREFER_PUBLIC_IP=1\nnot a line\n", encoding="utf-8")
    (tmp_path / "token").write_text("secret\n", encoding="utf-8")
    environment = {"RINGRIFT_CLUSTER_AUTH_TOKEN_FILE": str(tmp_path / "token"), "RINGRIFT_PREFER_PUBLIC_IP": "0", "RINGRIFT_NODE_ID": "from-environment",
                   "RINGRIFT_P2P_BOOTSTRAP_SEEDS": "e:1"}
    found = configuration.settings(["--peers", "https://p:1,q"], ["s:2"], str(tmp_path), environment, str(tmp_path))
    assert (found.node_id, found.node_id_source) == ("from-environment", "RINGRIFT_NODE_ID")
    assert found.coordinator is True and found.prefer_public is False and found.token == "secret" and "secret" not in repr(found)
    assert found.peers == ["p:1", "q:8770", "e:1"] and found.seeds == ["s:2"] and found.flags.no_lock_cleanup is False
    (tmp_path / "etc" / "ringrift").mkdir(parents=True)
    (tmp_path / "etc" / "ringrift" / "node-id").write_text("from-file\n", encoding="utf-8")
    assert configuration.settings([], [], str(tmp_path), environment, str(tmp_path)).node_id == "from-file"
    assert configuration.settings(["--node-id", "from-flag"], [], str(tmp_path), environment, str(tmp_path)).node_id == "from-flag"


@pytest.mark.parametrize("entry, voter, coordinator, expected", [
    ({"gpu": "H100"}, False, False, ["selfplay", "training", "gpu"]), ({"gpu": "H100", "role": "coordinator"}, False, False, []),
    ({"gpu": "H100"}, False, True, []), ({"gpu": "H100"}, True, True, ["selfplay", "training", "gpu"]),
    ({"gpu": "A100", "training_enabled": False, "selfplay_enabled": False}, False, False, []), ({"gpu": "none"}, False, False, ["selfplay", "cpu"]),
    ({"gpu": "A100", "training_enabled": False}, False, False, ["selfplay", "gpu"]),
    ({"gpu": "A100", "selfplay_enabled": False}, False, False, ["training", "gpu"]),
])
def test_a_coordinator_takes_no_work(entry, voter, coordinator, expected):
    assert standing.capabilities(entry, voter, coordinator) == expected


# Locks, lag, service

@pytest.mark.parametrize("argv, expected", [
    (["python3", "/x/scripts/p2p_orchestrator.py", "--port", "1"], True), (["/opt/venv/bin/python3.11", "-u", "p2p_orchestrator.py"], True),
    (["bash", "-c", "python3 p2p_orchestrator.py"], False), (["vim", "p2p_orchestrator.py"], False),
    (["python3", "-m", "http.server", "p2p_orchestrator.py"], False),
    (["python3", "run.py", "p2p_orchestrator.py"], False), (["python3"], False), ([], False),
])
def test_only_an_interpreter_running_the_script_is_an_orchestrator(argv, expected):
    assert locks.is_orchestrator(argv) is expected


@pytest.mark.parametrize("claim, alive, refused", [
    ({"managed_by": "manual", "pid": 7, "last_health_check": "2026-01-01T00:00:00Z"}, True, True),
    ({"managed_by": "manual", "pid": 7, "last_health_check": "2026-01-01T00:00:00Z"}, False, False),
    ({"managed_by": "manual", "pid": 7, "last_health_check": "2025-12-31T23:00:00Z"}, True, False),
    ({"managed_by": "manual", "pid": 7, "last_health_check": "2999-01-01T00:00:00"}, True, True),
    ({"managed_by": "none", "pid": 0, "last_health_check": "2026-01-01T00:00:00Z"}, True, False), ([], True, False), ({"pid": "x"}, True, False),
])
def test_the_fields_rule_for_a_claim(claim, alive, refused):
    now = datetime(2026, 1, 1, 0, 5, tzinfo=timezone.utc).timestamp()
    assert bool(locks.field_claim_refusal(orjson.dumps(claim), now, lambda unused_pid: alive)) is refused


def test_lag_is_of_the_last_minute_and_p99_is_no_maximum():
    lag = loop_lag.LoopLag()
    for turn in range(1000):
        lag.record(100.0 + turn / 100.0, 0.00015, 0.0001)
    lag.record(109.0, 0.25, 0.002)
    assert lag.summary(110.0) == {"max": 250.0, "p99": 0.2, "processor_max": 2.0}
    assert lag.summary(400.0) == {"max": 0.0, "p99": 0.0, "processor_max": 0.0} and lag.worst_ms == 250.0


def test_a_blocked_loop_is_seen_however_short_the_block():
    lag = loop_lag.LoopLag()
    loop = asyncio.SelectorEventLoop(loop_lag.TimedSelector(lag))

    async def work():
        import time
        await asyncio.sleep(0.01)
        time.sleep(0.03)
        await asyncio.sleep(0.01)

    try:
        loop.run_until_complete(work())
    finally:
        loop.close()
    assert 30.0 <= lag.worst_ms < 200.0


def test_service_manager_is_told_and_its_watchdog_obeyed(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        assert service.notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100) == b"READY=1"
    assert not service.notify("READY=1", {}) and not service.notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert service.watchdog_interval({"WATCHDOG_USEC": "30000000"}) == 15.0 and service.watchdog_interval({}) is None
    assert service.watchdog_interval({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 2) is None


def test_large_sections_of_many_senders_are_parsed_one_in_a_turn_of_the_loop():
    async def turns_of_applications():
        turn, applied = 0, []

        class Members:
            @staticmethod
            def apply(section, unused_now, unused_wall):
                applied.append((turn, section[2]))
                return True

        sending = sender.Exchange(SimpleNamespace(membership=Members))
        body = b"x" * (sender.SMALL_SECTION + 1)
        messages = [sending.absorb([("n", 1, "%d.%d" % (message, part), 1, body) for part in range(3)]) for message in range(4)]
        arrived = asyncio.gather(*messages)
        while not arrived.done():
            await asyncio.sleep(0)
            turn += 1
        return applied, await arrived

    applied, news = asyncio.run(turns_of_applications())
    assert len(applied) == 12 and news == [True] * 4
    assert len({turn for turn, unused_section in applied}) == 12, applied
