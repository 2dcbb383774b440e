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
REPLACED = ("orchestrator_service", "orchestrator_processes", "restart_lease", "node_config", "rival_managers", "node_info")


class Stages:
    """A copy of the collection whose modules are stand-ins; calling it runs stages for nodes."""

    def __init__(self, folder):
        self.folder = folder
        collection = folder / "collections" / "ansible_collections" / "ringrift" / "p2p"
        (collection / "plugins" / "modules").mkdir(parents=True)
        (collection / "plugins" / "action").mkdir()
        for path in ROOT.iterdir():
            if path.name in ("roles", "meta", "galaxy.yml"):
                (collection / path.name).symlink_to(path)
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
            "orchestrator_generation": "new", "p2p_lease_path": str(self.folder / "lease"),
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
