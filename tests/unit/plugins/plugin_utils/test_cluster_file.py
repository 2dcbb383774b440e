# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import pathlib
import time

import pytest
from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _cluster_file

EXAMPLE = pathlib.Path(__file__).parents[4] / "inventory" / "distributed_hosts.example.yaml"


def parse(text, **options):
    return _cluster_file.parse(text, "hosts.yaml", **options)


def host(body: str, name: str = "node-1", **options):
    """The host that an entry with these lines makes."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return parse(f"hosts:\n  {name}:\n{lines}", **options).hosts[name.strip("'")]


def faults(text, **options):
    with pytest.raises(_cluster_file.ClusterFileError) as caught:
        parse(text, **options)
    return caught.value.faults


def entry_faults(body: str, name: str = "node-1"):
    return faults(f"hosts:\n  {name}:\n" + "".join(f"    {line}\n" for line in body.splitlines()))


class TestExample:
    cluster = _cluster_file.parse(EXAMPLE.read_bytes(), "example")

    def test_twenty_two_nodes_belong(self):
        assert len([name for name, entry in self.cluster.hosts.items() if entry["belongs"]]) == 22

    def test_every_excluded_node_has_its_reason(self):
        reasons = {name: entry["excluded_reason"] for name, entry in self.cluster.hosts.items() if not entry["belongs"]}
        assert len(reasons) == 8 and all(reasons.values())

    def test_it_is_json(self):
        data = json.loads(json.dumps(self.cluster.to_dict()))
        assert data["digest"] == hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()
        assert data["hosts"]["hetzner-cpu1"]["lines"]["ssh_host"] == data["hosts"]["hetzner-cpu1"]["line"] + 1
        assert data["voters"] == ["hetzner-cpu1", "hetzner-cpu2", "nebius-backbone-1", "nebius-h100-3", "vultr-a100-20gb"]
        assert data["coordinators"] == ["hetzner-cpu1"]
        assert data["protocols"]["consensus_mode"] == "raft"

    def test_only_the_wrong_coordinator_is_corrected(self):
        assert self.cluster.gpu_edits == {"nebius-l40s-1": {"role": "gpu_training_primary", "training_enabled": True}}


@pytest.mark.parametrize("body, path", [("ssh_host: 203.0.113.1", None), ("ssh_host: 203.0.113.1\nringrift_path: ~/ringrift", "~/ringrift"),
                                        ("ssh_host: 203.0.113.1\nringrift_path: null", None)])
def test_path_stands_as_it_is(body, path):
    assert host(body)["path"] == path


@pytest.mark.parametrize("written, expected", [
    ("ssh_host: 203.0.113.1", ("203.0.113.1", None, 22)),
    ("ssh_host: root@203.0.113.1", ("203.0.113.1", "root", 22)),
    ("ssh_host: root@203.0.113.1:2222", ("203.0.113.1", "root", 2222)),
    ("ssh_host: root@203.0.113.1\nssh_user: ubuntu", ("203.0.113.1", "ubuntu", 22)),
    ("ssh_host: 203.0.113.1:2222\nssh_port: '23'", ("203.0.113.1", None, 23)),
    ("ssh_host: ' 203.0.113.1 '", ("203.0.113.1", None, 22)),
    ("ssh_host: localhost", ("localhost", None, 22)),
    ("ssh_host: '[2001:db8::1]:2222'", ("2001:db8::1", None, 2222)),
    ("ssh_host: gpu-box", ("gpu-box", None, 22)),
])
def test_ssh_target(written, expected):
    found = host(written)
    assert (found["ssh_host"], found["ssh_user"], found["ssh_port"]) == expected


@pytest.mark.parametrize("name, user", [
    ("lambda-1", "ubuntu"), ("nebius-1", "ubuntu"), ("aws-1", "ubuntu"), ("hetzner-1", "root"), ("vultr-1", "root"), ("vast-1", "root"), ("runpod-1", "root"),
    ("mac-1", None), ("node-1", None)])
def test_missing_user_is_the_providers_default(name, user):
    assert host("ssh_host: 203.0.113.1", name)["ssh_user"] == user


@pytest.mark.parametrize("name, body, public, overlay, gateway_only", [
    ("hetzner-1", "ssh_host: 203.0.113.1", "203.0.113.1", None, False),
    ("hetzner-1", "ssh_host: node.example.org", "node.example.org", None, False),
    ("hetzner-1", "ssh_host: 100.64.0.7", None, "100.64.0.7", False),
    ("hetzner-1", "ssh_host: 10.0.0.7", None, None, False),
    ("hetzner-1", "ssh_host: localhost", None, None, False),
    ("hetzner-1", "ssh_host: 10.0.0.7\np2p_public_host: 203.0.113.1", "203.0.113.1", None, False),
    ("hetzner-1", "ssh_host: 203.0.113.1\np2p_public_host: <public-ip>", "203.0.113.1", None, False),
    ("hetzner-1", "ssh_host: 203.0.113.1\ntailscale_ip: 100.x.x.x", "203.0.113.1", None, False),
    ("hetzner-1", "ssh_host: 203.0.113.1\ntailscale_ip: 10.1.1.1", "203.0.113.1", None, False),
    ("hetzner-1", "ssh_host: 203.0.113.1\ntailscale_ip: 100.64.0.9", "203.0.113.1", "100.64.0.9", False),
    ("vast-1", "ssh_host: ssh5.vast.ai\nssh_port: 14000", None, None, True),
    ("vast-1", "ssh_host: 203.0.113.1\nssh_port: 14000", None, None, True),
    ("vast-1", "ssh_host: ssh5.vast.ai\np2p_public_host: 203.0.113.9\np2p_public_port: '40001'", "203.0.113.9", None, False),
    ("runpod-1", "ssh_host: ssh.runpod.io\ntailscale_ip: 100.64.0.9", None, "100.64.0.9", False),
    ("odd-1", "ssh_host: ssh5.vast.ai", None, None, True),
])
def test_addresses_at_which_a_node_can_be_reached_by_others(name, body, public, overlay, gateway_only):
    found = host(body, name)
    assert (found["public_address"], found["tailscale_address"], found["gateway_only"]) == (public, overlay, gateway_only)
    assert found["overlay"] is (overlay is not None)


def test_ports():
    assert (host("ssh_host: 203.0.113.1")["port"], host("ssh_host: 203.0.113.1")["public_port"]) == (8770, 8770)
    found = host("ssh_host: 203.0.113.1\np2p_port: '9000'\np2p_public_port: 40001")
    assert (found["port"], found["public_port"]) == (9000, 40001)


@pytest.mark.parametrize("name, body, provider, evidence", [
    ("vast-1", "provider: Hetzner\nvast_instance_id: 5", "hetzner", "key provider"),
    ("node-1", "provider: vast.ai", "vast", "key provider"),
    ("node-1", "provider: gcp", "other", "key provider: gcp"),
    ("lambda-1", "vast_instance_id: '5'", "vast", "key vast_instance_id"),
    ("lambda-1", "aws_instance_id: i-5", "aws", "key aws_instance_id"),
    ("lambda-1", "vast_instance_id: null", "lambda", "name"),
    ("gpu-7", "role: x", "nebius", "option providers"),
    ("lambda-gpu-7", "role: x", "nebius", "option providers"),
    ("VULTR-1", "role: x", "vultr", "name"),
    ("macbook-pro", "role: x", "mac", "name"),
    ("machine-1", "role: x", "other", "none"),
    ("lambdas", "role: x", "other", "none"),
    ("localhost", "role: x", "local", "name"),
])
def test_provider_from_the_best_evidence(name, body, provider, evidence):
    found = host(body, name, providers={"nebius": ["gpu-*", "*-gpu-*"]})
    assert (found["provider"], found["provider_evidence"]) == (provider, evidence)


@pytest.mark.parametrize("body, reason", [
    ("p2p_enabled: false\nstatus: ready", "p2p_enabled is false"),
    ("p2p_enabled: false\nstatus: retired", "p2p_enabled is false"),
    *[(f"status: {status}", f"status {status}: ") for status in (
        "offline", "retired", "terminated", "destroyed", "disabled", "proxy_only", "pending_setup", "setup", "needs_setup", "needs_tailscale_auth",
        "ssh_key_rejected", "Retired")],
    ("status: ready\nrole: proxy", "role proxy"),
    ("ringrift_path: null", "ringrift_path is null"),
])
def test_who_does_not_belong(body, reason):
    found = host("ssh_host: 203.0.113.1\n" + body)
    assert not found["belongs"]
    assert found["excluded_reason"].startswith(reason)


@pytest.mark.parametrize("body, reason", [
    ("role: x", "it has no address"), ("ssh_host: <public-ip>", "its address is a placeholder: ssh_host is '<public-ip>'"),
    ("ssh_host: your-server-ip", "its address is a placeholder"), ("ssh_host: root@xxx.xxx.xxx.xxx", "its address is a placeholder")])
def test_who_has_no_address_does_not_belong(body, reason):
    assert host(body)["excluded_reason"].startswith(reason)


@pytest.mark.parametrize("body", [
    "status: ready", "status: null", "role: x", "status: something_new", "p2p_enabled: true", "role: never_seen_before", "ringrift_path: /opt/x",
    "venv_activate: ':'", "venv_activate: cd ~/ringrift && source venv/bin/activate", "unknown_key: {a: [1, 2]}", "storage_paths: {data: /mnt}"])
def test_who_belongs(body):
    found = host("ssh_host: 203.0.113.1\n" + body)
    assert found["belongs"] and found["excluded_reason"] is None


def test_an_overlay_address_is_enough_to_belong():
    assert host("tailscale_ip: 100.64.0.3")["belongs"]


def test_the_entry_stays_as_it_stands():
    found = host("ssh_host: ' root@203.0.113.1'\nssh_port: '22'\nvast_instance_id: '30274241'\nunknown: {x: [1, ~]}\nnote: '{{ 1 + 1 }}'\nseen: 2026-01-25")
    assert found["entry"] == {
        "ssh_host": " root@203.0.113.1", "ssh_port": "22", "vast_instance_id": "30274241", "unknown": {"x": [1, None]}, "note": "{{ 1 + 1 }}",
        "seen": "2026-01-25"}


def test_relays_in_order_without_repetition():
    found = host("ssh_host: 203.0.113.1\nrelay_secondary: b\nrelay_primary: a\nrelay_tertiary: b\nrelay_quaternary: null")
    assert found["relays"] == ["a", "b"]


@pytest.mark.parametrize("name, body, container", [
    ("vast-1", "role: x", True), ("runpod-1", "role: x", True), ("vast-1", "is_container: false", False), ("nebius-1", "is_container: true", True),
    ("nebius-1", "role: x", False)])
def test_container(name, body, container):
    assert host(body, name)["container"] is container


def test_voters_come_from_the_list_and_from_the_entries():
    cluster = parse("p2p_voters:\n- b\n- zz\n- b\nhosts:\n  a: {ssh_host: 203.0.113.1, p2p_voter: true}\n  b: {ssh_host: 203.0.113.2}\n")
    assert cluster.voters == ["b", "zz", "a"]
    assert (cluster.hosts["a"]["voter"], cluster.hosts["b"]["voter"]) == (True, True)


def test_coordinators_are_declared_in_two_places():
    cluster = parse("elo_sync: {coordinator: a}\np2p_coordinators: [b, a]\nhosts:\n  a: {ssh_host: 203.0.113.1}\n  b: {ssh_host: 203.0.113.2}\n")
    assert cluster.coordinators == ["a", "b"]
    assert cluster.hosts["a"]["coordinator"] and cluster.hosts["b"]["coordinator"]


@pytest.mark.parametrize("text", ["hosts: {}\n", "hosts:\n", "hosts: {}\np2p_voters:\nprotocols:\nelo_sync:\n", "---\nhosts: {}\n...\n"])
def test_no_hosts_at_all(text):
    cluster = parse(text)
    assert cluster.hosts == {} and cluster.to_dict()["hosts"] == {} and cluster.findings == []


@pytest.mark.parametrize("text", [
    b"\xef\xbb\xbfhosts:\n  a:\n    ssh_host: 203.0.113.1\n", b"hosts:\r\n  a:\r\n    ssh_host: 203.0.113.1\r\n",
    "hosts:\n        a: {ssh_host: 203.0.113.1}\n",
    "base: &b\n  ssh_host: 203.0.113.1\nhosts:\n  a:\n    <<: *b\n", "hosts:\n  a: &x {ssh_host: 203.0.113.1}\n  b: *x\n"])
def test_every_way_to_write_one_host(text):
    assert parse(text).hosts["a"]["ssh_host"] == "203.0.113.1"


def test_text_from_a_template_is_read_like_any_other():
    cluster = parse(wrap_var("hosts:\n  a: {ssh_host: 203.0.113.1}\n"))
    assert cluster.digest == parse(b"hosts:\n  a: {ssh_host: 203.0.113.1}\n").digest
    assert cluster.hosts["a"]["ssh_host"].__class__ is str


@pytest.mark.parametrize("name", ["gpu_1", "a.b.c", "1st-node", "gpu+1", "knoten-ü", "x@y", "a", "123-4"])
def test_names_that_can_be_used(name):
    assert host("ssh_host: 203.0.113.1", name)["name"] == name


@pytest.mark.parametrize("name", [
    "'a b'", "'a/b'", "'-a'", "'a:b'", "'a,b'", "'{{ x }}'", "'a\tb'", "'*'", "''", "'..'", "all", "ungrouped", "123", "true", "~"])
def test_names_that_cannot_be_used(name):
    (fault,) = entry_faults("ssh_host: 203.0.113.1", name)
    assert fault.path.startswith("hosts.") and fault.line == 2


@pytest.mark.parametrize("text, path, line, expected", [
    ("", "", 1, "empty"), ("# nothing\n", "", 1, "empty"), ("- a\n", "", 1, "found a list"), ("text", "", 1, "expected a mapping"),
    ("$ANSIBLE_VAULT;1.1;AES256\n6162\n", "", 1, "encrypted"),
    ("host: {}\n", "hosts", 1, "the key is missing"), ("x: 1\nhosts: [a, b]\n", "hosts", 2, "expected a mapping, found a list"),
    ("hosts:\n  a:\n", "hosts.a", 2, "found nothing"), ("hosts:\n  a: [x]\n", "hosts.a", 2, "found a list"),
    ("hosts:\n  a: 203.0.113.1\n", "hosts.a", 2, "found '203"),
    ("hosts: {}\np2p_voters: a\n", "p2p_voters", 2, "a list of host names"), ("hosts: {}\np2p_voters:\n- a\n- 5\n", "p2p_voters[1]", 4, "a host name, found 5"),
    ("hosts: {}\np2p_voters: {a: true}\n", "p2p_voters", 2, "found a mapping"), ("hosts: {}\nelo_sync: x\n", "elo_sync", 2, "expected a mapping"),
    ("hosts: {}\nelo_sync:\n  coordinator: [a]\n", "elo_sync.coordinator", 3, "a host name"),
    ("hosts: {}\nprotocols: []\n", "protocols", 2, "expected a mapping"),
    ("hosts: {}\np2p_coordinators: a\n", "p2p_coordinators", 2, "a list"),
    ("hosts:\n  a: {ssh_host: 203.0.113.1}\n  b: {ssh_host: 203.0.113.2}\n  a: {ssh_host: 203.0.113.3}\n", "hosts.a", 4, "first in line 2"),
    ("hosts:\n  a:\n    role: x\n    role: y\n", "hosts.a.role", 4, "first in line 3"), ("hosts: {}\nhosts: {}\n", "hosts", 2, "stands twice"),
    ("hosts:\n\ta: 1\n", "", 2, "tabs"), ("hosts: {}\n---\nhosts: {}\n", "", 2, "one document only"), (b"hosts: {}\nx: \xff\n", "", 2, "UTF-8"),
])
def test_what_is_wrong_with_the_file_is_told_with_its_place(text, path, line, expected):
    (fault,) = faults(text)
    assert (fault.path, fault.line) == (path, line)
    assert expected in fault.message


@pytest.mark.parametrize("line, expected", [
    ("ssh_port: 0", "a number from 1 to 65535, found 0"), ("ssh_port: 70000", "from 1 to 65535"), ("ssh_port: '22a'", "found '22a'"),
    ("ssh_port: true", "found the boolean true"), ("p2p_port: -1", "from 1 to 65535"), ("p2p_public_port: [1]", "found a list"),
    ("ssh_port: 22.5", "from 1 to 65535"),
    ("p2p_enabled: 'false'", "without quotes"), ("nat_blocked: 1", "expected true or false, found 1"), ("training_enabled: maybe", "true or false"),
    ("ssh_host: [a]", "expected text, found a list"), ("role: {a: b}", "expected text, found a mapping"), ("status: off", "in quotes"),
    ("gpu: false", "in quotes"),
    ("ssh_host: a b", "neither an address"), ("ssh_host: '-oProxyCommand=reboot'", "neither an address"), ("ssh_host: 300.1.1.1", "neither an address"),
    ("ssh_host: 203.0.113.1:70000", "70000"), ("ssh_user: 'a b'", "user's name"), ("ssh_user: -oX", "user's name"),
    ("gpu_vram_gb: lots", "gigabytes, found 'lots'"),
    ("gpu_vram_gb: -1", "gigabytes"), ("p2p_public_host: a b", "neither an address"), ('ssh_key: "a\\nb"', "control characters"),
    ("ssh_proxy: nobody", "no host of this file"),
])
def test_what_is_wrong_with_a_key_is_told_with_its_place(line, expected):
    (fault,) = entry_faults(("" if line.startswith("ssh_host") else "ssh_host: 203.0.113.1\n") + line)
    key = line.partition(":")[0]
    assert fault.path == f"hosts.node-1.{key}"
    assert fault.line == (3 if key == "ssh_host" else 4)
    assert expected in fault.message


def test_all_faults_come_at_once_and_in_order():
    found = faults("p2p_voters: x\nhosts:\n  a:\n    ssh_port: x\n    nat_blocked: y\n  b: []\n  c:\n    ssh_host: a b\n  'd e': {}\n")
    assert [(fault.line, fault.path) for fault in found] == [
        (1, "p2p_voters"), (4, "hosts.a.ssh_port"), (5, "hosts.a.nat_blocked"), (6, "hosts.b"), (8, "hosts.c.ssh_host"), (9, "hosts.d e")]


def test_the_error_reads_well():
    with pytest.raises(_cluster_file.ClusterFileError) as caught:
        parse("hosts:\n  a:\n    ssh_host: 203.0.113.1\n    ssh_port: x\n")
    assert str(caught.value) == (
        "hosts.yaml cannot be used: 1 fault. Correct the file, then run again.\n"
        "  line 4, column 1: hosts.a.ssh_port: expected a port, a number from 1 to 65535, found 'x'")


def test_a_thousand_faults_do_not_make_a_thousand_lines():
    with pytest.raises(_cluster_file.ClusterFileError) as caught:
        parse("hosts:\n" + "".join(f"  h{number}: []\n" for number in range(1000)))
    assert len(caught.value.faults) == 1000
    assert str(caught.value).endswith("and 950 more")


@pytest.mark.parametrize("proxies, chain", [({"a": "b"}, ["b"]), ({"a": "b", "b": "c"}, ["c", "b"])])
def test_proxies_lead_through_each_other(proxies, chain):
    text = "hosts:\n" + "".join(
        f"  {name}:\n    ssh_host: 203.0.113.{number}\n" + (f"    ssh_proxy: {proxies[name]}\n" if name in proxies else "")
        for number, name in enumerate("abc", 1))
    assert _cluster_file.proxy_chain(parse(text).hosts, "a") == chain


@pytest.mark.parametrize("proxies, circle", [
    ({"a": "a"}, "a -> a"), ({"a": "b", "b": "a"}, "a -> b -> a"), ({"a": "b", "b": "c", "c": "b"}, "a -> b -> c -> b")])
def test_a_circle_of_proxies_is_a_fault(proxies, circle):
    text = "hosts:\n" + "".join(
        f"  {name}:\n    ssh_host: 203.0.113.{number}\n    ssh_proxy: {proxies[name]}\n" for number, name in enumerate(proxies, 1))
    assert circle in faults(text)[0].message


def test_a_proxy_without_an_address_is_a_fault():
    (fault,) = faults("hosts:\n  a: {ssh_host: 203.0.113.1, ssh_proxy: b}\n  b: {ssh_host: <public-ip>}\n")
    assert "no usable ssh_host" in fault.message


def test_the_proxy_of_a_host_that_is_gone_does_not_stop_a_run():
    cluster = parse("hosts:\n  a: {ssh_host: 203.0.113.1, ssh_proxy: gone, status: retired}\n  b: {ssh_host: 203.0.113.2}\np2p_voters: [b]\n")
    assert [finding["summary"] for finding in cluster.findings if finding["node"] == "a"] == ["The proxy 'gone' is no host of this file"]


@pytest.mark.parametrize("options, expected", [
    ({"providers": {"gcp": ["x"]}}, "expected one of lambda"), ({"providers": {"vast": "x*"}}, "a list of name patterns"),
    ({"providers": ["x"]}, "expected a mapping"),
    ({"gpu_role": "coordinator"}, "other than coordinator"), ({"gpu_role": {"big": "x"}}, "a number"), ({"gpu_role": {}}, "expected a role")])
def test_bad_options_are_refused(options, expected):
    with pytest.raises(ValueError, match=expected):
        parse("hosts: {}\n", **options)


@pytest.mark.parametrize("key, value, expected", [
    ("ssh_port", "x", "a port"), ("nat_blocked", "true", "without quotes"), ("role", ["x"], "text"), ("ssh_port", "22", None), ("unknown", [1], None),
    ("nat_blocked", False, None), ("role", None, None), ("gpu_vram_gb", "96 GB", None)])
def test_whether_a_value_can_stand_at_a_key(key, value, expected):
    fault = _cluster_file.value_fault(key, value)
    assert fault is None if expected is None else expected in fault


def test_fifty_megabytes_of_text_are_read():
    text = "hosts:\n  a:\n    ssh_host: 203.0.113.1\nblob: " + "x" * (50 * 1024 * 1024) + "\n"
    started = time.monotonic()
    assert list(parse(text).hosts) == ["a"]
    assert time.monotonic() - started < 20
