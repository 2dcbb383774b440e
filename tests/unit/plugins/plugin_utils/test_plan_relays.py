# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _plan, _plan_reach, _plan_relays
from ansible_collections.ringrift.p2p.tests.unit.plugins.plugin_utils import plan_clusters

LAMBDA = ["lambda-gh200-%d" % index for index in (1, 2, 3, 5, 8, 9, 10, 11)]
VAST = ["vast-30274241", "vast-30274242", "vast-29128352", "vast-29129151"]


def plan_observed(cluster, options=None, **world):
    candidates = _plan.plan(cluster, {}, options or {})["candidates"]
    return _plan.plan(cluster, plan_clusters.observe(cluster, candidates, **world), options or {})


def seed_state(options=None):
    return plan_observed(plan_clusters.lab(), options, blocked=LAMBDA, down=["lambda-gh200-2", "lambda-gh200-5", "lambda-gh200-11"])


def relays_of(*providers, clients=4, capable=True, **changes):
    """A cluster of relays, one a provider, and of Vast nodes that need them."""
    hosts = [plan_clusters.host("%s-%d" % (provider, number), public="203.0.113.%d" % (number + 1), relay_capable=capable, **changes)
             for number, provider in enumerate(providers)]
    return plan_clusters.cluster(hosts + [plan_clusters.host("vast-%d" % number) for number in range(clients)])


def test_in_the_reports_state_every_node_that_cannot_be_dialled_gets_two_relays():
    planned = seed_state()
    assert sorted(planned["relays"]["assignments"]) == sorted(LAMBDA + VAST)
    for name, pair in planned["relays"]["assignments"].items():
        assert sorted(pair) == ["hetzner-cpu3", "nebius-backbone-1"]
        node = planned["nodes"][name]
        assert node["force_relay"] and node["nat_blocked"]
        assert node["relay_peers"] == [{"hetzner-cpu3": "203.0.113.42:8770", "nebius-backbone-1": "203.0.113.53:8770"}[relay] for relay in pair]
        assert node["peers"][:2] == node["relay_peers"]
        assert len(node["peers"]) == 6
    assert planned["relays"]["shortage"] is None
    assert planned["relays"]["moved"] == []
    # The assignments that work are not written again; those that are missing are.
    written = {name for name, changes in planned["edits"].items() if "relay_primary" in changes}
    assert written == set(VAST) | {"lambda-gh200-8", "lambda-gh200-9"}
    assert all(planned["edits"][name]["force_relay_mode"] is True for name in written)


def test_load_is_spread_over_the_relays():
    assert set(seed_state()["relays"]["load"].values()) == {6}
    planned = _plan.plan(relays_of("nebius", "hetzner", "vultr", clients=30), {}, {})
    assert sorted(planned["relays"]["load"].values()) == [10, 10, 10]
    assert max(planned["relays"]["worst_load"].values()) <= 16


def test_nat_is_observed_whatever_the_file_says():
    planned = seed_state()
    assert planned["nat"]["lambda-gh200-9"] == {"declared": False, "observed": True, "asked": 21, "reached": 0, "moved": False}
    assert planned["edits"]["lambda-gh200-9"]["nat_blocked"] is True
    assert "nat_blocked" not in planned["edits"]["lambda-gh200-8"]
    assert planned["nat"]["hetzner-cpu1"]["observed"] is False


def test_nat_is_not_concluded_from_one_witness_nor_of_a_node_that_is_down_or_cut_off():
    cluster = plan_clusters.lab()
    candidates = _plan.plan(cluster, {}, {})["candidates"]

    def observed(**world):
        return _plan_reach.Reach(cluster["hosts"], plan_clusters.observe(cluster, candidates, **world)).nat("lambda-gh200-9")["observed"]
    assert observed(blocked=LAMBDA) is True
    assert observed(blocked=LAMBDA, only=["lambda-gh200-9", "hetzner-cpu1"]) is None
    assert observed(blocked=LAMBDA, down=["lambda-gh200-9"]) is None
    assert observed(blocked=LAMBDA, only=["hetzner-cpu1", "hetzner-cpu2", "hetzner-cpu3"]) is None
    assert observed(blocked=LAMBDA, dead=candidates) is None
    assert observed() is False


def test_a_stale_public_address_is_not_taken_for_nat():
    cluster = plan_clusters.lab()
    observations = plan_clusters.observe(cluster, _plan.plan(cluster, {}, {})["candidates"], blocked=LAMBDA)

    def planned(*addresses):
        observations["lambda-gh200-9"]["addresses"] = ["127.0.0.1", "10.0.0.7", "100.64.0.15", "fe80::1", *addresses]
        return _plan.plan(cluster, observations, {})
    assert planned("198.51.100.9")["nat"]["lambda-gh200-9"] == {"declared": False, "observed": None, "asked": 21, "reached": 0, "moved": True}
    assert "lambda-gh200-9" not in planned("198.51.100.9")["edits"]
    # Its own address, or none that is public (a provider that translates): NAT.
    assert planned("203.0.113.15", "198.51.100.9")["nat"]["lambda-gh200-9"]["observed"] is True
    assert planned()["nat"]["lambda-gh200-9"]["observed"] is True


def test_a_relay_of_its_own_kind_or_without_a_public_address_is_never_chosen():
    cluster = plan_clusters.lab()
    cluster["hosts"]["hetzner-cpu3"]["nat_blocked"] = True
    cluster["hosts"]["nebius-backbone-1"]["relay_capable"] = False
    cluster["hosts"]["vultr-a100-40gb"]["public_address"] = None
    planned = _plan.plan(cluster, {}, {})
    used = {relay for pair in planned["relays"]["assignments"].values() for relay in pair}
    kept = {name for name, pair in planned["relays"]["previous"].items() if planned["relays"]["assignments"][name] == pair}
    used_by_others = {relay for name, pair in planned["relays"]["assignments"].items() if name not in kept for relay in pair}
    assert used_by_others
    assert not used_by_others & {"hetzner-cpu3", "nebius-backbone-1", "vultr-a100-40gb"}
    assert "vultr-a100-40gb" not in used


def test_a_relay_that_nobody_reaches_is_not_given_to_anyone():
    cluster = relays_of("nebius", "hetzner", "vultr")
    planned = plan_observed(cluster, dead=["203.0.113.2:8770"])
    assert {relay for pair in planned["relays"]["assignments"].values() for relay in pair} == {"nebius-0", "vultr-2"}


def test_a_relay_that_is_down_for_the_moment_keeps_its_clients():
    cluster = plan_clusters.lab()
    settled = plan_clusters.edited(cluster, seed_state()["edits"])
    planned = plan_observed(settled, blocked=LAMBDA, down=["hetzner-cpu3"])
    assert planned["relays"]["moved"] == []
    assert not [name for name, changes in planned["edits"].items() if "relay_primary" in changes or "relay_secondary" in changes]


def test_the_second_plan_has_nothing_left_to_write():
    cluster = plan_clusters.lab()
    first = seed_state()
    settled = plan_clusters.edited(cluster, first["edits"])
    second = plan_observed(settled, blocked=LAMBDA)
    assert second["edits"] == {}
    assert second["nodes"] == first["nodes"]
    assert second["relays"]["assignments"] == first["relays"]["assignments"]


def test_a_lost_relay_is_replaced_for_a_quarter_of_its_clients_a_run():
    cluster = relays_of("nebius", "hetzner", "vultr", clients=8)
    for number in range(8):
        cluster["hosts"]["vast-%d" % number].update(relays=["nebius-0", "gone-1"], entry={"relay_primary": "nebius-0", "relay_secondary": "gone-1"})
    planned = _plan.plan(cluster, {}, {})
    assert len(planned["relays"]["moved"]) == 2
    for name, pair in planned["relays"]["assignments"].items():
        assert pair[0] == "nebius-0"
        assert (pair[1] in ("hetzner-1", "vultr-2")) == (name in planned["relays"]["moved"])
    for _run in range(3):
        cluster = plan_clusters.edited(cluster, _plan.plan(cluster, {}, {})["edits"])
    final = _plan.plan(plan_clusters.edited(cluster, _plan.plan(cluster, {}, {})["edits"]), {}, {})
    assert final["edits"] == {}
    assert not any("gone-1" in pair for pair in final["relays"]["assignments"].values())


def test_a_client_without_any_working_relay_never_waits_for_its_turn():
    cluster = relays_of("nebius", "hetzner", clients=8)
    for number in range(8):
        cluster["hosts"]["vast-%d" % number].update(relays=["gone-1", "gone-2"], entry={"relay_primary": "gone-1", "relay_secondary": "gone-2"})
    planned = _plan.plan(cluster, {}, {})
    assert all(sorted(pair) == ["hetzner-1", "nebius-0"] for pair in planned["relays"]["assignments"].values())
    assert len(planned["edits"]) == 8


def test_a_third_relay_of_the_file_steps_in_and_is_not_named_twice():
    cluster = relays_of("nebius", "hetzner", clients=1)
    cluster["hosts"]["vast-0"].update(
        relays=["gone-1", "nebius-0", "hetzner-1"], entry={"relay_primary": "gone-1", "relay_secondary": "nebius-0", "relay_tertiary": "hetzner-1"})
    planned = _plan.plan(cluster, {}, {})
    assert planned["relays"]["assignments"]["vast-0"] == ["nebius-0", "hetzner-1"]
    assert planned["edits"]["vast-0"] == {
        "relay_primary": "nebius-0", "relay_secondary": "hetzner-1", "relay_tertiary": None, "force_relay_mode": True}


def test_shortage_says_how_many_and_which_and_add_relays_declares_them():
    cluster = relays_of("nebius", "hetzner", clients=40)
    spare = plan_clusters.host("vultr-9", public="203.0.113.90", relay_capable=None)
    refused = plan_clusters.host("vultr-8", public="203.0.113.91", relay_capable=False)
    cluster = plan_clusters.cluster(list(cluster["hosts"].values()) + [spare, refused])
    shortage = _plan.plan(cluster, {}, {})["relays"]["shortage"]
    assert shortage["missing"] == 2
    assert shortage["candidates"] == ["vultr-9"]
    assert "40 clients at 16 a relay need 4 relays" in shortage["reason"]

    more = plan_clusters.host("aws-7", public="203.0.113.92", relay_capable=None)
    cluster = plan_clusters.cluster(list(cluster["hosts"].values()) + [more])
    planned = _plan.plan(cluster, {}, {"add_relays": True})
    assert planned["relays"]["shortage"] is None
    assert planned["edits"]["vultr-9"] == planned["edits"]["aws-7"] == {"relay_capable": True}
    assert max(planned["relays"]["worst_load"].values()) <= 16
    assert _plan.plan(plan_clusters.edited(cluster, planned["edits"]), {}, {"add_relays": True})["edits"] == {}


def test_nodes_are_not_cut_off_because_nobody_declared_a_relay():
    cluster = relays_of("nebius", "hetzner", "vultr", clients=2, capable=None)
    planned = _plan.plan(cluster, {}, {})
    assert all(len(pair) == 2 for pair in planned["relays"]["assignments"].values())
    assert planned["relays"]["shortage"]["missing"] == 2
    assert "serve meanwhile without relay_capable" in planned["relays"]["shortage"]["reason"]
    assert not any("relay_capable" in changes for changes in planned["edits"].values())


def test_without_a_second_provider_there_is_one_relay_and_a_shortage():
    planned = _plan.plan(relays_of("nebius", "nebius", clients=2), {}, {})
    assert all(len(pair) == 1 for pair in planned["relays"]["assignments"].values())
    assert "relays of two providers are needed, there are 1" in planned["relays"]["shortage"]["reason"]


def test_without_clients_nothing_is_short():
    planned = _plan.plan(relays_of("nebius", clients=0), {}, {})
    assert planned["relays"]["shortage"] is None
    assert planned["relays"]["assignments"] == {}


def test_a_limited_run_writes_only_what_it_may_touch_and_keeps_the_rest():
    cluster = plan_clusters.lab()
    candidates = _plan.plan(cluster, {}, {})["candidates"]
    observations = plan_clusters.observe(cluster, candidates, blocked=LAMBDA, only=VAST)
    planned = _plan.plan(cluster, observations, {"touch": VAST, "add_relays": True})
    assert sorted(planned["edits"]) == sorted(VAST)
    assert planned["relays"]["assignments"]["lambda-gh200-8"] == []
    assert planned["relays"]["assignments"]["lambda-gh200-1"] == ["nebius-backbone-1", "hetzner-cpu3"]
    full = seed_state({"add_relays": True})
    assert all(planned["nodes"][name]["relays"] for name in VAST)
    assert set(planned["seeds"]["outside"]["addresses"]) == set(full["seeds"]["outside"]["addresses"])


def _works(cluster, client, relay):
    host = cluster["hosts"].get(relay)
    return bool(host and host["belongs"] and relay != client and host["public_address"] and not host["nat_blocked"] and not host["force_relay"]
                and not host["gateway_only"] and host["relay_capable"] is not False)


@settings(derandomize=True, max_examples=80, deadline=None)
@given(seed=st.integers(0, 2 ** 32), size=st.integers(1, 500), add_relays=st.booleans(), capacity=st.sampled_from([None, 1, 4, 40]))
def test_every_rule_holds_or_the_shortage_says_why_not(seed, size, add_relays, capacity):
    cluster = plan_clusters.generated(seed, size)
    options = {"add_relays": add_relays, "relay_capacity": capacity}
    relays = _plan.plan(cluster, {}, options)["relays"]
    limit = capacity or _plan_relays.DEFAULT_CAPACITY
    clients = [host for host in cluster["hosts"].values() if host["belongs"] and (
        host["nat_blocked"] or host["gateway_only"] or host["force_relay"] or not (host["public_address"] or host["overlay"]))]
    assert sorted(relays["assignments"]) == sorted(host["name"] for host in clients)
    late = 0
    for host in clients:
        name, pair = host["name"], relays["assignments"][host["name"]]
        previous = relays["previous"].get(name, [])
        good = len(pair) == 2 and all(_works(cluster, name, relay) for relay in pair) and len({cluster["hosts"][relay]["provider"] for relay in pair}) == 2
        if good:
            continue
        # Kept until its turn, because one of its relays works; or there is no better one, and that is said.
        if pair == previous and any(_works(cluster, name, relay) for relay in host["relays"]):
            late += 1
        else:
            assert relays["shortage"]
            assert len(pair) < 2
    allowed = max(1, len(clients) // 4)
    assert len(relays["moved"]) <= allowed
    assert not late or relays["shortage"] or len(relays["moved"]) == allowed
    assert relays["shortage"] or all(load <= limit for load in relays["worst_load"].values())
    for host in clients:
        previous = relays["previous"].get(host["name"], [])
        if len(previous) == 2 and all(_works(cluster, host["name"], relay) for relay in previous) and host["name"] not in relays["moved"]:
            assert sorted(relays["assignments"][host["name"]]) == sorted(previous)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(seed=st.integers(0, 2 ** 32), size=st.integers(1, 120), add_relays=st.booleans())
def test_plans_settle_and_then_stay(seed, size, add_relays):
    cluster = plan_clusters.generated(seed, size)
    for _run in range(10):
        planned = _plan.plan(cluster, {}, {"add_relays": add_relays})
        if not planned["edits"]:
            break
        cluster = plan_clusters.edited(cluster, planned["edits"])
    assert planned["edits"] == {}
    assert planned["relays"]["moved"] == []


@settings(derandomize=True, max_examples=40, deadline=None)
@given(seed=st.integers(0, 2 ** 32), size=st.integers(2, 200))
def test_the_load_of_a_dead_relay_falls_where_the_plan_says(seed, size):
    relays = _plan.plan(plan_clusters.generated(seed, size), {}, {})["relays"]
    for dead in relays["load"]:
        carried = dict.fromkeys(relays["load"], 0)
        for pair in relays["assignments"].values():
            heir = next((name for name in pair if name != dead), None)
            if heir in carried:
                carried[heir] += 1
        assert all(carried[name] <= relays["worst_load"][name] for name in carried if name != dead)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(seed=st.integers(0, 2 ** 32), size=st.integers(2, 200), add_relays=st.booleans())
def test_a_limited_run_never_reaches_beyond_its_limit(seed, size, add_relays):
    cluster = plan_clusters.generated(seed, size)
    touch = [name for number, name in enumerate(cluster["hosts"]) if (number + seed) % 3 == 0]
    planned = _plan.plan(cluster, {}, {"touch": touch, "add_relays": add_relays})
    assert set(planned["edits"]) <= set(touch)
    for name, pair in planned["relays"]["assignments"].items():
        if name not in touch:
            assert pair == planned["relays"]["previous"].get(name, [])


@settings(derandomize=True, max_examples=40, deadline=None)
@given(seed=st.integers(0, 2 ** 32), size=st.integers(2, 150))
def test_nobody_is_given_a_relay_that_was_tried_in_vain(seed, size):
    cluster = plan_clusters.generated(seed, size)
    candidates = _plan.plan(cluster, {}, {})["candidates"]
    dead = candidates[seed % 3::3]
    observations = plan_clusters.observe(cluster, candidates, dead=dead)
    relays = _plan.plan(cluster, observations, {})["relays"]
    tried = {address for name, item in observations.items() for address in item["candidates"] if address != _plan_reach.public(cluster["hosts"][name])}
    for name, pair in relays["assignments"].items():
        for relay in set(pair) - set(cluster["hosts"][name]["relays"]):
            assert _plan_reach.public(cluster["hosts"][relay]) not in tried.intersection(dead)
