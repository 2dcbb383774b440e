# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.ringrift.p2p.plugins.module_utils._cluster_view import Watch, judge, reduce_sample, view_from_samples
from hypothesis import given, settings
from hypothesis import strategies as st

NOT_COLLECTED = {"error": "not_collected"}


def field_status(name, leader, beats, role="follower", **parts):
    """/status with the keys of the orchestrator in the field."""
    body = {
        "node_id": name,
        "role": role,
        "leader_id": leader,
        "effective_leader_id": leader,
        "voter_node_ids": ["a", "b", "c"],
        "voters_alive": 3,
        "voter_quorum_size": 2,
        "voter_quorum_ok": True,
        "alive_peers": len(beats),
        "peers": {
            peer: {"host": "203.0.113.5", "port": 8770, "role": "follower", "status": "alive", "is_alive": True, "last_heartbeat": beat}
            for peer, beat in beats.items()
        },
        "all_peers": NOT_COLLECTED,
        "self": {"nat_blocked": False, "relay_via": "", "capabilities": ["selfplay"], "version": "a1b2c3", "has_gpu": True},
    }
    body.update(parts)
    return body


def sample(time, status=None, health=None, error=None):
    return {"time": time, "status": status, "health": health, "error": error}


def view(name, leader="a", moved=(), still=(), leaders=None, answers=True, role=None, **parts):
    made = view_from_samples(name, [])
    made.update(
        answers=answers,
        error=None if answers else "connection refused",
        samples=5,
        window=5.0,
        role=role or ("leader" if leader == name else "follower"),
        leader_id=leader,
        leaders_seen=leaders or [leader],
        peers={peer: {"moved": peer in moved, "last_heartbeat": 1.0} for peer in [*moved, *still]},
    )
    made.update(parts)
    return made


def whole(names="abc", leader="a"):
    return {name: view(name, leader, moved=[other for other in names if other != name]) for name in names}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["last_heartbeat", "error", "node_id", "b"]) | st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["node_id", "role", "leader_id", "effective_leader_id", "term", "raft", "voter_node_ids", "peers", "all_peers", "self", "lag_ms", "uptime_seconds"]


class TestView:
    def test_field_keys(self):
        samples = [sample(100.0 + beat, field_status("a", "b", {"b": 50.0 + beat, "c": 50.0})) for beat in range(3)]
        seen = view_from_samples("a", samples)
        assert seen["answers"] and seen["error"] is None
        assert (seen["samples"], seen["window"], seen["failures"]) == (3, 2.0, 0)
        assert (seen["role"], seen["leader_id"], seen["leaders_seen"], seen["term"]) == ("follower", "b", ["b"], None)
        assert seen["voter_node_ids"] == ["a", "b", "c"] and seen["capabilities"] == ["selfplay"] and seen["version"] == "a1b2c3"
        assert seen["nat_blocked"] is False and seen["relay_via"] is None
        assert seen["peers"]["b"]["moved"] and seen["peers"]["b"]["last_heartbeat"] == 52.0 and seen["peers"]["b"]["port"] == 8770
        # Said to be alive for ever: only a record that moves tells.
        assert seen["peers"]["c"]["is_alive"] and not seen["peers"]["c"]["moved"]

    def test_parts_that_were_not_collected_are_missing_not_wrong(self):
        body = field_status("a", "b", {}, peers=NOT_COLLECTED, all_peers=NOT_COLLECTED, self=NOT_COLLECTED, voter_node_ids=NOT_COLLECTED)
        seen = view_from_samples("a", [sample(1.0, body)])
        assert seen["answers"] and seen["leader_id"] == "b" and seen["peers"] == {} and seen["voter_node_ids"] is None and seen["nat_blocked"] is None

    def test_records_of_peers_and_all_peers_are_joined_and_the_later_wins(self):
        body = field_status("a", "b", {"b": 10.0}, all_peers={"b": {"last_heartbeat": 12.0}, "c": {"last_heartbeat": "2026-01-25T00:00:00Z"}, "d": "?"})
        peers = view_from_samples("a", [sample(1.0, body)])["peers"]
        assert peers["b"]["last_heartbeat"] == 12.0 and peers["c"]["last_heartbeat"] == 1769299200.0 and "d" not in peers

    def test_two_stale_records_taking_turns_do_not_move(self):
        samples = [sample(time, field_status("a", "b", {"b": beat})) for time, beat in enumerate([10.0, 9.0, 10.0, 9.0])]
        assert not view_from_samples("a", samples)["peers"]["b"]["moved"]

    def test_health_alone_is_an_answer(self):
        health = {"healthy": True, "node_id": "a", "role": "leader", "leader_id": "a", "uptime_seconds": 12.5, "active_peers": 3, "total_peers": 9}
        seen = view_from_samples("a", [sample(1.0, None, health, "401")])
        assert seen["answers"] and seen["role"] == "leader" and seen["uptime_seconds"] == 12.5 and seen["peers"] == {}

    def test_a_node_under_its_host_name_does_not_answer(self):
        seen = view_from_samples("hetzner-cpu1", [sample(1.0, field_status("ubuntu-4gb", "b", {}))])
        assert not seen["answers"] and seen["error"] == "answers under the name ubuntu-4gb"

    def test_the_newest_sample_decides_whether_it_answers(self):
        good, bad = sample(1.0, field_status("a", "b", {})), sample(2.0, error="connection refused")
        gone, back = view_from_samples("a", [good, bad]), view_from_samples("a", [bad, good])
        assert not gone["answers"] and gone["error"] == "connection refused" and gone["failures"] == 1 and gone["leader_id"] == "b"
        assert back["answers"] and back["failures"] == 1

    def test_leaders_that_took_turns_are_all_seen(self):
        samples = [sample(time, field_status("a", leader, {})) for time, leader in enumerate(["b", None, "c", "b"])]
        seen = view_from_samples("a", samples)
        assert seen["leaders_seen"] == ["b", "c"] and seen["leader_id"] == "b"

    @pytest.mark.parametrize("beat", [10**400, float("nan"), float("inf"), "nan", "never", True, [], {}])
    def test_a_heartbeat_that_is_no_time_is_none(self, beat):
        assert view_from_samples("a", [sample(1.0, field_status("a", "b", {"b": beat}, term=beat))])["peers"]["b"]["last_heartbeat"] is None

    def test_no_samples(self):
        seen = view_from_samples("a", [])
        assert not seen["answers"] and seen["samples"] == 0 and seen["error"] == "not sampled"

    def test_reducing_twice_changes_nothing(self):
        once = reduce_sample(sample(1.0, field_status("a", "b", {"b": 10.0})))
        assert reduce_sample(once) == once

    @settings(derandomize=True, max_examples=150, deadline=None)
    @given(st.lists(st.fixed_dictionaries({}, optional={key: ANYTHING for key in KEYS}), max_size=3))
    def test_whatever_a_node_sends_is_read(self, bodies):
        seen = view_from_samples("a", [sample(float(time), body) for time, body in enumerate(bodies)])
        assert seen["samples"] == len(bodies)
        judge({"a": seen}, ["a", "b"], ["a", "b"])


NAMES = "abcde"
VIEWS = st.fixed_dictionaries(
    {
        name: st.none()
        | st.builds(
            lambda answers, leader, moved, name=name: view(name, leader, moved=[peer for peer in moved if peer != name], answers=answers),
            st.booleans(),
            st.sampled_from(NAMES),
            st.sets(st.sampled_from(NAMES)),
        )
        for name in NAMES
    }
)


class TestJudge:
    def test_whole(self):
        state = judge(whole(), "abc", "abc")
        assert (state["connected"], state["expected"], state["missing"]) == (3, 3, [])
        assert state["leader"] == "a" and state["leader_agreed"]
        assert state["quorum"] == {"voters": 3, "alive": 3, "alive_ids": ["a", "b", "c"], "majority": 2, "ok": True}
        assert state["nodes"]["b"] == {"connected": True, "answers": True, "seen_by": ["a", "c"], "role": "follower", "leader_id": "a"}

    def test_answering_alone_is_not_connected(self):
        views = whole()
        views["d"] = view("d", "a", moved="abc")
        assert judge(views, "abcd", "abc")["missing"] == ["d"]

    def test_being_seen_alone_is_not_connected(self):
        views = whole("abcd")
        views["d"] = view("d", answers=False)
        state = judge(views, "abcd", "abc")
        assert state["missing"] == ["d"] and state["nodes"]["d"]["seen_by"] == ["a", "b", "c"]
        assert judge(dict(views, d=None), "abcd", "abc")["missing"] == ["d"]

    def test_a_node_that_was_not_asked_stands_on_the_others_records(self):
        views = whole("abcd")
        del views["d"]
        state = judge(views, "abcde", "abc")
        assert state["missing"] == ["e"] and state["nodes"]["d"]["answers"] is None

    def test_records_of_a_node_that_is_down_prove_nothing(self):
        views = {"a": view("a", moved="b"), "b": view("b", moved="a", answers=False)}
        assert judge(views, "ab", "ab")["connected_ids"] == []

    def test_majority_is_of_all_voters_of_the_file(self):
        views = whole("abc")
        state = judge(views, "abc", "abcdef")
        assert state["quorum"]["majority"] == 4 and state["quorum"]["alive"] == 3 and not state["quorum"]["ok"]

    def test_a_voter_that_does_not_vote_is_connected_and_no_part_of_the_quorum(self):
        views = whole("abcd")
        views["c"] = view("c", "b", moved="abd", voting=False)
        state = judge(views, "abcd", "abc")
        assert state["connected"] == 4 and state["quorum"]["alive_ids"] == ["a", "b"] and state["leader_agreed"]
        # What a worker says of itself is nothing to the quorum, and real orchestrators say nothing.
        assert judge(dict(views, c=view("c", moved="abd", voting=None)), "abcd", "abc")["quorum"]["alive"] == 3

    def test_without_counts_as_down_for_itself_and_as_a_witness(self):
        views = {"a": view("a", moved="bc"), "b": view("b", moved="a", still="c"), "c": view("c", moved="a", still="b")}
        assert judge(views, "abc", "abc")["quorum"]["alive"] == 3
        assert judge(views, "abc", "abc", ["a"])["quorum"]["alive"] == 0

    @pytest.mark.parametrize(
        ("change", "leader"),
        [
            ({"c": {"leader": "b"}}, None),
            ({"c": {"leader": None, "leaders": ["a"]}}, None),
            ({"c": {"leader": "a", "role": "leader"}}, "a"),
            ({"a": {"leader": "a", "role": "candidate"}}, "a"),
        ],
    )
    def test_one_leader_means_named_by_all_and_claimed_by_one(self, change, leader):
        views = whole()
        for name, parts in change.items():
            views[name] = view(name, parts.pop("leader"), moved=[other for other in "abc" if other != name], **parts)
        state = judge(views, "abc", "abc")
        assert not state["leader_agreed"] and state["leader"] == leader

    def test_a_worker_that_calls_itself_leader_breaks_the_agreement(self):
        views = whole("abcd")
        views["d"]["role"] = "leader"
        assert not judge(views, "abcd", "abc")["leader_agreed"]

    def test_a_dead_voter_does_not_take_part_in_the_agreement(self):
        views = whole()
        views["c"] = view("c", "b", answers=False)
        state = judge(views, "abc", "abc")
        assert state["leader_agreed"] and state["quorum"]["alive_ids"] == ["a", "b"]

    def test_the_only_node_of_all_needs_no_witness(self):
        assert judge({"a": view("a")}, "a", "a")["connected"] == 1

    @settings(derandomize=True, max_examples=200, deadline=None)
    @given(VIEWS, st.sampled_from(NAMES))
    def test_counting_a_node_as_down_never_adds_a_voter(self, views, down):
        now, without = judge(views, NAMES, NAMES), judge(views, NAMES, NAMES, [down])
        assert set(without["quorum"]["alive_ids"]) <= set(now["quorum"]["alive_ids"]) - {down}
        assert now["quorum"]["ok"] == (len(now["quorum"]["alive_ids"]) >= 3)
        for name in now["quorum"]["alive_ids"]:
            assert views[name]["answers"] and any(said and said["answers"] and said["peers"].get(name, {}).get("moved") for said in views.values())
        claiming = [name for name, said in views.items() if said and said["answers"] and said["role"] == "leader"]
        if now["leader_agreed"]:
            assert claiming == [now["leader"]]


class TestWatch:
    def rounds(self, count, leader=lambda time: "a", beat=lambda name, time: time):
        for time in range(count):
            yield {
                "time": float(time),
                "nodes": {
                    name: sample(
                        float(time),
                        field_status(
                            name, leader(time), {other: beat(other, time) for other in "abc" if other != name}, "leader" if leader(time) == name else "follower"
                        ),
                    )
                    for name in "abc"
                },
            }

    def test_one_sample_proves_nothing(self):
        watch = Watch("abc", "abc")
        states = [watch.add(one) for one in self.rounds(4)]
        assert [state["healthy"] for state in states] == [False, True, True, True]
        assert [state["stable_for"] for state in states] == [0.0, 0.0, 1.0, 2.0]
        assert states[0]["reason"] and states[3]["reason"] is None and states[3]["samples"] == 4

    def test_a_heartbeat_that_stops_is_noticed_when_the_window_has_passed(self):
        watch = Watch("abc", "abc", window=3)
        states = [watch.add(one) for one in self.rounds(12, beat=lambda name, time: min(time, 5) if name == "c" else time)]
        assert states[6]["healthy"] and not states[8]["healthy"] and states[11]["missing"] == ["c"]
        assert "missing: c" in states[11]["reason"]

    def test_the_window_is_spanned_in_full(self):
        watch = Watch("abc", "abc", window=2.5)
        for one in self.rounds(10):
            watch.add(one)
        assert watch.views()["a"]["window"] == 3.0

    def test_a_change_of_leader_starts_the_count_again(self):
        watch = Watch("abc", "abc")
        states = [watch.add(one) for one in self.rounds(8, leader=lambda time: "a" if time < 4 else "b")]
        assert [state["stable_for"] for state in states] == [0.0, 0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0]
        assert states[-1]["leaders_seen"] == ["a", "b"]
