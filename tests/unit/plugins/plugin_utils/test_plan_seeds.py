# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _plan, _plan_reach
from ansible_collections.ringrift.p2p.tests.unit.plugins.plugin_utils import plan_clusters

LAMBDA = ["lambda-gh200-%d" % index for index in (1, 2, 3, 5, 8, 9, 10, 11)]
PINNED = {"pinned_seeds": plan_clusters.LAB_PINNED}


def plan_observed(cluster, options=None, **world):
    candidates = _plan.plan(cluster, {}, options or {})["candidates"]
    return _plan.plan(cluster, plan_clusters.observe(cluster, candidates, **world), options or {})


def test_the_reports_public_seeds_come_first_in_both_classes():
    planned = plan_observed(plan_clusters.lab(), PINNED, blocked=LAMBDA)
    for kind in ("overlay", "outside"):
        seeds = planned["seeds"][kind]
        assert seeds["addresses"][:3] == ["203.0.113.60:8770", "203.0.113.40:8770", "203.0.113.51:8770"]
        assert len(seeds["addresses"]) == 6
        assert (seeds["refused"], seeds["left_out"], seeds["unverified"], seeds["basis"]) == (None, [], [], "observed")
    assert not any(address.startswith("100.") for address in planned["seeds"]["outside"]["addresses"])
    assert any(address.startswith("100.") for address in planned["seeds"]["overlay"]["addresses"])


def test_without_observations_the_file_alone_decides_and_the_plan_says_so():
    seeds = _plan.plan(plan_clusters.lab(), {}, {})["seeds"]["outside"]
    assert seeds["basis"] == "file"
    assert seeds["unverified"] == seeds["addresses"]
    assert seeds["sources"] == seeds["owners"]
    voters = plan_clusters.lab()["voters"]
    assert [node in voters for node in seeds["sources"].values()] == [True] * 5 + [False]


def test_a_dead_seed_is_left_out_and_reported_with_who_tried():
    dead = {"address": "203.0.113.99:8770", "node": "nebius-h100-3"}
    planned = plan_observed(plan_clusters.lab(), {"pinned_seeds": [dead]}, blocked=LAMBDA)
    for kind, witness in (("overlay", "hetzner-cpu1"), ("outside", "vast-30274241")):
        seeds = planned["seeds"][kind]
        assert dead["address"] not in seeds["addresses"]
        (left_out,) = seeds["left_out"]
        assert left_out["address"] == dead["address"]
        assert "timed out" in left_out["reason"]
        assert witness in left_out["tried_by"]
    # The node is not lost with the address that the report remembered: the file knows a better one.
    assert "203.0.113.51:8770" in planned["seeds"]["outside"]["addresses"]


def test_a_seed_that_only_one_class_reaches_is_left_out_of_the_other_alone():
    cluster = plan_clusters.lab()
    candidates = _plan.plan(cluster, {}, PINNED)["candidates"]
    observations = plan_clusters.observe(cluster, candidates, blocked=LAMBDA)
    for name, observation in observations.items():
        if name.startswith("vast"):
            observation["candidates"]["203.0.113.40:8770"].update(tcp=False, health=False, error="connection timed out")
    planned = _plan.plan(cluster, observations, PINNED)
    assert "203.0.113.40:8770" in planned["seeds"]["overlay"]["addresses"]
    assert "203.0.113.40:8770" not in planned["seeds"]["outside"]["addresses"]
    assert planned["seeds"]["outside"]["left_out"][0]["tried_by"] == sorted(name for name in observations if name.startswith("vast"))


def test_a_cluster_that_is_wholly_down_can_still_be_started():
    cluster = plan_clusters.lab()
    planned = plan_observed(cluster, PINNED, down=list(cluster["hosts"]))
    assert planned["seeds"]["outside"]["refused"] is None
    assert planned["seeds"]["outside"]["addresses"] == _plan.plan(cluster, {}, PINNED)["seeds"]["outside"]["addresses"]
    assert planned["seeds"]["outside"]["unverified"] == planned["seeds"]["outside"]["addresses"]


def test_nothing_is_written_for_a_class_with_fewer_than_two_seeds():
    cluster = plan_clusters.lab()
    public = ["203.0.113.%d:8770" % number for number in range(256)]
    planned = plan_observed(cluster, PINNED, blocked=LAMBDA, dead=public)
    refused = planned["seeds"]["outside"]["refused"]
    assert "0 of at least 2 seeds remain for the 4 nodes outside the overlay" in refused
    assert "203.0.113.40:8770" in refused
    assert planned["nodes"]["vast-30274241"]["seeds_refused"] == refused
    assert planned["nodes"]["hetzner-cpu1"]["seeds_refused"] is None
    assert planned["seeds"]["overlay"]["refused"] is None
    assert all(address.startswith("100.") for address in planned["seeds"]["overlay"]["addresses"])


def test_a_file_with_overlay_addresses_alone_names_what_is_missing():
    hosts = [plan_clusters.host("hetzner-cpu%d" % number, overlay="100.64.0.%d" % number, voter=True) for number in (1, 2, 3)]
    planned = _plan.plan(plan_clusters.cluster(hosts + [plan_clusters.host("vast-1")]), {}, {})
    assert "p2p_public_host" in planned["seeds"]["outside"]["refused"]
    assert "hetzner-cpu1, hetzner-cpu2, hetzner-cpu3" in planned["seeds"]["outside"]["refused"]
    assert planned["seeds"]["overlay"]["refused"] is None


@pytest.mark.parametrize("address, node, reason", [
    ("100.64.0.40:8770", None, "overlay address"),
    ("203.0.113.30:8770", "runpod-a100-1", "ephemeral"),
    ("203.0.113.10:8770", None, "behind NAT"),
    ("203.0.113.41:8770", None, None),
    ("198.51.100.7:8770", None, None),
    ("seed.example.org:8770", "no-such-node", None),
])
def test_pinned_seeds_keep_the_rules(address, node, reason):
    seeds = _plan.plan(plan_clusters.lab(), {}, {"pinned_seeds": [{"address": address, "node": node}]})["seeds"]["outside"]
    if reason is None:
        assert seeds["addresses"][0] == address
        assert seeds["sources"][address] == "pinned"
    else:
        assert address not in seeds["addresses"]
        assert reason in seeds["left_out"][0]["reason"]


def test_a_third_pinned_seed_of_a_provider_is_left_out():
    pinned = [{"address": "203.0.113.%d:8770" % number} for number in (40, 41, 42)]
    seeds = _plan.plan(plan_clusters.lab(), {}, {"pinned_seeds": pinned})["seeds"]["outside"]
    assert [item["address"] for item in seeds["left_out"]] == ["203.0.113.42:8770"]
    assert seeds["addresses"][:2] == ["203.0.113.40:8770", "203.0.113.41:8770"]


def test_a_node_with_userspace_tailscale_dials_public_seeds():
    cluster = plan_clusters.lab()
    cluster["hosts"]["runpod-a100-1"]["userspace_tailscale"] = True
    planned = _plan.plan(cluster, {}, {})
    assert planned["nodes"]["runpod-a100-1"]["class"] == "outside"
    assert all(address.startswith("203.") for address in planned["nodes"]["runpod-a100-1"]["peers"])


def test_an_address_counts_for_the_node_that_answers_there():
    cluster = plan_clusters.lab()
    stranger = "198.51.100.7:8770"
    pinned = {"pinned_seeds": [{"address": stranger}]}
    observations = plan_clusters.observe(cluster, _plan.plan(cluster, {}, pinned)["candidates"], blocked=LAMBDA)
    for observation in observations.values():
        observation["candidates"][stranger] = {"tcp": True, "health": True, "node_id": "hetzner-cpu2"}
    planned = _plan.plan(cluster, observations, pinned)
    assert planned["seeds"]["outside"]["owners"][stranger] == "hetzner-cpu2"
    assert stranger not in planned["nodes"]["hetzner-cpu2"]["peers"]


def _may_be_seed(host):
    return (host["belongs"] and not host["nat_blocked"] and not host["gateway_only"] and not host["force_relay"] and not host["ephemeral"]
            and host["provider"] not in ("vast", "runpod"))


def _check_rules(cluster, kind, seeds, dead=()):
    owners = [cluster["hosts"][node] for node in seeds["owners"].values()]
    assert all(_may_be_seed(host) for host in owners)
    assert len(set(seeds["addresses"])) == len(seeds["addresses"]) <= 6
    assert not set(seeds["addresses"]) & set(dead)
    providers = [host["provider"] for host in owners]
    assert all(providers.count(provider) <= 2 for provider in providers)

    def usable(host, path):
        address = path(host)
        return address and address not in dead
    fit = [host for host in cluster["hosts"].values() if _may_be_seed(host)]
    public = [host for host in fit if usable(host, _plan_reach.public)]
    dialable = public if kind == "outside" else [host for host in fit if usable(host, _plan_reach.public) or usable(host, _plan_reach.overlay)]
    public_chosen = [address for address in seeds["addresses"] if not address.startswith("100.")]
    chosen_providers = {cluster["hosts"][seeds["owners"][address]]["provider"] for address in public_chosen}
    assert len(chosen_providers) >= min(3, len({host["provider"] for host in public}))
    per_provider = {}
    for host in dialable:
        per_provider[host["provider"]] = per_provider.get(host["provider"], 0) + 1
    assert len({host["name"] for host in owners}) == min(6, sum(min(2, number) for number in per_provider.values()))
    # A voter with a public address never stands back for another host of its provider.
    for host in public:
        if host["voter"] and host not in owners:
            assert not [other for other in owners if other["provider"] == host["provider"] and not other["voter"]]
    members = [host for host in cluster["hosts"].values() if host["belongs"]]
    of_class = [host for host in members if _plan_reach.node_class(host) == kind]
    enough = len({host["name"] for host in owners}) >= min(2, len(members) - 1)
    assert bool(seeds["refused"]) == (bool(of_class) and not enough)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(seed=st.integers(0, 2 ** 32), size=st.integers(1, 500))
def test_every_rule_holds_for_any_file(seed, size):
    cluster = plan_clusters.generated(seed, size)
    planned = _plan.plan(cluster, {}, {})
    for kind, seeds in planned["seeds"].items():
        _check_rules(cluster, kind, seeds)
    for name, node in planned["nodes"].items():
        own = {_plan_reach.public(cluster["hosts"][name]), _plan_reach.overlay(cluster["hosts"][name])}
        assert not own & set(node["peers"])
        assert len(node["peers"]) == len(set(node["peers"])) <= 6
        assert [peer for peer in node["peers"] if peer in node["relay_peers"]] == node["relay_peers"]
    assert _plan.plan(cluster, {}, {}) == planned


@settings(derandomize=True, max_examples=60, deadline=None)
@given(seed=st.integers(0, 2 ** 32), size=st.integers(2, 500), pick=st.integers(0, 10 ** 6))
def test_a_node_less_changes_no_more_than_it_must(seed, size, pick):
    cluster = plan_clusters.generated(seed, size)
    before = _plan.plan(cluster, {}, {})
    gone = sorted(cluster["hosts"])[pick % size]
    after = _plan.plan(plan_clusters.without(cluster, gone), {}, {})
    for kind in ("overlay", "outside"):
        owners_before, owners_after = set(before["seeds"][kind]["owners"].values()), set(after["seeds"][kind]["owners"].values())
        assert owners_before - owners_after <= {gone}
        assert len(owners_after - owners_before) <= 1
        if gone not in owners_before:
            assert before["seeds"][kind]["addresses"] == after["seeds"][kind]["addresses"]


@settings(derandomize=True, max_examples=40, deadline=None)
@given(seed=st.integers(0, 2 ** 32), size=st.integers(2, 150))
def test_no_address_is_written_that_a_class_tried_in_vain(seed, size):
    chance = random.Random(seed)
    cluster = plan_clusters.generated(seed, size)
    candidates = _plan.plan(cluster, {}, {})["candidates"]
    dead = [address for address in candidates if chance.random() < 0.4]
    observations = plan_clusters.observe(cluster, candidates, dead=dead)
    planned = _plan.plan(cluster, observations, {})
    for kind in ("overlay", "outside"):
        witnesses = [name for name in observations if planned["nodes"][name]["class"] == kind]
        seeds = planned["seeds"][kind]
        left_out = {item["address"]: item for item in seeds["left_out"]}
        for address in dead:
            if [name for name in witnesses if name != planned["seeds"][kind]["owners"].get(address)]:
                assert address not in seeds["addresses"]
        for address, item in left_out.items():
            assert address in dead
            assert item["tried_by"]
            assert set(item["tried_by"]) <= set(witnesses)
