# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report asks for, after the repair."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

INSTANCE = os.environ.get("RINGRIFT_LAB", "")
PUBLIC = f"198.18.{INSTANCE}." if INSTANCE else "198.51.100."
LAB = [sys.executable, os.environ["LAB"]]
TEMPORARY = ("p2p.log", "p2p_supervisor.log", "p2p_watchdog.log", "p2p_status.json", "p2p_tunnel_info.json", "p2p_status_report_20260123.txt")


def _state():
    return json.loads(subprocess.run([*LAB, "status", "--wait", "22", "--json"], check=True, capture_output=True, text=True).stdout)


def _node(name, *command):
    return subprocess.run(["docker", "exec", f"ringrift-lab{INSTANCE}-{name}", *command], check=True, capture_output=True, text=True).stdout


def test_all_nodes_are_connected_under_one_leader():
    state = _state()
    assert state["connected"] == 22
    assert state["missing"] == []
    assert state["leader_agreed"]
    assert state["quorum"]["alive"] == 5
    assert state["quorum"]["ok"]


def test_report_tells_before_and_after():
    folder = os.path.join(os.environ["MOLECULE_PROJECT_DIRECTORY"], f".work/lab{INSTANCE}" if INSTANCE else "", "reports", "latest")
    with open(os.path.join(folder, "report.json"), encoding="utf-8") as stream:
        report = json.load(stream)
    assert report["after"]["connected"] == report["after"]["expected"] == 22
    assert report["after"]["quorum"]["ok"]


def test_stale_locks_are_gone_and_what_lay_beside_them_is_not():
    files = _node("lambda-gh200-11", "ls", "/tmp").split()
    assert "p2p_orchestrator.lock" not in files
    assert set(TEMPORARY) <= set(files)
    assert "ringrift_lambda-gh200-11.heartbeat" in files
    for name in ("lambda-gh200-2", "lambda-gh200-5"):
        claim = json.loads(_node(name, "cat", "/home/ubuntu/ringrift/ai-service/data/coordination/p2p_supervisor.json"))
        assert "p2p_orchestrator.py" in _node(name, "cat", f"/proc/{claim['pid']}/cmdline")


def test_process_that_had_the_recycled_number_lives_on():
    assert _node("lambda-gh200-5", "systemctl", "is-active", "thermal-log.service").strip() == "active"


def test_gpu_nodes_are_trained_on_again():
    hosts = _node("nebius-l40s-1", "cat", "/home/ubuntu/ringrift/ai-service/config/distributed_hosts.yaml")
    entry = hosts.partition("  nebius-l40s-1:\n")[2].partition("\n\n")[0]
    assert "role: gpu_training_primary" in entry
    assert "training_enabled: true" in entry
    environment = _node("vultr-a100-40gb", "sh", "-c", "tr '\\0' '\\n' </proc/$(systemctl show -p MainPID --value ringrift-p2p)/environ")
    assert "RINGRIFT_IS_COORDINATOR=true" not in environment


def test_nodes_outside_the_overlay_start_with_public_seeds():
    for name, path in (("vast-30274241", "/root"), ("vast-29128352", "/workspace")):
        source = _node(name, "cat", f"{path}/ringrift/ai-service/scripts/p2p_orchestrator.py")
        assert PUBLIC in source.partition("BOOTSTRAP_SEEDS")[2].partition("]\n")[0]


def test_rented_containers_come_back_after_a_restart():
    subprocess.run([*LAB, "restart", "vast-30274241"], check=True, capture_output=True)
    assert _state()["nodes"]["vast-30274241"]["connected"]


def _stabilize(playbook, reports, environment=None, folder=None):
    inventory = os.path.join(os.environ["MOLECULE_PROJECT_DIRECTORY"], ".work", f"lab{INSTANCE}", "inventory", "p2p.yml")
    run = subprocess.run(
        ["ansible-playbook", playbook, "--inventory", inventory, "--extra-vars", f"p2p_reports_directory={reports}"],
        check=False, capture_output=True, text=True, env=environment, cwd=folder)
    # Molecule has everything that it starts write in colour.
    run.stdout = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout)
    return run


def test_the_built_collection_works_alone(tmp_path):
    project = os.environ["MOLECULE_PROJECT_DIRECTORY"]
    configuration = tmp_path / "ansible.cfg"
    configuration.write_text("[defaults]\n", encoding="utf-8")
    environment = {
        **os.environ, "ANSIBLE_CONFIG": str(configuration), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path), "ANSIBLE_FORKS": "25", "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_CALLBACKS_ENABLED": "ringrift.p2p.report",
    }
    subprocess.run(["ansible-galaxy", "collection", "build", "--output-path", str(tmp_path), project], check=True, capture_output=True, env=environment)
    archive = next(tmp_path.glob("ringrift-p2p-*.tar.gz"))
    install = ["ansible-galaxy", "collection", "install", "--offline", "-p", str(tmp_path), str(archive)]
    subprocess.run(install, check=True, capture_output=True, env=environment)
    run = _stabilize("ringrift.p2p.stabilize", tmp_path / "reports", environment, tmp_path)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    changed = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", run.stdout, re.MULTILINE)
    assert len(changed) >= 22 and {count for _host, count in changed} == {"0"}
    assert "The cluster is healthy." in run.stdout


def test_a_node_that_cannot_be_reached_is_named_and_does_not_stop_the_others(tmp_path):
    gone, damaged = "nebius-h100-1", "hetzner-cpu3"
    subprocess.run(["docker", "stop", f"ringrift-lab{INSTANCE}-{gone}"], check=True, capture_output=True)
    _node(damaged, "systemctl", "stop", "ringrift-p2p")
    try:
        run = _stabilize(os.path.join(os.environ["MOLECULE_PROJECT_DIRECTORY"], "playbooks", "stabilize.yml"), tmp_path)
    finally:
        subprocess.run([*LAB, "restart", gone], check=True, capture_output=True)
    assert run.returncode != 0
    with open(tmp_path / "latest" / "report.json", encoding="utf-8") as stream:
        report = json.load(stream)
    assert not report["reached"] and [item for item in report["problems"] if gone in item]
    assert "UNREACHABLE" in report["after"]["nodes"][gone]["findings"]
    assert list(report["changes"]) == [damaged]
    assert report["before"]["connected"] == 20 and report["after"]["connected"] == 21
