# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.ringrift.p2p.plugins.module_utils._cluster_view import view_from_samples
from ansible_collections.ringrift.p2p.plugins.module_utils._guard import joined, may_stop
from hypothesis import given, settings
from hypothesis import strategies as st

VOTERS = "abcde"


def view(name, names=VOTERS, leader="a", **parts):
    made = view_from_samples(name, [])
    made.update(
        answers=True,
        error=None,
        samples=6,
        window=5.0,
        role="leader" if leader == name else "follower",
        leader_id=leader,
        leaders_seen=[leader],
        term=7,
        peers={other: {"moved": True, "last_heartbeat": 1.0} for other in names if other != name},
    )
    made.update(parts)
    return made


def whole(**changes):
    return {name: view(name, **changes.get(name, {})) for name in VOTERS}


def down(*names):
    return {name: {"answers": False, "error": "connection refused", "failures": 6} for name in names}


def test_a_whole_cluster_spares_any_voter():
    for name in VOTERS:
        answer = may_stop(name, whole(), VOTERS, 5)
        assert answer["allowed"] and answer["reason"] is None and answer["leader"] == "a"
        assert answer["alive"] == [other for other in VOTERS if other != name] and answer["majority"] == 3 and len(answer["evidence"]) == 4


def test_one_down_can_be_borne_and_two_cannot():
    assert may_stop("b", whole(**down("c")), VOTERS, 5)["allowed"]
    answer = may_stop("b", whole(**down("c", "d")), VOTERS, 5)
    assert not answer["allowed"]
    assert answer["reason"].startswith("without b only 2 of 5 voters are proven alive, a majority is 3")
    assert "c did not answer (connection refused)" in answer["evidence"]


def test_voters_that_were_not_asked_count_as_down():
    views = {name: whole()[name] for name in "abc"}
    assert not may_stop("b", views, VOTERS, 5)["allowed"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"failures": 1}, "c left 1 of 6 questions unanswered"),
        ({"samples": 1, "window": 5.0}, "c was asked 1 times"),
        ({"window": 2.0}, "c was asked 6 times over 2.0 s"),
        ({"answers": False, "error": "answers under the name c0ffee"}, "answers under the name c0ffee"),
    ],
)
def test_a_voter_counts_only_when_proven_for_the_whole_window(change, reason):
    answer = may_stop("b", whole(c=change, **down("d")), VOTERS, 5)
    assert not answer["allowed"] and any(reason in line for line in answer["evidence"])


def test_a_voter_that_no_other_hears_counts_as_down():
    views = whole(**down("d"))
    for seen in views.values():
        if "c" in seen["peers"]:
            seen["peers"]["c"]["moved"] = False
    answer = may_stop("b", views, VOTERS, 5)
    assert not answer["allowed"] and any("c answers, but no other voter's record" in line for line in answer["evidence"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"c": {"leader_id": "d", "leaders_seen": ["d"]}}, "do not agree on one leader"),
        ({"c": {"role": "leader"}}, "calling themselves leader: a, c"),
        ({"a": {"role": "candidate"}}, "calling themselves leader: none"),
        ({"c": {"leaders_seen": ["e", "a"]}}, "the leader changed within the window: a, e"),
        ({"c": {"term": 8}}, "the voters are in different terms: 7, 8"),
    ],
)
def test_no_voter_is_stopped_without_one_leader_seen_by_all(changes, reason):
    answer = may_stop("b", whole(**changes), VOTERS, 5)
    assert not answer["allowed"] and reason in answer["reason"]
    assert may_stop("b", whole(**changes), VOTERS, 5, leader_required=False)["allowed"]


def test_a_leader_that_is_no_voter_is_believed_when_it_was_asked():
    views = whole(**{name: {"leader_id": "w", "leaders_seen": ["w"], "role": "follower"} for name in VOTERS})
    assert not may_stop("b", views, VOTERS, 5)["allowed"]
    assert may_stop("b", dict(views, w=view("w", leader="w")), VOTERS, 5)["allowed"]


@pytest.mark.parametrize("leader_required", [True, False])
def test_a_voter_that_does_not_vote_counts_as_down(leader_required):
    waits = {"voting": False, "election_fault": "election.journal is lost"}
    assert may_stop("b", whole(c=waits), VOTERS, 5, leader_required)["allowed"]
    answer = may_stop("b", whole(c=waits, **down("d")), VOTERS, 5, leader_required)
    assert not answer["allowed"] and answer["alive"] == ["a", "e"]
    assert "c answers, but takes no part in the election (election.journal is lost)" in answer["evidence"]


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.sets(st.sampled_from(VOTERS)), st.sets(st.sampled_from(VOTERS)), st.sets(st.sampled_from(VOTERS)), st.sampled_from(VOTERS), st.booleans())
def test_the_promise(dead, deaf, idle, candidate, leader_required):
    """Whatever is down, unheard or not voting: what is allowed leaves a majority of voters that answer and vote."""
    views = whole(**down(*dead))
    for name in idle:
        views[name]["voting"] = False
    for seen in views.values():
        for name in deaf & set(seen["peers"]):
            seen["peers"][name]["moved"] = False
    if may_stop(candidate, views, VOTERS, 5, leader_required)["allowed"]:
        assert len(set(VOTERS) - dead - deaf - idle - {candidate}) >= 3


class TestJoined:
    def test_back_as_a_voter(self):
        answer = joined("b", whole(), VOTERS)
        assert answer == {"joined": True, "reason": None, "seen_by": ["a", "c", "d", "e"], "leader": "a"}

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            (down("b"), "b does not answer"),
            ({"b": {"leader_id": None}}, "b names no leader"),
            ({"b": {"leader_id": "d"}}, "b names d"),
            ({"b": {"voting": False, "election_fault": "election.journal is lost"}}, "b takes no part in the election (election.journal is lost)"),
            ({name: {"voter_node_ids": ["a", "c", "d", "e"]} for name in VOTERS}, "does not list b as a voter"),
        ],
    )
    def test_running_alone_is_not_enough(self, changes, reason):
        answer = joined("b", whole(**changes), VOTERS)
        assert not answer["joined"] and reason in answer["reason"]

    def test_nobody_hears_it(self):
        views = whole()
        for seen in views.values():
            seen["peers"].pop("b", None)
        assert "no other voter's record" in joined("b", views, VOTERS)["reason"]

    def test_a_worker_need_not_name_a_leader(self):
        views = whole()
        for seen in views.values():
            seen["peers"]["w"] = {"moved": True, "last_heartbeat": 1.0}
        assert joined("w", dict(views, w=view("w", leader=None)), VOTERS)["joined"]

    def test_without_a_leader_where_that_is_the_fault_to_repair(self):
        views = whole(**{name: {"leader_id": None, "role": "follower"} for name in VOTERS})
        assert not joined("b", views, VOTERS)["joined"]
        assert joined("b", views, VOTERS, leader_required=False)["joined"]
