# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node sends: heartbeats, in which two nodes compare notes and fetch what each lacks."""

from __future__ import annotations

import asyncio
import logging
import time

import aiohttp
import orjson

from . import membership, wire

log = logging.getLogger("ringrift_p2p")

CATCH_UP_MESSAGES = 12
# Beyond this size, one section is parsed in a turn of the loop, whoever sends how many.
SMALL_SECTION = 8 << 10


class Exchange:
    """The sending side of a node: `open` it on the event loop, `close` it at the end."""

    def __init__(self, node) -> None:
        self._node = node
        self._sequence = 0
        self._in_flight: set = set()
        self._order: list = []
        self._session: aiohttp.ClientSession | None = None
        self._large = asyncio.Lock()

    def open(self) -> None:
        """Get ready to send."""
        settings = self._node.settings
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=64, keepalive_timeout=30.0, ttl_dns_cache=60), auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=settings.timing.dial_timeout + 2.0, connect=settings.timing.dial_timeout),
            headers={"Authorization": "Bearer " + settings.token} if settings.token else {})

    async def close(self) -> None:
        """Break off what is under way."""
        if self._session is not None:
            await self._session.close()

    def under_way(self, address: str) -> bool:
        """Whether a heartbeat to `address` waits for its answer."""
        return address in self._in_flight

    def targets(self, count: int) -> list:
        """Addresses of the next few members to heartbeat to: every one comes up before any comes up again."""
        node = self._node
        able = {member.name: member for member in node.membership.alive() if member.dialable}
        relayed = set(node.relay_choice.names)
        self._order = [name for name in self._order if name in able and name not in relayed]
        if len(self._order) < count:
            rest = [name for name in able if name not in self._order and name not in relayed]
            node.random.shuffle(rest)
            self._order += rest
        chosen, self._order = self._order[:count], self._order[count:]
        return [address for address in (node.addresses.of(able[name]) for name in chosen) if address]

    async def heartbeat(self, address: str, relay: bool = False, page: str | None = None, doubtful: bool = False) -> dict | None:
        """One heartbeat to `address`: compare notes, fetch and send what is lacking. The answer's header, None if there was none.

        No answer from one that is `doubtful` anyway says nothing about this node's own health.
        """
        if address in self._in_flight:
            return None
        self._in_flight.add(address)
        known, health = self._node.membership, self._node.health
        path = "/relay/heartbeat" if relay else "/heartbeat"
        try:
            more = {} if page is None else {"page": page}
            first, sections = await self._post(address, path, [], entries=known.entries(), **more)
            await self._take(first, sections)
            answer = first
            for unused_attempt in range(CATCH_UP_MESSAGES):
                want, unused_owed = known.compare(first["entries"], time.monotonic(), time.time())
                deltas = known.deltas(answer["want"])
                if not want and not deltas:
                    break
                answer, sections = await self._post(address, path, deltas, want=want)
                if not await self._take(answer, sections) and not deltas:
                    break
            health.good()
            return first
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, wire.WireError) as problem:
            self._node.count("exchanges_failed")
            if not doubtful:
                health.bad()
            log.debug("%s: %r", address, problem)
            return None
        finally:
            self._in_flight.discard(address)

    async def _post(self, address: str, path: str, sections: list, **fields) -> tuple:
        """Send one message; (header, sections) of the answer. Raises aiohttp.ClientError, asyncio.TimeoutError, OSError, WireError."""
        node, me = self._node, self._node.membership.me
        self._sequence += 1
        body = wire.encode(dict({"from": me.name, "inc": me.incarnation, "seq": self._sequence, "card": me.card}, **fields), sections)
        node.count("bytes_sent", len(body))
        async with self._session.post("http://%s%s" % (address, path), data=body, allow_redirects=False) as response:
            answer = await response.content.read(wire.MAX_MESSAGE + 1)
            while not response.content.at_eof() and len(answer) <= wire.MAX_MESSAGE:
                answer += await response.content.read(wire.MAX_MESSAGE + 1 - len(answer))
            node.count("bytes_received", len(answer))
            if response.status != 200:
                node.count("refused_by_peers")
                raise aiohttp.ClientResponseError(response.request_info, (), status=response.status)
        return wire.decode(answer)

    async def _take(self, header: dict, sections: list) -> bool:
        """Take over an answer. Returns whether it brought news."""
        self._node.standing.answered(header)
        for message in header.get("mail", ()):
            self._read_mail(message)
        return await self.absorb(sections)

    async def absorb(self, sections: list) -> bool:
        """Apply sections, a large one alone in its turn of the loop. Returns whether any was news."""
        news = False
        for section in sections:
            if len(section[4]) > SMALL_SECTION:
                async with self._large:
                    await asyncio.sleep(0)
                    news = self._apply(section) or news
            else:
                news = self._apply(section) or news
        return news

    def _apply(self, section: tuple) -> bool:
        return self._node.membership.apply(section, time.monotonic(), time.time())

    def _read_mail(self, message: dict) -> None:
        """A relay's mailbox held `message`; a ping is answered with a heartbeat to the one who doubts this node."""
        node = self._node
        asker = node.membership.members.get(message.get("from") if isinstance(message.get("from"), str) else "")
        address = node.addresses.of(asker) if asker is not None and asker.dialable else None
        if message.get("kind") == "ping" and address:
            node.spawn(self.heartbeat(address))
        else:
            node.count("mail_not_understood")

    async def ask(self, member: membership.Member) -> None:
        """Ask a suspected member directly, or through a relay's mailbox, before it is taken for dead."""
        node = self._node
        if member.dialable:
            address = node.addresses.of(member)
            if address:
                await self.heartbeat(address, doubtful=True)
            return
        for relay in member.card.get("relays", ()):
            address = node.addresses.by_name(relay)
            if not address or relay == node.name:
                continue
            try:
                async with self._session.post("http://%s/relay/message" % address, json={
                        "to": member.name, "message": {"kind": "ping", "from": node.name}}) as response:
                    if response.status == 200:
                        return
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError):
                continue

    async def card_at(self, address: str, name: str) -> dict:
        """The card of the node `name` as the node at `address` has it, an empty one if it has none or does not answer."""
        try:
            async with self._session.get("http://%s/state/%s?section=%s" % (address, name, membership.CARD), allow_redirects=False) as response:
                body = await response.content.read(wire.MAX_SECTION)
                return membership.card_of(body) if response.status == 200 else {}
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, wire.WireError):
            return {}

    async def name_at(self, address: str) -> str | None:
        """The name of the node that answers at `address`, None if none does. The token is not sent: who is there is not known yet."""
        try:
            async with self._session.get("http://%s/health" % address, allow_redirects=False, headers={"Authorization": ""}) as response:
                body = orjson.loads(await response.content.read(16384))
                return body.get("node_id") if isinstance(body, dict) else None
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError):
            return None
