# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each observation must and must not be called."""

from __future__ import annotations

import copy

import pytest

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _diagnosis, _findings, _report

NOW = 1_800_000_000.0
VOTERS = ["v1", "v2", "v3"]
NODES = [*VOTERS, "gpu1", "vast1"]


def view(name, leader="v1", moved=None):
    return {
        "observer": name, "answers": True, "error": None, "samples": 3, "window": 4.0,
        "role": "leader" if name == leader else "follower", "roles_seen": [], "leader_id": leader, "leaders_seen": [leader], "term": 3,
        "voter_node_ids": VOTERS, "voting": None, "election_fault": None,
        "nat_blocked": False, "relay_via": None, "capabilities": [], "version": "1", "lag_ms": 2.0, "uptime_seconds": 900.0,
        "peers": {other: {"moved": True if moved is None else other in moved} for other in NODES if other != name},
    }


def observation(name, **changes):
    base = {
        "node_id": name, "time": NOW, "identity": {"effective": name, "source": "/etc/ringrift/node-id"}, "locks": [],
        "processes": [{"pid": 10, "ppid": 1, "kind": "orchestrator", "started_at": NOW - 900, "argv": ["python3", "scripts/p2p_orchestrator.py"]}],
        "rivals": [], "service": {"active": True, "log": []}, "orchestrator": {"kind": "embedded", "release": "r1"}, "start_mechanisms": [],
        "seeds": {"effective": ["203.0.113.1:8770", "100.64.0.1:8770"]}, "candidates": {},
        "files": {"/etc/ringrift/node.conf": {"exists": True, "sha256": "aa"}},
        "running": {"pid": 10, "generation": "g1", "argv": []}, "view": view(name), "health": {"node_id": name}, "health_error": None,
        "coordinator_environment": [], "token": {"configured": True, "fingerprint": "f"}, "clock_offset": 0.1, "disk": {"path": "/", "free_percent": 50.0},
    }
    base.update(changes)
    return base


def down(name, **changes):
    return observation(name, **{"view": None, "health": None, "health_error": "connection refused", "processes": [], "running": {}, **changes})


def cluster():
    return {
        "hosts": {name: {"name": name, "belongs": True, "discrete_gpu": name in ("gpu1", "vast1"), "voter": name in VOTERS} for name in NODES},
        "voters": VOTERS, "coordinators": ["v1"], "protocols": {}, "findings": [],
    }


def plan(**nodes):
    names = {name: {"class": "outside" if name == "vast1" else "overlay", "relays": [], "coordinator": False} for name in NODES}
    for name, change in nodes.items():
        names[name].update(change)
    return {"seeds": {}, "relays": {"shortage": None}, "nodes": names}


def targets():
    return {name: {"files": {"/etc/ringrift/node.conf": "aa"}, "generation": "g1", "release": "r1"} for name in NODES}


def diagnose(changed=None, the_plan=None, the_cluster=None, **settings):
    observations = {name: observation(name) for name in NODES}
    observations.update(changed or {})
    return _diagnosis.diagnose(the_cluster or cluster(), the_plan or plan(), observations, {"targets": targets(), **settings})


def codes(result, node):
    return [item["code"] for item in result["findings"] if item["node"] == node]


def test_a_healthy_cluster_has_no_findings_and_no_work():
    result = diagnose()
    assert result["findings"] == [] and result["healthy"] and result["problems"] == []
    assert result["work"] == {"configure": [], "restart": [], "down": [], "forced": []}
    assert result["state"]["connected"] == 5 and result["state"]["leader"] == "v1"


def test_a_node_down_on_a_stale_lock_is_configured_and_started():
    lock = {"path": "/tmp/p2p_x.lock", "verdict": "stale", "reason": "pid 7 is dead"}
    result = diagnose({"gpu1": down("gpu1", locks=[lock])})
    assert codes(result, "gpu1") == ["SERVICE_DOWN", "STALE_LOCK"]
    assert result["work"] == {"configure": ["gpu1"], "restart": ["gpu1"], "down": ["gpu1"], "forced": []}
    assert any("gpu1 is not connected" in item for item in result["problems"])


@pytest.mark.parametrize(("age", "severity", "restarted"), [(20.0, "low", []), (900.0, "critical", ["gpu1"])])
def test_a_silent_process_is_judged_only_after_the_grace(age, severity, restarted):
    process = {"pid": 10, "ppid": 1, "kind": "orchestrator", "started_at": NOW - age, "argv": []}
    result = diagnose({"gpu1": down("gpu1", processes=[process])})
    found = [item for item in result["findings"] if item["code"] == "SERVICE_HUNG"]
    assert [item["severity"] for item in found] == [severity]
    assert result["work"]["restart"] == restarted and result["work"]["down"] == []


def test_locks_that_cannot_be_decided_are_reported_and_not_acted_on():
    result = diagnose({"gpu1": observation("gpu1", locks=[{"path": "/tmp/p2p_x.pid", "verdict": "foreign", "reason": "another PID namespace"}])})
    assert codes(result, "gpu1") == ["LOCK_UNDECIDED"] and result["work"]["configure"] == [] and result["healthy"]


def test_overlay_seeds_are_a_fault_only_outside_the_overlay():
    seeds = {"effective": ["100.64.0.1:8770", "100.64.0.2:8770"]}
    result = diagnose({"vast1": observation("vast1", seeds=seeds), "gpu1": observation("gpu1", seeds=seeds)})
    assert codes(result, "vast1") == ["SEEDS_OVERLAY_ONLY"] and codes(result, "gpu1") == []


def test_a_public_seed_behind_five_dead_ones_still_counts_but_the_seventh_does_not():
    dead = ["203.0.113.%d:8770" % number for number in range(10, 15)]
    tried = {address: {"health": False, "error": "timed out"} for address in dead} | {"203.0.113.1:8770": {"health": True}}
    seeds = {"effective": [*dead, "203.0.113.1:8770"]}
    assert codes(diagnose({"vast1": observation("vast1", seeds=seeds, candidates=tried)}), "vast1") == []
    sixth = "203.0.113.15:8770"
    seeds = {"effective": [*dead, sixth, "203.0.113.1:8770"]}
    changed = {"vast1": observation("vast1", seeds=seeds, candidates={**tried, sixth: {"health": False}})}
    result = diagnose(changed, plan(vast1={"peers": ["203.0.113.1:8770"]}))
    assert codes(result, "vast1") == ["SEEDS_UNREACHABLE"] and result["work"]["configure"] == ["vast1"]
    assert diagnose(changed, plan(vast1={"peers": dead}))["work"]["configure"] == []


def test_coordinator_environment_on_a_gpu_node_is_named_with_its_place():
    places = [{"location": "/root/ringrift/ai-service/.env.local", "line": 3, "value": "true", "effective": True}]
    result = diagnose({"gpu1": observation("gpu1", coordinator_environment=places)})
    assert codes(result, "gpu1") == ["COORDINATOR_ENV"]
    assert ".env.local:3" in result["findings"][0]["evidence"][0] and result["work"]["configure"] == ["gpu1"]


def test_on_the_field_software_the_one_coordinator_must_carry_the_variable():
    field = {"kind": "field"}
    places = [{"location": "/etc/ringrift/node.conf", "line": 1, "value": "true", "effective": True}]
    changed = {name: observation(name, orchestrator=field) for name in NODES}
    for settings in targets().values():
        settings.pop("release")
    wanted = {name: {key: value for key, value in item.items() if key != "release"} for name, item in targets().items()}
    result = diagnose(changed, plan(v1={"coordinator": True}), targets=wanted)
    assert codes(result, "v1") == ["COORDINATOR_ENV"]
    changed.update({name: observation(name, orchestrator=field, coordinator_environment=places) for name in ("v1", "v2")})
    result = diagnose(changed, plan(v1={"coordinator": True}), targets=wanted)
    assert codes(result, "v1") == [] and codes(result, "v2") == ["COORDINATOR_ENV"]


def test_a_node_with_planned_relays_must_use_one():
    wanted = plan(gpu1={"relays": ["v1", "v2"]})
    assert codes(diagnose(the_plan=wanted), "gpu1") == ["NAT_WITHOUT_RELAY"]
    using = observation("gpu1", view={**view("gpu1"), "relay_via": "v1"})
    assert codes(diagnose({"gpu1": using}, wanted), "gpu1") == []


def test_drift_and_pending_restart_are_told_apart():
    drifted = observation("gpu1", files={"/etc/ringrift/node.conf": {"exists": True, "sha256": "bb"}}, running={"pid": 10, "generation": "g0", "argv": []})
    result = diagnose({"gpu1": drifted})
    assert codes(result, "gpu1") == ["CONFIG_DRIFT"] and result["work"]["restart"] == ["gpu1"]
    pending = observation("gpu1", running={"pid": 10, "generation": "g0", "argv": []})
    result = diagnose({"gpu1": pending})
    assert codes(result, "gpu1") == ["RESTART_PENDING"] and result["work"] == {"configure": [], "restart": ["gpu1"], "down": [], "forced": []}


def test_the_nodes_copy_of_the_hosts_file_is_compared_wherever_it_lies():
    path = "/root/ringrift/ai-service/config/distributed_hosts.yaml"
    wanted = targets()
    wanted["gpu1"]["files"] = {path: "new"}
    old = observation("gpu1", hosts_file={"path": path, "exists": True, "sha256": "old"})
    assert codes(diagnose({"gpu1": old}, targets=wanted), "gpu1") == ["CONFIG_DRIFT"]
    new = observation("gpu1", hosts_file={"path": path, "exists": True, "sha256": "new"})
    assert codes(diagnose({"gpu1": new}, targets=wanted), "gpu1") == []


def test_observed_nat_that_the_file_does_not_know_is_a_contradiction():
    the_plan = plan()
    the_plan["nat"] = {"gpu1": {"declared": False, "observed": True, "asked": 4, "reached": 0},
                       "v1": {"declared": True, "observed": False, "asked": 3, "reached": 3}, "v2": {"declared": True, "observed": True}}
    result = diagnose(the_plan=the_plan)
    assert codes(result, "gpu1") == codes(result, "v1") == ["FILE_CONTRADICTION"] and codes(result, "v2") == []


def test_a_node_that_nobody_sees_is_not_connected():
    others = {name: observation(name, view=view(name, moved=set(NODES) - {"vast1"})) for name in NODES}
    result = diagnose(others)
    assert codes(result, "vast1") == ["NOT_CONNECTED"] and result["state"]["connected"] == 4
    assert result["work"]["restart"] == ["vast1"] and result["work"]["forced"] == ["vast1"]


def test_a_node_that_has_just_started_is_not_restarted_for_not_having_joined():
    young = [{"pid": 10, "ppid": 1, "kind": "orchestrator", "started_at": NOW - 30, "argv": []}]
    others = {name: observation(name, view=view(name, moved=set(NODES) - {"vast1"})) for name in NODES}
    others["vast1"]["processes"] = young
    assert diagnose(others)["work"]["restart"] == []


def test_duplicate_processes_but_not_an_orchestrators_own_children():
    first = {"pid": 10, "ppid": 1, "kind": "orchestrator", "started_at": NOW - 900, "argv": ["a"]}
    child = {"pid": 11, "ppid": 10, "kind": "orchestrator", "started_at": NOW - 900, "argv": ["a"]}
    second = {"pid": 12, "ppid": 1, "kind": "orchestrator", "started_at": NOW - 900, "argv": ["b"]}
    assert codes(diagnose({"gpu1": observation("gpu1", processes=[first, child])}), "gpu1") == []
    result = diagnose({"gpu1": observation("gpu1", processes=[first, child, second])})
    assert codes(result, "gpu1") == ["DUPLICATE_PROCESS"] and result["work"]["restart"] == ["gpu1"]


def test_rivals_are_repaired_only_where_the_operator_said_so():
    rival = [{"kind": "cron", "name": "p2p_keepalive.sh", "location": "/etc/cron.d/p2p", "line": 2, "active": True}]
    result = diagnose({"gpu1": observation("gpu1", rivals=rival)})
    assert not result["findings"][0]["repairable"] and result["healthy"] and result["work"]["configure"] == []
    result = diagnose({"gpu1": observation("gpu1", rivals=rival)}, disable_rivals=True)
    assert result["findings"][0]["repairable"] and result["work"]["configure"] == ["gpu1"] and not result["healthy"]


def test_what_a_dead_run_has_held_off_is_no_rival():
    left = [{"kind": "cron", "name": "p2p_keepalive.sh", "location": "/etc/cron.d/p2p", "line": 2, "active": False, "held": True}]
    result = diagnose({"gpu1": observation("gpu1", rivals=left)}, disable_rivals=True)
    assert codes(result, "gpu1") == [] and result["healthy"]


def test_a_token_on_some_nodes_only_splits_the_cluster():
    result = diagnose({"gpu1": observation("gpu1", token={"configured": False, "fingerprint": None})})
    assert codes(result, None) == ["TOKEN_MISMATCH"] and "gpu1" in result["findings"][0]["evidence"][1]


def test_limits_of_lag_clock_and_disk():
    bad = observation("gpu1", view={**view("gpu1"), "lag_ms": 4000.0}, clock_offset=-30.0, disk={"path": "/", "free_percent": 1.0})
    assert sorted(codes(diagnose({"gpu1": bad}), "gpu1")) == ["CLOCK_SKEW", "DISK_LOW", "LOOP_BLOCKED"]


def test_dangerous_engines_are_named():
    field = {"kind": "field", "engines": {"pysyncobj": "0.3.14", "swim_transport": "tcp"}}
    unsafe = observation("v2", orchestrator=field, service={"watchdog": True, "notify": False, "name": "ringrift-p2p"},
                         start_mechanisms=[{"kind": "unit", "name": "a", "location": "/etc/systemd/system/a.service", "active": True},
                                           {"kind": "cron", "name": "b", "location": "/etc/cron.d/b", "active": True}])
    the_cluster = {**cluster(), "protocols": {"raft": True, "swim": True}}
    wanted = {name: {**item, "release": None} for name, item in targets().items()}
    result = _diagnosis.diagnose(the_cluster, plan(), {**{name: observation(name) for name in NODES}, "v2": unsafe}, {"targets": wanted})
    evidence = [item["evidence"] for item in result["findings"] if item["code"] == "ENGINE_UNSAFE"]
    assert len(evidence) == 1 and len(evidence[0]) == 4


def test_quorum_counts_the_files_voters_whatever_the_scope():
    views = {name: view(name) for name in VOTERS}
    result = _diagnosis.diagnose(cluster(), plan(), {"vast1": observation("vast1")}, {"scope": ["vast1"], "views": views, "targets": targets()})
    assert result["state"]["quorum"] == {"voters": 3, "alive": 3, "alive_ids": VOTERS, "majority": 2, "ok": True}
    assert result["healthy"]


def test_an_unreachable_voter_never_counts_as_alive():
    result = _diagnosis.diagnose(cluster(), plan(), {name: observation(name) for name in NODES if name != "v3"},
                                 {"unreachable": {"v3": "timed out"}, "targets": targets()})
    assert result["state"]["quorum"]["alive"] == 2 and codes(result, "v3") == ["UNREACHABLE"]
    assert "QUORUM_AT_RISK" in codes(result, None) and "v3" not in result["work"]["restart"]


def test_a_voter_that_does_not_vote_is_named_and_counts_as_down():
    idle = observation("v3", view={**view("v3"), "voting": False, "election_fault": "election.journal is lost"})
    result = diagnose({"v3": idle, "gpu1": observation("gpu1", view={**view("gpu1"), "voting": False})})
    assert codes(result, "v3") == ["VOTER_NOT_VOTING"] and codes(result, "gpu1") == [] and codes(result, None) == ["QUORUM_AT_RISK"]
    assert result["state"]["connected"] == len(NODES) and result["state"]["quorum"]["alive_ids"] == ["v1", "v2"]
    assert [item["evidence"] for item in result["findings"] if item["code"] == "VOTER_NOT_VOTING"] == [["election.journal is lost"]]


def test_no_majority_is_critical_and_a_problem():
    result = diagnose({name: down(name) for name in ("v2", "v3")})
    assert [item["severity"] for item in result["findings"] if item["code"] == "QUORUM_AT_RISK"] == ["critical"]
    assert any(item.startswith("no majority: 1 of 3") for item in result["problems"])


def test_seed_findings_come_from_the_plan():
    the_plan = plan()
    the_plan["seeds"] = {"outside": {"left_out": [{"address": "203.0.113.9:8770", "reason": "timed out", "tried_by": ["vast1"]}], "refused": "only 1 answers"}}
    the_plan["relays"] = {"shortage": {"missing": 1, "candidates": ["v2"], "reason": "no second provider"}}
    assert sorted(codes(diagnose(the_plan=the_plan), None)) == ["RELAY_SHORTAGE", "SEEDS_REFUSED", "SEED_DEAD"]


def test_nothing_is_written_to_a_node_whose_seeds_were_refused():
    drifted = {name: observation(name, files={}) for name in ("gpu1", "vast1")}
    result = diagnose(drifted, plan(vast1={"seeds_refused": "only 1 answers"}))
    assert result["work"]["configure"] == ["gpu1"] and "CONFIG_DRIFT" in codes(result, "vast1")


def test_refused_seeds_are_an_error_of_the_run_that_was_to_write_them():
    refused = plan(vast1={"seeds_refused": "only 1 answers"})
    assert diagnose(the_plan=refused)["problems"] == ["no seeds were written: only 1 answers"]
    assert diagnose(the_plan=refused, scope=["v1", "gpu1"])["problems"] == []


def test_every_code_of_the_catalogue_is_whole():
    for code, entry in _findings.CATALOGUE.items():
        assert entry.severity in _findings.SEVERITIES and entry.summary and entry.remedy, code
        assert not entry.summary.endswith(".") and entry.remedy.endswith("."), code


def test_the_report_tells_before_after_and_why_not():
    before = diagnose({"gpu1": down("gpu1")})
    after = diagnose()
    run = {"id": "r", "started": "a", "finished": "b", "user": "u", "controller": "c", "check_mode": False}
    report = _report.build(before, after, {"gpu1": ["started"]}, run)
    assert report["reached"] and report["before"]["connected"] == 4 and report["after"]["connected"] == 5
    assert report["after"]["quorum"] == {"voters": 3, "alive": 3, "majority": 2, "ok": True}
    assert report["before"]["nodes"]["gpu1"] == {"connected": False, "findings": ["SERVICE_DOWN"]}
    page = _report.as_markdown(report)
    assert "| gpu1 | **out** | SERVICE_DOWN | connected | – | started |" in page and "The cluster is healthy" in page
    failed = _report.build(before, None, {}, run, ["the guard refused to stop v2"])
    assert not failed["reached"] and failed["problems"][0] == "the guard refused to stop v2" and not failed["verified"]
    assert "NOT REACHED:" in _report.as_lines(failed)
    back = _report.build(after, before, {"gpu1": ["took back generation g1"]}, {**run, "rollback": True})
    assert back["reached"] and "The nodes went back one generation." in _report.as_lines(back)


def test_what_is_wrong_with_the_file_is_told_with_its_place():
    result = diagnose()
    result["findings"] = [
        _findings.make("VOTER_UNFIT", "x", ["hosts.yaml, line 1: p2p_voters"], summary="The voter 'x' is no host of this file"),
        _findings.make("STALE_LOCK", "y", ["/tmp/lock: its owner is dead", "/tmp/other: so is this one's"]), _findings.make("SERVICE_DOWN", "z"),
    ]
    lines, page = _report.diagnosis_lines(result), _report.as_markdown(_report.build(result, None, {}, {"id": "1"}))
    assert any(line.endswith("The voter 'x' is no host of this file (hosts.yaml, line 1: p2p_voters)") for line in lines)
    assert any(line.endswith(" /tmp/lock: its owner is dead") for line in lines)
    assert any(line.endswith(" " + _findings.CATALOGUE["SERVICE_DOWN"].summary) for line in lines)
    assert "| The voter 'x' is no host of this file; hosts.yaml, line 1: p2p_voters |" in page
    assert "| /tmp/lock: its owner is dead; /tmp/other: so is this one's |" in page


def test_diagnosis_does_not_change_what_it_is_given():
    observations = {name: observation(name) for name in NODES}
    kept = copy.deepcopy(observations)
    _diagnosis.diagnose(cluster(), plan(), observations, {"targets": targets()})
    assert observations == kept
