# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters that the playbooks stand on."""

from __future__ import annotations

import pathlib

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.ringrift.p2p.plugins.filter import cluster as filters
from ansible_collections.ringrift.p2p.plugins.plugin_utils import _findings

ROOT = pathlib.Path(__file__).parents[4]
EXAMPLE = (ROOT / "inventory" / "distributed_hosts.example.yaml").read_text(encoding="utf-8")


def test_a_faulty_file_is_one_error_with_every_fault():
    with pytest.raises(AnsibleFilterError) as caught:
        filters.cluster_file("hosts:\n  a:\n    ssh_host: 203.0.113.1\n    ssh_port: x\n  b: []\n", "cluster.yaml")
    assert "hosts.a.ssh_port" in str(caught.value) and "hosts.b" in str(caught.value) and "cluster.yaml" in str(caught.value)


def test_settings_that_make_no_sense_are_an_error_not_a_traceback():
    with pytest.raises(AnsibleFilterError):
        filters.cluster_plan(filters.cluster_file(EXAMPLE, "x"), {}, {"batch_percent": 500})


def test_an_edit_is_foreseen_byte_for_byte():
    edited = filters.hosts_file_edited(EXAMPLE, {"nebius-l40s-1": {"role": "gpu_training_primary"}}, "x")
    before, after = EXAMPLE.splitlines(), edited.splitlines()
    assert len(before) == len(after) and len([1 for old, new in zip(before, after) if old != new]) == 1
    with pytest.raises(AnsibleFilterError, match="no such host"):
        filters.hosts_file_edited(EXAMPLE, {"nobody": {"role": "x"}}, "x")


def test_the_example_has_22_nodes_at_documentation_addresses():
    cluster = filters.cluster_file(EXAMPLE, "x")
    assert len([host for host in cluster["hosts"].values() if host["belongs"]]) == 22
    for addresses in filters.cluster_endpoints(cluster["hosts"], cluster).values():
        assert all(address.startswith(("203.0.113.", "198.51.100.", "192.0.2.", "100.64.")) for address in addresses)


def test_endpoints_have_the_public_address_first_and_leave_out_nodes_without_any():
    cluster = filters.cluster_file(EXAMPLE, "x")
    found = filters.cluster_endpoints(["hetzner-cpu1", "vast-30274241"], cluster)
    assert list(found) == ["hetzner-cpu1"] and found["hetzner-cpu1"][0].startswith("203.0.113.") and found["hetzner-cpu1"][1].startswith("100.64.")


def test_what_hosts_registered_is_gathered_where_it_is():
    hostvars = {"a": {"seen": {"observation": {"time": 1.0}}}, "b": {"seen": {"unreachable": True, "msg": "timed out"}}, "c": {}}
    assert filters.cluster_gather(["a", "b", "c"], hostvars, "seen", "observation") == {"a": {"time": 1.0}}
    assert filters.cluster_unreachable(["a", "b", "c"], hostvars, "seen") == {"b": "timed out"}


@pytest.mark.parametrize("said, reason", [
    ({"msg": "Missing sudo password"}, "Missing sudo password"),
    ({"msg": "MODULE FAILURE: No start of json char found\nSee stdout/stderr", "module_stderr": "Shared connection closed.\n/bin/sh: 1: python3: not found\n"},
     "MODULE FAILURE: No start of json char found: /bin/sh: 1: python3: not found"),
])
def test_a_node_on_which_nothing_can_be_run_is_told_with_the_reason(said, reason):
    hostvars = {"a": {"seen": dict(said, failed=True)}, "b": {"seen": {"failed": False, "observation": {}}}}
    assert filters.cluster_unreachable(["a", "b"], hostvars, "seen") == {"a": reason}


def test_a_voter_that_could_not_be_asked_has_no_view():
    asked = {"results": [{"item": "v1", "observation": {"view": {"answers": True}}}, {"item": "v2", "unreachable": True}, {"item": "v3", "skipped": True}]}
    assert filters.cluster_views(asked) == {"v1": {"answers": True}, "v2": None}


@pytest.mark.parametrize(("host", "reason"), [
    ({"p2p_restarted": {"changed": True}}, ""),
    ({"p2p_restarted": {"changed": False}}, ""),
    ({"p2p_answering": {"changed": False}}, ""),
    ({"p2p_restarted": {"failed": True, "msg": "x"}, "p2p_restart_failure": "the guard refused"}, "n: the guard refused"),
    # What ran before is back, and still the run ends here.
    ({"p2p_restarted": {"changed": True}, "p2p_restart_failure": "it did not join"}, "n: it did not join"),
    ({"p2p_restarted": {"unreachable": True}}, "n became unreachable while it was being restarted"),
    ({}, "n became unreachable while it was being restarted"),
])
def test_a_wave_that_did_not_come_back_whole_stops_the_run(host, reason):
    assert filters.cluster_stopped(["n"], {"n": host}) == reason


def test_the_documentation_of_the_findings_is_the_catalogue():
    assert (ROOT / "docs" / "findings.md").read_text(encoding="utf-8") == _findings.as_markdown(), "run `make docs`"


def test_every_filter_is_documented():
    for name in filters.FilterModule().filters():
        assert (ROOT / "plugins" / "filter" / ("%s.yml" % name)).is_file(), name
