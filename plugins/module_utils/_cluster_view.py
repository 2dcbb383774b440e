# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nodes say about their cluster, and what may be concluded from it. Pure: no clock, no network, no files.

A *sample* is one answer of one node::

    {time: seconds (any clock that only moves forward, the same for all samples of a window),
     status: body of GET /status | null, health: body of GET /health | null, error: text | null}

A *View* is what one node said over a window, a *state* what all views together prove; both shapes stand in
docs/architecture.md. One sample proves nothing about a peer: only a record that moves does.
"""

from __future__ import annotations

import math
from datetime import datetime, timezone

# Names under which the event-loop lag is given, by preference; milliseconds.
_LAG_KEYS = ("loop_lag_max_ms", "event_loop_lag_max_ms", "event_loop_lag_ms", "loop_lag_ms", "lag_ms")


def _mapping(value):
    """The mapping itself, or an empty one where a part was not collected or has another shape."""
    if not isinstance(value, dict) or isinstance(value.get("error"), str):
        return {}
    return value


def _text(value):
    return value if isinstance(value, str) and value else None


def _number(value):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _boolean(value):
    return value if isinstance(value, bool) else None


def _timestamp(value):
    """Epoch seconds of a number, of a number in text or of ISO 8601 text (naive text is UTC); None for anything else."""
    number = _number(value)
    if number is not None or not isinstance(value, str):
        return number
    try:
        return _number(float(value))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _names(value):
    if not isinstance(value, (list, tuple)):
        return None
    return [name for name in value if isinstance(name, str)]


def _lag(*parts):
    for part in parts:
        for key in _LAG_KEYS:
            value = part.get(key)
            if isinstance(value, dict):
                value = value.get("max")
            if _number(value) is not None:
                return _number(value)
    return None


def _peers(status):
    """Peer records of one status body, `peers` and `all_peers` joined; the later heartbeat wins.

    Returns {id: {last_heartbeat, status, is_alive, host, port, role, relay_via}}.
    """
    found = {}
    for part in ("all_peers", "peers"):
        for name, record in _mapping(status.get(part)).items():
            if not isinstance(record, dict) or not isinstance(name, str):
                continue
            beat = _timestamp(record.get("last_heartbeat"))
            known = found.get(name)
            if known is not None and (beat is None or (known["last_heartbeat"] is not None and beat < known["last_heartbeat"])):
                continue
            port = _number(record.get("port"))
            found[name] = {
                "last_heartbeat": beat,
                "status": _text(record.get("status")),
                "is_alive": _boolean(record.get("is_alive")),
                "host": _text(record.get("host")),
                "port": None if port is None else int(port),
                "role": _text(record.get("role")),
                "relay_via": _text(record.get("relay_via")),
            }
    return found


def reduce_sample(sample):
    """A sample cut down to what a View needs, small enough to be kept and sent by the hundred.

    Takes a sample (shape above), returns {time, answers, error, node_id, role, leader_id, term, voter_node_ids, nat_blocked,
    relay_via, voting, election_fault, capabilities, version, lag_ms, uptime_seconds, peers | null}; a reduced sample is returned as it is.
    """
    if "answers" in sample:
        return sample
    status, health = _mapping(sample.get("status")), _mapping(sample.get("health"))
    own = _mapping(status.get("self"))
    terms = (status.get("term"), _mapping(status.get("raft")).get("term"), health.get("term"))
    term = next((_number(term) for term in terms if _number(term) is not None), None)
    has_peers = any(_mapping(status.get(part)) or status.get(part) == {} for part in ("peers", "all_peers"))
    leaders = (status.get("leader_id"), status.get("effective_leader_id"), health.get("leader_id"))
    return {
        "time": float(sample.get("time") or 0.0),
        "answers": bool(status or health),
        "error": sample.get("error") or (None if status or health else "no answer"),
        "node_id": _text(status.get("node_id")) or _text(health.get("node_id")),
        "role": _text(status.get("role")) or _text(health.get("role")),
        "leader_id": next((leader for leader in leaders if _text(leader)), None),
        "term": None if term is None else int(term),
        "voter_node_ids": _names(status.get("voter_node_ids")),
        "voting": _boolean(status.get("voting")),
        "election_fault": _text(status.get("election_fault")),
        "nat_blocked": _boolean(own.get("nat_blocked")),
        "relay_via": _text(own.get("relay_via")),
        "capabilities": _names(own.get("capabilities")),
        "version": _text(own.get("version")) or _text(status.get("version")) or _text(health.get("version")),
        "lag_ms": _lag(health, status, own),
        "uptime_seconds": _number(health.get("uptime_seconds", status.get("uptime_seconds"))),
        "peers": _peers(status) if has_peers else None,
    }


def _unique(values):
    return list(dict.fromkeys(value for value in values if value is not None))


def _latest(samples, key):
    return next((sample[key] for sample in reversed(samples) if sample[key] is not None), None)


def view_from_samples(observer, samples):
    """The View of `observer` (the node's name in the hosts file) over all `samples`, oldest first, reduced or not.

    `answers` tells whether the newest sample was answered, and under the right name: a node that comes up under its
    host name is not itself. `failures` counts the samples without an answer. Never raises on what a node sends.
    """
    samples = [reduce_sample(sample) for sample in samples]
    answered = [sample for sample in samples if sample["answers"]]
    last = samples[-1] if samples else None
    answers = bool(last and last["answers"])
    error = last["error"] if last else "not sampled"
    name = _latest(answered, "node_id")
    if answers and name is not None and name != observer:
        answers, error = False, f"answers under the name {name}"

    peers, highest = {}, {}
    for sample in answered:
        for peer, record in (sample["peers"] or {}).items():
            beat = record["last_heartbeat"]
            before = highest.get(peer)
            # Above every earlier value, so that two stale records taking turns do not look alive.
            moved = beat is not None and before is not None and beat > before
            if beat is not None and (before is None or beat > before):
                highest[peer] = beat
            peers[peer] = dict(record, moved=moved or peers.get(peer, {}).get("moved", False))

    return {
        "observer": observer,
        "answers": answers,
        "error": None if answers else error,
        "samples": len(samples),
        "failures": len(samples) - len(answered),
        "window": samples[-1]["time"] - samples[0]["time"] if samples else 0.0,
        "role": answered[-1]["role"] if answered else None,
        "roles_seen": _unique(sample["role"] for sample in answered),
        "leader_id": answered[-1]["leader_id"] if answered else None,
        "leaders_seen": _unique(sample["leader_id"] for sample in answered),
        "term": _latest(answered, "term"),
        "voter_node_ids": _latest(answered, "voter_node_ids"),
        "voting": answered[-1]["voting"] if answered else None,
        "election_fault": answered[-1]["election_fault"] if answered else None,
        "nat_blocked": _latest(answered, "nat_blocked"),
        "relay_via": answered[-1]["relay_via"] if answered else None,
        "capabilities": _latest(answered, "capabilities"),
        "version": _latest(answered, "version"),
        "lag_ms": max((sample["lag_ms"] for sample in answered if sample["lag_ms"] is not None), default=None),
        "uptime_seconds": _latest(answered, "uptime_seconds"),
        "peers": peers,
    }


def abstains(view):
    """Whether a node says that it takes no part in the election. Orchestrators that do not tell are taken to vote."""
    return bool(view and view["voting"] is False)


def majority(voters):
    """How many of `voters` (names) make a majority."""
    return len(set(voters)) // 2 + 1


def judge(views, expected, voters, without=()):
    """What the views prove together.

    `views` {id: View | null} holds the nodes that were asked (null: asked without any answer); `expected` and `voters` are
    names from the hosts file, `without` names that count as down whatever they say. Returns the cluster state of
    docs/architecture.md.

    Connected: the node answers for itself and the record that another answering node keeps of its heartbeat moved. A node
    that was not asked (no view) stands on the others' records alone; one that was asked in vain is not connected.
    A voter that is connected counts for the quorum unless it says itself that it does not vote.
    """
    down = set(without)
    voters = _unique(voters)
    expected = _unique(expected)
    names = _unique([*expected, *voters, *views])
    speaking = {name: view for name, view in views.items() if view and view["answers"] and name not in down}
    alone = len(names) == 1

    nodes = {}
    for name in names:
        view = views.get(name)
        answers = bool(view and view["answers"]) if name in views else None
        seen_by = [other for other, said in speaking.items() if other != name and said["peers"].get(name, {}).get("moved")]
        connected = name not in down and answers is not False and bool(seen_by or (alone and answers))
        nodes[name] = {
            "connected": connected,
            "answers": answers,
            "seen_by": seen_by,
            "role": view["role"] if view else None,
            "leader_id": view["leader_id"] if view else None,
        }

    alive = [name for name in voters if nodes[name]["connected"] and not abstains(views.get(name))]
    asked = [name for name in (alive if voters else expected) if name in speaking]
    named = {speaking[name]["leader_id"] for name in asked}
    claiming = {name for name, view in speaking.items() if view["role"] == "leader"}
    leader = next(iter(named)) if len(named) == 1 else None
    terms = [view["term"] for view in speaking.values() if view["term"] is not None]
    needed = majority(voters)
    connected_ids = [name for name in expected if nodes[name]["connected"]]
    return {
        "expected": len(expected),
        "connected": len(connected_ids),
        "connected_ids": connected_ids,
        "missing": [name for name in expected if not nodes[name]["connected"]],
        "leader": leader,
        "leaders_seen": _unique(seen for view in speaking.values() for seen in view["leaders_seen"]),
        "leader_agreed": leader is not None and claiming == {leader},
        "term": max(terms, default=None),
        "quorum": {
            "voters": len(voters),
            "alive": len(alive),
            "alive_ids": alive,
            "majority": needed,
            "ok": bool(voters) and len(alive) >= needed,
        },
        "nodes": nodes,
    }


def shortfall(state, min_connected):
    """What a state lacks to be healthy, as a list of sentences; empty when it is."""
    lacks = []
    if state["connected"] < min_connected:
        lacks.append(f"{state['connected']} of {state['expected']} nodes are connected, {min_connected} are asked for; missing: {', '.join(state['missing'])}")
    quorum = state["quorum"]
    if not quorum["ok"]:
        lacks.append(f"{quorum['alive']} of {quorum['voters']} voters are alive, a majority is {quorum['majority']}")
    if not state["leader_agreed"]:
        claiming = sorted(name for name, node in state["nodes"].items() if node["role"] == "leader" and node["answers"])
        naming = sorted({node["leader_id"] or "nobody" for node in state["nodes"].values() if node["answers"]})
        lacks.append(f"there is no agreed leader: named {', '.join(naming) or 'by no one'}; calling themselves leader: {', '.join(claiming) or 'none'}")
    return lacks


class Watch:
    """Judges a cluster round by round over a sliding window. Keeps no clock: time comes with the rounds.

    A *round* is {time: seconds, nodes: {id: sample, reduced or not}}; every round holds all the nodes that are asked.
    """

    def __init__(self, expected, voters, without=(), min_connected=None, window=30.0):
        self.expected = list(expected)
        self.voters = list(voters)
        self.without = list(without)
        self.min_connected = len(self.expected) if min_connected is None else min_connected
        self.window = window
        self.samples = 0
        self._rounds = []
        self._healthy_since = None
        self._leader = None

    def add(self, this_round):
        """Takes one round; returns the state over the window, with `samples`, `stable_for`, `healthy` (now) and `reason`.

        `stable_for` counts from the first round of an unbroken run of healthy ones under the same leader.
        """
        now = this_round["time"]
        reduced = {"time": now, "nodes": {name: reduce_sample(sample) for name, sample in this_round["nodes"].items()}}
        # One round from before the window's start stays, so that what is left spans the window in full.
        while len(self._rounds) > 1 and now - self._rounds[1]["time"] >= self.window:
            self._rounds.pop(0)
        self._rounds.append(reduced)
        self.samples += 1
        state = judge(self.views(), self.expected, self.voters, self.without)
        lacks = shortfall(state, self.min_connected)
        if lacks or state["leader"] != self._leader:
            self._healthy_since = None
        self._leader = state["leader"]
        if not lacks and self._healthy_since is None:
            self._healthy_since = now
        state.update(
            samples=self.samples,
            stable_for=0.0 if self._healthy_since is None else now - self._healthy_since,
            healthy=not lacks,
            reason="; ".join(lacks) or None,
        )
        return state

    def views(self):
        """The View of every node of the newest round, over the rounds of the window: {id: View}."""
        asked = self._rounds[-1]["nodes"] if self._rounds else {}
        return {name: view_from_samples(name, [kept["nodes"][name] for kept in self._rounds if name in kept["nodes"]]) for name in asked}
