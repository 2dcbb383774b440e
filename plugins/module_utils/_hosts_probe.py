# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks orchestrators: the node's own over a window, and the candidates for seeds and relays all at once."""

from __future__ import annotations

import datetime
import statistics
import threading
import time
import typing as t

from ansible_collections.ringrift.p2p.plugins.module_utils import _cluster_view
from ansible_collections.ringrift.p2p.plugins.module_utils import _http

CANDIDATES_TIMEOUT = 2.0
SAMPLE_TIMEOUT = 5.0
# A node that is down is asked again after this many seconds, so that one lost packet does not make it one.
RETRY_INTERVAL = 0.5
MAXIMUM_THREADS = 64


def epoch_seconds(value: t.Any) -> float | None:
    """Epoch seconds of a ``timestamp`` as orchestrators give it: a number, or ISO 8601, without a zone meaning UTC."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return moment.timestamp()


def clock_offset(offsets: t.Iterable[float | None]) -> float | None:
    """How far this node's clock is ahead of the peers that answered, in seconds (negative: behind): the median, so that one bad peer decides nothing."""
    known = [offset for offset in offsets if offset is not None]
    return round(statistics.median(known), 3) if known else None


def interval_for(window: float) -> float:
    """Seconds between samples: dense enough for a short window, and easy on an orchestrator that caches its status for 5 s in a long one."""
    return min(5.0, max(0.5, window / 10.0))


def settled(samples: t.Sequence[t.Mapping[str, t.Any]], expected: t.Collection[str]) -> bool:
    """Whether the record of every expected peer's last heartbeat moved forward between two of these samples."""
    first: dict[str, float] = {}
    moved = set()
    for sample in samples:
        for name, peer in (_cluster_view.reduce_sample(sample).get("peers") or {}).items():
            beat = peer.get("last_heartbeat")
            if beat is not None and beat > first.setdefault(name, beat):
                moved.add(name)
    return bool(expected) and all(name in moved for name in expected)


def sample_view(observer: str, address: str, window: float, expected: t.Collection[str], token: str | None,
                keep: threading.Event | None = None) -> tuple[dict[str, t.Any], dict[str, t.Any] | None, str | None]:
    """Samples ``/status`` of one node until every expected peer's record moved or ``window`` seconds are over; 0 means one sample.

    A node that does not answer at all is asked once more and not for the whole window. ``keep``, once set, ends the window early.
    Returns (View, last ``/health``, why there is none).
    """
    expected = [name for name in expected if name != observer]
    started = time.monotonic()
    interval = interval_for(window)
    samples: list[dict[str, t.Any]] = []
    silent = 0
    while True:
        asked = time.monotonic()
        sample = _cluster_view.reduce_sample(_http.sample_node([address], SAMPLE_TIMEOUT, token)[0])
        samples.append(sample)
        silent = 0 if sample["answers"] else silent + 1
        left = started + window - time.monotonic()
        # Something that listens may be slow, or starting: it gets its window. Refused twice in a row is an answer.
        if left <= 0 or (silent > 1 and not _http.tcp(address, 1.0)[0]) or settled(samples, expected) or (keep and keep.is_set()):
            break
        pause = interval if not silent else min(interval, RETRY_INTERVAL)
        time.sleep(max(0.0, min(left, asked + pause - time.monotonic())))
    if not samples[-1]["answers"]:
        # It was asked for both just now; a process that hangs would only cost its time again.
        return _cluster_view.view_from_samples(observer, samples), None, samples[-1]["error"]
    _status, health, problem = _http.get_json(address, "/health", SAMPLE_TIMEOUT, token)
    return _cluster_view.view_from_samples(observer, samples), health if problem is None else None, problem


def try_candidate(address: str, timeout: float, token: str | None) -> tuple[dict[str, t.Any], float | None]:
    """One candidate: TCP, then ``/health``, within ``timeout`` seconds. Returns (entry of ``candidates``, this node's clock offset against it)."""
    started = time.monotonic()
    entry: dict[str, t.Any] = {"tcp": False, "health": False, "node_id": None, "milliseconds": None, "error": None}
    opened, problem = _http.tcp(address, timeout)
    if not opened:
        entry["error"] = problem
        return entry, None
    entry["tcp"] = True
    entry["milliseconds"] = round((time.monotonic() - started) * 1000.0, 1)
    before = time.time()
    _status, health, problem = _http.get_json(address, "/health", max(0.1, started + timeout - time.monotonic()), token)
    after = time.time()
    if problem is not None or health is None:
        entry["error"] = problem
        return entry, None
    entry["health"] = isinstance(health.get("node_id"), str)
    entry["node_id"] = health.get("node_id") if entry["health"] else None
    if not entry["health"]:
        entry["error"] = "%s: answers, but not as an orchestrator" % address
        return entry, None
    theirs = epoch_seconds(health.get("timestamp"))
    return entry, None if theirs is None else (before + after) / 2.0 - theirs


def try_candidates(addresses: t.Sequence[str], token: str | None,
                   timeout: float = CANDIDATES_TIMEOUT) -> tuple[dict[str, dict[str, t.Any]], dict[str, float | None]]:
    """All candidates at once, ``timeout`` seconds in all. Returns ({address: entry}, {address: clock offset against it})."""
    addresses = list(dict.fromkeys(addresses))
    deadline = time.monotonic() + timeout
    waiting = list(reversed(addresses))
    results: dict[str, tuple[dict[str, t.Any], float | None]] = {}

    def work() -> None:
        while waiting:
            try:
                address = waiting.pop()
            except IndexError:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                return
            results[address] = try_candidate(address, left, token)

    threads = [threading.Thread(target=work, daemon=True) for _number in range(min(len(addresses), MAXIMUM_THREADS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        # A name that does not resolve can hold its thread longer than any socket would.
        thread.join(max(0.0, deadline + 0.2 - time.monotonic()))
    missing = {"tcp": False, "health": False, "node_id": None, "milliseconds": None, "error": "no answer within %g s" % timeout}
    done = dict(results)
    entries = {address: done[address][0] if address in done else dict(missing) for address in addresses}
    return entries, {address: offset for address, (_entry, offset) in done.items()}
