# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node answers to a heartbeat, and whom it takes for a member."""

from __future__ import annotations

import time

from . import membership, wire

DIAL_BACK_LIMIT = 8
DIAL_BACK_REST = 3.0
SEQUENCE_WINDOW = 64


class Rejected(Exception):
    """A message that is refused; `status` is the HTTP status, `reason` the counter and what the sender is told."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Admission:
    """The receiving side of a node."""

    def __init__(self, node) -> None:
        self._node = node
        self._sequences: dict = {}
        self._dialled, self._dial_failed, self._dialling = {}, {}, set()

    async def receive(self, header: dict, sections: list, relay: bool) -> bytes:
        """Answer a heartbeat. Raises Rejected."""
        node, sender = self._node, header["from"]
        members = node.membership
        answer = {"from": node.name, "inc": members.me.incarnation, "admitted": False}
        if sender == node.name:
            raise Rejected(403, "own_name")
        known = members.members.get(sender)
        if known is not None and header["inc"] < known.incarnation:
            members.counters["superseded"] += 1
            return wire.encode(dict(answer, reason="superseded", entries={sender: [known.incarnation, known.version, known.beat]}), [])
        self._check_sequence(sender, header)
        reason = self._refusal(header, known, relay)
        if reason:
            node.count("not_admitted")
            return wire.encode(dict(answer, reason=reason), [])
        answer["admitted"] = True
        await node.exchange.absorb(sections)
        want, owed = members.compare(header["entries"], time.monotonic(), time.time())
        if "page" in header:
            answer["entries"], answer["next"] = members.page(header["page"])
        elif header["entries"]:
            answer["entries"] = members.entries()
        if "entries" in answer:
            answer["want"] = want
        if relay:
            answer["mail"] = node.mailboxes.take(sender, time.monotonic())
        return wire.encode(answer, members.deltas(dict(owed, **header["want"])))

    def _check_sequence(self, sender: str, header: dict) -> None:
        """Refuse what this sender has sent before. Messages may overtake each other within a small window."""
        incarnation, highest, recent = self._sequences.get(sender, (0, 0, set()))
        sequence = header.get("seq", 0)
        if header["inc"] > incarnation:
            if len(self._sequences) >= membership.MAX_MEMBERS and sender not in self._sequences:
                raise Rejected(429, "too_many_senders")
            incarnation, highest, recent = header["inc"], 0, set()
        if header["inc"] < incarnation or sequence <= highest - SEQUENCE_WINDOW or sequence in recent:
            raise Rejected(400, "replayed")
        recent.add(sequence)
        if len(recent) > 2 * SEQUENCE_WINDOW:
            recent = {number for number in recent if number > max(highest, sequence) - SEQUENCE_WINDOW}
        self._sequences[sender] = (incarnation, max(highest, sequence), recent)

    def _refusal(self, header: dict, known, relay: bool) -> str | None:
        """Why the sender is no member, or None. A member can be dialled at its address, or is registered at a relay."""
        node, sender, now = self._node, header["from"], time.monotonic()
        if relay:
            if not node.standing.relay_capable:
                return "not_a_relay"
            return None if node.mailboxes.register(sender, now) else "relay_full"
        card = header.get("card")
        # However well it dials out itself: behind NAT and without a relay nobody comes to it any more.
        cut_off = isinstance(card, dict) and bool(card.get("nat_blocked")) and not card.get("relays")
        if known is not None and known.incarnation == header["inc"] and known.status != membership.DEAD and known.card and not cut_off:
            return None
        if self._dialled.get(sender) == header["inc"]:
            return None
        try:
            membership.checked_card(card)
        except wire.WireError:
            node.count("malformed")
            return "card"
        if card.get("relays"):
            return "through_relay"
        if now - self._dial_failed.get(sender, float("-inf")) < DIAL_BACK_REST:
            return "not_dialable"
        if sender not in self._dialling and len(self._dialling) < DIAL_BACK_LIMIT:
            self._dialling.add(sender)
            node.spawn(self._dial_back(sender, header["inc"], card))
        return "pending"

    async def _dial_back(self, name: str, incarnation: int, card: dict) -> None:
        """Find out whether a node answers under its name at an address that it gave."""
        found = ["%s:%d" % (card.get("host"), card["port"]), card.get("public")]
        if self._node.addresses.overlay:
            found.insert(0, card.get("overlay"))
        try:
            for address in dict.fromkeys(address for address in found if address):
                if await self._node.exchange.name_at(address) == name:
                    if len(self._dialled) >= membership.MAX_MEMBERS:
                        self._dialled.clear()
                    self._dialled[name] = incarnation
                    self._dial_failed.pop(name, None)
                    return
            self._node.count("dial_backs_failed")
            if len(self._dial_failed) >= membership.MAX_MEMBERS:
                self._dial_failed.clear()
            self._dial_failed[name] = time.monotonic()
        finally:
            self._dialling.discard(name)
