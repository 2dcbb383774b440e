# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a node comes into the cluster, and two halves of a cluster to each other. Peers are remembered on disk."""

from __future__ import annotations

import asyncio
import os

import orjson

from . import locks, membership

BOOTSTRAP_ADDRESSES = 6
PENDING_TRIES = 6


class Joining:
    """Joining, again and again, while the node runs."""

    def __init__(self, node) -> None:
        self._node = node
        self._path = os.path.join(node.settings.state_dir, "peers.json")
        self._cached = self._read_cache()

    async def run(self) -> None:
        """Join while alone; later look after those that fell out of sight, so that two halves find each other again."""
        node, timing = self._node, self._node.settings.timing
        while True:
            if node.membership.alive():
                await asyncio.sleep(timing.reconnect_every)
                address = self._one_out_of_sight()
                if address:
                    await node.exchange.heartbeat(address, doubtful=True)
            else:
                await self._bootstrap()
                await asyncio.sleep(timing.bootstrap_every * (0.5 + node.random.random()))

    def _seeds(self) -> list:
        """Addresses in the order in which they are tried: cached peers, --peers, then the built-in seeds shuffled."""
        settings, addresses = self._node.settings, self._node.addresses
        builtin = list(settings.seeds)
        self._node.random.shuffle(builtin)
        own = {"%s:%d" % (address, settings.port) for address in (addresses.overlay, addresses.public, addresses.host) if address}
        return [address for address in dict.fromkeys(self._cached + settings.peers + builtin) if address not in own]

    def _one_out_of_sight(self) -> str | None:
        known, address_of = self._node.membership, self._node.addresses.of
        gone = [address_of(member) for member in known.members.values() if member.status == membership.DEAD and member.dialable]
        near = {address_of(member) for member in known.alive()}
        near.add("%s:%d" % (self._node.addresses.host, self._node.settings.advertise_port))
        found = [address for address in gone + self._seeds() if address and address not in near]
        return self._node.random.choice(found) if found else None

    async def _bootstrap(self) -> None:
        self._node.count("bootstrap_rounds")
        # Cached peers may all be gone, so they get at most half of the six tries.
        tried = self._seeds()
        cached = [address for address in tried if address in self._cached][:BOOTSTRAP_ADDRESSES // 2]
        for address in (cached + [address for address in tried if address not in cached])[:BOOTSTRAP_ADDRESSES]:
            for unused_attempt in range(PENDING_TRIES):
                answer = await self._node.exchange.heartbeat(address)
                if answer is None or answer.get("reason") not in ("pending", "superseded"):
                    break
                await asyncio.sleep(0.4)
            if answer is None:
                continue
            if answer.get("admitted"):
                await self._fetch_pages(address)
            return

    async def _fetch_pages(self, address: str) -> None:
        """The full state of a large cluster, page by page."""
        page = ""
        while page is not None:
            answer = await self._node.exchange.heartbeat(address, page=page)
            page = answer.get("next") if answer is not None else None

    async def remember(self) -> None:
        """Write the peers to disk if they are others than before. Raises OSError."""
        node = self._node
        peers = [node.addresses.of(member) for member in node.membership.alive() if member.dialable]
        peers = sorted(address for address in peers if address)[:64]
        if peers and peers != self._cached:
            await asyncio.to_thread(locks.write_atomically, self._path, orjson.dumps({"peers": peers}))
            self._cached = peers

    def _read_cache(self) -> list:
        try:
            with open(self._path, "rb") as stream:
                found = orjson.loads(stream.read(65536))["peers"]
            return [address for address in found if isinstance(address, str)][:64]
        except (OSError, ValueError, KeyError, TypeError):
            return []
