# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases lie beside each other: the next one is switched to, the one before comes back, and what speaks against one is told before any restart."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.environ["LAB"]))

import containers
import inventory
import topology

NODES = os.environ["LAB_NODES"].split()
CONTAINER = "runpod-a100-1"
VOTERS = [name for name in NODES if name != CONTAINER]
PATHS = {name: node.path for name, node in topology.nodes(topology.load()).items()}
REPOSITORY = os.path.join(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "repository")
SCRIPT = "scripts/p2p_orchestrator.py"


def _playbook(name, *words, **variables):
    command = ["ansible-playbook", os.path.join(inventory.ROOT, "playbooks", name), f"--inventory={inventory.FOLDER}/p2p.yml", *words,
               "--extra-vars", json.dumps(variables)]
    return subprocess.run(command, cwd=inventory.ROOT, capture_output=True, text=True, check=False)


def _revision(name):
    command = ["git", "-C", REPOSITORY, "rev-parse", name + "^{commit}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _running(name):
    """(number of the process, folder it runs in) of a node's only orchestrator."""
    (pid,) = containers.execute(name, "pgrep", "-f", "^[^ ]*python3? scripts/p2p_orchestrator.py ").split()
    owner, group = containers.execute(name, "stat", "-c", "%u %g", f"/proc/{pid}").split()
    # The container's root may not look into processes of others.
    return pid, containers.execute(name, "setpriv", f"--reuid={owner}", f"--regid={group}", "--clear-groups", "readlink", f"/proc/{pid}/cwd").strip()


def _current(name):
    return containers.execute(name, "readlink", f"{PATHS[name]}/current").strip()


def _release(name):
    """RELEASE.json of what a node runs; link and process have to agree."""
    assert _running(name)[1] == f"{PATHS[name]}/{_current(name)}"
    return json.loads(containers.execute(name, "cat", f"{PATHS[name]}/current/RELEASE.json"))


def _releases(name):
    return set(containers.execute(name, "ls", f"{PATHS[name]}/releases").split())


def test_nodes_run_the_release_beside_the_checkout_that_they_had():
    told = {name: _release(name) for name in NODES}
    assert {name: told[name].get("revision") for name in NODES} == {**dict.fromkeys(VOTERS, _revision("one")), CONTAINER: None}
    # Named by their content, wherever it comes from.
    assert len({told[name]["release"] for name in NODES}) == 1
    for name in NODES:
        assert containers.execute(name, "readlink", f"{PATHS[name]}/current/config/distributed_hosts.yaml").strip() == "../../../config/distributed_hosts.yaml"
        with open(os.path.join(topology.ROOT, "tests/fieldlike/ai_service", SCRIPT), "rb") as stream:
            assert containers.execute(name, "sha256sum", f"{PATHS[name]}/{SCRIPT}").split()[0] == hashlib.sha256(stream.read()).hexdigest()


def test_what_speaks_against_a_release_is_told_before_any_restart():
    importing, requiring, edited = VOTERS
    file = f"{PATHS[edited]}/current/{SCRIPT}"
    containers.execute(edited, "sh", "-c", f"cp -p {file} /root/kept && echo '# by hand' >>{file}")
    before = {name: (_running(name), _current(name), containers.execute(name, "cat", f"{PATHS[name]}/current/{SCRIPT}")) for name in VOTERS}
    revisions = {importing: "missing-import", requiring: "missing-package", edited: "two"}
    done = _playbook("stabilize.yml", "--limit=" + ",".join(VOTERS), orchestrator_revision="{{ %s[inventory_hostname] }}" % revisions)
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    for part in (
        "does not go with /usr/bin/python3: it would not start: not_installed_here.",
        "its requirements are not met: not-installed-there is missing (requirements.txt:2: not-installed-there>=1.2).",
        f"{edited} is left as it is. Tracked files below {PATHS[edited]}/current are changed on the node ({SCRIPT})",
    ):
        assert part in said, done.stdout[-6000:]
    assert {name: (_running(name), _current(name), containers.execute(name, "cat", f"{PATHS[name]}/current/{SCRIPT}")) for name in VOTERS} == before
    containers.execute(edited, "mv", "/root/kept", file)


def test_next_revision_is_deployed_beside_and_the_one_before_comes_back():
    before = {name: (_release(name)["release"], _running(name)) for name in NODES}
    chosen, others = VOTERS[0], NODES[1:]
    done = _playbook("stabilize.yml", f"--limit={chosen}", orchestrator_revision="two")
    assert done.returncode == 0, done.stdout[-6000:]
    told = _release(chosen)
    assert told["revision"] == _revision("two")
    assert _releases(chosen) >= {told["release"], before[chosen][0]}
    assert {name: (_release(name)["release"], _running(name)) for name in others} == {name: before[name] for name in others}

    done = _playbook("rollback.yml", f"--limit={chosen}")
    assert done.returncode == 0, done.stdout[-6000:]
    assert _release(chosen)["revision"] == _revision("one")
    assert {name: (_release(name)["release"], _running(name)) for name in others} == {name: before[name] for name in others}
