# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking orchestrators, on real sockets."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
import time
import typing as t

import pytest

from ansible_collections.ringrift.p2p.plugins.module_utils import _hosts_probe


@contextlib.contextmanager
def answering(answer: t.Callable[[str, t.Any], t.Any], ) -> t.Iterator[str]:
    """A server on loopback; ``answer(path, headers)`` gives the body, or a status to fail with."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answer(self.path, self.headers)
            status = body if isinstance(body, int) else 200
            data = json.dumps({} if isinstance(body, int) else body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: t.Any) -> None:
            """Keeps the tests quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield "127.0.0.1:%d" % server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def silent() -> t.Iterator[str]:
    """Something that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield "127.0.0.1:%d" % server.getsockname()[1]


def unused() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return "127.0.0.1:%d" % server.getsockname()[1]


def test_candidates_are_tried_at_once_and_within_their_time() -> None:
    def orchestrator(path: str, headers: t.Any) -> t.Any:
        return {"node_id": "a", "timestamp": time.time() - 100}

    with answering(orchestrator) as good, answering(lambda path, headers: {"hello": 1}) as other, answering(lambda path, headers: 503) as bad:
        with contextlib.ExitStack() as stack:
            slow = [stack.enter_context(silent()) for _number in range(20)]
            dead = unused()
            started = time.monotonic()
            entries, offsets = _hosts_probe.try_candidates([good, other, bad, dead, "no port:x"] + slow + [good], None, 0.6)
            took = time.monotonic() - started
    assert took < 1.5
    assert (entries[good]["tcp"], entries[good]["health"], entries[good]["node_id"], entries[good]["error"]) == (True, True, "a", None)
    assert entries[good]["milliseconds"] < 600
    assert entries[other]["tcp"] and not entries[other]["health"] and "not as an orchestrator" in entries[other]["error"]
    assert entries[bad]["tcp"] and not entries[bad]["health"] and "503" in entries[bad]["error"]
    assert not entries[dead]["tcp"] and "refused" in entries[dead]["error"]
    assert not entries["no port:x"]["tcp"] and entries["no port:x"]["error"]
    assert all(entries[address]["error"] and not entries[address]["health"] for address in slow)
    assert 99 < _hosts_probe.clock_offset(offsets.values()) < 101


@pytest.mark.parametrize("value, seconds", [
    (5, 5.0), (5.5, 5.5), ("1970-01-01T00:01:00Z", 60.0), ("1970-01-01T00:01:00", 60.0), ("1970-01-01T01:01:00+01:00", 60.0),
    (True, None), ("soon", None), (None, None), ({}, None),
])
def test_timestamps_in_every_form(value: t.Any, seconds: float | None) -> None:
    assert _hosts_probe.epoch_seconds(value) == seconds


def test_one_bad_peer_does_not_decide_the_clock() -> None:
    assert _hosts_probe.clock_offset([0.1, None, 0.2, -5000.0]) == 0.1
    assert _hosts_probe.clock_offset([None]) is None


class Moving:
    """Answers like a node whose peers' heartbeats move, except those that are frozen."""

    def __init__(self, frozen: t.Collection[str] = (), token: str | None = None) -> None:
        self.frozen, self.token, self.asked = frozen, token, 0

    def __call__(self, path: str, headers: t.Any) -> t.Any:
        if path == "/health":
            return {"node_id": "a", "role": "leader", "healthy": True, "timestamp": time.time()}
        if self.token and headers.get("Authorization") != "Bearer " + self.token:
            return 401
        self.asked += 1
        beats = {name: 100.0 if name in self.frozen else 100.0 + self.asked for name in ("b", "c")}
        return {"node_id": "a", "role": "leader", "leader_id": "a", "voter_node_ids": ["a", "b"], "self": {"nat_blocked": False},
                "peers": {name: {"last_heartbeat": beat, "status": "alive", "is_alive": True} for name, beat in beats.items()}}


def test_the_window_ends_as_soon_as_every_expected_heartbeat_moved() -> None:
    moving = Moving()
    with answering(moving) as address:
        started = time.monotonic()
        view, health, problem = _hosts_probe.sample_view("a", address, 20.0, ["a", "b", "c"], None)
        # The interval of a window of 20 s is 2 s.
        assert time.monotonic() - started < 8.0
    assert (moving.asked, view["samples"], view["answers"], problem) == (2, 2, True, None)
    assert view["peers"]["b"]["moved"] and view["peers"]["c"]["moved"] and health is not None and health["node_id"] == "a"


def test_a_frozen_peer_keeps_the_window_open_and_is_not_called_moving() -> None:
    with answering(Moving(frozen=["c"])) as address:
        started = time.monotonic()
        view, _health, _problem = _hosts_probe.sample_view("a", address, 1.2, ["b", "c"], None)
        assert 1.1 < time.monotonic() - started < 3.0
    assert view["peers"]["b"]["moved"] and not view["peers"]["c"]["moved"]


def test_one_sample_proves_nothing() -> None:
    with answering(Moving()) as address:
        view, _health, _problem = _hosts_probe.sample_view("a", address, 0.0, ["b"], None)
    assert view["samples"] == 1 and not view["peers"]["b"]["moved"]


def test_the_token_is_given_where_it_is_asked_for() -> None:
    with answering(Moving(token="right")) as address:
        with_token, _health, _problem = _hosts_probe.sample_view("a", address, 0.0, [], "right")
        without, health, problem = _hosts_probe.sample_view("a", address, 0.0, [], None)
    assert with_token["leader_id"] == "a" and with_token["voter_node_ids"] == ["a", "b"]
    # /health is open, so the node is known to live even where its status may not be read.
    assert without["answers"] and not without["peers"] and health is not None and problem is None


def test_a_node_that_is_down_costs_no_window() -> None:
    started = time.monotonic()
    view, health, problem = _hosts_probe.sample_view("a", unused(), 60.0, ["b"], None)
    assert time.monotonic() - started < 5.0
    assert not view["answers"] and view["error"] and health is None and problem is not None and "refused" in problem


def test_a_node_that_listens_but_is_not_ready_gets_its_window() -> None:
    moving, refused = Moving(), []

    def starting(path: str, headers: t.Any) -> t.Any:
        if len(refused) < 6:
            refused.append(path)
            return 503
        return moving(path, headers)

    with answering(starting) as address:
        view, _health, _problem = _hosts_probe.sample_view("a", address, 15.0, ["b", "c"], None)
    assert view["answers"] and view["peers"]["b"]["moved"] and view["samples"] >= 4


def test_a_bodys_odd_parts_do_no_harm() -> None:
    odd = {"node_id": "a", "peers": {"error": "not_collected"}, "all_peers": [1], "self": None, "voter_node_ids": {"error": "not_collected"}}
    with answering(lambda path, headers: odd) as address:
        view, _health, _problem = _hosts_probe.sample_view("a", address, 0.0, ["b"], None)
    assert view["answers"] and view["peers"] == {} and view["voter_node_ids"] is None


@pytest.mark.parametrize("window, interval", [(0.0, 0.5), (3.0, 0.5), (12.0, 1.2), (180.0, 5.0)])
def test_samples_are_dense_in_short_windows_only(window: float, interval: float) -> None:
    assert _hosts_probe.interval_for(window) == pytest.approx(interval)
