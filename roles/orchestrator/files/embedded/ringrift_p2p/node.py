# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's life: it starts, beats, judges and stops. All of it runs on one event loop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import time
from collections import Counter

import orjson

from . import addresses, admission, configuration, exchange, hosts, joining, locks, membership, relays, standing, wire

log = logging.getLogger("ringrift_p2p")

# Members that a heartbeat goes to.
FAN_OUT = 3


class Node:
    """One orchestrator: its parts, and what they share. `start` sets it going, `stop` ends it.

    `exchange` sends, `admission` answers, `joining` finds the others, `standing` says what this node is, `addresses` where nodes are.
    """

    def __init__(self, settings, directory: hosts.Directory, held: locks.Locks, lag) -> None:
        self.settings, self.directory, self.locks, self.lag = settings, directory, held, lag
        self.timing, self.name = settings.timing, settings.node_id
        self.started = time.time()
        self.random = random.Random()
        self.counters: Counter = Counter()
        self.health = membership.LocalHealth()
        self.mailboxes, self.relay_choice = relays.Mailboxes(), relays.RelayChoice()
        self.election = None
        self.election_fault: str | None = None
        self.leaving = False
        self._tasks: set = set()
        self.membership = membership.Membership(
            self.name, self._new_incarnation(), self.timing.suspect_after, self.timing.forget_after, self.random)
        self.addresses = addresses.Addresses(settings, directory, self.membership.members)
        self.standing = standing.Standing(self)
        self.exchange = exchange.Exchange(self)
        self.admission = admission.Admission(self)
        self.joining = joining.Joining(self)

    def count(self, reason: str, amount: int = 1) -> None:
        """Add to a counter of /metrics."""
        self.counters[reason] += amount

    def _new_incarnation(self) -> int:
        """A number above that of every earlier life of this node, although the clock may have gone back."""
        path = os.path.join(self.settings.state_dir, "state.json")
        last = 0
        try:
            with open(path, "rb") as stream:
                stored = json.load(stream)
            last = int(stored.get("incarnation", 0))
        except (OSError, ValueError, TypeError, AttributeError):
            log.info("%s: no state of an earlier life", path)
        incarnation = min(max(int(time.time() * 1000), last + 1), wire.MAX_INTEGER - 1)
        locks.write_atomically(path, orjson.dumps({"incarnation": incarnation}))
        return incarnation

    async def start(self) -> None:
        """Find the own addresses, join the election if this node votes, and set the loops going. Raises configuration.ElectionError."""
        await self.addresses.find()
        self.exchange.open()
        await self._join_election()
        self.say()
        for work in (self._beats, self.joining.run, self._housekeeping):
            self.spawn(work())

    async def _join_election(self) -> None:
        faults = self.directory.election_faults()
        if faults:
            self.election_fault = "; ".join(faults)
            log.error("no leader can be elected: %s", self.election_fault)
        if self.name not in self.directory.voters:
            return
        if faults:
            raise configuration.ElectionError("this node is a voter, and no leader can be elected: " + self.election_fault)
        port = self.directory.voter_addresses()[self.name].rpartition(":")[2]
        if int(port) != self.settings.port + 1:
            raise configuration.ElectionError("%s: hosts.%s: the file gives this voter port %d, and it was started with --port %d; make them equal"
                                              % (self.directory.source, self.name, int(port) - 1, self.settings.port))
        # The last is the operator's word for it that no vote of an earlier life counts any more.
        journal, voted, anew = (os.path.join(self.settings.state_dir, "election." + name) for name in ("journal", "voted", "anew"))
        witness = None if any(map(os.path.exists, (journal, voted, anew))) else await self._witness()
        if witness is None:
            self._vote()
            return
        self.election_fault = (
            "%s is lost, and %s knows this voter from before: it votes again once a majority of all voters, without it, agrees on a leader; if too "
            "many have lost theirs for that, create %s on each of them, restart them, and remove it again" % (journal, witness, anew))
        log.error("%s", self.election_fault)
        self.spawn(self._vote_later())

    async def _witness(self) -> str | None:
        """A voter that remembers an earlier life of this one, in which it may have voted; None if nobody does."""
        cards = await self._ask_voters(lambda unused_name: self.name)
        return next((name for name, card in cards.items() if card.get("voter") is True), None)

    async def _ask_voters(self, about) -> dict:
        """{voter: the card that it has of the node `about(voter)`, empty where it has none}; of the other voters."""
        known = ((name, self.addresses.by_name(name)) for name in self.directory.voters if name != self.name)
        others = {name: address for name, address in known if address}
        cards = await asyncio.gather(*(self.exchange.card_at(address, about(name)) for name, address in others.items()))
        return dict(zip(others, cards))

    async def _vote_later(self) -> None:
        """A leader without this voter has the newest term in which it can have helped to elect one: from there on it may vote again."""
        while not await self._led_without_me():
            await asyncio.sleep(self.timing.heartbeat)
        try:
            self._vote()
            self.election_fault = None
        except configuration.ElectionError as problem:
            self.election_fault = str(problem)
            log.error("%s", problem)

    async def _led_without_me(self) -> bool:
        """Whether a majority of all voters, without this one, says at this moment that the same other voter leads in the same term.

        What the gossip says may be from before this voter's end, when it led itself.
        """
        cards = (await self._ask_voters(lambda name: name)).values()
        claims = Counter((card.get("leader_id"), card.get("term")) for card in cards if card.get("voting") is not False)
        return any(leader not in (None, self.name) and count >= self.standing.majority for (leader, unused_term), count in claims.items())

    def _vote(self) -> None:
        # Only voters pay for loading the engine.
        from .election import Election

        voters = self.directory.voter_addresses()
        host, port = voters[self.name].rsplit(":", 1)
        bind = "%s:%s" % (host if addresses.is_local(host) else "0.0.0.0", port)
        self.election = Election(self.name, voters, bind, self.settings.state_dir, self.settings.election_password, self.timing, self._leader_changed)

    async def stop(self) -> None:
        """Hand leadership over, say good-bye, end all work; within about a second."""
        self.leaving = True
        if self.election is not None and self.election.is_leader:
            await self.election.transfer(None, 0.5)
        self.say()
        farewells = [self.spawn(self.exchange.heartbeat(address)) for address in self.exchange.targets(FAN_OUT)]
        if farewells:
            await asyncio.wait(farewells, timeout=0.4)
        for task in list(self._tasks):
            task.cancel()
        if self.election is not None:
            self.election.close()
        await self.exchange.close()

    def spawn(self, work) -> asyncio.Task:
        """Do `work`, a coroutine, beside the rest, until the node stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.count("task_failures")
            log.error("a task failed", exc_info=task.exception())

    def say(self) -> None:
        """Publish this node's card, if anything on it changed."""
        self.membership.set_section(membership.CARD, dict(self.addresses.card(), **self.standing.card()))

    # The beat

    async def _beats(self) -> None:
        loop, period = asyncio.get_running_loop(), self.timing.heartbeat
        due = loop.time()
        while True:
            late = loop.time() - due
            if late > period:
                # Held up itself, this node is in no position to call others late.
                self.health.bad(2)
                due = loop.time()
            self.membership.beat(time.monotonic(), time.time())
            self.say()
            self._round()
            self._judge()
            due += period
            await asyncio.sleep(max(0.0, due - loop.time()))

    def _round(self) -> None:
        count = FAN_OUT
        if self.standing.uses_relays:
            count = 1
            for address in self._relays():
                self.spawn(self._relay_heartbeat(address))
        for address in self.exchange.targets(count):
            self.spawn(self.exchange.heartbeat(address))

    def _relays(self) -> list:
        """Addresses to relay through: the command line's, the hosts file's, then any member's that could."""
        by_name, voters = self.addresses.by_name, self.directory.voters
        named = self.settings.relay_peers + [by_name(name) for name in self.directory.relays(self.name)]
        others = [by_name(name) for name in relays.candidates(self.membership.alive(), self.standing.leader()[0], voters)]
        found = (list(dict.fromkeys(address for address in part if address)) for part in (named, others))
        return self.relay_choice.update(*found, time.monotonic())

    async def _relay_heartbeat(self, address: str) -> None:
        if self.exchange.under_way(address):
            return
        before = self.relay_choice.names
        answer = await self.exchange.heartbeat(address, relay=True)
        if answer is not None and answer.get("admitted"):
            self.relay_choice.good(address, answer["from"])
        elif self.relay_choice.bad(address, time.monotonic()):
            log.warning("relay %s does not answer, another one is taken", address)
        if self.relay_choice.names != before:
            self.say()

    def _judge(self) -> None:
        for name, old, new in self.membership.judge(time.monotonic(), self.health.multiplier):
            log.info("%s: %s, was %s", name, new, old)
            self.count("became_" + new)
            # In a large cluster a few that ask are enough.
            if new == membership.SUSPECT and self.random.random() < 8.0 / len(self.membership.members):
                self.spawn(self.exchange.ask(self.membership.members[name]))

    def _leader_changed(self, unused_role: str, leader: str | None, term: int) -> None:
        """Tell the others at once."""
        log.info("leader %s, term %d", leader, term)
        self.say()
        self._round()

    async def _housekeeping(self) -> None:
        """Once in a while: remember the peers on disk, renew the claim."""
        wait = 5.0
        while True:
            await asyncio.sleep(wait)
            wait = 60.0
            try:
                await self.joining.remember()
                await asyncio.to_thread(self.locks.refresh)
            except OSError as problem:
                self.count("disk_failures")
                log.warning("%s: %s", problem.filename, problem.strerror)
