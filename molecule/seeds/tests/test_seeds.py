# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node dials first: nothing dead, nothing that its class cannot dial, and nothing at all where too little is known."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.environ["LAB"]))

import containers
import inventory
import lab
import topology

NODES = os.environ["LAB_NODES"].split()
OUTSIDE = "vast-30274241"
OVERLAY = sorted(set(NODES) - {OUTSIDE})
DRIFTED = "hetzner-cpu3"
DEAD_IN_FILE, DEAD_PIN = f"{topology.LAB_PUBLIC}250:{topology.PORT}", f"{topology.LAB_PUBLIC}251:{topology.PORT}"
REPORTS = os.path.join(inventory.WORK, "reports") if containers.INSTANCE else os.path.join(inventory.ROOT, "reports")
SEED_VARIABLES = ("RINGRIFT_P2P_BOOTSTRAP_SEEDS", "RINGRIFT_P2P_SEEDS", "RINGRIFT_P2P_PEERS", "P2P_SEEDS", "P2P_PEERS", "PEER_LIST")


def _report(folder):
    with open(os.path.join(folder, "latest", "report.json"), encoding="utf-8") as stream:
        return json.load(stream)


def _running(name, what):
    """The command line or the environment of the orchestrator that runs on a node, as a list."""
    return containers.execute(name, "sh", "-c", f"tr '\\0' '\\n' </proc/$(pgrep -of scripts/p2p_orchestrator.py)/{what}").splitlines()


def _peers(name):
    words = _running(name, "cmdline")
    return words[words.index("--peers") + 1].split(",")


def _owners():
    known = topology.nodes(topology.load())
    return {f"{address}:{topology.PORT}": node for node in known.values() for address in (node.public, node.overlay) if address}


@pytest.mark.parametrize(("address", "asked"), [(DEAD_IN_FILE, [name for name in OVERLAY if name != DRIFTED]), (DEAD_PIN, OVERLAY)])
def test_dead_seed_is_reported_with_who_tried_it(address, asked):
    told = [item for item in _report(REPORTS)["after"]["findings"] if item["code"] == "SEED_DEAD" and f" {address}:" in item["evidence"][0]]
    witnesses = {item["evidence"][0].split(":")[0]: item["evidence"][0].rpartition("tried by ")[2].split(", ") for item in told}
    assert witnesses == {"class overlay": asked, "class outside": [OUTSIDE]}
    assert all(("pinned: " if address == DEAD_PIN else f"{DRIFTED} of the file: ") in item["evidence"][0] for item in told)


@pytest.mark.parametrize("name", NODES)
def test_dead_seed_is_in_effect_nowhere(name):
    known = topology.nodes(topology.load())[name]
    source = containers.execute(name, "cat", f"{known.path}/scripts/p2p_orchestrator.py")
    for dead in (DEAD_IN_FILE, DEAD_PIN):
        assert dead not in _peers(name)
        assert dead not in source
        assert not [line for line in _running(name, "environ") if dead in line]


def test_seeds_of_the_overlay_come_from_three_providers_and_none_is_the_node_itself():
    owners = _owners()
    for name in OVERLAY:
        seeds = [owners[address] for address in _peers(name)]
        assert name not in {node.name for node in seeds}
        assert len({node.provider for node in seeds}) >= (2 if name in ("nebius-backbone-1", "vultr-a100-20gb") else 3)


def test_rented_container_boots_with_public_seeds_only():
    subprocess.run([sys.executable, os.environ["LAB"], "restart", OUTSIDE], check=True, capture_output=True)
    lab.wait(len(NODES), 90)
    owners, peers = _owners(), _peers(OUTSIDE)
    assert all(address.startswith(topology.LAB_PUBLIC) for address in peers)
    assert len({owners[address].provider for address in peers}) >= 3
    assert topology.LAB_OVERLAY not in "\n".join(_running(OUTSIDE, "cmdline"))
    environment = dict(line.partition("=")[::2] for line in _running(OUTSIDE, "environ"))
    assert {name: environment[name].split(",") for name in SEED_VARIABLES} == dict.fromkeys(SEED_VARIABLES, peers)
    source = containers.execute(OUTSIDE, "cat", "/root/ringrift/ai-service/scripts/p2p_orchestrator.py")
    literal = source.partition("BOOTSTRAP_SEEDS")[2].partition("[\n")[2].partition("]\n")[0]
    assert [line.split('"')[1] for line in literal.splitlines() if '"' in line][:len(peers)] == peers


def test_file_with_overlay_addresses_alone_is_refused_and_the_error_names_what_is_missing(tmp_path):
    # The same cluster, as a file tells of it that knows no public address.
    folder = tmp_path / "inventory"
    shutil.copytree(inventory.FOLDER, folder)
    hosts = folder / "distributed_hosts.yaml"
    text = inventory.hosts_file().replace(topology.LAB_PUBLIC, topology.LAB_OVERLAY)
    hosts.write_text(text, encoding="utf-8")
    before = lab.snapshot()
    variables = json.dumps({"p2p_pinned_seeds": [], "p2p_reports_directory": str(tmp_path / "reports")})
    run = subprocess.run(
        ["ansible-playbook", os.path.join(inventory.ROOT, "playbooks", "stabilize.yml"), f"--inventory={folder / 'p2p.yml'}", "--limit=vast", "-e", variables],
        cwd=inventory.ROOT, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    report = _report(str(tmp_path / "reports"))
    missing = "a public address is missing; set p2p_public_host (and p2p_public_port) for at least 2 of "
    assert not report["reached"]
    assert report["problems"][0].startswith("no seeds were written: 0 of at least 2 seeds remain for the 1 nodes outside the overlay: " + missing)
    assert sorted(report["problems"][0].partition(missing)[2].split(", ")) == OVERLAY
    refused = [item for item in report["before"]["findings"] if item["code"] == "SEEDS_REFUSED"]
    assert [item["evidence"][0].partition(":")[0] for item in refused] == ["class outside"]
    assert missing in run.stdout
    # Refused is refused: neither the nodes nor the file were touched.
    assert report["changes"] == {}
    assert lab.differences(before, lab.snapshot()) == []
    assert hosts.read_text(encoding="utf-8") == text
