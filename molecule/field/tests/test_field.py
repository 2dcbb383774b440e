# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster with an orchestrator of its own is whole after the repair, and is what it was after a rollback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

INSTANCE = os.environ.get("RINGRIFT_LAB", "")
LAB = [sys.executable, os.environ["LAB"]]
PROJECT = os.environ["MOLECULE_PROJECT_DIRECTORY"]
BEFORE = os.path.join(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "before.json")
NODES = (
    "hetzner-cpu1", "hetzner-cpu2", "nebius-backbone-1", "vultr-a100-20gb", "vultr-a100-40gb", "lambda-gh200-5", "lambda-gh200-9", "vast-30274241",
    "runpod-a100-1",
)
VOTERS = ("hetzner-cpu1", "hetzner-cpu2", "nebius-backbone-1", "vultr-a100-20gb")
# Whatever starts, restarts or names an orchestrator.
MECHANISMS = re.compile(r"^(/etc/(systemd/system|ringrift|default|cron\.d)/|/var/spool/cron/|/root/onstart\.sh$|.*/\.env\.local$)")


def _state(*words):
    command = [*LAB, "status", "--json", "--window", "16", *words]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _node(name, *command):
    return subprocess.run(["docker", "exec", f"ringrift-lab{INSTANCE}-{name}", *command], check=True, capture_output=True, text=True).stdout


def _processes(name):
    lines = _node(name, "ps", "-eo", "args").splitlines()
    return [line for line in lines if re.match(r"\S*python3? scripts/p2p_orchestrator\.py ", line)]


def _environment(name):
    (pid,) = _node(name, "pgrep", "-f", "^[^ ]*python3? scripts/p2p_orchestrator.py ").split()
    owner, group = _node(name, "stat", "-c", "%u %g", f"/proc/{pid}").split()
    # The container's root may not look into processes of others.
    return _node(name, "setpriv", f"--reuid={owner}", f"--regid={group}", "--clear-groups", "cat", f"/proc/{pid}/environ").split("\0")


def _mechanisms(taken):
    return {node: {path: print_of for path, print_of in found["files"].items() if MECHANISMS.match(path)} for node, found in taken.items()}


def test_all_nodes_are_connected_under_one_leader():
    state = _state("--wait", str(len(NODES)))
    assert state["missing"] == []
    assert state["leader_agreed"] and state["leader"] in VOTERS
    assert state["quorum"]["alive"] == len(VOTERS)


def test_each_node_runs_its_own_orchestrator_once_by_our_start():
    for name in NODES:
        (line,) = _processes(name)
        assert f"--node-id {name} " in line and line.endswith("--force-supervisor --kill-duplicates")
        path = re.search(r" --ringrift-path (\S+)", line).group(1)
        assert "# ringrift.p2p embedded orchestrator" not in _node(name, "cat", f"{path}/scripts/p2p_orchestrator.py")


def test_settings_of_the_old_starts_are_taken_over():
    for name in ("hetzner-cpu1", "nebius-backbone-1", "vast-30274241", "runpod-a100-1", "lambda-gh200-5"):
        assert "RINGRIFT_FIELDLIKE_SCALE=0.05" in _node(name, "cat", "/etc/ringrift/node.conf")


def test_exactly_one_voter_may_start_elections():
    marked = [name for name in NODES if "RINGRIFT_IS_COORDINATOR=true" in _environment(name)]
    assert len(marked) == 1 and marked[0] in VOTERS
    assert "# ringrift.p2p disabled: RINGRIFT_IS_COORDINATOR=true" in _node("vultr-a100-40gb", "cat", "/root/ringrift/ai-service/.env.local")


def test_relays_are_named_alike_in_both_lists():
    for name in ("lambda-gh200-5", "lambda-gh200-9", "vast-30274241"):
        (line,) = _processes(name)
        peers, relays = (re.search(rf" --{option} (\S+)", line).group(1).split(",") for option in ("peers", "relay-peers"))
        assert relays and set(relays) <= set(peers)


def test_process_with_the_recycled_number_lives_on():
    assert _node("lambda-gh200-5", "systemctl", "is-active", "thermal-log.service").strip() == "active"


def test_rollback_restores_every_mechanism_that_was_replaced():
    inventory = f"{PROJECT}/.work/lab{INSTANCE}/inventory/p2p.yml"
    reports = f"--extra-vars=p2p_reports_directory={PROJECT}/reports/field"
    command = ["ansible-playbook", f"{PROJECT}/playbooks/rollback.yml", f"--inventory={inventory}", reports]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    after = BEFORE + ".after"
    subprocess.run([*LAB, "snapshot", after], check=True, capture_output=True)
    with open(BEFORE, encoding="utf-8") as old, open(after, encoding="utf-8") as new:
        was, now = _mechanisms(json.load(old)), _mechanisms(json.load(new))
    different = {node: sorted(path for path in {*was[node], *now[node]} if was[node].get(path) != now[node].get(path)) for node in was}
    assert not any(different.values()), (different, done.stdout[-3000:])
