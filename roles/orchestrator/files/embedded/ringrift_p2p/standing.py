# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node says of itself: what work it takes, whether it can be dialled, and whom it follows."""

from __future__ import annotations

import time

from . import __version__, membership

_NO_DISCRETE_GPU = ("", "none", "mps", "cpu")


def capabilities(entry: dict, voter: bool, coordinator: bool, training_only: bool = False) -> list:
    """What work a node takes, by its entry in the hosts file and its RINGRIFT_IS_COORDINATOR. A coordinator takes none."""
    training, selfplay = entry.get("training_enabled"), entry.get("selfplay_enabled")
    if entry.get("role") == "coordinator" or (coordinator and not voter) or (training is False and selfplay is False):
        return []
    gpu = has_gpu(entry)
    found = [] if selfplay is False or training_only else ["selfplay"]
    if gpu and training is not False:
        found.append("training")
    return found + (["gpu"] if gpu else ["cpu"])


def has_gpu(entry: dict) -> bool:
    """Whether the entry names a discrete GPU."""
    return str(entry.get("gpu") or "").strip().lower() not in _NO_DISCRETE_GPU


class Standing:
    """What holds for this node now, by its entry in the hosts file, its peers' answers and the election."""

    def __init__(self, node) -> None:
        self._node = node
        self._entry = node.directory.own(node.name).entry
        self._admitted_at, self._refused_at = 0.0, float("-inf")

    def answered(self, header: dict) -> None:
        """Note what a peer's answer says about whether this node can be dialled."""
        if header.get("admitted"):
            self._admitted_at = time.monotonic()
        elif header.get("reason") == "not_dialable":
            self._refused_at = time.monotonic()

    @property
    def uses_relays(self) -> bool:
        """Whether relay heartbeats are sent: the hosts file says so, or relays were named on the command line."""
        return bool(self._entry.get("force_relay_mode") is True or self._node.settings.relay_peers
                    or (self._entry.get("nat_blocked") is True and self._node.directory.relays(self._node.name)))

    @property
    def nat_blocked(self) -> bool:
        """Whether nobody can dial this node: declared, or found out by the peers that tried."""
        observed = time.monotonic() - self._refused_at < 15.0 and self._admitted_at < self._refused_at
        return self._entry.get("nat_blocked") is True or self.uses_relays or observed

    @property
    def relay_capable(self) -> bool:
        """Whether others may relay through this node."""
        return not self.nat_blocked and self._entry.get("relay_capable") is not False and not self._node.leaving

    def card(self) -> dict:
        """The node's card, but for its addresses."""
        node, settings = self._node, self._node.settings
        leader, term = self.leader()
        names = node.relay_choice.names
        return {
            "nat_blocked": self.nat_blocked, "relays": names, "relay_via": names[0] if names else None, "role": self.role,
            "leader_id": leader, "term": term, "leaving": node.leaving, "voter": node.name in node.directory.voters, "voting": node.election is not None,
            "capabilities": capabilities(self._entry, node.name in node.directory.voters, settings.coordinator, settings.flags.training_only),
            "has_gpu": has_gpu(self._entry), "version": __version__, "relay_capable": self.relay_capable,
            "relay_clients": len(node.mailboxes.clients(time.monotonic())), "started_at": node.started, "generation": settings.generation,
        }

    @property
    def role(self) -> str:
        """leader, candidate or follower; who does not vote follows."""
        return self._node.election.role if self._node.election is not None else "follower"

    def leader(self) -> tuple:
        """(leader or None, term). A voter says what it knows; others believe what a majority of all voters says."""
        election, members = self._node.election, self._node.membership.members
        if election is not None:
            return election.leader, election.term
        claims: dict = {}
        for name in self.fresh_voters():
            card = members[name].card
            # This node only repeats what the others say.
            if card.get("leader_id") and name != self._node.name:
                claims.setdefault(card["leader_id"], []).append(card.get("term", 0))
        for leader, terms in claims.items():
            if len(terms) >= self.majority:
                return leader, max(terms)
        return None, 0

    @property
    def majority(self) -> int:
        """Voters that make a majority of those in the hosts file."""
        return len(self._node.directory.voters) // 2 + 1

    def fresh_voters(self) -> list:
        """Voters that vote and whose heartbeat moved lately, this node among them. One without its state only repeats what the others say."""
        known = self._node.membership
        now, patience = time.monotonic(), known.patience()
        found = []
        for name in self._node.directory.voters:
            member = known.members.get(name)
            if member is known.me:
                fresh = self._node.election is not None
            else:
                # Earlier releases don't tell whether they vote.
                fresh = (member is not None and member.card and member.card.get("voting") is not False
                         and member.status != membership.LEFT and now - member.heard <= patience)
            if fresh:
                found.append(name)
        return found

    def leader_seen_seconds(self) -> float | None:
        """Seconds since the leader was last heard of, None without a leader."""
        leader, unused_term = self.leader()
        if leader is None:
            return None
        if self._node.election is not None:
            return max(0.0, time.monotonic() - self._node.election.leader_heard)
        member = self._node.membership.members.get(leader)
        return max(0.0, time.monotonic() - member.heard) if member is not None else None
