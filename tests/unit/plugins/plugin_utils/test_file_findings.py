# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _cluster_file

# Three voters that nothing speaks against, so that only what a test adds is found.
SOUND = """\
p2p_voters: [hetzner-1, nebius-1, vultr-1]
hosts:
  hetzner-1: {ssh_host: 203.0.113.1, gpu: none}
  nebius-1: {ssh_host: 203.0.113.2, gpu: none}
  vultr-1: {ssh_host: 203.0.113.3, gpu: none}
"""


def findings(text):
    return _cluster_file.parse(text, "hosts.yaml").findings


def about(body, name="lambda-1"):
    """The findings that one more host with these keys makes."""
    return findings(SOUND + f"  {name}:\n" + "".join(f"    {line}\n" for line in body.splitlines()))


def test_nothing_speaks_against_a_sound_file():
    assert findings(SOUND) == []
    assert about("ssh_host: 203.0.113.9\nstatus: ready\nrole: gpu_training_primary\ngpu: GH200\nnat_blocked: true\nforce_relay_mode: true\n"
                 "relay_primary: hetzner-1\ntailscale_ip: 100.64.0.9\nnote: '{{ x }}'") == []


@pytest.mark.parametrize("body, key, summary", [
    ("status: ready\np2p_enabled: false", "p2p_enabled", "ready, yet p2p_enabled is false"),
    ("status: shiny", "status", "'shiny' is not known"),
    ("status: ready\nnote: instance terminated 2025-12", "status", "its note says terminated"),
    ("ssh_user: a", "ssh_user", "names the user root, ssh_user says a"),
    ("ssh_port: 23", "ssh_port", "names the port 2222, ssh_port says 23"),
    ("tailscale_ip: 10.0.0.1", "tailscale_ip", "not a Tailscale address"),
    ("p2p_public_host: 192.168.1.1", "p2p_public_host", "not an address that is public"),
    ("nat_blocked: true\nforce_relay_mode: false", "force_relay_mode", "nat_blocked is true, yet force_relay_mode is false"),
    ("force_relay_mode: true\nnat_blocked: false", "nat_blocked", "force_relay_mode is true, yet nat_blocked is false"),
    ("nat_blocked: true\nrelay_capable: true", "relay_capable", "relay_capable is true"),
    ("relay_primary: nobody", "relay_primary", "'nobody' is no host"),
    ("relay_secondary: lambda-1", "relay_secondary", "its own relay"),
    ("role: gpu_training_primary\ntraining_enabled: false", "training_enabled", "training_enabled is false"),
])
def test_contradictions_within_an_entry(body, key, summary):
    (finding,) = about(f"ssh_host: root@203.0.113.9:2222\n{body}")
    assert (finding["code"], finding["node"], finding["path"]) == ("FILE_CONTRADICTION", "lambda-1", f"hosts.lambda-1.{key}")
    assert summary in finding["summary"]
    assert finding["line"] == 7 + [line.partition(":")[0] for line in ("ssh_host: x\n" + body).splitlines()].index(key)
    assert finding["evidence"][0].startswith(f"hosts.yaml, line {finding['line']}: ")
    assert finding["remedy"]


@pytest.mark.parametrize("name, body, summary", [
    ("lambda-1", "vast_instance_id: '5'", "The provider is vast (key vast_instance_id), yet the name says lambda"),
    ("box-1", "vast_instance_id: '5'\nrunpod_id: x", "The provider is vast (key vast_instance_id), yet runpod_id says runpod"),
    ("box-1", "provider: hetzner\nvultr_id: x", "The provider is hetzner (key provider), yet vultr_id says vultr"),
])
def test_contradictions_about_the_provider(name, body, summary):
    (finding,) = about(f"ssh_host: 203.0.113.9\n{body}", name)
    assert finding["summary"] == summary and finding["line"] == 6


@pytest.mark.parametrize("body, summary", [
    ("  spare: {ssh_host: 203.0.113.8, status: retired}\n  lambda-1: {ssh_host: 203.0.113.9, relay_primary: spare}\n", "does not belong to the cluster"),
    ("  spare: {ssh_host: 203.0.113.8, nat_blocked: true}\n  lambda-1: {ssh_host: 203.0.113.9, relay_primary: spare}\n", "is behind NAT itself"),
])
def test_relays_that_cannot_relay(body, summary):
    (finding,) = findings(SOUND + body)
    assert finding["node"] == "lambda-1" and summary in finding["summary"]


@pytest.mark.parametrize("first, second, found", [
    ("ssh_host: 203.0.113.9", "ssh_host: 203.0.113.9", True),
    ("ssh_host: 203.0.113.9", "ssh_host: 203.0.113.9, status: retired", False),
    ("ssh_host: 203.0.113.8, tailscale_ip: 100.64.0.1", "ssh_host: 203.0.113.9, tailscale_ip: 100.64.0.1", True),
    ("ssh_host: 203.0.113.8, p2p_public_host: 203.0.113.7", "ssh_host: 203.0.113.7", True),
    ("ssh_host: 203.0.113.9, p2p_public_port: 8771, ssh_port: 23", "ssh_host: 203.0.113.9", False),
    ("ssh_host: ssh5.vast.ai, ssh_port: 1000", "ssh_host: ssh5.vast.ai, ssh_port: 1001", False),
    ("ssh_host: ssh5.vast.ai, ssh_port: 1000", "ssh_host: ssh5.vast.ai, ssh_port: 1000", True),
])
def test_two_nodes_at_one_address(first, second, found):
    hits = findings(SOUND + f"  box-1: {{{first}}}\n  box-2: {{{second}}}\n")
    assert [hit["node"] for hit in hits] == (["box-2"] if found else [])
    if found:
        assert hits[0]["duplicate_of"] == "box-1" and "line 6" in hits[0]["evidence"][1]


@pytest.mark.parametrize("entry, reason", [
    ("ssh_host: 203.0.113.9, status: offline", "status offline"), ("ssh_host: 203.0.113.9, status: retired", "status retired"),
    ("ssh_host: 203.0.113.9, nat_blocked: true", "nat_blocked is true"), ("ssh_host: 203.0.113.9, is_container: true", "container"),
    ("ssh_host: 203.0.113.9, is_ephemeral: true", "is_ephemeral"), ("ssh_host: localhost", "this machine itself"),
])
def test_voters_that_cannot_do_a_voters_work(entry, reason):
    text = SOUND.replace("vultr-1]", "vultr-1, box-1, box-2]") + f"  box-1: {{{entry}}}\n  box-2: {{ssh_host: 203.0.113.10}}\n"
    (finding,) = findings(text)
    assert (finding["code"], finding["node"], finding["line"]) == ("VOTER_UNFIT", "box-1", 1)
    assert reason in finding["summary"]


def test_a_vast_voter_is_unfit_for_every_reason_that_holds():
    (finding,) = findings(SOUND.replace(", vultr-1]", "]") + "  vast-1: {ssh_host: ssh5.vast.ai, p2p_voter: true}\n")
    assert finding["code"] == "VOTER_UNFIT" and finding["path"] == "hosts.vast-1.p2p_voter"
    assert len(finding["evidence"]) == 3


def test_a_voter_that_is_in_no_inventory():
    (finding,) = findings("p2p_voters:\n- hetzner-1\n- nebius-1\n- ghost\n" + SOUND.partition("\n")[2])
    assert (finding["code"], finding["node"], finding["line"]) == ("VOTER_UNFIT", "ghost", 4)


@pytest.mark.parametrize("voters, summary", [
    ("[]", "No voter is named"), ("[hetzner-1]", "a single voter"), ("[hetzner-1, nebius-1]", "even (2): it stands no more failures than 1 would")])
def test_numbers_of_voters_that_make_no_sense(voters, summary):
    (finding,) = findings(SOUND.replace("[hetzner-1, nebius-1, vultr-1]", voters))
    assert summary in finding["summary"] and finding["node"] is None and finding["line"] == 1


def test_a_voter_that_says_it_is_none():
    (finding,) = findings(SOUND.replace("203.0.113.3,", "203.0.113.3, p2p_voter: false,"))
    assert (finding["node"], finding["path"]) == ("vultr-1", "hosts.vultr-1.p2p_voter")


def test_a_coordinator_that_is_no_host():
    (finding,) = findings(SOUND + "elo_sync:\n  coordinator: ghost\n")
    assert finding["summary"] == "The coordinator 'ghost' is no host of this file" and finding["line"] == 6


def test_a_file_of_which_nothing_belongs():
    (finding,) = findings("hosts:\n  a: {ssh_host: 203.0.113.1, status: retired}\n")
    assert finding["summary"] == "No host of the file belongs to the cluster"


def test_a_gpu_node_marked_coordinator_is_told_with_what_is_wanted():
    (finding,) = about("ssh_host: 203.0.113.9\nrole: coordinator\ngpu: GH200")
    assert (finding["code"], finding["node"], finding["line"]) == ("GPU_COORDINATOR", "lambda-1", 8)
    assert "wanted: role: gpu_training_primary, training_enabled: true" in finding["evidence"]


def test_findings_come_in_the_order_of_the_file():
    found = findings(SOUND + "  b: {ssh_host: 203.0.113.3, status: odd}\n  a: {ssh_host: 203.0.113.4, status: odd}\n")
    assert [finding["line"] for finding in found] == sorted(finding["line"] for finding in found) and len(found) == 3
