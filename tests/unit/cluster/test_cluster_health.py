# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

from ansible_collections.ringrift.p2p.plugins.modules import cluster_health

QUICK = {"interval": 0.2, "window": 3, "request_timeout": 2, "token_file": "/nonexistent"}


def test_a_whole_cluster_is_healthy_once_heartbeats_have_moved(cluster, run_module):
    three = cluster()
    answer = run_module(cluster_health, endpoints=three.endpoints, voters=["a", "b", "c"], stable_for=0.5, timeout=8, **QUICK)
    assert answer["healthy"] and answer["reason"] is None
    assert (answer["connected"], answer["expected"], answer["missing"]) == (3, 3, [])
    assert (answer["leader"], answer["leader_agreed"], answer["leaders_seen"]) == ("a", True, ["a"])
    assert answer["quorum"] == {"voters": 3, "alive": 3, "alive_ids": ["a", "b", "c"], "majority": 2, "ok": True}
    assert answer["samples"] >= 3 and answer["stable_for"] >= 0.5
    assert not answer["changed"]


def test_a_node_that_is_gone_is_named(cluster, run_module):
    three = cluster()
    three.stop("c")
    answer = run_module(cluster_health, endpoints=three.endpoints, voters=["a", "b", "c"], stable_for=0, timeout=1.5, **QUICK)
    assert not answer["healthy"] and answer["missing"] == ["c"]
    assert "missing: c" in answer["reason"]
    assert answer["quorum"]["alive_ids"] == ["a", "b"] and answer["quorum"]["ok"]


def test_fewer_nodes_are_enough_where_that_is_asked(cluster, run_module):
    three = cluster()
    three.stop("c")
    answer = run_module(cluster_health, endpoints=three.endpoints, voters=["a", "b", "c"], min_connected=2, stable_for=0.3, timeout=8, **QUICK)
    assert answer["healthy"] and answer["connected"] == 2


def test_a_node_counted_as_down_costs_its_vote(cluster, run_module):
    three = cluster()
    three.stop("c")
    answer = run_module(cluster_health, endpoints=three.endpoints, voters=["a", "b", "c"], without=["b"], stable_for=0, timeout=1.5, **QUICK)
    assert not answer["quorum"]["ok"] and answer["quorum"]["alive"] <= 1


def test_a_new_leader_starts_the_count_again(cluster, run_module):
    three = cluster()
    change = threading.Timer(1.0, three.set, ("leader", "b"))
    change.start()
    began = time.monotonic()
    answer = run_module(cluster_health, endpoints=three.endpoints, voters=["a", "b", "c"], stable_for=1.5, timeout=10, **QUICK)
    change.join()
    assert answer["healthy"] and answer["leader"] == "b" and answer["leaders_seen"] == ["a", "b"]
    assert time.monotonic() - began >= 2.3


def test_the_time_is_up_before_it_was_stable_long_enough(cluster, run_module):
    three = cluster()
    answer = run_module(cluster_health, endpoints=three.endpoints, voters=["a", "b", "c"], stable_for=60, timeout=1, **QUICK)
    assert not answer["healthy"] and "60 s are asked for" in answer["reason"]
    assert answer["connected"] == 3


def test_all_faults_of_the_parameters_come_at_once(run_module):
    answer = run_module(cluster_health, endpoints={"a": "127.0.0.1:1", "b": ["127.0.0.1:port"]}, voters=["a"], stable_for=-1, interval=0)
    assert answer["failed"]
    for part in ("endpoints.a must be a list", "endpoints.b[0]", "interval must be above 0", "stable_for must not be negative"):
        assert part in answer["msg"]


PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  vars:
    ansible_python_interpreter: {python}
  tasks:
    - ringrift.p2p.cluster_health:
        endpoints: {endpoints}
        voters: [a, b, c]
        interval: 0.3
        stable_for: 3
        timeout: 40
        token_file: /nonexistent
      register: health
    - ansible.builtin.copy:
        content: "{{{{ health | to_json }}}}"
        dest: {answer}
"""


def test_the_action_joins_several_calls_and_shows_how_far_it_is(cluster, tmp_path):
    three = cluster("abc", start=False)
    three.start("a", "b")
    (tmp_path / "ansible.cfg").touch()
    playbook, answer = tmp_path / "play.yml", tmp_path / "answer.json"
    playbook.write_text(PLAYBOOK.format(python=sys.executable, endpoints=json.dumps(three.endpoints), answer=answer))
    done = subprocess.Popen(
        [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "-i", "localhost,", "-c", "local", str(playbook)],
        env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH="playbooks/collections", ANSIBLE_CONFIG=str(tmp_path / "ansible.cfg"), PYTHONUNBUFFERED="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    with done:
        for line in done.stdout:
            lines.append(line.rstrip())
            if "missing: c" in line and "c" not in three.processes:
                three.start("c")
    assert done.returncode == 0, "\n".join(lines)
    progress = [line for line in lines if "[localhost] connected" in line]
    assert "connected 2/3, quorum 2/3, leader a, stable for 0 of 3 s, missing: c" in progress[0]
    assert "connected 3/3, quorum 3/3, leader a, stable for 3 of 3 s" in progress[-1]
    health = json.loads(answer.read_text())
    assert health["healthy"] and health["stable_for"] >= 3 and health["connected"] == 3 and "rounds" not in health
