# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as it runs on a node: a real process of its own, beside a real process that stands in for an orchestrator."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import typing as t

import pytest

import ansible_collections

from ansible_collections.ringrift.p2p.plugins.module_utils import _node_probe

SECRET = "the-clusters-own-token"
ORCHESTRATOR = '''\
import http.server, json, sys, time
BOOTSTRAP_SEEDS: list = ["100.64.0.11:8770"]
port, seeds = int(sys.argv[sys.argv.index("--port") + 1]), list(BOOTSTRAP_SEEDS)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        beats = {"b": {"last_heartbeat": time.time(), "status": "alive"}}
        body = {"node_id": "a", "role": "leader", "leader_id": "a", "timestamp": time.time(), "peers": beats, "voter_node_ids": ["a"], "self": {}}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *arguments):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
'''


class Node(t.NamedTuple):
    """A running stand-in: its folder, port and process."""

    folder: pathlib.Path
    port: int
    process: "subprocess.Popen[bytes]"


def module_environment() -> dict[str, str]:
    """The environment of a process that finds the collection and ansible-core where this one does."""
    parents = [str(pathlib.Path(path).parent) for path in ansible_collections.__path__]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(parents + [path for path in sys.path if path.endswith("site-packages")]))


def run(parameters: dict[str, t.Any], interpreter: str = sys.executable) -> dict[str, t.Any]:
    """Runs the module in a process of its own."""
    done = subprocess.run(
        [interpreter, "-m", "ansible_collections.ringrift.p2p.plugins.modules.node_info"], check=False, capture_output=True, env=module_environment(),
        input=json.dumps({"ANSIBLE_MODULE_ARGS": parameters}).encode(), timeout=60)
    assert done.stdout, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.fixture(name="node", scope="module")
def fixture_node(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Node]:
    folder = tmp_path_factory.mktemp("node") / "ringrift" / "ai-service"
    (folder / "scripts").mkdir(parents=True)
    (folder / "config").mkdir()
    (folder / "scripts/p2p_orchestrator.py").write_text(ORCHESTRATOR)
    (folder / "config/distributed_hosts.yaml").write_text("hosts: {}\n")
    (folder / ".env.local").write_text("# copied\nRINGRIFT_IS_COORDINATOR=true\nAPI_KEY=%s\n" % SECRET[::-1])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "RINGRIFT_CLUSTER_AUTH_TOKEN": SECRET, "RINGRIFT_P2P_GENERATION": "g1", "RINGRIFT_NODE_ID": "other",
                   "RINGRIFT_P2P_AUTO_UPDATE": "true"}
    process = subprocess.Popen(
        [sys.executable, "scripts/p2p_orchestrator.py", "--node-id", "a", "--port", str(port), "--peers", "203.0.113.4", "--auth-token", SECRET],
        cwd=folder, env=environment)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield Node(folder, port, process)
    process.kill()
    process.wait()


def digest(folder: pathlib.Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() + str(path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_running_node_is_observed_whole_and_left_as_it_was(node: Node) -> None:
    before = digest(node.folder)
    own = "127.0.0.1:%d" % node.port
    result = run({"node_id": "a", "path": str(node.folder.parent), "port": node.port, "window": 5, "expected": ["a", "b"], "candidates": [own],
                  "files": [str(node.folder / ".env.local")], "token_file": "/nonexistent"})
    assert result["changed"] is False and "failed" not in result
    seen = result["observation"]
    assert seen["errors"] == {}
    assert digest(node.folder) == before
    assert SECRET not in json.dumps(result) and SECRET[::-1] not in json.dumps(result)

    assert seen["running"]["pid"] == node.process.pid and seen["running"]["generation"] == "g1"
    assert seen["running"]["environment"]["RINGRIFT_NODE_ID"] == "other"
    assert [item["pid"] for item in seen["processes"] if item["cwd"] == str(node.folder)] == [node.process.pid]
    assert seen["identity"]["effective"] == "a" and [item["value"] for item in seen["identity"]["conflicts"]] == ["other"]
    assert seen["orchestrator"]["path"] == str(node.folder) and seen["orchestrator"]["kind"] == "field"
    assert [item["command"] for item in seen["orchestrator"]["self_updating"]] == ["RINGRIFT_P2P_AUTO_UPDATE=true"]
    assert seen["orchestrator"]["imports"]["ok"] is True, seen["orchestrator"]
    assert seen["seeds"]["command_line"] == ["203.0.113.4"] and seen["seeds"]["effective"] == ["203.0.113.4:8770", "100.64.0.11:8770"]
    assert [(item["line"], item["in_effect"]) for item in seen["seeds"]["literals"]] == [(2, True)]
    assert seen["view"]["answers"] and seen["view"]["peers"]["b"]["moved"] and seen["health"]["node_id"] == "a" and seen["health_error"] is None
    assert seen["candidates"][own]["health"] is True
    assert {"location": str(node.folder / ".env.local"), "line": 2, "value": "true", "effective": True} in seen["coordinator_environment"]
    assert seen["hosts_file"]["exists"] and seen["hosts_file"]["path"] == str(node.folder / "config/distributed_hosts.yaml")
    assert seen["token"] == {"configured": True, "fingerprint": _node_probe.fingerprint(SECRET)}
    assert seen["files"][str(node.folder / ".env.local")]["exists"]
    assert seen["disk"]["free_bytes"] > 0
    assert any(item["kind"] == "process" and item["active"] for item in seen["start_mechanisms"])


def test_only_what_was_asked_for_is_probed(node: Node) -> None:
    seen = run({"node_id": "a", "port": node.port, "probes": ["view"], "_ansible_check_mode": True})["observation"]
    assert seen["view"]["answers"] and seen["health"]["node_id"] == "a"
    assert (seen["processes"], seen["locks"], seen["start_mechanisms"], seen["candidates"], seen["files"]) == ([], [], [], {}, {})


def interpreters() -> list[str]:
    """The oldest and the newest Python of this machine that nodes may have with this ansible-core."""
    folders = os.environ.get("PATH", "").split(os.pathsep) + sorted(str(path) for path in pathlib.Path.home().glob(".pyenv/versions/*/bin"))

    def first(minors: t.Iterable[int]) -> str:
        paths = ("%s/python3.%d" % (folder, minor) for minor in minors for folder in folders)
        # A shim of a version manager may exist without its version, and ansible-core refuses Pythons that it no longer supports.
        return next((path for path in paths if os.access(path, os.X_OK) and subprocess.run(
            [path, "-c", "import ansible.module_utils.basic"], capture_output=True, env=module_environment(), check=False).returncode == 0), sys.executable)

    return sorted({first(range(8, 14)), first(range(13, 7, -1))})


@pytest.mark.parametrize("interpreter", interpreters())
def test_old_and_new_pythons_observe_alike(node: Node, interpreter: str) -> None:
    seen = run({"node_id": "a", "path": str(node.folder), "port": node.port, "venv_activate": ":"}, interpreter)["observation"]
    assert seen["errors"] == {} and seen["python"]["version"].startswith("3.")
    assert seen["running"]["pid"] == node.process.pid and seen["view"]["answers"] and seen["seeds"]["effective"][0] == "203.0.113.4:8770"


def test_every_fault_of_the_parameters_is_told_at_once() -> None:
    result = run({"node_id": " ", "port": 99999, "window": -1, "service": "a/b"})
    assert result["failed"] is True
    assert all(word in result["msg"] for word in ("node_id", "99999", "window", "service"))
