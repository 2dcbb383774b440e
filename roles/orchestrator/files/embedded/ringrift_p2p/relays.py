# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relays. A node behind NAT dials out to two of them; what others have for it waits in a mailbox there. Pure."""

from __future__ import annotations

from collections import deque

MAX_CLIENTS = 64
MAX_MESSAGES = 64
MAX_MESSAGE_BYTES = 16 << 10
MAX_MAILBOX_BYTES = 256 << 10
MAX_AGE = 60.0
CLIENT_AGE = 15.0
WANTED = 2


class Mailboxes:
    """The relay's side: who is registered here, and a mailbox for each, bounded in number, size and age."""

    def __init__(self) -> None:
        self._seen: dict = {}
        self._mail: dict = {}
        self.counters = {"relay_clients_refused": 0, "mail_refused": 0, "mail_expired": 0, "mail_delivered": 0}

    def register(self, name: str, now: float) -> bool:
        """A relay heartbeat of `name` at `now`. Returns False if there is no room for one more client."""
        self.expire(now)
        if name not in self._seen and len(self._seen) >= MAX_CLIENTS:
            self.counters["relay_clients_refused"] += 1
            return False
        self._seen[name] = now
        return True

    def clients(self, now: float) -> dict:
        """{name: seconds since its last relay heartbeat} of those that are registered."""
        self.expire(now)
        return {name: now - seen for name, seen in self._seen.items()}

    def expire(self, now: float) -> None:
        """Drop clients and messages that are too old."""
        for name in [name for name, seen in self._seen.items() if now - seen > CLIENT_AGE]:
            del self._seen[name]
            self.counters["mail_expired"] += len(self._mail.pop(name, ()))
        for box in self._mail.values():
            while box and now - box[0][0] > MAX_AGE:
                box.popleft()
                self.counters["mail_expired"] += 1

    def put(self, name: str, size: int, message: dict, now: float) -> bool:
        """Leave `message` (`size` encoded bytes) for `name`. Returns False, counted, if it is not registered or its box is full."""
        self.expire(now)
        box = self._mail.setdefault(name, deque()) if name in self._seen else None
        if box is None or size > MAX_MESSAGE_BYTES or len(box) >= MAX_MESSAGES or size + sum(item[1] for item in box) > MAX_MAILBOX_BYTES:
            self.counters["mail_refused"] += 1
            return False
        box.append((now, size, message))
        return True

    def take(self, name: str, now: float) -> list:
        """Empty the mailbox of `name`."""
        self.expire(now)
        mail = [message for when, size, message in self._mail.pop(name, ())]
        self.counters["mail_delivered"] += len(mail)
        return mail

    def waiting(self) -> int:
        """Messages in all mailboxes."""
        return sum(map(len, self._mail.values()))


class RelayChoice:
    """The node's side: which two relays it uses. One that works is kept, one that fails twice in a row is replaced.

    What the operator named is taken back as soon as it works again.
    """

    FAILURES = 2
    COOL_DOWN = 10.0

    def __init__(self) -> None:
        self.chosen: list = []
        self._named: list = []
        self._failed: dict = {}
        self._resting: dict = {}
        self._working: dict = {}
        self.replaced = 0

    def update(self, named: list, others: list, now: float) -> list:
        """Addresses to heartbeat through: two, and what was `named` by the operator if it may be working again.

        `named` and `others` are addresses, best first. What works stays chosen; what failed rests before it is tried again.
        """
        self._named = list(named)
        for address in [address for address, until in self._resting.items() if until <= now]:
            del self._resting[address]
        wanted = [address for address in dict.fromkeys([*named, *others]) if address not in self._resting]
        for address in wanted:
            if address not in self.chosen and (len(self.chosen) < WANTED or (address in named[:WANTED])):
                self.chosen.append(address)
        if not self.chosen and named + others:
            # All of them rest: trying one again beats being cut off.
            self.chosen.append(min(named + others, key=lambda address: self._resting.get(address, 0.0)))
        order = {address: place for place, address in enumerate(reversed(named))}
        self.chosen.sort(key=lambda address: -order.get(address, -1))
        return list(self.chosen)

    def good(self, address: str, name: str) -> None:
        """A relay heartbeat through `address` was taken by the node `name`."""
        self._failed.pop(address, None)
        if any(other != address and known == name for other, known in self._working.items()):
            # Two addresses of one node are one relay.
            self._drop(address)
            self._resting[address] = float("inf")
            return
        self._working[address] = name
        spare = [other for other in self.chosen if other in self._working and other not in self._named[:WANTED]]
        while spare and len(self._working) > WANTED:
            self._drop(spare.pop())

    def bad(self, address: str, now: float) -> bool:
        """A relay heartbeat through `address` failed. Returns whether it was given up."""
        self._failed[address] = self._failed.get(address, 0) + 1
        if address in self._working and self._failed[address] < self.FAILURES:
            return False
        worked = address in self._working
        self._resting[address] = now + self.COOL_DOWN
        self.replaced += worked
        self._drop(address)
        return worked

    def _drop(self, address: str) -> None:
        self._failed.pop(address, None)
        self._working.pop(address, None)
        if address in self.chosen:
            self.chosen.remove(address)

    @property
    def names(self) -> list:
        """Names of the relays that took the last heartbeat, in the order of choice, at most two."""
        return [self._working[address] for address in self.chosen if address in self._working][:WANTED]


def candidates(members: list, leader: str | None, voters: list) -> list:
    """Names of the members that could relay though nobody named them, best first: the leader, the voters, the least loaded."""
    able = [member for member in members if member.dialable and member.card.get("relay_capable") is not False]
    able.sort(key=lambda member: (member.name != leader, member.name not in voters, member.card.get("relay_clients") or 0, member.name))
    return [member.name for member in able]
