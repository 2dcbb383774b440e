# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told about a run is what its tasks registered."""

from __future__ import annotations

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _changes

RUN = {"id": "r1", "finished": "2026-01-25T03:00:00Z", "user": "alice", "controller": "laptop", "check_mode": False}
GUARD = {"required": True, "allowed": False, "reason": "2 of 3 voters are alive", "asked": ["v2"], "answers": []}


def test_only_what_changed_is_told_and_each_thing_at_its_place():
    registered = {
        "v1": {
            "p2p_hosts_edited": {"changed": True, "changes": [
                {"host": "g1", "key": "role", "line": 3, "before": "coordinator", "after": "gpu_training_primary"},
                {"host": "g1", "key": "training_enabled", "line": 4, "before": None, "after": True}]},
            "orchestrator_configured": {"changed": False, "files": []},
        },
        "g1": {
            "orchestrator_configured": {"changed": True, "generation": "abc", "files": [
                {"path": "/etc/a", "action": "created"}, {"path": "/etc/b", "action": "unchanged"}]},
            "orchestrator_unlocked": {"changed": True, "locks": [{"path": "/tmp/p2p_a.lock", "action": "quarantined", "reason": "pid 7 is dead"},
                                                                 {"path": "/tmp/p2p.log", "action": "none", "reason": "not a lock"}]},
            "p2p_restarted": {"changed": True, "before": {"pid": None}, "after": {"pid": 9}, "joined_after": 3.2},
        },
        "g2": {"p2p_restarted": None},
    }
    assert _changes.changes(registered) == {
        "controller": ["hosts file, g1.role: coordinator → gpu_training_primary", "hosts file, g1.training_enabled: none → true"],
        "g1": ["wrote generation abc: /etc/a (created)",
               "quarantined /tmp/p2p_a.lock: pid 7 is dead", "started the orchestrator, joined after 3 s"],
    }


def test_the_audit_log_holds_the_run_each_act_and_each_guard():
    restarted = {"changed": False, "failed": True, "msg": "v1 is not stopped", "guard": GUARD, "before": {"pid": 5}, "after": {"pid": 5}}
    registered = {"v1": {"p2p_restarted": restarted}}
    log = _changes.events(registered, RUN, {"connected_before": 3})
    assert [item["event"] for item in log] == ["run", "guard", "act"]
    assert log[0]["connected_before"] == 3 and all(item["run"] == "r1" and item["user"] == "alice" for item in log)
    assert log[1]["answer"]["reason"] == "2 of 3 voters are alive" and log[1]["node"] == "v1"
    assert log[2]["failed"] == "v1 is not stopped" and log[2]["before"] == {"pid": 5} and log[2]["done"] == []


def test_a_run_that_did_nothing_has_one_event():
    assert [item["event"] for item in _changes.events({"v1": {name: None for name in _changes.REGISTERED}}, RUN, {})] == ["run"]


def test_rivals_are_told_as_held_off_and_put_back():
    def did(action):
        return {"changed": True, "rivals": [{"kind": "cron", "name": "p2p_keepalive.sh", "action": action}]}

    registered = {"v1": {"p2p_rivals_held": did("held"), "p2p_rivals_put_back": did("released"), "p2p_restarted": {"changed": True, "before": {"pid": 5}}},
                  "v2": {"p2p_rivals_disabled": did("disabled"), "p2p_rivals_put_back": did("restored")}}
    assert _changes.changes(registered) == {
        "v1": ["held off cron p2p_keepalive.sh", "restarted the orchestrator", "put back cron p2p_keepalive.sh"],
        "v2": ["disabled cron p2p_keepalive.sh", "put back cron p2p_keepalive.sh"]}
