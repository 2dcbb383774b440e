# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import shlex
import subprocess
import sys

import pytest

from ansible_collections.ringrift.p2p.plugins.inventory import distributed_hosts
from ansible_collections.ringrift.p2p.plugins.plugin_utils import _cluster_file

ROOT = pathlib.Path(__file__).parents[4]

HOSTS = """\
p2p_voters: [hetzner-1]
hosts:
  hetzner-1:
    ssh_host: 203.0.113.1
    role: coordinator
    gpu: none
    tailscale_ip: 100.64.0.1
    ssh_key: ~/.ssh/id
    relay_capable: true
    note: "{{ lookup('pipe', 'touch rendered') }}{{ 1 + 1 }}"
  vast-1:
    ssh_host: ssh5.vast.ai
    ssh_port: '14000'
    gpu: RTX 4090
    vast_instance_id: '1'
  lambda-1:
    ssh_host: ubuntu@10.0.0.1
    ssh_proxy: hetzner-1
    nat_blocked: true
    relay_primary: hetzner-1
    role: gpu/selfplay
    gpu: GH200
  local:
    ssh_host: localhost
    status: retired
"""


def hosts(text=HOSTS):
    return _cluster_file.parse(text, "hosts.yaml").hosts


def ansible(folder, *arguments, **environment):
    """Run one of Ansible's commands as an operator does."""
    return subprocess.run(
        [sys.executable, "-m", "ansible", *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env={**{key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "P2P_"))},
             "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
             "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections"), "ANSIBLE_NOCOLOR": "1", "COLUMNS": "400",
             "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true", "ANSIBLE_HOME": str(folder / "ansible"), **environment})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "distributed_hosts.yaml").write_text(HOSTS)
    (tmp_path / "p2p.yml").write_text("plugin: ringrift.p2p.distributed_hosts\n")
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    return tmp_path


def listed(folder, **environment):
    done = ansible(folder, "inventory", "-i", "p2p.yml", "--list", **environment)
    assert done.returncode == 0, done.stderr
    return untagged(json.loads(done.stdout))


def untagged(value):
    """Without the marks of text that must not be rendered."""
    if isinstance(value, dict):
        return value["__ansible_unsafe"] if set(value) == {"__ansible_unsafe"} else {key: untagged(item) for key, item in value.items()}
    return [untagged(item) for item in value] if isinstance(value, list) else value


class TestConnection:
    @pytest.mark.parametrize("name, address, expected", [
        ("hetzner-1", "ssh", {"ansible_host": "203.0.113.1", "ansible_user": "root", "ansible_port": 22, "ansible_ssh_private_key_file": "~/.ssh/id"}),
        ("hetzner-1", "public", {"ansible_host": "203.0.113.1", "ansible_user": "root", "ansible_port": 22, "ansible_ssh_private_key_file": "~/.ssh/id"}),
        ("hetzner-1", "tailscale", {"ansible_host": "100.64.0.1", "ansible_user": "root", "ansible_port": 22, "ansible_ssh_private_key_file": "~/.ssh/id"}),
        ("vast-1", "ssh", {"ansible_host": "ssh5.vast.ai", "ansible_user": "root", "ansible_port": 14000}),
        ("vast-1", "public", {"ansible_host": "ssh5.vast.ai", "ansible_user": "root", "ansible_port": 14000}),
        ("local", "ssh", {"ansible_host": "localhost", "ansible_connection": "local"}),
    ])
    def test_variables(self, name, address, expected):
        assert distributed_hosts.connection_variables(hosts(), name, address) == expected

    @pytest.mark.parametrize("entry, address, expected", [
        ("tailscale_ip: 100.64.0.9", "ssh", {"ansible_host": "100.64.0.9", "ansible_port": 22}),
        ("ssh_host: <public-ip>", "ssh", {}),
        ("ssh_host: gpu-box", "ssh", {"ansible_host": "gpu-box"}),
        ("ssh_host: gpu-box, ssh_port: 22", "ssh", {"ansible_host": "gpu-box", "ansible_port": 22}),
        ("ssh_host: a@localhost, ssh_port: 2222", "ssh", {"ansible_host": "localhost", "ansible_user": "a", "ansible_port": 2222}),
        ("ssh_host: ssh5.vast.ai, ssh_port: 14000, provider: vast, p2p_public_host: 203.0.113.9", "public",
         {"ansible_host": "203.0.113.9", "ansible_user": "root", "ansible_port": 22}),
    ])
    def test_odd_entries(self, entry, address, expected):
        found = hosts(f"hosts:\n  node-1: {{{entry}}}\n")
        assert distributed_hosts.connection_variables(found, "node-1", address) == expected

    def test_a_proxy_becomes_a_jump(self):
        found = hosts(
            "hosts:\n  a: {ssh_host: 10.0.0.1, ssh_proxy: b}\n  b: {ssh_host: u@203.0.113.2, ssh_proxy: c}\n  c: {ssh_host: '2001:db8::1', ssh_port: 2222}\n")
        assert distributed_hosts.connection_variables(found, "a")["ansible_ssh_common_args"] == "-o 'ProxyJump=[2001:db8::1]:2222,u@203.0.113.2:22'"

    def test_a_proxy_with_a_key_of_its_own_is_given_it(self):
        found = hosts(
            "hosts:\n  a: {ssh_host: 10.0.0.1, ssh_proxy: b}\n  b: {ssh_host: u@203.0.113.2, ssh_key: ~/key b, ssh_proxy: c}\n  c: {ssh_host: 203.0.113.3}\n")
        option, value = shlex.split(distributed_hosts.connection_variables(found, "a")["ansible_ssh_common_args"])
        assert option == "-o"
        outer = shlex.split(value.partition("ProxyCommand=")[2])
        assert outer[:7] == ["ssh", "-i", "~/key b", "-p", "22", "-l", "u"] and outer[-3:] == ["-W", "%h:%p", "203.0.113.2"]
        inner = shlex.split(outer[8].partition("ProxyCommand=")[2])
        assert inner == ["ssh", "-p", "22", "-W", "%%h:%%p", "203.0.113.3"]

    @pytest.mark.parametrize("extra, address", [(", status: retired", "ssh"), (", tailscale_ip: 100.64.0.9", "tailscale")])
    def test_no_proxy_where_none_is_needed(self, extra, address):
        found = hosts(f"hosts:\n  a: {{ssh_host: 10.0.0.1, ssh_proxy: b{extra}}}\n  b: {{ssh_host: 203.0.113.2}}\n")
        assert "ansible_ssh_common_args" not in distributed_hosts.connection_variables(found, "a", address)


@pytest.mark.parametrize("entry, groups", [
    ("ssh_host: 203.0.113.1", ["nebius", "p2p"]),
    ("ssh_host: 203.0.113.1, gpu: H100, nat_blocked: true, role: x", ["nebius", "p2p", "p2p_gpu", "p2p_nat", "role_x"]),
    ("ssh_host: 203.0.113.1, p2p_voter: true, relay_capable: true", ["nebius", "p2p", "p2p_voters", "p2p_relays"]),
    ("ssh_host: 203.0.113.1, p2p_voter: true, gpu: H100, nat_blocked: true, status: retired, role: y", ["nebius", "p2p_excluded", "role_y"]),
])
def test_groups(entry, groups):
    assert distributed_hosts.groups_of(hosts(f"hosts:\n  nebius-1: {{{entry}}}\n")["nebius-1"], frozenset()) == groups


def test_who_is_named_as_a_relay_is_one():
    assert "p2p_relays" in distributed_hosts.groups_of(hosts()["hetzner-1"], frozenset(("hetzner-1",)))


def test_the_whole_inventory(folder):
    found = listed(folder)
    members = {name: group.get("hosts", []) for name, group in found.items() if name != "_meta"}
    assert {name: nodes for name, nodes in members.items() if nodes} == {
        "hetzner": ["hetzner-1"], "vast": ["vast-1"], "lambda": ["lambda-1"], "local": ["local"], "p2p": ["hetzner-1", "vast-1", "lambda-1"],
        "p2p_excluded": ["local"], "p2p_voters": ["hetzner-1"], "p2p_gpu": ["vast-1", "lambda-1"], "p2p_nat": ["lambda-1"], "p2p_relays": ["hetzner-1"],
        "role_coordinator": ["hetzner-1"], "role_gpu_selfplay": ["lambda-1"]}
    variables = found["_meta"]["hostvars"]
    assert variables["vast-1"] == {
        "ansible_host": "ssh5.vast.ai", "ansible_port": 14000, "ansible_user": "root", "p2p_excluded_reason": None,
        "p2p_host": {"ssh_host": "ssh5.vast.ai", "ssh_port": "14000", "gpu": "RTX 4090", "vast_instance_id": "1"},
        "p2p_hosts_file": str(folder / "distributed_hosts.yaml"), "p2p_nat_blocked": False, "p2p_node_id": "vast-1", "p2p_path": None, "p2p_port": 8770,
        "p2p_provider": "vast", "p2p_public_address": None, "p2p_role": None, "p2p_status": None, "p2p_tailscale_address": None, "p2p_voter": False}
    assert variables["local"]["p2p_excluded_reason"].startswith("status retired")
    assert variables["local"]["ansible_connection"] == "local"


def test_constructed_options_and_patterns_of_names(folder):
    (folder / "p2p.yml").write_text("""\
plugin: ringrift.p2p.distributed_hosts
source: distributed_hosts.yaml
address: tailscale
providers: {other: ["hetz*"]}
strict: true
compose: {doubled: p2p_port * 2, copied: p2p_host.note | default('')}
groups: {big: "'4090' in (p2p_host.gpu | default(''))"}
keyed_groups: [{key: p2p_provider, prefix: at}]
""")
    found = listed(folder, P2P_DISTRIBUTED_HOSTS="/nowhere")
    assert found["big"]["hosts"] == ["vast-1"]
    assert found["at_other"]["hosts"] == ["hetzner-1"] and found["at_vast"]["hosts"] == ["vast-1"]
    hetzner = found["_meta"]["hostvars"]["hetzner-1"]
    assert int(hetzner["doubled"]) == 17540 and hetzner["ansible_host"] == "100.64.0.1"
    assert hetzner["copied"].startswith("{{ lookup(")
    assert not (folder / "rendered").exists()


def test_text_of_the_file_is_never_rendered(folder):
    (folder / "show.yml").write_text("""\
- hosts: hetzner-1
  gather_facts: false
  tasks:
    - ansible.builtin.debug: {msg: "<{{ p2p_host.note }}>"}
      delegate_to: localhost
""")
    done = ansible(folder, "playbook", "-i", "p2p.yml", "show.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "{{ lookup('pipe', 'touch rendered') }}{{ 1 + 1 }}>" in done.stdout
    assert not (folder / "rendered").exists()


def test_graph_and_a_path_from_the_environment(folder):
    (folder / "elsewhere").mkdir()
    (folder / "distributed_hosts.yaml").rename(folder / "elsewhere" / "mine.yaml")
    done = ansible(folder, "inventory", "-i", "p2p.yml", "--graph", "p2p", P2P_DISTRIBUTED_HOSTS="elsewhere/mine.yaml")
    assert done.stdout.splitlines() == ["@p2p:", "  |--hetzner-1", "  |--vast-1", "  |--lambda-1"], done.stderr


def test_without_the_file_the_error_says_what_to_do(folder):
    (folder / "distributed_hosts.yaml").unlink()
    done = ansible(folder, "inventory", "-i", "p2p.yml", "--list")
    assert done.returncode != 0
    assert "distributed_hosts.example.yaml" in done.stderr and "P2P_DISTRIBUTED_HOSTS" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("kind, reason", [("pipe", "a pipe or a device, not a file"), ("folder", "Is a directory"), ("loop", "Too many levels of symbolic")])
def test_what_is_no_file_is_refused_at_once(folder, kind, reason):
    path = folder / "odd.yaml"
    {"pipe": os.mkfifo, "folder": os.mkdir, "loop": lambda place: place.symlink_to(place)}[kind](path)
    done = ansible(folder, "inventory", "-i", "p2p.yml", "--list", P2P_DISTRIBUTED_HOSTS=str(path))
    # Before ansible-core 2.19 long lines are folded, within words too.
    text = "".join(done.stderr.split())
    assert done.returncode != 0 and f"cannot be read: {path}: {reason}".replace(" ", "") in text and "Traceback" not in text


def test_all_faults_are_told_before_any_host_is_added(folder):
    (folder / "distributed_hosts.yaml").write_text(HOSTS.replace("'14000'", "no") + "    nat_blocked: perhaps\n")
    done = ansible(folder, "inventory", "-i", "p2p.yml", "--list")
    assert done.returncode != 0
    text = " ".join(done.stderr.split())
    assert "line 13, column 1: hosts.vast-1.ssh_port: expected a port" in text
    assert "line 26, column 1: hosts.local.nat_blocked: expected true or false" in text
    assert "Traceback" not in text and "hetzner-1" not in done.stdout


@pytest.mark.parametrize("name, wanted", [("p2p.yml", True), ("lab.p2p.yaml", True), ("hosts.yml", False), ("p2p.ini", False)])
def test_which_files_are_taken(tmp_path, name, wanted):
    (tmp_path / name).write_text("plugin: ringrift.p2p.distributed_hosts\n")
    assert distributed_hosts.InventoryModule().verify_file(str(tmp_path / name)) is wanted
