# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node has after the first run, whatever starts its processes."""

from __future__ import annotations

import json
import os

import pytest

testinfra_hosts = ["ansible://p2p"]
INSTANCE = os.environ.get("RINGRIFT_LAB", "")
PUBLIC = f"198.18.{INSTANCE}." if INSTANCE else "198.51.100."
PATHS = {"nebius-backbone-1": "/home/ubuntu/ringrift/ai-service"}


def _name(host):
    return host.backend.get_pytest_id().rpartition("//")[2]


def _path(host):
    return PATHS.get(_name(host), "/root/ringrift/ai-service")


def _owner(host):
    return "ubuntu" if _name(host) == "nebius-backbone-1" else "root"


def _health(host):
    command = "python3 -c \"import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8770/health', timeout=5).read().decode())\""
    return json.loads(host.check_output(command))


def test_orchestrator_answers_under_its_own_name_and_follows_one_leader(host):
    health = _health(host)
    assert health["node_id"] == _name(host)
    assert health["leader_id"] in ("hetzner-cpu1", "hetzner-cpu2", "nebius-backbone-1")
    assert health["active_peers"] >= 3


def test_exactly_one_orchestrator_runs_as_the_owner_of_its_folder(host):
    found = [process for process in host.process.filter() if "scripts/p2p_orchestrator.py" in process.args]
    assert len(found) == 1
    assert found[0].user == _owner(host)
    assert f"--node-id {_name(host)}" in found[0].args


def test_service_starts_with_the_machine(host):
    if _name(host).startswith("vast-"):
        assert host.file("/proc/1/comm").content_string.strip() != "systemd"
        assert "supervisord" in host.check_output("ps -eo args")
        assert "/etc/ringrift/on-start" in host.file("/root/onstart.sh").content_string
    else:
        with host.sudo():
            service = host.service("ringrift-p2p")
            assert service.is_enabled
            assert service.is_running


@pytest.mark.parametrize("path", ["/etc/ringrift/cluster-token", "/etc/ringrift/election-password"])
def test_secrets_are_readable_by_the_service_alone(host, path):
    secret = host.file(path)
    assert secret.mode == 0o600
    assert secret.user == _owner(host)
    assert len(secret.content_string.strip()) == 48
    assert secret.content_string.strip().isalnum()


def test_secrets_stand_in_no_command_line_and_no_environment(host):
    token = host.file("/etc/ringrift/cluster-token").content_string.strip()
    assert token not in host.check_output("ps -eo args")
    assert token not in host.file("/etc/ringrift/node.conf").content_string


def test_identity_is_the_name_in_the_hosts_file(host):
    assert host.file("/etc/ringrift/node-id").content_string.strip() == _name(host)


def test_first_seeds_are_reachable_without_the_overlay(host):
    source = host.file(f"{_path(host)}/scripts/p2p_orchestrator.py").content_string
    compile(source, "p2p_orchestrator.py", "exec")
    seeds = source.partition("BOOTSTRAP_SEEDS")[2].partition("]\n")[0]
    assert PUBLIC in seeds


def test_guard_finds_nothing_to_free(host):
    claim = json.loads(host.file(f"{_path(host)}/data/coordination/p2p_supervisor.json").content_string)
    assert claim["pid"] > 0
    assert "p2p_orchestrator.py" in host.file(f"/proc/{claim['pid']}/cmdline").content_string
