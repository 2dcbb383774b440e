# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ansible_collections.ringrift.p2p.plugins.module_utils import _http


@pytest.fixture
def server():
    """Answers by path: {path: (status, body bytes | dict | callable writing to the handler)}; keeps what it was asked."""
    paths, asked = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append((self.command, self.path, dict(self.headers), body))
            status, answer = paths.get(self.path, (404, b""))
            self.send_response(status)
            self.end_headers()
            if callable(answer):
                answer(self.wfile)
            else:
                self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

        do_POST = do_GET

        def log_message(self, *arguments):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    running.paths, running.asked = paths, asked
    running.address = f"127.0.0.1:{running.server_address[1]}"
    threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize(
    ("address", "pair"),
    [
        ("203.0.113.5:8771", ("203.0.113.5", 8771)),
        ("node.example", ("node.example", 8770)),
        ("[2001:db8::1]:99", ("2001:db8::1", 99)),
        ("[2001:db8::1]", ("2001:db8::1", 8770)),
        ("2001:db8::1", ("2001:db8::1", 8770)),
    ],
)
def test_addresses(address, pair):
    assert _http.split_address(address) == pair


@pytest.mark.parametrize("address", ["a:0", "a:65536", "a:x", "", ":8770"])
def test_what_is_no_address(address):
    with pytest.raises(ValueError, match="is not host:port"):
        _http.split_address(address)
    assert _http.get_json(address, "/health", 1)[2]


def test_answers_and_the_token(server):
    server.paths["/health"] = (200, {"healthy": True})
    server.paths["/leadership/transfer"] = (200, {"transferred": True})
    assert _http.get_json(server.address, "/health", 2) == (200, {"healthy": True}, None)
    assert _http.post_json(server.address, "/leadership/transfer", {"to": "b"}, 2, "s3cret") == (200, {"transferred": True}, None)
    asked, told = server.asked
    assert "Authorization" not in asked[2]
    assert told[0] == "POST" and told[2]["Authorization"] == "Bearer s3cret" and json.loads(told[3]) == {"to": "b"}


def test_a_proxy_of_the_environment_is_not_used(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server.paths["/health"] = (200, {"healthy": True})
    assert _http.get_json(server.address, "/health", 2)[0] == 200


def test_an_error_status_keeps_its_body(server):
    server.paths["/status"] = (401, {"error": "unauthorized"})
    status, body, problem = _http.get_json(server.address, "/status", 2)
    assert status == 401 and body == {"error": "unauthorized"} and problem.endswith("answered 401")


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[1]", b"\xff\xfe", b'{"a":' * 100000])
def test_what_is_no_json_object_is_an_error(server, answer):
    server.paths["/health"] = (200, answer)
    status, body, problem = _http.get_json(server.address, "/health", 5)
    assert status == 200 and body is None and problem


def test_an_endless_answer_is_cut_off(server, monkeypatch):
    monkeypatch.setattr(_http, "MAXIMUM_BODY", 1000)
    server.paths["/status"] = (200, b" " * 2000 + b"{}")
    assert "larger than 1000 bytes" in _http.get_json(server.address, "/status", 2)[2]


def test_a_server_that_drips_does_not_outlast_the_time(server):
    def drip(stream):
        for unused in range(100):
            stream.write(b" ")
            stream.flush()
            time.sleep(0.1)

    server.paths["/status"] = (200, drip)
    began = time.monotonic()
    assert _http.get_json(server.address, "/status", 0.5)[2]
    assert time.monotonic() - began < 2


def test_nobody_there():
    assert _http.get_json("127.0.0.1:1", "/health", 1)[:2] == (None, None)
    opened, problem = _http.tcp("127.0.0.1:1", 1)
    assert not opened and "127.0.0.1:1" in problem


def test_tcp_tells_an_open_port(server):
    assert _http.tcp(server.address, 1) == (True, None)


def test_addresses_of_a_node_are_tried_in_order(server):
    server.paths["/status"] = (200, {"node_id": "a"})
    sample, address = _http.sample_node(["127.0.0.1:1", server.address], 1)
    assert address == server.address and sample["status"] == {"node_id": "a"} and sample["error"] is None


def test_health_is_asked_where_status_is_refused(server):
    server.paths["/status"] = (401, {})
    server.paths["/health"] = (200, {"node_id": "a"})
    sample, unused = _http.sample_node([server.address], 1)
    assert sample["status"] is None and sample["health"] == {"node_id": "a"} and "401" in sample["error"]


def test_all_nodes_of_a_round_are_asked_at_once(server):
    server.paths["/status"] = (200, lambda stream: (time.sleep(0.4), stream.write(b"{}")))
    began = time.monotonic()
    made = _http.sample_round({**{name: [server.address] for name in "abcdef"}, "gone": []}, 2)
    assert time.monotonic() - began < 1.5
    assert sorted(made["nodes"]) == ["a", "b", "c", "d", "e", "f", "gone"] and made["nodes"]["gone"]["error"] == "no address known"


def test_faults_of_endpoints_and_the_default_port():
    assert _http.endpoint_faults({"a": ["x:1", "y"], "b": []}) == []
    assert len(_http.endpoint_faults({"a": "x:1", "b": ["x:y", "z:0"]})) == 3
    assert _http.with_port({"a": ["x", "x:1", "::1"]}, 8775) == {"a": ["x:8775", "x:1", "[::1]:8775"]}


def test_the_token_of_a_file(tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    assert _http.read_token(str(tmp_path / "token")) == "s3cret"
    assert _http.read_token(str(tmp_path / "none")) is None and _http.read_token(None) is None
