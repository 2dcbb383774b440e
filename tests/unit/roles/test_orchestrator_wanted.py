# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role makes of a node's observation and plan, rendered by the real Ansible, judged by real shells and parsers."""

from __future__ import annotations

import configparser
import copy
import hashlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PEERS = ["203.0.113.60:8770", "203.0.113.40:8770"]
HOSTS_FILE = "hosts:\n  node: {note: '{{ never_rendered }}'}\n"


def host(**changes):
    return dict({"ssh_user": "root", "path": "~/ringrift", "port": 8770}, **changes)


def node(**changes):
    return dict({"class": "outside", "peers": PEERS, "relay_peers": [], "relays": [], "prefer_public": False, "advertise_host": None, "coordinator": False,
                 "hosts_digest": "d1"}, **changes)


def observation(**changes):
    base = {
        "init": "systemd", "machine": "x86_64", "python": {"version": "3.11.2", "executable": "/usr/bin/python3"},
        "orchestrator": {"path": None, "kind": None, "release": None, "interpreter": None}, "files": {}, "start_mechanisms": [],
        "coordinator_environment": [], "running": {"pid": None}, "locks": [], "seeds": {"literals": []}, "hosts_file": {},
    }
    base.update(changes)
    return base


FIELD = {"path": "/opt/ring's rift/ai-service", "kind": "field", "release": None, "interpreter": "/opt/venv/bin/python"}
FIELD_UNIT = {
    "kind": "unit", "location": "/etc/systemd/system/ringrift-p2p.service", "name": "ringrift-p2p.service", "active": True,
    "command": "/usr/bin/python scripts/p2p_orchestrator.py",
    "arguments": ["--node-id", "x", "--storage-type", "disk", "--peers", "10.0.0.1:8770", "--require-auth"],
    "environment": {"RINGRIFT_TIER": "two words", "RINGRIFT_IS_COORDINATOR": "true", "RINGRIFT_CLUSTER_AUTH_TOKEN": "********", "PATH": "/bin"},
}
CASES = {
    "voter": {
        "cluster": host(ssh_user="ubuntu", path="~/ringrift/ai-service"),
        "node": node(**{"class": "overlay"}, coordinator=True, advertise_host="203.0.113.70"), "observation": observation(),
    },
    "container": {
        "cluster": host(ssh_user=None, path=None), "node": node(relay_peers=PEERS[:1], prefer_public=True),
        "observation": observation(
            init="none",
            start_mechanisms=[{"kind": "on_start", "location": "/root/onstart.sh", "name": "onstart.sh", "active": True, "arguments": [], "environment": {}}],
            coordinator_environment=[{"location": "/root/ringrift/.env.local", "line": 3, "value": "true", "effective": True},
                                     {"location": "/etc/cron.d/x", "line": 1, "value": "true", "effective": True}],
        ),
    },
    "field": {
        "cluster": host(), "node": node(), "observation": observation(
            orchestrator=FIELD,
            start_mechanisms=[
                FIELD_UNIT,
                {"kind": "unit", "location": "/etc/systemd/system/my-p2p.service", "name": "my-p2p.service", "active": True, "arguments": [],
                 "environment": {}},
                {"kind": "drop_in", "location": "/etc/systemd/system/ringrift-p2p.service.d/env.conf", "name": "ringrift-p2p.service", "active": True,
                 "command": None, "environment": {"A": "b"}},
                {"kind": "drop_in", "location": "/etc/systemd/system/ringrift-p2p.service.d/limits.conf", "name": "ringrift-p2p.service", "active": True,
                 "command": None, "environment": {}},
            ],
        ),
    },
    "field-container": {
        "cluster": host(), "node": node(),
        "observation": observation(orchestrator=FIELD, init="none", files={"/var/lib/ringrift-p2p/runtime/current/RELEASE.json": {"exists": False}}),
    },
}
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: "{{ role }}"
        tasks_from: wanted
    - ansible.builtin.copy:
        content: "{{ {'wanted': orchestrator_wanted, 'generation': orchestrator_generation, 'service': orchestrator_service} | to_json }}"
        dest: "{{ out }}/{{ inventory_hostname }}.json"
        mode: "0600"
      no_log: true
"""


def render(folder, cases):
    """Runs the stage C(wanted) for these cases as hosts of one play; returns {name: {wanted, generation, service}}."""
    hosts_file = folder / "distributed_hosts.yaml"
    hosts_file.write_text(HOSTS_FILE, encoding="utf-8")
    shared = {
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "out": str(folder), "p2p_hosts_file": str(hosts_file),
        "p2p_cluster": {"hosts": {name: case["cluster"] for name, case in cases.items()}},
        "orchestrator_election_password": "correct horse battery",
    }
    members = {
        name: {"role": case.get("role", "ringrift.p2p.orchestrator"), "p2p_node": case["node"], "p2p_observation": case["observation"], **case.get("vars", {})}
        for name, case in cases.items()
    }
    (folder / "inventory.json").write_text(json.dumps({"all": {"hosts": members, "vars": shared}}), encoding="utf-8")
    (folder / "play.yml").write_text(PLAY, encoding="utf-8")
    (folder / "none.cfg").write_text("", encoding="utf-8")
    environment = dict(os.environ, ANSIBLE_CONFIG=str(folder / "none.cfg"), ANSIBLE_COLLECTIONS_PATH=str(ROOT / "playbooks" / "collections"),
                       ANSIBLE_FORKS="2", ANSIBLE_LOCAL_TEMP=str(folder / "tmp"), ANSIBLE_INVENTORY_ENABLED="yaml")
    program = [sys.executable, "-m", "ansible", "playbook", "-i", str(folder / "inventory.json"), str(folder / "play.yml")]
    done = subprocess.run(program, cwd=str(folder), env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: json.loads((folder / (name + ".json")).read_text(encoding="utf-8")) for name in cases}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    return render(tmp_path_factory.mktemp("wanted"), CASES)


def files(result):
    return {item["path"]: item for item in result["wanted"]["files"]}


def content(result, path):
    return files(result)[path]["content"]


def environment_of(text, tmp_path):
    """What a shell makes of an environment file."""
    place = tmp_path / "node.conf"
    place.write_text(text, encoding="utf-8")
    shown = subprocess.run(["env", "-i", "sh", "-c", "set -a; . %s; exec /usr/bin/env -0" % place], capture_output=True, check=True).stdout.decode()
    return dict(item.split("=", 1) for item in shown.split("\0") if item)


def started_with(result, tmp_path):
    """Runs the start script with a stand-in for the interpreter; returns (working directory, arguments, environment)."""
    folder = tmp_path / "orch"
    folder.mkdir()
    fake = tmp_path / "fake"
    fake.write_text("#!/bin/sh\nfor word in \"$PWD\" \"$@\"; do printf '%s\\0' \"$word\"; done\n", encoding="utf-8")
    fake.chmod(0o755)
    (tmp_path / "node.conf").write_text(content(result, "/etc/ringrift/node.conf"), encoding="utf-8")
    script = content(result, "/etc/ringrift/start").replace("/etc/ringrift/node.conf", str(tmp_path / "node.conf"))
    path = result["service"]["path"]
    script = script.replace("cd " + shlex.quote(path), "cd " + str(folder)).replace("exec ", "exec %s " % fake, 1)
    words = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout.decode().split("\0")[:-1]
    return words[0], words[1:]


def options(words):
    return {word: words[index + 1] for index, word in enumerate(words[:-1]) if word.startswith("--") and not words[index + 1].startswith("--")}


def test_a_voter_with_systemd(rendered, tmp_path):
    result = rendered["voter"]
    # Before ansible-core 2.19 a template makes text of a number; who uses the port makes a number of it.
    assert {**result["service"], "port": int(result["service"]["port"])} == {
        "name": "ringrift-p2p", "manager": "systemd", "supervisor_command": [],
        "supervisor_start_command": [], "port": 8770, "path": "/home/ubuntu/ringrift/ai-service", "user": "ubuntu",
    }
    found = environment_of(content(result, "/etc/ringrift/node.conf"), tmp_path)
    assert found["RINGRIFT_NODE_ID"] == "voter" and found["RINGRIFT_P2P_GENERATION"] == result["generation"]
    assert found["RINGRIFT_IS_COORDINATOR"] == "true" and "RINGRIFT_PREFER_PUBLIC_IP" not in found
    assert {found[name] for name in ("RINGRIFT_P2P_BOOTSTRAP_SEEDS", "RINGRIFT_P2P_SEEDS", "RINGRIFT_P2P_PEERS", "P2P_SEEDS", "P2P_PEERS", "PEER_LIST")} == {
        ",".join(PEERS)}
    assert found["COORDINATOR_URL"] == "http://" + PEERS[0]
    unit = content(result, "/etc/systemd/system/ringrift-p2p.service")
    for line in ("Type=notify", "User=ubuntu", "WatchdogSec=60", "Restart=always", "EnvironmentFile=/etc/ringrift/node.conf", "ExecStart=/etc/ringrift/start"):
        assert line in unit.splitlines()
    assert files(result)["/home/ubuntu/ringrift/ai-service/current"]["link"] == "releases/" + result["wanted"]["target"]["release"]
    assert files(result)["/etc/systemd/system/multi-user.target.wants/ringrift-p2p.service"]["link"] == "/etc/systemd/system/ringrift-p2p.service"
    folder, words = started_with(result, tmp_path)
    assert words[:2] == ["/usr/bin/python3", "scripts/p2p_orchestrator.py"] and words[-2:] == ["--force-supervisor", "--kill-duplicates"]
    assert options(words) == {"--node-id": "voter", "--port": "8770", "--ringrift-path": "/home/ubuntu/ringrift/ai-service", "--peers": ",".join(PEERS),
                              "--advertise-host": "203.0.113.70"}


def test_a_container_gets_supervisord_a_hook_and_identical_relay_strings(rendered, tmp_path):
    result = rendered["container"]
    assert result["service"]["manager"] == "supervisord" and result["service"]["path"] == "/root/ringrift/ai-service"
    assert result["service"]["supervisor_command"][-4:] == ["-m", "supervisor.supervisorctl", "-c", "/etc/ringrift/supervisord.conf"]
    assert result["service"]["supervisor_start_command"] == ["/etc/ringrift/on-start"]
    parsed = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    parsed.read_string(content(result, "/etc/ringrift/supervisord.conf"))
    program = dict(parsed["program:ringrift-p2p"])
    assert (program["command"], program["autorestart"], program["user"]) == ("/etc/ringrift/start", "true", "root")
    hook = files(result)["/root/onstart.sh"]
    assert hook["disable_lines"] == ["p2p_orchestrator"] and hook["disable_as"] == "command" and "/etc/ringrift/on-start" in hook["block"]
    assert files(result)["/root/ringrift/.env.local"]["disable_lines"] == [r"^\s*(export\s+)?RINGRIFT_IS_COORDINATOR="]
    assert "/etc/cron.d/x" not in files(result)
    for path in ("/etc/ringrift/start", "/etc/ringrift/on-start"):
        assert subprocess.run(["sh", "-n"], input=content(result, path).encode(), check=False).returncode == 0
    assert not any("systemd" in path for path in files(result))
    words = started_with(result, tmp_path)[1]
    assert options(words)["--relay-peers"] == PEERS[0] and options(words)["--peers"].split(",")[0] == PEERS[0]
    assert environment_of(content(result, "/etc/ringrift/node.conf"), tmp_path)["RINGRIFT_PREFER_PUBLIC_IP"] == "1"


def test_what_the_operator_gave_the_old_start_outlives_it(rendered, tmp_path):
    result = rendered["field"]
    found = environment_of(content(result, "/etc/ringrift/node.conf"), tmp_path)
    assert found["RINGRIFT_TIER"] == "two words" and found["PYTHONPATH"] == "/opt/ring's rift/ai-service"
    assert "RINGRIFT_IS_COORDINATOR" not in found and "RINGRIFT_CLUSTER_AUTH_TOKEN" not in found
    words = started_with(result, tmp_path)[1]
    assert words[0] == "/opt/venv/bin/python" and options(words)["--storage-type"] == "disk" and "--require-auth" in words
    assert options(words)["--peers"] == ",".join(PEERS) and options(words)["--ringrift-path"] == "/opt/ring's rift/ai-service"
    unit = content(result, "/etc/systemd/system/ringrift-p2p.service")
    assert "Type=simple" in unit and "WatchdogSec" not in unit and "TimeoutStopSec=60" in unit
    assert files(result)["/etc/systemd/system/my-p2p.service"]["link"] == "/dev/null"
    assert result["wanted"]["remove"] == ["/etc/systemd/system/ringrift-p2p.service.d/env.conf"]
    assert result["wanted"]["target"]["release"] is None and not any("/current" in path for path in files(result))


def test_a_container_with_an_orchestrator_of_its_own_gets_supervisord_alone(rendered):
    result = rendered["field-container"]
    assert files(result)["/var/lib/ringrift-p2p/runtime/current"]["link"].startswith("releases/")
    assert "/var/lib/ringrift-p2p/runtime/current/RELEASE.json" in result["wanted"]["target"]["files"]
    assert result["wanted"]["target"]["release"] is None


def test_the_hosts_file_lands_as_it_is_and_secrets_stay_out(rendered):
    for result in rendered.values():
        text = json.dumps(result)
        assert "correct horse" not in text
        assert content(result, result["service"]["path"] + "/config/distributed_hosts.yaml") == HOSTS_FILE
    password = rendered["voter"]["wanted"]["target"]["files"]["/etc/ringrift/election-password"]
    assert password == hashlib.sha256(b"correct horse battery\n").hexdigest()
    assert "/etc/ringrift/election-password" not in rendered["field"]["wanted"]["target"]["files"]


def test_what_decides_over_a_restart_makes_another_generation_and_nothing_else_does(rendered, tmp_path):
    voter = CASES["voter"]
    after = copy.deepcopy(voter)
    target = rendered["voter"]["wanted"]["target"]
    after["observation"].update(
        orchestrator={"path": "/home/ubuntu/ringrift/ai-service", "kind": "embedded", "release": target["release"], "interpreter": "/usr/bin/python3"},
        files={path: {"exists": True, "sha256": sha256} for path, sha256 in target["files"].items()},
        hosts_file={"path": "/home/ubuntu/ringrift/ai-service/config/distributed_hosts.yaml", "exists": True,
                    "sha256": target["files"]["/home/ubuntu/ringrift/ai-service/config/distributed_hosts.yaml"]},
    )
    cases = {"voter": after}
    again = render(tmp_path, cases)["voter"]
    assert again["generation"] == rendered["voter"]["generation"]
    assert set(again["wanted"]["target"]["files"].items()) <= set(target["files"].items())
    after["node"] = dict(after["node"], hosts_digest="d2")
    assert render(tmp_path, cases)["voter"]["generation"] != rendered["voter"]["generation"]


def test_a_provider_fills_in_what_the_file_does_not_say_and_the_operator_wins(tmp_path):
    cases = {
        "runpod": dict(CASES["container"], role="ringrift.p2p.runpod"),
        "alone": dict(CASES["container"], vars={"p2p_provider": "runpod"}),
        "moved": dict(CASES["container"], vars={"p2p_provider": "runpod", "runpod_path": "/volume/ringrift"}),
        "lambda": dict(CASES["voter"], role="ringrift.p2p.lambda", cluster=host(ssh_user=None, path=None)),
        "own": dict(CASES["voter"], role="ringrift.p2p.lambda", cluster=host(ssh_user=None, path=None),
                    vars={"orchestrator_user": "trainer", "orchestrator_environment": {"RINGRIFT_X": 'a "$b" \\c'}, "orchestrator_extra_args": ["--x", "a b"]}),
    }
    found = render(tmp_path, cases)
    assert {name: (item["service"]["user"], item["service"]["path"]) for name, item in found.items()} == {
        "runpod": ("root", "/workspace/ringrift"), "alone": ("root", "/workspace/ringrift"),
        "moved": ("root", "/volume/ringrift"), "lambda": ("ubuntu", "/home/ubuntu/ringrift/ai-service"),
        "own": ("trainer", "/home/trainer/ringrift/ai-service"),
    }
    assert "block" in files(found["runpod"])["/post_start.sh"] and files(found["alone"])["/post_start.sh"] == files(found["runpod"])["/post_start.sh"]
    assert environment_of(content(found["own"], "/etc/ringrift/node.conf"), tmp_path)["RINGRIFT_X"] == 'a "$b" \\c'
    assert options(started_with(found["own"], tmp_path)[1])["--x"] == "a b"
