# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is in the cluster, and what each node last said of itself. Pure: the clock is an argument, there is no I/O.

A node's state is a set of named *sections*, each a piece of JSON kept as bytes and numbered by the version in which it
last changed. One number, the highest version, says how much of a node's state is known, so two nodes compare notes with
three integers per member (incarnation, version, beat) and exchange only the sections that the other lacks.
The section ``node`` is the member's card: where it can be reached and what it is.
"""

from __future__ import annotations

import math
import random

import orjson

from . import wire

CARD = "node"
ALIVE, SUSPECT, DEAD, LEFT = "alive", "suspect", "dead", "left"
MAX_MEMBERS = 4096
MAX_NODE_BYTES = 4 << 20
# Entries of one heartbeat. Up to this many members everybody hears of everybody in every message; beyond it, of a sample.
ENTRIES_PER_MESSAGE = 64
DELTA_BYTES = 256 << 10

_CARD_FIELDS = {
    "host": (str, 255), "public": (str, 255), "overlay": (str, 255), "relay_via": (str, 128), "role": (str, 32), "leader_id": (str, 128),
    "version": (str, 64),
}


def card_of(body: bytes) -> dict:
    """The card in a section's bytes, each field of the right type and length. Raises wire.WireError."""
    try:
        return checked_card(orjson.loads(body))
    except orjson.JSONDecodeError as problem:
        raise wire.WireError("malformed", "card: %s" % problem) from None


def checked_card(raw) -> dict:
    """`raw` itself, if it is a card. Raises wire.WireError."""
    if not isinstance(raw, dict) or len(raw) > 64:
        raise wire.WireError("malformed", "card: want an object")
    for field, (kind, longest) in _CARD_FIELDS.items():
        value = raw.get(field)
        if value is not None and (not isinstance(value, kind) or len(value) > longest):
            raise wire.WireError("malformed", "card: %s" % field)
    port, relays, term = raw.get("port"), raw.get("relays", []), raw.get("term", 0)
    capabilities = raw.get("capabilities", [])
    if not wire.is_whole(port) or not 0 < port < 65536 or not wire.is_whole(term):
        raise wire.WireError("malformed", "card: port or term")
    for names in (relays, capabilities):
        if not isinstance(names, list) or len(names) > 16 or not all(map(wire.is_name, names)):
            raise wire.WireError("malformed", "card: relays or capabilities")
    return raw


class Member:
    """What is known of one node. `heard` is when its beat last went forward (monotonic), `last_heartbeat` the same in epoch seconds."""

    __slots__ = ("name", "incarnation", "version", "beat", "heard", "last_heartbeat", "sections", "card", "size", "status", "rumour")

    def __init__(self, name: str, incarnation: int, now: float, wall: float) -> None:
        self.name, self.incarnation, self.version, self.beat = name, incarnation, 0, 0
        self.heard, self.last_heartbeat = now, wall
        self.sections: dict = {}
        self.card: dict = {}
        self.size, self.status, self.rumour = 0, ALIVE, 0

    @property
    def dialable(self) -> bool:
        """Whether it takes connections: a node behind NAT is reached through its relays only."""
        return bool(self.card) and not self.card.get("nat_blocked") and not self.card.get("relays")


class LocalHealth:
    """Lifeguard: how far this node should mistrust itself before it calls others dead.

    Failed exchanges and a late loop raise the score, good ones lower it; every time-out is multiplied by score + 1.
    """

    LIMIT = 3

    def __init__(self) -> None:
        self.score = 0

    def good(self) -> None:
        self.score = max(0, self.score - 1)

    def bad(self, weight: int = 1) -> None:
        self.score = min(self.LIMIT, self.score + weight)

    @property
    def multiplier(self) -> float:
        return 1.0 + self.score


class Membership:
    """The members as this node knows them, itself among them."""

    def __init__(self, name: str, incarnation: int, suspect_after: float = 5.0, forget_after: float = 3600.0, draw=None) -> None:
        self.name, self.suspect_after, self.forget_after = name, suspect_after, forget_after
        self.random = draw or random.Random()
        self.me = Member(name, incarnation, 0.0, 0.0)
        self.members = {name: self.me}
        self.counters = {"members_refused": 0, "sections_malformed": 0, "sections_huge": 0, "superseded": 0}

    # What this node says of itself

    def set_section(self, name: str, value) -> bool:
        """Publish `value` (JSON-able, encoded once) as a section of this node. Returns whether it changed.

        Raises wire.WireError if it is larger than a section, or all of them together larger than a node, may be.
        """
        body = value if isinstance(value, bytes) else orjson.dumps(value)
        known = self.me.sections.get(name)
        if known is not None and known[1] == body:
            return False
        size = self.me.size + len(body) - (len(known[1]) if known else 0)
        if len(body) > wire.MAX_SECTION or size > MAX_NODE_BYTES or (known is None and len(self.me.sections) >= wire.MAX_SECTIONS):
            raise wire.WireError("huge", "section %s: %d bytes" % (name, len(body)))
        if name == CARD:
            self.me.card = card_of(body)
        self.me.version += 1
        self.me.sections[name] = (self.me.version, body)
        self.me.size = size
        self._spread(self.me)
        return True

    def beat(self, now: float, wall: float) -> None:
        """One sign of life of this node."""
        self.me.beat += 1
        self.me.heard, self.me.last_heartbeat = now, wall

    def _spread(self, member: Member) -> None:
        member.rumour = 3 * max(1, math.ceil(math.log2(len(self.members) + 1)))

    # Comparing notes

    def entries(self, limit: int = ENTRIES_PER_MESSAGE) -> dict:
        """{node: [incarnation, version, beat]} for one message: this node, fresh rumours, then a sample of the others.

        The dead are not passed on, so that nobody takes them for new.
        """
        chosen = [self.me]
        others = [member for member in self.members.values() if member is not self.me and member.status != DEAD and (member.status != LEFT or member.rumour)]
        if len(others) >= limit:
            hot = [member for member in others if member.rumour]
            hot.sort(key=lambda member: -member.rumour)
            chosen += hot[:limit // 2]
            # The most recently heard are the ones that others are most likely to lack.
            rest = [member for member in others if member not in chosen]
            rest.sort(key=lambda member: -member.heard)
            pool = rest[:max(limit, len(rest) // 2)]
            chosen += self.random.sample(pool, min(limit - len(chosen), len(pool)))
        else:
            chosen += others
        for member in chosen:
            member.rumour = max(0, member.rumour - 1)
        return {member.name: [member.incarnation, member.version, member.beat] for member in chosen}

    def page(self, after: str, limit: int = ENTRIES_PER_MESSAGE) -> tuple:
        """(entries, next) of the members behind `after` in the order of their names: the full state, on request, in pages."""
        names = sorted(name for name, member in self.members.items() if name > after and member.status in (ALIVE, SUSPECT))
        chosen = names[:limit]
        entries = {name: [self.members[name].incarnation, self.members[name].version, self.members[name].beat] for name in chosen}
        return entries, chosen[-1] if len(names) > limit else None

    def compare(self, entries: dict, now: float, wall: float) -> tuple:
        """Take over newer beats and say what differs: (want, owed), both {node: [incarnation, version] already known}.

        `want` is what the other side knows better, `owed` what this side does.
        """
        want, owed = {}, {}
        for name, (incarnation, version, beat) in entries.items():
            if name == self.name:
                self._defend(incarnation, version, beat)
                if (incarnation, version) != (self.me.incarnation, self.me.version):
                    owed[name] = [incarnation, version]
                continue
            member = self.members.get(name)
            if member is None or incarnation > member.incarnation:
                want[name] = [incarnation, 0]
            elif incarnation < member.incarnation:
                owed[name] = [incarnation, version]
            else:
                if beat > member.beat:
                    self._heard(member, beat, now, wall)
                if version > member.version:
                    want[name] = [incarnation, member.version]
                elif version < member.version:
                    owed[name] = [incarnation, version]
        return want, owed

    def _defend(self, incarnation: int, version: int, beat: int) -> None:
        if incarnation > self.me.incarnation or (incarnation == self.me.incarnation and (version > self.me.version or beat > self.me.beat)):
            # An older life of this node, or a second node of its name, is remembered as newer than it is.
            self.counters["superseded"] += 1
            self.me.incarnation = max(incarnation, self.me.incarnation) + 1

    def _heard(self, member: Member, beat: int, now: float, wall: float) -> None:
        member.beat, member.heard, member.last_heartbeat = beat, now, wall
        if member.status != LEFT:
            member.status = ALIVE

    def deltas(self, wanted: dict, limit: int = DELTA_BYTES) -> list:
        """Sections of the nodes in `wanted` ({node: [incarnation, version] known}) that are newer, oldest change first, up to `limit` bytes.

        The order is what lets one number stand for all that a node knows of another: what is cut off is always the newest.
        """
        found, size = [], 0
        for name, (incarnation, known) in wanted.items():
            member = self.members.get(name)
            if member is None or member.status == DEAD:
                continue
            if incarnation != member.incarnation:
                known = 0
            newer = sorted((version, section, body) for section, (version, body) in member.sections.items() if version > known)
            for version, section, body in newer:
                if found and (size + len(body) > limit or len(found) >= wire.MAX_SECTIONS):
                    return found
                found.append((name, member.incarnation, section, version, body))
                size += len(body) + 64
        return found

    def apply(self, section: tuple, now: float, wall: float) -> bool:
        """Take over one section of another node. Returns whether it was news; what is malformed or too much is counted and dropped."""
        name, incarnation, key, version, body = section
        if name == self.name:
            return False
        member = self.members.get(name)
        if member is not None and (incarnation < member.incarnation or (incarnation == member.incarnation and version <= member.version)):
            return False
        try:
            card = card_of(body) if key == CARD else None
            if card is None:
                orjson.loads(body)
        except (wire.WireError, orjson.JSONDecodeError):
            self.counters["sections_malformed"] += 1
            return False
        if member is None and len(self.members) >= MAX_MEMBERS:
            self.counters["members_refused"] += 1
            return False
        if member is None or incarnation > member.incarnation:
            member = Member(name, incarnation, now, wall)
            self.members[name] = member
        known = member.sections.get(key)
        size = member.size + len(body) - (len(known[1]) if known else 0)
        if size > MAX_NODE_BYTES or (known is None and len(member.sections) >= wire.MAX_SECTIONS):
            self.counters["sections_huge"] += 1
            return False
        member.sections[key] = (version, body)
        member.version, member.size = version, size
        if card is not None:
            member.card = card
            member.status = LEFT if card.get("leaving") else ALIVE if member.status == LEFT else member.status
        self._spread(member)
        return True

    # Judging

    def patience(self, multiplier: float = 1.0) -> float:
        """Seconds of silence after which a member is suspected: longer in large clusters and while this node is unwell."""
        return self.suspect_after * multiplier * (1.0 + max(0.0, math.log2(len(self.members) / ENTRIES_PER_MESSAGE)))

    def judge(self, now: float, multiplier: float = 1.0) -> list:
        """Set every member's status by how long its beat stood still; forget the long gone. Returns [(name, old, new)] of the changes."""
        patience, changes = self.patience(multiplier), []
        for member in list(self.members.values()):
            if member is self.me:
                continue
            silence = now - member.heard
            if silence > self.forget_after:
                del self.members[member.name]
                continue
            if member.status == LEFT:
                continue
            status = ALIVE if silence <= patience else SUSPECT if silence <= 2 * patience else DEAD
            if member.status == DEAD and status == SUSPECT:
                # Only a beat brings the dead back, not a longer patience.
                status = DEAD
            if status != member.status:
                changes.append((member.name, member.status, status))
                member.status = status
        return changes

    def alive(self) -> list:
        """The other members that are alive and whose card is known."""
        return [member for member in self.members.values() if member is not self.me and member.status == ALIVE and member.card]
