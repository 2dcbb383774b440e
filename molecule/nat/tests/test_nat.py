# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines with relays die, one after the other, and come back. The tests stand in the order of the story."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(os.environ["LAB"]))

import containers
import inventory
import lab

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _cluster_file, _plan

NODES = os.environ["LAB_NODES"].split()
NAT = ("lambda-gh200-8", "lambda-gh200-9", "vast-30274241")
CONFIGURATION = os.path.join(inventory.FOLDER, "p2p.yml")
REPORTS = os.path.join(inventory.WORK, "reports") if containers.INSTANCE else os.path.join(inventory.ROOT, "reports")
# Seconds; longer than it takes until a silent member is given up.
LONG = 15
CHANGED = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", re.MULTILINE)


def _assignments():
    """{node: [primary, secondary]} as planned from the hosts file; it has to say the same itself."""
    cluster = _cluster_file.parse(inventory.hosts_file(), "distributed_hosts.yaml", None).to_dict()
    planned = _plan.plan(cluster)["relays"]["assignments"]
    assert planned == {name: [cluster["hosts"][name]["entry"][key] for key in ("relay_primary", "relay_secondary")] for name in NAT}
    return planned


@pytest.fixture(scope="module")
def story():
    """The plan, the hosts file before anything dies, and the relays in the order in which they die: the first two leave a third."""
    assigned = _assignments()
    relays = sorted({name for pair in assigned.values() for name in pair}, key=lambda name: (-sum(name in pair for pair in assigned.values()), name))
    return {"assigned": assigned, "file": inventory.hosts_file(), "relays": relays, "dead": []}


def _without_relay(story):
    """The nodes that the plan leaves without any relay by now."""
    return {name for name, pair in story["assigned"].items() if set(pair) <= set(story["dead"])}


def _kill(story):
    """The next machine with a relay dies, without a word."""
    name = story["relays"][len(story["dead"])]
    story["dead"].append(name)
    containers.docker("kill", containers.PREFIX + name)
    return name


def _connected():
    """Who is connected once everybody who was lost is known to be."""
    time.sleep(LONG)
    judged = lab.state()
    assert judged["leader_agreed"]
    return set(judged["connected_ids"])


def test_every_nat_node_comes_in_through_two_relays_of_different_providers(story):
    assert len(story["relays"]) == 3
    for pair in story["assigned"].values():
        assert pair[0].partition("-")[0] != pair[1].partition("-")[0]
    lab.wait(len(NODES), 60)
    for name, view in lab.views(list(NAT), 2, 1.0).items():
        assert view["relay_via"] == story["assigned"][name][0]


def test_command_lines_name_the_relays_twice_in_the_same_letters(story):
    for name in NAT:
        words = containers.execute(name, "sh", "-c", "cat /proc/$(pgrep -of scripts/p2p_orchestrator.py)/cmdline | tr '\\0' '\\n'").split("\n")
        relays = words[words.index("--relay-peers") + 1].split(",")
        assert relays == [f"{lab.topology.nodes(lab.topology.load())[relay].public}:{lab.topology.PORT}" for relay in story["assigned"][name]]
        assert words[words.index("--peers") + 1].split(",")[:2] == relays


def test_first_death_cuts_nobody_off(story):
    dead = _kill(story)
    assert any(dead in pair for pair in story["assigned"].values())
    assert _without_relay(story) == set()
    lab.wait(len(NODES) - 1, 60)
    assert _connected() == set(NODES) - {dead}


def test_second_death_cuts_off_none_but_those_that_the_plan_leaves_without_a_relay(story):
    _kill(story)
    lost = _without_relay(story)
    assert lost and lost < set(NAT)
    # The orchestrator may take a third relay that nobody assigned: better than the plan is well.
    assert set(NODES) - set(story["dead"]) - lost <= _connected()
    for name, view in lab.views([name for name in NAT if name not in lost], 2, 1.0).items():
        assert view["relay_via"] in set(story["assigned"][name]) - set(story["dead"])


def test_without_any_relay_exactly_the_nat_nodes_are_lost(story):
    _kill(story)
    assert _without_relay(story) == set(NAT)
    judged = lab.wait(len(NODES) - len(story["dead"]) - len(NAT), 90)
    assert set(judged["connected_ids"]) == set(NODES) - set(story["dead"]) - set(NAT)


def test_first_assignment_stands_when_all_are_back(story):
    for name in story["dead"]:
        containers.docker("start", containers.PREFIX + name)
    lab.wait(len(NODES), 120)
    command = ["ansible-playbook", os.path.join(inventory.ROOT, "playbooks", "stabilize.yml"), f"--inventory={CONFIGURATION}"]
    plain = {**os.environ, "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"}
    run = subprocess.run(command, cwd=inventory.ROOT, env=plain, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert {name: int(count) for name, count in CHANGED.findall(run.stdout)} == {**dict.fromkeys(NODES, 0), "localhost": 0}
    assert inventory.hosts_file() == story["file"]
    assert _assignments() == story["assigned"]
    with open(os.path.join(REPORTS, "latest", "report.json"), encoding="utf-8") as stream:
        report = json.load(stream)
    assert report["changes"] == {} and report["before"]["connected"] == len(NODES)
    assert report["run"]["revision"] == hashlib.sha256(story["file"].encode()).hexdigest()
    for name, view in lab.views(list(NAT), 2, 1.0).items():
        assert view["relay_via"] == story["assigned"][name][0]
