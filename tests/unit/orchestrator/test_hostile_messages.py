# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every handler, given what a broken or hostile peer may send: an answer, a counter, no failure, no growth."""

from __future__ import annotations

import asyncio
import tracemalloc

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from real_cluster import EMBEDDED
from ringrift_p2p import configuration, hosts, locks, loop_lag, membership, wire
from ringrift_p2p.admission import Rejected
from ringrift_p2p.http_api import Api
from ringrift_p2p.node import Node

BOUNDED = settings(derandomize=True, max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PATHS = ("/heartbeat", "/relay/heartbeat", "/relay/message", "/leadership/transfer", "/state")
CARD = {"host": "127.0.0.1", "port": 9, "relays": ["r"]}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 1 << 53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20), lambda inner: st.lists(
        inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4), max_leaves=12)
# Near misses get further into a handler than noise does: a good message with some of its fields replaced.
GOOD = {
    "from": "peer", "inc": 5, "seq": 1, "entries": {"peer": [5, 1, 1], "other": [1, 1, 1]}, "want": {"me": [0, 0]}, "card": CARD, "page": "",
    "to": "peer", "message": {"kind": "ping", "from": "peer"}, "section": "jobs", "value": {"running": 1},
}
NEAR_MISSES = st.dictionaries(st.sampled_from(sorted(GOOD)), JSON_VALUES, max_size=3).map(lambda changed: orjson.dumps(dict(GOOD, **changed)))
SECTIONS = st.lists(st.tuples(st.sampled_from(["peer", "other", "me", "x"]), st.integers(0, 3), st.sampled_from(["node", "jobs"]), st.integers(0, 3), st.one_of(
    JSON_VALUES.map(orjson.dumps), st.binary(max_size=60), st.just(b"[" * 60000))), max_size=4)
FRAMES = st.tuples(NEAR_MISSES, SECTIONS).map(lambda pair: wire.encode(orjson.loads(pair[0]), pair[1]))


@pytest.fixture
def node(tmp_path):
    """A node that is not started: it listens to the test and dials nobody."""
    (tmp_path / "data" / "p2p_embedded").mkdir(parents=True)
    found = configuration.settings(["--node-id", "me"], [], str(tmp_path), {}, str(tmp_path))
    made = Node(found, hosts.Directory({"hosts": {"me": {}}}, "hosts.yaml"), locks.Locks(found), loop_lag.LoopLag())
    made.addresses.host = "127.0.0.1"
    made.say()
    return made


async def talk(node, requests):
    """Statuses of POSTs (path, body) to the node's application."""
    async with TestClient(TestServer(Api(node).application())) as client:
        found = []
        for path, body in requests:
            async with client.post(path, data=body) as answer:
                await answer.read()
                found.append(answer.status)
        return found


@BOUNDED
@given(st.lists(st.tuples(st.sampled_from(PATHS), st.one_of(st.binary(max_size=200), NEAR_MISSES, FRAMES)), min_size=1, max_size=6))
def test_no_message_makes_a_handler_fail(node, requests):
    statuses = asyncio.run(talk(node, requests))
    assert set(statuses) <= {200, 400, 403, 404, 409, 413, 429}
    assert node.counters.get("handler_failures", 0) == 0 and node.counters.get("task_failures", 0) == 0
    for path in ("/health", "/status", "/metrics"):
        assert asyncio.run(ask(node, path)) == 200


async def ask(node, path):
    async with TestClient(TestServer(Api(node).application())) as client:
        async with client.get(path) as answer:
            await answer.read()
            return answer.status


def test_depth_is_refused_and_counted(node):
    deep = b'{"from":"peer","inc":1,"card":' + b'{"a":' * 50000 + b"1" + b"}" * 50001
    assert asyncio.run(talk(node, [("/heartbeat", deep), ("/state", b"[" * 100000)])) == [400, 400]
    assert node.counters["malformed"] == 2


def test_a_replayed_message_is_refused_and_counted(node):
    async def send(*messages):
        for incarnation, sequence in messages:
            message = {"from": "peer", "inc": incarnation, "seq": sequence, "card": CARD, "entries": {"peer": [incarnation, 1, 1]}}
            await node.admission.receive(*wire.decode(wire.encode(message, [])), True)

    asyncio.run(send((5, 1), (5, 3), (5, 2), (5, 200)))
    for old in ((5, 3), (5, 200), (5, 100), (4, 500)):
        with pytest.raises(Rejected, match="replayed"):
            asyncio.run(send(old))
    asyncio.run(send((6, 1)))


def test_nobody_speaks_in_this_nodes_own_name(node):
    assert asyncio.run(talk(node, [("/heartbeat", orjson.dumps({"from": "me", "inc": 1}))])) == [403]
    assert node.counters["own_name"] == 1


def test_memory_does_not_grow_with_the_number_of_messages(node, monkeypatch):
    monkeypatch.setattr(membership, "MAX_MEMBERS", 50)
    numbers = iter(range(1, 1 << 30))

    async def flood(count):
        for unused in range(count):
            number = next(numbers)
            sender = "peer%d" % (number % 500)
            frame = wire.encode({"from": sender, "inc": number, "seq": number, "card": CARD, "entries": {sender: [number, 1, 1]}}, [
                (sender, number, "node", 1, orjson.dumps(CARD)), ("x%d" % number, 1, "jobs", 1, b'"%s"' % (b"x" * 500))])
            try:
                await node.admission.receive(*wire.decode(frame), number % 2 == 0)
            except Rejected as refusal:
                node.count(refusal.reason)

    asyncio.run(flood(3000))
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    asyncio.run(flood(3000))
    grown = sum(entry.size_diff for entry in tracemalloc.take_snapshot().compare_to(before, "filename") if EMBEDDED in entry.traceback[0].filename)
    tracemalloc.stop()
    assert len(node.membership.members) <= 50 and grown < 200000
