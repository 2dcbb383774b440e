# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node of the stand-in knows of the others, and what it concludes. Time comes with the calls; no network here.

Durations are those measured in the field, times `scale`.
"""

from __future__ import annotations

import random

FRESH = 60.0
# What is dead stays alive for this long.
ALIVE = 300.0
# A record moves at most this often and at least that often: seen from outside, freshness swings.
BEAT = (20.0, 110.0)
FIRST_CONTACT = (2.0, 10.0)
ELECTION = 60.0


class Mesh:
    """The node's own record and those of its peers."""

    def __init__(self, node_id: str, address: tuple[str, int], scale: float, voters: list[str], coordinator: bool, own: dict, now: float):
        self.node_id = node_id
        self.host, self.port = address
        self.scale = scale
        self.voters = list(voters)
        self.coordinator = coordinator
        self.own = dict(own)
        self.started = now
        self.role = "follower"
        self.leader_id: str | None = None
        self.leader_seen = 0.0
        self.relay_via: str | None = None
        self.peers: dict[str, dict] = {}
        self._due: dict[str, float] = {}
        self._random = random.Random(node_id)

    def record(self) -> dict:
        """The node as it tells others of itself."""
        return {"node_id": self.node_id, "host": self.host, "port": self.port, "role": self.role, "relay_via": self.relay_via}

    def _known(self, said: dict, now: float) -> dict | None:
        name = said.get("node_id")
        if not name or name == self.node_id:
            return None
        if name not in self.peers:
            self.peers[name] = {"last_heartbeat": 0.0, "reached": 0.0, "role": "follower", "relay_via": None}
            self._due[name] = now + self._random.uniform(*FIRST_CONTACT) * self.scale
        peer = self.peers[name]
        peer["host"], peer["port"] = said.get("host"), said.get("port")
        return peer

    def reached(self, said: dict, now: float) -> None:
        """A peer that this node has dialled answered."""
        peer = self._known(said, now)
        if peer is not None:
            peer.update(last_heartbeat=now, reached=now, role=said.get("role"), relay_via=said.get("relay_via"))

    def heard(self, said: dict, now: float) -> None:
        """A peer has dialled this node. It counts only while this node gets through to it as well."""
        peer = self._known(said, now)
        if peer is not None and now - peer["reached"] < ALIVE * self.scale:
            peer.update(last_heartbeat=now, role=said.get("role"))

    def relayed(self, said: dict, now: float) -> None:
        """A peer has registered with this node as its relay."""
        peer = self._known(said, now)
        if peer is not None:
            peer.update(last_heartbeat=now, role=said.get("role"), relay_via=self.node_id)

    def told(self, records: dict[str, dict], now: float, trusted: bool) -> None:
        """What another node knows. Of nodes behind a relay its word is taken; from its own relay (`trusted`) a node takes all of it."""
        for name, said in records.items():
            peer = self._known(dict(said, node_id=name), now)
            if peer is not None and (trusted or said.get("relay_via")) and float(said.get("last_heartbeat") or 0) > peer["last_heartbeat"]:
                peer.update(last_heartbeat=said["last_heartbeat"], role=said.get("role"), relay_via=said.get("relay_via"))

    def due(self, now: float) -> list[str]:
        """The peers to dial now, each at its own slow and uneven pace."""
        names = []
        for name, when in self._due.items():
            peer = self.peers[name]
            behind = peer["relay_via"] and now - peer["last_heartbeat"] < ALIVE * self.scale
            if now >= when:
                self._due[name] = now + self.pause()
                if not behind:
                    names.append(name)
        return names

    def pause(self) -> float:
        """How long until the next heartbeat."""
        return self._random.uniform(*BEAT) * self.scale

    def is_alive(self, name: str, now: float) -> bool:
        """Whether the record is young enough, which a dead node's is for minutes."""
        return now - self.peers[name]["last_heartbeat"] < ALIVE * self.scale

    def alive(self, now: float) -> list[str]:
        """The peers that are believed to be alive."""
        return [name for name in self.peers if self.is_alive(name, now)]

    def fresh(self, now: float) -> list[str]:
        """The peers whose last heartbeat is younger than a minute."""
        return [name for name, peer in self.peers.items() if now - peer["last_heartbeat"] < FRESH * self.scale]

    def elect(self, now: float) -> None:
        """A coordinator makes itself the leader whatever others say; everybody else keeps to the first leader it hears of."""
        if self.coordinator and (not self.voters or self.node_id in self.voters):
            if self.role != "leader" and now - self.started > ELECTION * self.scale:
                self.role = "leader"
            if self.role == "leader":
                self.leader_id, self.leader_seen = self.node_id, now
            return
        leading = sorted(name for name in self.alive(now) if self.peers[name]["role"] == "leader")
        if self.leader_id not in leading:
            self.leader_id = leading[0] if leading else None
        if self.leader_id:
            self.leader_seen = self.peers[self.leader_id]["last_heartbeat"]

    def known(self) -> dict[str, dict]:
        """The peers' records as they are handed to others."""
        return {name: {key: peer[key] for key in ("host", "port", "role", "relay_via", "last_heartbeat")} for name, peer in self.peers.items()}

    def health(self, now: float) -> dict:
        """The body of GET /health."""
        return {
            "healthy": True, "node_id": self.node_id, "role": self.role, "leader_id": self.leader_id,
            "leader_last_seen_seconds": now - self.leader_seen if self.leader_id else None, "active_peers": len(self.fresh(now)),
            "total_peers": len(self.peers), "uptime_seconds": now - self.started, "timestamp": now,
        }

    def status(self, now: float) -> dict:
        """The body of GET /status. Its quorum is always there, and never more than two."""
        peers = {
            name: {"host": peer["host"], "port": peer["port"], "role": peer["role"], "relay_via": peer["relay_via"],
                   "status": "alive" if self.is_alive(name, now) else "dead", "is_alive": self.is_alive(name, now), "last_heartbeat": peer["last_heartbeat"]}
            for name, peer in self.peers.items()
        }
        voters_alive = [name for name in self.voters if name == self.node_id or (name in peers and peers[name]["is_alive"])]
        return {
            "node_id": self.node_id, "role": self.role, "leader_id": self.leader_id, "effective_leader_id": self.leader_id,
            "voter_node_ids": self.voters, "voters_alive": len(voters_alive), "voter_quorum_size": min(2, len(self.voters)), "voter_quorum_ok": True,
            "alive_peers": len(self.alive(now)), "peers": peers, "all_peers": peers,
            "self": dict(self.own, relay_via=self.relay_via, role=self.role, host=self.host, port=self.port, last_heartbeat=now),
            "gossip": {"error": "not_collected"}, "timestamp": now,
        }
