# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stages that act on nodes, run by the real Ansible with modules that only note what they are asked and answer as a scene tells them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: ringrift.p2p.p2p
        tasks_from: "{{ stage }}"
      loop: "{{ stages }}"
      loop_control:
        loop_var: stage
"""
STANDIN = '''#!%s
"""WANT_JSON: notes what it is asked, and answers as the scene says."""
import fcntl, json, os, sys
with open(sys.argv[1]) as stream:
    asked = json.load(stream)
folder = %r
name = %r
node = os.environ["STANDIN_NODE"]
with open(os.path.join(folder, "log"), "a") as stream:
    fcntl.flock(stream, fcntl.LOCK_EX)
    given = {key: value for key, value in asked.items() if not key.startswith("_ansible")}
    stream.write(json.dumps([node, name, given, bool(asked.get("_ansible_check_mode"))]) + "\\n")
with open(os.path.join(folder, "scene.json")) as stream:
    scene = json.load(stream)
answers = scene.get(name, {})
answer = dict({"changed": True}, **answers.get("*", {}))
answer.update(answers.get(node, {}))
answer.update(answers.get(node + " " + str(asked.get("state")), {}))
print(json.dumps(answer))
'''
PROVIDER = """---
- name: Write the generation
  ringrift.p2p.node_config:
    state: present
  register: orchestrator_configured
"""
HOSTS = """hosts:
  a: {ssh_host: 192.0.2.1, p2p_voter: true, role: coordinator}
  b: {ssh_host: 192.0.2.2, p2p_voter: true, role: coordinator}
  c: {ssh_host: 192.0.2.3, p2p_voter: true, role: coordinator}
"""
REPLACED = ("cluster_health", "orchestrator_service", "orchestrator_processes", "restart_lease", "node_config", "rival_managers", "node_info")


class Stages:
    """A copy of the collection whose modules are stand-ins; calling it runs stages for nodes."""

    def __init__(self, folder):
        self.folder = folder
        collection = folder / "collections" / "ansible_collections" / "ringrift" / "p2p"
        (collection / "plugins" / "modules").mkdir(parents=True)
        (collection / "plugins" / "action").mkdir()
        for path in ROOT.iterdir():
            if path.name in ("meta", "galaxy.yml"):
                (collection / path.name).symlink_to(path)
        (collection / "roles" / "hetzner" / "tasks").mkdir(parents=True)
        (collection / "roles" / "hetzner" / "tasks" / "main.yml").write_text(PROVIDER, encoding="utf-8")
        (collection / "roles" / "p2p").symlink_to(ROOT / "roles" / "p2p")
        (folder / "hosts.yaml").write_text(HOSTS, encoding="utf-8")
        for path in (ROOT / "plugins").iterdir():
            if path.name not in ("modules", "action"):
                (collection / "plugins" / path.name).symlink_to(path)
        for kind in ("modules", "action"):
            for path in (ROOT / "plugins" / kind).glob("*.py"):
                if path.stem not in REPLACED:
                    (collection / "plugins" / kind / path.name).symlink_to(path)
        for name in REPLACED:
            (collection / "plugins" / "modules" / (name + ".py")).write_text(STANDIN % (sys.executable, str(folder), name), encoding="utf-8")

    def __call__(self, stages, nodes, scene, check=False, **variables):
        """Run them; gives what ran and the calls in order as [node, module, arguments, check mode]."""
        (self.folder / "log").write_text("")
        (self.folder / "scene.json").write_text(json.dumps(scene))
        members = {name: {"p2p_provider": "hetzner", "p2p_port": 8770} for name in nodes}
        shared = {
            "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False, "stages": stages,
            "orchestrator_generation": "new", "p2p_run": {"id": "r1"},
            "p2p_hosts_file": str(self.folder / "hosts.yaml"), "p2p_candidates": [], "p2p_path": "", "p2p_host": {},
            "orchestrator_wanted": {"files": [{"path": "/etc/ringrift/node.conf"}], "remove": ["/etc/old"]}, "p2p_lease_path": str(self.folder / "lease"),
            "orchestrator_service": {"name": "ringrift-p2p", "manager": "systemd", "supervisor_command": [], "supervisor_start_command": [], "port": 8770},
            **variables}
        (self.folder / "inventory.json").write_text(json.dumps({"all": {"hosts": members, "vars": shared}}), encoding="utf-8")
        (self.folder / "play.yml").write_text(PLAY.replace("gather_facts: false", "gather_facts: false\n  environment:\n    STANDIN_NODE: "
                                                           "\"{{ inventory_hostname }}\""), encoding="utf-8")
        (self.folder / "none.cfg").write_text("", encoding="utf-8")
        environment = dict(os.environ, ANSIBLE_CONFIG=str(self.folder / "none.cfg"), ANSIBLE_COLLECTIONS_PATH=str(self.folder / "collections"),
                           ANSIBLE_FORKS="2", ANSIBLE_LOCAL_TEMP=str(self.folder / "tmp"), ANSIBLE_INVENTORY_ENABLED="yaml")
        words = [sys.executable, "-m", "ansible", "playbook", "-i", str(self.folder / "inventory.json"), str(self.folder / "play.yml")]
        done = subprocess.run(words + (["--check"] if check else []), cwd=str(self.folder), env=environment, capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL)
        return done, [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]


@pytest.fixture
def play(tmp_path):
    return Stages(tmp_path)


def judged(nodes, voters, leader, **work):
    """What observation and diagnosis hand to the stages."""
    hosts = {name: {"belongs": True, "public_address": "192.0.2.%d" % number, "port": 8770} for number, name in enumerate(nodes, 1)}
    return {
        "p2p_cluster": {"hosts": hosts, "voters": voters}, "p2p_plan": {"relays": {}, "seeds": {}, "edits": {}, "nodes": {}},
        "p2p_before": {
            "work": dict({"configure": [], "restart": list(nodes), "forced": [], "down": []}, **work), "problems": [],
            "nodes": {name: {"connected": True, "findings": []} for name in nodes},
            "state": {"leader": leader, "leader_agreed": True, "quorum": {"ok": True, "majority": len(voters) // 2 + 1, "alive_ids": voters},
                      "nodes": {name: {"answers": True, "connected": True} for name in nodes}}},
    }


def acts(calls, module="orchestrator_service"):
    return [node for node, name, unused_given, unused_check in calls if name == module]


LEASES = {"*": {"changed": False, "held": True, "run_id": "r1"}}
BACK = {"changed": True, "previous": "old", "generation": "older", "joined_after": 1.0}


@pytest.mark.parametrize("stage", ["restart", "rollback"])
def test_the_order_follows_the_leader(play, stage):
    nodes = ["a", "b", "c", "w"]
    scene = {
        "restart_lease": LEASES, "node_config": {"*": BACK}, "rival_managers": {"*": {"rivals": []}},
        # Whoever has just joined tells who leads by then: first b, which was to be the next one, then a again.
        "orchestrator_service": {"*": {"joined_after": 1.0}, "w": {"leader": None}, "a": {"leader": "b"}, "c": {"leader": "b"}, "b": {"leader": "a"}},
    }
    given = dict(judged(nodes, ["a", "b", "c"], "c"), p2p_observed={"observation": {"rivals": []}})
    done, calls = play([stage], nodes, scene, **given)
    assert done.returncode == 0, done.stdout + done.stderr
    # Planned: w, a, b and c last, which led. After a it is b that leads.
    assert acts(calls) == ["w", "a", "c", "b"]


def test_the_run_ends_at_the_voter_that_does_not_come_back_whoever_leads(play):
    nodes = ["a", "b", "c"]
    scene = {
        "restart_lease": LEASES, "node_config": {"*": BACK},
        "orchestrator_service": {"*": {"joined_after": 1.0}, "a": {"leader": "b"}, "c": {"failed": True, "failed_at": "guard", "msg": "no majority"}},
    }
    done, calls = play(["restart"], nodes, scene, **judged(nodes, ["a", "b", "c"], "c"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert acts(calls) == ["a", "c"]
    assert acts(calls, "node_config") == []


RIVAL = {"kind": "cron", "name": "p2p_keepalive.sh", "location": "/etc/cron.d/x", "line": 1, "active": True, "held": False}
LEFT = dict(RIVAL, active=False, held=True)


def rivals(calls):
    """What was asked of rival_managers among what was done to the nodes, in order: (node, state or module, run)."""
    shown = []
    for node, name, given, unused_check in calls:
        if name == "rival_managers":
            shown.append((node, given["state"], given.get("run")))
        elif name in ("node_config", "orchestrator_service", "cluster_health"):
            shown.append((node if name != "cluster_health" else "*", name, None))
    return shown


def scene(**changes):
    """Modules that come through, and a rival on b that can be held off."""
    return dict({
        "restart_lease": LEASES, "node_config": {"*": BACK}, "orchestrator_service": {"*": {"joined_after": 1.0, "leader": "a"}},
        "rival_managers": {"*": {"changed": False, "rivals": []}, "b held": {"changed": True, "rivals": [dict(RIVAL, action="held")]},
                           "b released": {"changed": True, "rivals": [dict(RIVAL, action="released")]}},
        "node_info": {"*": {"changed": False, "observation": {"rivals": []}}}, "cluster_health": {"*": {"changed": False, "healthy": True}},
    }, **changes)


@pytest.fixture
def cluster(play):
    """Three voters, of which b has a keepalive; calling it runs stages, with what was observed on each node."""
    def run(stages, seen, told=None, check=False, members=("a", "b", "c"), work=None, **variables):
        given = judged(list(members), ["a", "b", "c"], "a", **(work or {}))
        observed = {name: {"observation": {"rivals": seen.get(name, [])}} for name in members}
        return play(stages, members, told or scene(), check=check, **given, **variables,
                    p2p_observed="{{ p2p_observed_of[inventory_hostname] }}", p2p_observed_of=observed)
    return run


def test_a_rival_is_held_off_before_the_node_is_touched_and_put_back_when_all_have_joined(cluster):
    done, calls = cluster(["repair", "restart", "verify"], {"b": [RIVAL]}, work={"configure": ["b"], "restart": ["b", "c"]})
    assert done.returncode == 0, done.stdout + done.stderr
    assert rivals(calls) == [
        ("b", "held", "r1"), ("b", "node_config", None), ("b", "orchestrator_service", None), ("c", "orchestrator_service", None),
        ("*", "cluster_health", None), ("b", "released", None)]
    held = next(given for unused_node, name, given, unused_check in calls if name == "rival_managers")
    assert held["leave"] == ["/etc/ringrift/node.conf", "/etc/old"]


def test_a_node_that_the_run_does_not_touch_keeps_its_healers(cluster):
    done, calls = cluster(["repair", "restart", "verify"], {"b": [RIVAL]}, work={"restart": ["a"]})
    assert done.returncode == 0, done.stdout + done.stderr
    assert acts(calls, "rival_managers") == []


def test_a_healthy_cluster_costs_no_call(cluster):
    done, calls = cluster(["repair", "restart", "verify"], {"b": [RIVAL]}, work={"restart": []})
    assert done.returncode == 0, done.stdout + done.stderr
    assert calls == []


def test_what_a_dead_run_held_off_is_put_back_under_the_lease_after_the_wait(cluster):
    done, calls = cluster(["repair", "restart", "verify"], {"b": [LEFT]}, work={"restart": []})
    assert done.returncode == 0, done.stdout + done.stderr
    names = [name for unused_node, name, unused_given, unused_check in calls]
    assert names.index("restart_lease") < names.index("cluster_health") < names.index("rival_managers")
    assert rivals(calls) == [("*", "cluster_health", None), ("b", "released", None)]


def test_a_failed_configuration_puts_its_nodes_rivals_back(cluster):
    done, calls = cluster(["repair", "restart", "verify"], {"b": [RIVAL]}, scene(node_config={"b": {"failed": True, "msg": "no space"}}),
                          work={"configure": ["b"], "restart": ["b", "c"]})
    assert done.returncode != 0 and "no space" in done.stdout
    assert [item for item in rivals(calls) if item[0] == "b"] == [("b", "held", "r1"), ("b", "node_config", None), ("b", "released", "r1")]


def test_a_voter_that_does_not_come_back_ends_the_run_and_the_rivals_come_back(cluster):
    told = scene(orchestrator_service={"*": {"joined_after": 1.0}, "b started": {"failed": True, "failed_at": "join", "msg": "not seen"}})
    done, calls = cluster(["repair", "restart", "verify"], {"b": [RIVAL]}, told, work={"restart": ["b", "c"]})
    assert done.returncode == 0, done.stdout + done.stderr
    assert acts(calls) == ["b", "b"] and acts(calls, "cluster_health") == []
    assert rivals(calls)[0] == ("b", "held", "r1") and rivals(calls)[-1] == ("b", "released", None)


def test_a_voter_that_the_previous_generation_does_not_save_either_gets_its_rivals_back(cluster):
    told = scene(orchestrator_service={"*": {"joined_after": 1.0}, "b": {"failed": True, "failed_at": "join", "msg": "not seen"}})
    done, calls = cluster(["repair", "restart", "verify"], {"b": [RIVAL]}, told, work={"restart": ["b", "c"]})
    assert done.returncode != 0
    assert acts(calls) == ["b", "b"] and rivals(calls)[-1] == ("b", "released", "r1")


def test_a_run_that_is_refused_the_lease_holds_nothing_off_and_puts_nothing_back(cluster):
    told = scene(restart_lease={"*": {"changed": False, "held": False, "run_id": "r1"}})
    done, calls = cluster(["repair", "restart", "verify"], {"b": [RIVAL], "c": [LEFT]}, told, work={"configure": ["b"], "restart": ["a", "b"]})
    assert done.returncode != 0 and "leases of 2 voters are needed" in done.stdout
    assert rivals(calls) == []


def test_a_run_that_only_configures_keeps_others_out_as_well(cluster):
    done, calls = cluster(["repair", "restart"], {}, scene(), work={"configure": ["c"], "restart": []})
    assert done.returncode == 0, done.stdout + done.stderr
    names = [name for unused_node, name, unused_given, unused_check in calls]
    assert names.index("restart_lease") < names.index("node_config") and "orchestrator_service" not in names
    assert [given.get("state") for unused_node, name, given, unused_check in calls if name == "restart_lease"][-2:] == ["released", "released"]


def test_a_long_run_renews_the_leases_before_each_wave(cluster):
    def taken(seconds):
        done, calls = cluster(["restart"], {}, scene(), work={"restart": ["a", "b", "c"]}, p2p_lease_seconds=seconds)
        assert done.returncode == 0, done.stdout + done.stderr
        return len([given for unused_node, name, given, unused_check in calls if name == "restart_lease" and given.get("state") != "released"])

    once = taken(3600)
    # So short that they are due at every wave.
    assert taken(-3) == once * 4


@pytest.mark.parametrize("stage", ["repair", "restart", "verify", "report", "rollback"])
def test_a_run_that_begins_in_the_middle_touches_nothing_and_says_why(play, stage):
    done, calls = play([stage], ["a"], scene())
    assert done.returncode != 0 and "has not observed the cluster" in done.stdout, done.stdout + done.stderr
    assert calls == []


def test_a_wait_in_vain_puts_them_back_all_the_same(cluster):
    told = scene(cluster_health={"*": {"failed": True, "msg": "not healthy"}})
    done, calls = cluster(["repair", "restart", "verify"], {"b": [RIVAL]}, told, work={"restart": ["b"]})
    assert done.returncode != 0
    assert rivals(calls)[-1] == ("b", "released", None), done.stdout


def test_disabled_for_good_nothing_is_held_or_put_back_and_leftovers_stay_away(cluster):
    told = scene(rival_managers={"*": {"changed": True, "rivals": [dict(RIVAL, action="disabled")]}})
    seen = {"b": [RIVAL], "c": [LEFT]}
    done, calls = cluster(["repair"], seen, told, work={"restart": ["b"]}, orchestrator_disable_rivals=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert rivals(calls) == [("c", "disabled", None)]


def test_check_mode_foresees_what_would_be_held_off_and_put_back(cluster):
    done, calls = cluster(["repair", "restart", "verify"], {"b": [RIVAL], "c": [LEFT]}, check=True, work={"restart": ["b"]})
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(check for unused_node, unused_name, unused_given, check in calls)
    asked = [item for item in rivals(calls) if item[1] in ("held", "released")]
    assert asked[0] == ("b", "held", "r1") and sorted(asked[1:]) == [("b", "released", None), ("c", "released", None)]


def test_a_rollback_holds_off_and_puts_back_even_what_was_disabled_for_good(cluster):
    told = scene(node_config={"*": {"changed": False, "previous": None, "generation": None}, "b": BACK})
    done, calls = cluster(["rollback", "verify"], {"b": [RIVAL]}, told)
    assert done.returncode == 0, done.stdout + done.stderr
    asked = [item for item in rivals(calls) if item[1] != "node_config"]
    assert asked[:3] == [("b", "held", "r1"), ("b", "orchestrator_service", None), ("*", "cluster_health", None)]
    # a and c have nothing of ours, so that nothing of theirs may stay disabled.
    assert sorted(asked[3:]) == [(name, "restored", None) for name in "abc"]


def test_every_node_that_was_taken_back_gets_its_rivals_back_not_only_that_of_the_last_wave(cluster):
    done, calls = cluster(["rollback", "verify"], {}, scene())
    assert done.returncode == 0, done.stdout + done.stderr
    assert acts(calls) == ["b", "c", "a"]
    assert sorted(item for item in rivals(calls) if item[1] == "restored") == [(name, "restored", None) for name in "abc"]


def test_a_rollback_that_stops_leaves_what_it_did_not_take_back_as_it_was(cluster):
    told = scene(orchestrator_service={"a": {"failed": True, "failed_at": "guard", "msg": "no majority"}, "*": {"leader": "c"}})
    told["rival_managers"]["c held"] = told["rival_managers"]["b held"]
    done, calls = cluster(["rollback", "verify"], {"c": [RIVAL]}, told)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [item for item in rivals(calls) if item[0] == "c" and item[1] != "node_config"] == [("c", "held", "r1"), ("c", "released", None)]
