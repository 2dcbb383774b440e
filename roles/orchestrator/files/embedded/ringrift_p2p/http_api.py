# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP interface: the paths and keys of the field, told truthfully. A GET never changes anything."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time

import orjson
from aiohttp import web

from . import __version__, membership, relays, wire
from .admission import Rejected
from .node import Node

log = logging.getLogger("ringrift_p2p")
STATUS_CACHE = 0.5
PAGE = 200
JSON = "application/json"


def _json(value, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type=JSON)


class Api:
    """The paths of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._token = node.settings.token.encode()
        self._cache: dict = {}

    def application(self) -> web.Application:
        """The aiohttp application."""
        found = web.Application(client_max_size=wire.MAX_MESSAGE, middlewares=[self._guard])
        found.add_routes([
            web.get("/health", self._health), web.get("/status", self._status), web.get("/metrics", self._metrics),
            web.get("/relay/status", self._relay_status), web.get("/relay/health", self._relay_health), web.get("/relay/peers", self._relay_peers),
            web.get("/state/{node}", self._state), web.post("/heartbeat", self._heartbeat), web.post("/relay/heartbeat", self._heartbeat),
            web.post("/relay/message", self._relay_message), web.post("/leadership/transfer", self._transfer), web.post("/state", self._set_state),
        ])
        return found

    @web.middleware
    async def _guard(self, request: web.Request, handler) -> web.StreamResponse:
        """Token first; then every kind of bad request becomes a counter and a short answer."""
        node = self._node
        if self._token and request.path != "/health" and not self._authorized(request):
            node.count("token_refused")
            return _json({"error": "unauthorized: Authorization: Bearer <cluster token>"}, 401)
        try:
            return await handler(request)
        except Rejected as refusal:
            node.count(refusal.reason)
            return _json({"error": refusal.reason}, refusal.status)
        except wire.WireError as problem:
            node.count(problem.reason)
            return _json({"error": "%s: %s" % (problem.reason, problem)}, 413 if problem.reason == "huge" else 400)
        except web.HTTPRequestEntityTooLarge:
            node.count("huge")
            return _json({"error": "huge: at most %d bytes" % wire.MAX_MESSAGE}, 413)
        except web.HTTPException as problem:
            return _json({"error": problem.reason}, problem.status)
        except (ConnectionError, asyncio.IncompleteReadError):
            node.count("broken_requests")
            return _json({"error": "broken request"}, 400)
        except Exception:
            # Whatever a peer sends must not end in a stack trace on its screen; it is told in the log.
            node.count("handler_failures")
            log.exception("%s %s failed", request.method, request.path)
            return _json({"error": "internal"}, 500)

    def _authorized(self, request: web.Request) -> bool:
        scheme, unused_space, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = request.headers.get("X-RingRift-Auth", "")
        return hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self._token)

    # What peers send

    async def _heartbeat(self, request: web.Request) -> web.Response:
        body = await request.read()
        self._node.count("bytes_received", len(body))
        header, sections = wire.decode(body)
        answer = await self._node.admission.receive(header, sections, request.path == "/relay/heartbeat")
        self._node.count("bytes_sent", len(answer))
        return web.Response(body=answer, content_type="application/octet-stream")

    async def _object(self, request: web.Request) -> dict:
        body = await request.read()
        try:
            value = orjson.loads(body) if body.strip() else {}
        except orjson.JSONDecodeError as problem:
            raise wire.WireError("malformed", str(problem)) from None
        if not isinstance(value, dict):
            raise wire.WireError("malformed", "want an object")
        return value

    async def _relay_message(self, request: web.Request) -> web.Response:
        value = await self._object(request)
        to, message = value.get("to"), value.get("message")
        if not wire.is_name(to) or not isinstance(message, dict):
            raise wire.WireError("malformed", "to, message: want a node's name and an object")
        if not self._node.mailboxes.put(to, len(orjson.dumps(message)), message, time.monotonic()):
            raise Rejected(429, "mail_refused")
        return _json({"accepted": True})

    async def _transfer(self, request: web.Request) -> web.Response:
        value = await self._object(request)
        to = value.get("to")
        if to is not None and not wire.is_name(to):
            raise wire.WireError("malformed", "to: want a voter's name")
        election = self._node.election
        if election is None:
            return _json({"transferred": False, "leader_id": self._node.standing.leader()[0], "reason": "not a voter"}, 409)
        outcome = await election.transfer(to)
        self._cache.clear()
        return _json(outcome, 200 if outcome["transferred"] else 409)

    async def _set_state(self, request: web.Request) -> web.Response:
        """Publish a section of this node's state: {section, value}."""
        value = await self._object(request)
        section = value.get("section")
        if not wire.is_name(section) or section == membership.CARD or "value" not in value:
            raise wire.WireError("malformed", "section, value: want a name other than %s and a value" % membership.CARD)
        changed = self._node.membership.set_section(section, value["value"])
        return _json({"changed": changed, "version": self._node.membership.me.version})

    # What anybody asks

    async def _health(self, unused_request: web.Request) -> web.Response:
        node = self._node
        leader, term = node.standing.leader()
        alive = len(node.membership.alive())
        reasons = []
        if not alive:
            reasons.append("no other node is in sight")
        if leader is None:
            reasons.append(node.election_fault or "no leader is known")
        if node.leaving:
            reasons.append("leaving")
        return _json({
            "healthy": not reasons, "reasons": reasons, "node_id": node.name, "role": node.standing.role, "leader_id": leader,
            "leader_last_seen_seconds": node.standing.leader_seen_seconds(), "term": term, "active_peers": alive,
            "total_peers": len(node.membership.members) - 1, "uptime_seconds": time.time() - node.started, "timestamp": time.time(),
            "version": __version__, "event_loop_lag_ms": node.lag.summary(time.monotonic()),
        })

    def _peer(self, member: membership.Member) -> dict:
        card = member.card
        return {
            "node_id": member.name, "host": card.get("host"), "port": card.get("port"), "role": card.get("role"), "status": member.status,
            "is_alive": member.status == membership.ALIVE, "last_heartbeat": member.last_heartbeat, "nat_blocked": card.get("nat_blocked"),
            "relay_via": card.get("relay_via"), "relays": card.get("relays", []), "capabilities": card.get("capabilities", []),
            "has_gpu": card.get("has_gpu"), "version": card.get("version"), "leader_id": card.get("leader_id"),
        }

    async def _status(self, request: web.Request) -> web.Response:
        """The node's view; `?page=N` gives the next peers of a cluster larger than a page."""
        page = request.query.get("page", "0")
        page = int(page) if page.isdecimal() and len(page) < 6 else 0
        now = time.monotonic()
        kept = self._cache.get(page)
        if kept is None or now - kept[0] > STATUS_CACHE:
            if len(self._cache) > 16:
                self._cache.clear()
            kept = self._cache[page] = (now, orjson.dumps(self._view(page)))
        return web.Response(body=kept[1], content_type=JSON)

    def _view(self, page: int) -> dict:
        node = self._node
        me, voters = node.membership.me, node.directory.voters
        leader, term = node.standing.leader()
        others = sorted((member for member in node.membership.members.values() if member is not me and member.card), key=lambda member: member.name)
        shown = {member.name: self._peer(member) for member in others[page * PAGE:(page + 1) * PAGE]}
        fresh = node.standing.fresh_voters()
        view = {
            "node_id": node.name, "role": node.standing.role, "leader_id": leader, "effective_leader_id": leader, "term": term,
            "voter_node_ids": voters, "voters_alive": len(fresh), "voter_quorum_size": node.standing.majority,
            "voter_quorum_ok": bool(voters) and len(fresh) >= node.standing.majority,
            "alive_peers": len(node.membership.alive()), "total_peers": len(others), "pages": max(1, -(-len(others) // PAGE)), "page": page,
            "peers": {name: peer for name, peer in shown.items() if peer["is_alive"]}, "all_peers": shown,
            "self": dict(
                self._peer(me), relay_via=me.card.get("relay_via"), relay_capable=node.standing.relay_capable, in_overlay=bool(node.addresses.overlay),
                identity_source=node.settings.node_id_source, generation=node.settings.generation, local_health=node.health.score,
                coordinator=node.settings.coordinator, relays_replaced=node.relay_choice.replaced),
            "uptime_seconds": time.time() - node.started, "timestamp": time.time(), "event_loop_lag_ms": node.lag.summary(time.monotonic()),
            "voting": node.election is not None, "election": node.election.status() if node.election is not None else None,
            "election_fault": node.election_fault,
            "hosts_file_faults": node.directory.faults, "locks_cleaned": node.locks.cleaned,
        }
        return view

    async def _state(self, request: web.Request) -> web.Response:
        """One section of a node's state (`?section=`), or the names and versions of all."""
        member = self._node.membership.members.get(request.match_info["node"])
        if member is None:
            raise web.HTTPNotFound()
        name = request.query.get("section")
        if name is None:
            return _json({"incarnation": member.incarnation, "version": member.version, "sections": {
                key: {"version": version, "bytes": len(body)} for key, (version, body) in member.sections.items()}})
        if name not in member.sections:
            raise web.HTTPNotFound()
        return web.Response(body=member.sections[name][1], content_type=JSON)

    async def _relay_status(self, unused_request: web.Request) -> web.Response:
        node = self._node
        return _json({
            "node_id": node.name, "relay_capable": node.standing.relay_capable, "clients": node.mailboxes.clients(time.monotonic()),
            "capacity": relays.MAX_CLIENTS, "mail_waiting": node.mailboxes.waiting(), "relay_via": node.membership.me.card.get("relay_via"),
            "relays": node.relay_choice.names, "counters": node.mailboxes.counters,
        })

    async def _relay_health(self, unused_request: web.Request) -> web.Response:
        clients = len(self._node.mailboxes.clients(time.monotonic()))
        return _json({"healthy": self._node.standing.relay_capable and clients < relays.MAX_CLIENTS, "clients": clients, "capacity": relays.MAX_CLIENTS})

    async def _relay_peers(self, unused_request: web.Request) -> web.Response:
        found = {}
        for name, age in self._node.mailboxes.clients(time.monotonic()).items():
            member = self._node.membership.members.get(name)
            if member is not None and member.card:
                found[name] = dict(self._peer(member), relay_seen_seconds=age)
        return _json({"node_id": self._node.name, "peers": found})

    async def _metrics(self, unused_request: web.Request) -> web.Response:
        node = self._node
        lag = node.lag.summary(time.monotonic())
        counters = dict(node.counters, **node.membership.counters, **node.mailboxes.counters)
        leader, term = node.standing.leader()
        gauges = {
            "event_loop_lag_max_seconds": lag["max"] / 1000.0, "event_loop_lag_p99_seconds": lag["p99"] / 1000.0,
            "event_loop_processor_max_seconds": lag["processor_max"] / 1000.0,
            "peers_alive": len(node.membership.alive()), "peers_known": len(node.membership.members) - 1, "voters_alive": len(node.standing.fresh_voters()),
            "voters": len(node.directory.voters), "leader_known": int(leader is not None), "is_leader": int(node.standing.role == "leader"), "term": term,
            "relay_clients": len(node.mailboxes.clients(time.monotonic())), "mail_waiting": node.mailboxes.waiting(),
            "local_health_score": node.health.score, "state_bytes": sum(member.size for member in node.membership.members.values()),
            "uptime_seconds": time.time() - node.started,
        }
        lines = []
        for name, value in gauges.items():
            lines += ["# TYPE ringrift_p2p_%s gauge" % name, "ringrift_p2p_%s %s" % (name, value)]
        lines.append("# TYPE ringrift_p2p_events_total counter")
        lines += ['ringrift_p2p_events_total{event="%s"} %d' % item for item in sorted(counters.items())]
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")
