# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json

import pytest

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _plan, _plan_reach
from ansible_collections.ringrift.p2p.tests.unit.plugins.plugin_utils import plan_clusters

LAMBDA = ["lambda-gh200-%d" % index for index in (1, 2, 3, 5, 8, 9, 10, 11)]
PINNED = {"pinned_seeds": plan_clusters.LAB_PINNED}


def test_the_plan_is_plain_data_and_leaves_its_input_alone():
    cluster = plan_clusters.lab()
    before = copy.deepcopy(cluster)
    planned = _plan.plan(cluster, {}, PINNED)
    assert json.loads(json.dumps(planned)) == planned
    assert cluster == before
    assert set(planned) >= {"seeds", "relays", "candidates", "nodes", "edits", "restarts"}
    assert set(planned["nodes"]["hetzner-cpu1"]) >= {
        "class", "peers", "relay_peers", "relays", "force_relay", "nat_blocked", "prefer_public", "advertise_host", "coordinator", "hosts_digest"}


def test_only_nodes_that_belong_are_planned_for():
    cluster = plan_clusters.lab()
    cluster["hosts"]["nebius-h100-1"].update(belongs=False, excluded_reason="status retired")
    planned = _plan.plan(cluster, {}, {})
    assert len(planned["nodes"]) == 21
    assert "nebius-h100-1" not in planned["nodes"]
    assert "nebius-h100-1" not in planned["restarts"]["order"]


def test_a_seed_never_dials_itself_but_has_as_many_peers():
    planned = _plan.plan(plan_clusters.lab(), {}, PINNED)
    peers = planned["nodes"]["hetzner-cpu1"]["peers"]
    assert len(peers) == 6
    assert not {"203.0.113.40:8770", "100.64.0.40:8770"} & set(peers)
    assert peers[:2] == ["203.0.113.60:8770", "203.0.113.51:8770"]


def test_every_node_tries_seeds_relays_and_those_whose_nat_state_is_open():
    cluster = plan_clusters.lab()
    candidates = _plan.plan(cluster, {}, PINNED)["candidates"]
    assert candidates[:3] == [item["address"] for item in plan_clusters.LAB_PINNED]
    assert "203.0.113.53:8770" in candidates
    # The file is silent about lambda-gh200-9; those that it calls NAT-blocked would only cost time.
    assert {"203.0.113.15:8770", "100.64.0.15:8770"} <= set(candidates)
    assert not {"203.0.113.10:8770", "100.64.0.10:8770"} & set(candidates)
    assert len(_plan.plan(plan_clusters.generated(3, 500), {}, {})["candidates"]) <= _plan.CANDIDATES_LIMIT


def test_what_can_be_dialled_is_advertised():
    planned = _plan.plan(plan_clusters.lab(), {}, {})
    advertised = {name: (node["advertise_host"], node["prefer_public"]) for name, node in planned["nodes"].items()}
    assert advertised["hetzner-cpu1"] == ("203.0.113.40", True)
    assert advertised["lambda-gh200-1"] == ("100.64.0.10", False)
    assert advertised["vast-30274241"] == (None, True)


def test_exactly_one_voter_may_start_elections():
    cluster = plan_clusters.lab()
    assert [name for name, node in _plan.plan(cluster, {}, {})["nodes"].items() if node["coordinator"]] == ["hetzner-cpu1"]
    cluster["coordinators"] = []
    cluster["hosts"]["hetzner-cpu1"]["coordinator"] = False
    (chosen,) = [name for name, node in _plan.plan(cluster, {}, {})["nodes"].items() if node["coordinator"]]
    assert chosen in cluster["voters"]
    assert not cluster["hosts"][chosen]["discrete_gpu"]


@pytest.mark.parametrize("gpu_role, role", [
    (None, "gpu_training_primary"), ("gpu_selfplay", "gpu_selfplay"), ({"80": "nn_training_primary", "0": "gpu_selfplay"}, "gpu_selfplay"),
    ({"40": "nn_training_primary", "80": "gpu_training"}, "nn_training_primary"), ({"80": "nn_training_primary"}, "gpu_training_primary")])
def test_gpu_nodes_get_the_role_that_is_asked_for(gpu_role, role):
    cluster = plan_clusters.lab()
    cluster["hosts"]["nebius-l40s-1"]["gpu_vram_gb"] = 48
    edits = _plan.plan(cluster, {}, {"gpu_role": gpu_role})["edits"]
    assert edits["nebius-l40s-1"] == {"role": role, "training_enabled": True}
    assert "nebius-l40s-1" not in _plan.plan(cluster, {}, {"gpu_role": gpu_role, "touch": ["hetzner-cpu1"]})["edits"]


def test_the_digest_tells_what_of_the_file_a_restart_depends_on():
    cluster = plan_clusters.lab()
    base = {name: node["hosts_digest"] for name, node in _plan.plan(cluster, {}, {})["nodes"].items()}
    changed = copy.deepcopy(cluster)
    changed["hosts"]["runpod-a100-1"]["entry"]["selfplay_enabled"] = True
    after = {name: node["hosts_digest"] for name, node in _plan.plan(changed, {}, {})["nodes"].items()}
    assert [name for name in base if base[name] != after[name]] == ["runpod-a100-1"]
    changed = dict(cluster, voters=cluster["voters"][1:])
    after = {name: node["hosts_digest"] for name, node in _plan.plan(changed, {}, {})["nodes"].items()}
    assert all(base[name] != after[name] for name in base)


def test_the_digest_counts_the_edits_before_they_are_written():
    cluster = plan_clusters.lab()
    first = _plan.plan(cluster, {}, {})
    second = _plan.plan(plan_clusters.edited(cluster, first["edits"]), {}, {})
    assert {name: node["hosts_digest"] for name, node in first["nodes"].items()} == {name: node["hosts_digest"] for name, node in second["nodes"].items()}


def test_the_plain_order_of_restarts_uses_what_was_observed():
    cluster = plan_clusters.lab()
    down = ["lambda-gh200-2", "lambda-gh200-5", "lambda-gh200-11"]
    observations = plan_clusters.observe(cluster, _plan.plan(cluster, {}, PINNED)["candidates"], blocked=LAMBDA, down=down)
    restarts = _plan.plan(cluster, observations, PINNED)["restarts"]
    assert sorted(restarts["waves"][0]) == sorted(down)
    assert restarts["order"][-1] == "hetzner-cpu1"
    assert restarts["voters"] == restarts["order"][-5:]
    assert sorted(restarts["order"]) == sorted(cluster["hosts"])


def test_all_faults_of_the_settings_are_named_at_once():
    with pytest.raises(_plan.PlanError) as caught:
        _plan.plan(plan_clusters.lab(), {}, {
            "pinned_seeds": ["203.0.113.60", {"address": "203.0.113.60:99999"}, {"address": "fe80::1:8770"}, {"node": "x"}, {"address": "a b:1"}],
            "seeds_count": 7, "batch_percent": "many", "relay_capacity": 0, "gpu_role": {"big": "x"}, "touch": "vast"})
    assert len(caught.value.faults) == 10
    for place in ("pinned_seeds[0].address", "pinned_seeds[3].address", "seeds_count", "batch_percent", "relay_capacity", "gpu_role['big']", "touch"):
        assert place in str(caught.value)


def test_numbers_may_come_as_text_from_the_command_line():
    checked = _plan.check_settings({"seeds_count": "5", "batch_percent": "50", "add_relays": "true"})
    assert (checked.seeds_count, checked.batch_percent, checked.add_relays, checked.relay_capacity) == (5, 50, True, None)
    assert _plan.check_settings({"add_relays": False}).add_relays is False


def test_observations_with_holes_are_no_obstacle():
    cluster = plan_clusters.lab()
    observations = {"hetzner-cpu1": {}, "hetzner-cpu2": {"candidates": None, "view": None, "health": None}, "stranger": {"candidates": {}},
                    "nebius-h100-1": {"candidates": {"203.0.113.40:8770": None}}, "vultr-a100-20gb": None}
    assert _plan.plan(cluster, observations, PINNED)["seeds"]["outside"]["basis"] == "file"


@pytest.mark.parametrize("text, expected", [
    ("203.0.113.1:8770", ("203.0.113.1", 8770)), ("[2001:db8::1]:1", ("2001:db8::1", 1)), ("node.example.:8770", ("node.example.", 8770))])
def test_addresses_are_taken_apart_and_joined(text, expected):
    assert _plan_reach.split_address(text) == expected
    assert _plan_reach.join_address(*expected) == text
