# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""With orchestrator_source git or local the node runs a release of the operator's own orchestrator, rendered and refused by the real Ansible."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FIELDLIKE = ROOT / "tests" / "fieldlike" / "ai_service"
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: ringrift.p2p.orchestrator
        tasks_from: wanted
    - ansible.builtin.copy:
        content: "{{ {'wanted': orchestrator_wanted, 'service': orchestrator_service} | to_json }}"
        dest: "{{ out }}/{{ inventory_hostname }}.json"
        mode: "0600"
    - ansible.builtin.include_role:
        name: ringrift.p2p.orchestrator
        tasks_from: deploy
      when: deploy | default(false)
"""
OBSERVATION = {
    "init": "systemd", "machine": "x86_64", "python": {"version": "3.11.2", "executable": "/usr/bin/python3"},
    "orchestrator": {"path": "/root/ringrift/ai-service", "kind": "field", "release": None, "interpreter": "/opt/venv/bin/python", "dirty": False},
    "files": {}, "coordinator_environment": [], "running": {"pid": None}, "locks": [], "hosts_file": {},
    "seeds": {"literals": [{"file": "/root/ringrift/ai-service/scripts/x.py", "refusal": None}]},
    "start_mechanisms": [{
        "kind": "unit", "location": "/etc/systemd/system/ringrift-p2p.service", "name": "ringrift-p2p.service", "active": True, "command": "x",
        "arguments": ["--storage-type", "disk"], "environment": {"RINGRIFT_TIER": "gold", "PYTHONPATH": "/root/ringrift/ai-service"},
    }],
}
NODE = {"class": "outside", "peers": ["203.0.113.60:8770"], "relay_peers": [], "relays": [], "prefer_public": False, "advertise_host": None,
        "coordinator": False, "hosts_digest": "d1"}


@pytest.fixture
def play(tmp_path):
    def run(members):
        (tmp_path / "hosts.yaml").write_text("hosts: {}\n", encoding="utf-8")
        shared = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "out": str(tmp_path), "p2p_node": NODE,
                  "p2p_hosts_file": str(tmp_path / "hosts.yaml"), "orchestrator_cache_dir": str(tmp_path / "cache"), "p2p_observation": OBSERVATION,
                  "p2p_cluster": {"hosts": {name: {"ssh_user": "root", "path": "~/ringrift/ai-service", "port": 8770} for name in members}}}
        (tmp_path / "inventory.json").write_text(json.dumps({"all": {"hosts": members, "vars": shared}}), encoding="utf-8")
        (tmp_path / "play.yml").write_text(PLAY, encoding="utf-8")
        (tmp_path / "none.cfg").write_text("", encoding="utf-8")
        environment = dict(os.environ, ANSIBLE_CONFIG=str(tmp_path / "none.cfg"), ANSIBLE_COLLECTIONS_PATH=str(ROOT / "playbooks" / "collections"),
                           ANSIBLE_FORKS="2", ANSIBLE_LOCAL_TEMP=str(tmp_path / "tmp"), ANSIBLE_INVENTORY_ENABLED="yaml")
        words = [sys.executable, "-m", "ansible", "playbook", "-i", str(tmp_path / "inventory.json"), str(tmp_path / "play.yml")]
        done = subprocess.run(words, cwd=str(tmp_path), env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        results = {name: json.loads((tmp_path / (name + ".json")).read_text(encoding="utf-8")) for name in members if (tmp_path / (name + ".json")).exists()}
        return done, results

    return run


def test_the_node_runs_its_release_through_the_link_and_keeps_what_is_the_operators(play, tmp_path):
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    repository = tmp_path / "repository"
    subprocess.run(["cp", "-r", str(FIELDLIKE), str(repository)], check=True)
    for words in (["init", "--quiet"], ["add", "-A"], ["commit", "--quiet", "-m", "one"]):
        subprocess.run([*git, *words], cwd=str(repository), check=True)
    done, results = play({
        "from-git": {"orchestrator_source": "git", "orchestrator_repository": str(repository)},
        "from-folder": {"orchestrator_source": "local", "orchestrator_local_path": str(repository)},
        "present": {},
    })
    assert done.returncode == 0, done.stdout + done.stderr
    files = {name: {item["path"]: item for item in result["wanted"]["files"]} for name, result in results.items()}
    for name in ("from-git", "from-folder"):
        release = results[name]["wanted"]["target"]["release"]
        assert files[name]["/root/ringrift/ai-service/current"]["link"] == "releases/" + release
        start = files[name]["/etc/ringrift/start"]["content"]
        assert "cd /root/ringrift/ai-service/current\n" in start and "exec /opt/venv/bin/python scripts/p2p_orchestrator.py" in start
        assert "--ringrift-path /root/ringrift/ai-service " in start and "--storage-type" in start
        conf = files[name]["/etc/ringrift/node.conf"]["content"].splitlines()
        assert "PYTHONPATH=/root/ringrift/ai-service/current" in conf and "RINGRIFT_TIER=gold" in conf
        assert "Type=simple" in files[name]["/etc/systemd/system/ringrift-p2p.service"]["content"]
        assert results[name]["service"]["path"] == "/root/ringrift/ai-service"
    assert results["from-git"]["wanted"]["target"]["release"] == results["from-folder"]["wanted"]["target"]["release"]
    assert "/root/ringrift/ai-service/current" not in files["present"] and results["present"]["wanted"]["target"]["release"] is None
    assert "cd /root/ringrift/ai-service\n" in files["present"]["/etc/ringrift/start"]["content"]


RELEASED = dict(OBSERVATION, orchestrator=dict(OBSERVATION["orchestrator"], folder="/root/ringrift/ai-service/current", release="f" * 16))


def test_a_release_that_runs_stays_in_force_as_it_is_when_nobody_says_what_runs(play):
    done, results = play({
        "released": {"p2p_observation": RELEASED},
        # The link is there, but the checkout runs.
        "linked": {"p2p_observation": dict(RELEASED, orchestrator=dict(RELEASED["orchestrator"], folder="/root/ringrift/ai-service"))},
    })
    assert done.returncode == 0, done.stdout + done.stderr
    files = {name: {item["path"]: item for item in result["wanted"]["files"]} for name, result in results.items()}
    assert files["released"]["/root/ringrift/ai-service/current"]["link"] == "releases/" + "f" * 16
    assert results["released"]["wanted"]["target"]["release"] == "f" * 16
    assert "cd /root/ringrift/ai-service/current\n" in files["released"]["/etc/ringrift/start"]["content"]
    assert "--ringrift-path /root/ringrift/ai-service " in files["released"]["/etc/ringrift/start"]["content"]
    assert "/root/ringrift/ai-service/current" not in files["linked"] and results["linked"]["wanted"]["target"]["release"] is None
    assert "cd /root/ringrift/ai-service\n" in files["linked"]["/etc/ringrift/start"]["content"]


def test_changes_in_a_release_are_reported_before_another_takes_its_place(play):
    changed = dict(RELEASED, orchestrator=dict(RELEASED["orchestrator"], dirty=True, changes=["scripts/x.py"]))
    done, _results = play({"changed": {"orchestrator_source": "local", "orchestrator_local_path": str(FIELDLIKE), "p2p_observation": changed, "deploy": True}})
    assert done.returncode != 0
    told = " ".join(done.stdout.split())
    assert "changed is left as it is. Tracked files below /root/ringrift/ai-service/current are changed on the node (scripts/x.py)" in told


def test_a_dirty_working_tree_is_reported_and_a_missing_source_is_named(play):
    dirty = dict(OBSERVATION, orchestrator=dict(OBSERVATION["orchestrator"], dirty=True, changes=["scripts/x.py", "app/y.py"]))
    done, _results = play({"dirty": {"orchestrator_source": "local", "orchestrator_local_path": str(FIELDLIKE), "p2p_observation": dirty, "deploy": True}})
    assert done.returncode != 0
    told = " ".join(done.stdout.split())
    assert "dirty is left as it is. Tracked files below /root/ringrift/ai-service are changed on the node (scripts/x.py, app/y.py)" in told
    done, _results = play({"nowhere": {"orchestrator_source": "git"}})
    assert done.returncode != 0 and "orchestrator_repository names no repository" in done.stdout + done.stderr
