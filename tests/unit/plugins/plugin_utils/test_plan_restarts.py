# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _plan, _plan_restarts
from ansible_collections.ringrift.p2p.tests.unit.plugins.plugin_utils import plan_clusters

WORKERS = ["hetzner-cpu3", "nebius-h100-1", "nebius-l40s-1", "vultr-a100-40gb", "runpod-a100-1"]


def state_of(cluster, leader=None, down=(), isolated=()):
    return {"leader": leader, "nodes": {
        name: {"answers": name not in down, "connected": name not in down and name not in isolated} for name in cluster["hosts"]}}


def waves(names, leader="hetzner-cpu1", down=(), isolated=(), percent=None):
    cluster = plan_clusters.lab()
    planned = _plan.plan(cluster, {}, {"pinned_seeds": plan_clusters.LAB_PINNED})
    return _plan_restarts.waves(names, cluster, planned, state_of(cluster, leader, down, isolated), {"batch_percent": percent})


def test_down_nodes_go_first_and_together_then_workers_then_voters_and_the_leader_last():
    cluster = plan_clusters.lab()
    order = waves(WORKERS + cluster["voters"] + ["lambda-gh200-2", "lambda-gh200-5"], leader="nebius-h100-3", down=["lambda-gh200-2", "lambda-gh200-5"])
    assert order[0] == ["lambda-gh200-2", "lambda-gh200-5"]
    assert sorted(name for wave in order[1:-5] for name in wave) == sorted(WORKERS)
    assert sorted(wave[0] for wave in order[-5:]) == sorted(cluster["voters"])
    assert [len(wave) for wave in order[-5:]] == [1] * 5
    assert order[-1] == ["nebius-h100-3"]


def test_a_voter_that_is_down_is_started_with_the_first():
    assert waves(["hetzner-cpu1", "hetzner-cpu2", "runpod-a100-1"], leader=None, down=["hetzner-cpu1", "hetzner-cpu2"]) == [
        ["hetzner-cpu1", "hetzner-cpu2"], ["runpod-a100-1"]]


def test_a_leader_that_does_not_vote_is_still_the_last():
    assert waves(["runpod-a100-1", "hetzner-cpu2"], leader="runpod-a100-1") == [["hetzner-cpu2"], ["runpod-a100-1"]]


def test_batches_are_a_share_of_the_workers_and_at_least_one():
    assert [len(wave) for wave in waves(WORKERS, percent=40)] == [2, 2, 1]
    assert [len(wave) for wave in waves(WORKERS, percent=1)] == [1] * 5
    assert [len(wave) for wave in waves(WORKERS, percent=100)] == [5]


def test_workers_that_are_cut_off_go_before_those_that_serve():
    assert waves(WORKERS, isolated=["vultr-a100-40gb"], percent=1)[0] == ["vultr-a100-40gb"]


def test_the_relays_of_one_node_never_go_together():
    cluster = plan_clusters.lab()
    plan = {"relays": {"assignments": {"lambda-gh200-1": ["hetzner-cpu3", "nebius-h100-1"]}}, "seeds": {}}
    order = _plan_restarts.waves(WORKERS, cluster, plan, state_of(cluster), {"batch_percent": 100})
    assert len(order) == 2
    assert {"hetzner-cpu3", "nebius-h100-1"} not in [set(wave) & {"hetzner-cpu3", "nebius-h100-1"} for wave in order]


def test_the_relays_that_a_node_still_runs_with_count_as_well_as_the_planned_ones():
    cluster = plan_clusters.lab()
    plan = {"relays": {"assignments": {"lambda-gh200-1": ["hetzner-cpu3", "vultr-a100-40gb"]},
                       "previous": {"lambda-gh200-1": ["nebius-h100-1", "runpod-a100-1"]}}, "seeds": {}}
    for wave in _plan_restarts.waves(WORKERS, cluster, plan, state_of(cluster), {"batch_percent": 100}):
        assert not {"hetzner-cpu3", "vultr-a100-40gb"} <= set(wave)
        assert not {"nebius-h100-1", "runpod-a100-1"} <= set(wave)


def test_never_all_seeds_go_together():
    cluster = plan_clusters.lab()
    plan = {"relays": {}, "seeds": {"overlay": {"sources": {"203.0.113.1:8770": "hetzner-cpu3", "203.0.113.2:8770": "nebius-h100-1"}}}}
    order = _plan_restarts.waves(WORKERS, cluster, plan, state_of(cluster), {"batch_percent": 100})
    assert not any({"hetzner-cpu3", "nebius-h100-1"} <= set(wave) for wave in order)


def test_names_that_the_file_does_not_know_are_nobodys_business():
    assert waves(["no-such-node"]) == []


def test_who_leads_when_a_wave_comes_up_goes_last():
    planned = [["w1", "w2"], ["a"], ["b"], ["c"]]
    assert _plan_restarts.next_wave(planned, [], "a") == ["w1", "w2"]
    assert _plan_restarts.next_wave(planned, ["w1", "w2"], "a") == ["b"]
    assert _plan_restarts.next_wave(planned, ["w1", "w2", "b"], "a") == ["c"]
    assert _plan_restarts.next_wave(planned, ["w1", "w2", "b"], "c") == ["a"]
    assert _plan_restarts.next_wave(planned, ["w1", "w2", "b", "c"], "a") == ["a"]
    assert _plan_restarts.next_wave(planned, ["w1", "w2", "a", "b", "c"], "a") == []


def test_without_a_known_leader_the_waves_come_as_planned():
    planned = [["w"], ["a"], ["b"]]
    done = []
    while _plan_restarts.next_wave(planned, done, None):
        done += _plan_restarts.next_wave(planned, done, None)
    assert done == ["w", "a", "b"]


@settings(derandomize=True, max_examples=200, deadline=None)
@given(sizes=st.lists(st.integers(1, 3), max_size=8), seed=st.integers(0, 2 ** 32))
def test_each_wave_comes_once_whatever_the_leaders_do(sizes, seed):
    chance = random.Random(seed)
    planned = [["%d.%d" % (number, index) for index in range(size)] for number, size in enumerate(sizes)]
    names = [name for wave in planned for name in wave]
    done, came = [], []
    for unused in planned:
        leader = chance.choice([*names, None, "elsewhere"])
        wave = _plan_restarts.next_wave(planned, done, leader)
        assert wave != [leader] or len(came) == len(planned) - 1
        came.append(wave)
        done += wave
    assert sorted(came) == sorted(planned)
    assert _plan_restarts.next_wave(planned, done, None) == []


@settings(derandomize=True, max_examples=60, deadline=None)
@given(seed=st.integers(0, 2 ** 32), size=st.integers(1, 300), percent=st.integers(1, 100))
def test_every_rule_holds_in_any_cluster(seed, size, percent):
    chance = random.Random(seed)
    cluster = plan_clusters.generated(seed, size)
    names = [name for name, host in cluster["hosts"].items() if host["belongs"] and chance.random() < 0.8]
    down = [name for name in cluster["hosts"] if chance.random() < 0.2]
    leader = chance.choice(sorted(cluster["hosts"])) if chance.random() < 0.8 else None
    planned = _plan.plan(cluster, {}, {})
    order = _plan_restarts.waves(names, cluster, planned, state_of(cluster, leader, down), {"batch_percent": percent})

    assert sorted(name for wave in order for name in wave) == sorted(names)
    starting = [name for name in names if name in down and name != leader]
    assert not starting or sorted(order[0]) == sorted(starting)
    rest = order[1:] if starting else order
    if leader in names:
        assert rest.pop() == [leader]
    voters = [name for name in names if name in cluster["voters"] and name not in starting and name != leader]
    if voters:
        assert rest[-len(voters):] == [[name] for name in sorted(voters)]
        rest = rest[:-len(voters)]
    workers = [name for wave in rest for name in wave]
    seeds = [{node for node in kind["owners"].values() if node not in down} for kind in planned["seeds"].values()]
    for wave in rest:
        assert len(wave) <= max(1, len(workers) * percent // 100)
        for pair in planned["relays"]["assignments"].values():
            assert len(pair) < 2 or pair[0] == pair[1] or not set(pair) <= set(wave)
        assert not any(len(nodes) > 1 and nodes <= set(wave) for nodes in seeds)
