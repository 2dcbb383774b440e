# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.ringrift.p2p.plugins.filter.managed_files import environment_value
from ansible_collections.ringrift.p2p.plugins.module_utils import _start_mechanisms
from ansible_collections.ringrift.p2p.plugins.plugin_utils import _managed_files
from hypothesis import given, settings
from hypothesis import strategies as st


def mechanism(kind, location, name="ringrift-p2p.service", **changes):
    return dict({"kind": kind, "location": location, "name": name, "active": True, "command": None, "arguments": None, "environment": {}}, **changes)


def test_arguments_of_the_operator_are_told_from_those_that_are_planned():
    argv = ["/v/python", "scripts/p2p_orchestrator.py", "--node-id", "n", "--host=0.0.0.0", "--kill-duplicates", "--advertise-port", "9000", "--training-only",
            "--no-lock-cleanup", "--auth-token", "s3cret", "--peers", "a:1", "--require-auth"]
    assert _managed_files.kept_arguments(argv) == ["--host=0.0.0.0", "--advertise-port", "9000", "--training-only", "--require-auth"]
    assert _managed_files.kept_arguments(["--storage-type"]) == ["--storage-type"]


def test_what_runs_counts_more_than_what_is_written():
    observation = {
        "start_mechanisms": [
            mechanism("unit", "/etc/systemd/system/ringrift-p2p.service", arguments=["--require-auth"],
                      environment={"RINGRIFT_A": "unit", "P2P_B": "1", "HOME": "/"}),
            mechanism("cron", "/etc/cron.d/x", active=False, arguments=["--training-only"], environment={"RINGRIFT_C": "not in force"}),
        ],
        "running": {
            "pid": 7, "argv": ["python", "x.py", "--host", "::"],
            "environment": {"RINGRIFT_A": "running", "RINGRIFT_IS_COORDINATOR": "true", "RINGRIFT_CLUSTER_AUTH_TOKEN": "********"},
        },
    }
    found = _managed_files.adopted_start(observation)
    assert found["environment"] == {"P2P_B": "1", "RINGRIFT_A": "running"} and found["arguments"] == ["--host", "::"]
    assert found["unreadable"] == ["RINGRIFT_CLUSTER_AUTH_TOKEN"]
    observation["running"] = {"pid": None, "argv": [], "environment": {}}
    found = _managed_files.adopted_start(observation)
    assert found["arguments"] == ["--require-auth"] and found["environment"]["RINGRIFT_A"] == "unit" and found["unreadable"] == []


def test_a_node_of_which_nothing_is_known_gives_nothing():
    assert _managed_files.adopted_start({}) == {"environment": {}, "arguments": [], "pythonpath": None, "unreadable": []}


def replaced(mechanisms=(), coordinator_environment=(), own=(), coordinator=False, hooks=()):
    observation = {"start_mechanisms": list(mechanisms), "coordinator_environment": list(coordinator_environment)}
    return _managed_files.replaced(observation, "ringrift-p2p", list(hooks), "hook\n", set(own), coordinator)


def test_every_other_start_is_put_out_of_force_and_tuning_stays():
    folder = "/etc/systemd/system/"
    found = replaced([
        mechanism("unit", folder + "ringrift-p2p.service"), mechanism("unit", "/lib/systemd/system/other-p2p.service", "other-p2p.service"),
        mechanism("unit", folder + "resting.service", "resting.service", active=False),
        mechanism("drop_in", folder + "ringrift-p2p.service.d/a.conf", environment={"A": "1"}),
        mechanism("drop_in", folder + "ringrift-p2p.service.d/b.conf", command="x"), mechanism("drop_in", folder + "ringrift-p2p.service.d/nice.conf"),
        mechanism("drop_in", "/run/systemd/system/ringrift-p2p.service.d/c.conf", command="x"), mechanism("cron", "/etc/cron.d/x", "x"),
        mechanism("on_start", "/workspace/start.sh", "start.sh"), mechanism("on_start", "/etc/ringrift/on-start", "on-start"),
    ], own=["/etc/ringrift/on-start"])
    assert found["remove"] == [folder + "ringrift-p2p.service.d/a.conf", folder + "ringrift-p2p.service.d/b.conf"]
    assert found["files"] == [
        {"path": "/workspace/start.sh", "disable_lines": ["p2p_orchestrator"], "disable_as": "command"},
        {"path": folder + "other-p2p.service", "link": "/dev/null"},
    ]


def test_the_coordinator_switch_goes_where_it_must_not_be_and_stays_where_it_must():
    places = [{"location": location, "line": 1, "value": value} for location, value in (
        ("/a/.env.local", "true"), ("/a/.env.local", "1"), ("/b/.env", "false"), ("/etc/ringrift/node.conf", "true"), ("/etc/systemd/system/x.service", "true"),
        ("/var/spool/cron/crontabs/root", "true"), ("process 7", "true"), ("/root/onstart.sh", "yes"))]
    found = replaced(coordinator_environment=places, own=["/etc/ringrift/node.conf"], hooks=["/root/onstart.sh"])
    assert [item["path"] for item in found["files"]] == ["/a/.env.local", "/root/onstart.sh"]
    assert len(found["files"][0]["disable_lines"]) == 1 and found["files"][0]["disable_as"] == "comment"
    assert found["files"][1]["disable_as"] == "command" and found["files"][1]["block"] == "hook\n"
    assert replaced(coordinator_environment=places, coordinator=True)["files"] == []


def wanted(**changes):
    return _managed_files.managed_files(dict({
        "files": [{"path": "/etc/ringrift/node.conf", "content": "A=1\n", "mode": "0644", "owner": "root"}], "environment_file": "/etc/ringrift/node.conf",
        "apart": [{"path": "/x/config/distributed_hosts.yaml", "content": "hosts: {}\n", "mode": "0644", "owner": "u"}], "service": "ringrift-p2p",
        "secrets": [{"path": "/etc/ringrift/cluster-token", "secret": "t\n"}], "links": [{"path": "/x/current", "link": "releases/1"}], "release": "1",
        "restart_digest": "d", "observation": {},
    }, **changes))


def test_the_identity_stands_in_the_environment_and_in_the_target():
    result = wanted()
    (conf,) = [item for item in result["files"] if item["path"] == "/etc/ringrift/node.conf"]
    assert conf["content"] == "A=1\nRINGRIFT_P2P_GENERATION=%s\n" % result["generation"]
    assert result["target"]["files"]["/etc/ringrift/node.conf"] == _managed_files.digest(conf["content"])
    assert result["target"]["files"]["/etc/ringrift/cluster-token"] == _managed_files.digest("t\n")
    assert not any("secret" in item for item in result["files"])


def test_only_what_a_running_process_depends_on_makes_another_generation():
    first = wanted()["generation"]
    assert wanted(apart=[{"path": "/x/config/distributed_hosts.yaml", "content": "hosts: {a: 1}\n"}])["generation"] == first
    assert wanted(observation={"start_mechanisms": [mechanism("on_start", "/start.sh")]})["generation"] == first
    others = [wanted(restart_digest="e"), wanted(release="2"), wanted(secrets=[]), wanted(links=[]),
              wanted(files=[{"path": "/etc/ringrift/node.conf", "content": "A=2\n", "mode": "0644", "owner": "root"}])]
    assert len({item["generation"] for item in others} | {first}) == 6


def test_a_hosts_file_that_is_already_there_is_not_asked_for_by_path():
    path, sha256 = "/x/config/distributed_hosts.yaml", _managed_files.digest("hosts: {}\n")
    assert path not in wanted(observation={"hosts_file": {"path": path, "sha256": sha256}})["target"]["files"]
    assert path in wanted(observation={"hosts_file": {"path": path, "sha256": "0"}})["target"]["files"]


def test_a_release_is_compared_by_its_manifest_where_that_was_looked_at():
    manifest = {"path": "/r/current/RELEASE.json", "content": "{}\n"}
    assert manifest["path"] not in wanted(manifest=manifest)["target"]["files"]
    seen = wanted(manifest=manifest, observation={"files": {manifest["path"]: {"exists": False}}})
    assert seen["target"]["files"][manifest["path"]] == _managed_files.digest("{}\n") and seen["generation"] == wanted()["generation"]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=30))
def test_a_shell_and_systemd_read_the_value_that_was_meant(value):
    line = "X=" + environment_value(value)
    shown = subprocess.run(["sh", "-c", line + "\nprintf %s \"$X\""], capture_output=True, check=True).stdout.decode()
    assert shown == value
    assert _start_mechanisms.as_environment(_start_mechanisms.parse_environment_file(line + "\n")) == {"X": value}


def test_a_value_of_two_lines_is_refused():
    with pytest.raises(AnsibleFilterError, match="more than one line"):
        environment_value("a\nB=injected")
