# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node at work: it heartbeats, joins, relays and tells what it sees. All of it runs on one event loop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import shutil
import socket
import time

import aiohttp
import orjson

from . import __version__, configuration, hosts, locks, membership, relays, wire

log = logging.getLogger("ringrift_p2p")

BOOTSTRAP_ADDRESSES = 6
PENDING_TRIES = 6
CATCH_UP_MESSAGES = 12
DIAL_BACK_LIMIT = 8
DIAL_BACK_REST = 3.0
SEQUENCE_WINDOW = 64
# A section beyond this size is parsed in a turn of the loop of its own.
SMALL_SECTION = 8 << 10
_NO_DISCRETE_GPU = ("", "none", "mps", "cpu")


class Rejected(Exception):
    """A message that is refused; `status` is the HTTP status, `reason` the counter and what the sender is told."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def is_local(address: str | None) -> bool:
    """Whether `address` is one of this host's own."""
    if not address:
        return False
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


async def tailscale_address() -> str | None:
    """This host's overlay address as Tailscale tells it, None without Tailscale."""
    program = shutil.which("tailscale")
    if program is None:
        return None
    process = await asyncio.create_subprocess_exec(
        program, "ip", "-4", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
    try:
        output = (await asyncio.wait_for(process.communicate(), 3.0))[0].decode(errors="replace").split()
    except asyncio.TimeoutError:
        process.kill()
        return None
    return output[0] if output and hosts.is_overlay(output[0]) else None


def route_address(targets: list) -> str:
    """The local address from which the first of `targets` would be dialled; nothing is sent."""
    for target in targets:
        host, port = target.rsplit(":", 1)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect((host, int(port)))
                return probe.getsockname()[0]
        except OSError:
            continue
    return "127.0.0.1"


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


class Node:
    """State and work of one orchestrator. `start` sets it going, `stop` ends it."""

    def __init__(self, settings, directory: hosts.Directory, held: locks.Locks, lag) -> None:
        self.settings, self.directory, self.locks, self.lag = settings, directory, held, lag
        self.timing, self.name = settings.timing, settings.node_id
        self.own = directory.own(self.name)
        self.started = time.time()
        self.random = random.Random()
        self.health = membership.LocalHealth()
        self.mailboxes, self.relay_choice = relays.Mailboxes(), relays.RelayChoice()
        self.counters: dict = {}
        self.election = None
        self.election_fault: str | None = None
        self.leaving = False
        self.overlay: str | None = None
        self.public: str | None = None
        self.host = ""
        self._sequence, self._sequences = 0, {}
        self._in_flight: set = set()
        self._tasks: set = set()
        self._dialled, self._dial_failed, self._dialling = {}, {}, set()
        self._order: list = []
        self._admitted_at, self._refused_at = 0.0, 0.0
        self._cached: list = []
        self._session: aiohttp.ClientSession | None = None
        self.membership = membership.Membership(
            self.name, self._new_incarnation(), self.timing.suspect_after, self.timing.forget_after, self.random)

    def count(self, reason: str, amount: int = 1) -> None:
        """Add to a counter of /metrics."""
        self.counters[reason] = self.counters.get(reason, 0) + amount

    # Start and stop

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
        settings = self.settings
        overlay = self.own.overlay if is_local(self.own.overlay) else await tailscale_address()
        if hosts.is_overlay(settings.advertise_host):
            overlay = settings.advertise_host
        self.overlay = overlay
        self.public = settings.advertise_host if settings.advertise_host and not hosts.is_overlay(settings.advertise_host) else self.own.public
        preferred = [self.public, overlay] if settings.prefer_public else [overlay, self.public]
        fallback = settings.host if settings.host not in ("0.0.0.0", "::") else route_address(settings.peers + settings.seeds)
        self.host = settings.advertise_host or next((address for address in preferred if address), fallback)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=64, keepalive_timeout=30.0, ttl_dns_cache=60), auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=self.timing.dial_timeout + 2.0, connect=self.timing.dial_timeout),
            headers={"Authorization": "Bearer " + settings.token} if settings.token else {})
        self._cached = self._read_cache()
        self._join_election()
        self.say()
        for work in (self._beats, self._joining, self._housekeeping):
            self._spawn(work())

    def _join_election(self) -> None:
        faults = self.directory.election_faults()
        if faults:
            self.election_fault = "; ".join(faults)
            log.error("no leader can be elected: %s", self.election_fault)
        if self.name not in self.directory.voters:
            return
        if faults:
            raise configuration.ElectionError("this node is a voter, and no leader can be elected: " + self.election_fault)
        addresses = self.directory.voter_addresses()
        host, port = addresses[self.name].rsplit(":", 1)
        if int(port) != self.settings.port + 1:
            raise configuration.ElectionError("%s: hosts.%s: the file gives this voter port %d, and it was started with --port %d; make them equal"
                                              % (self.directory.source, self.name, int(port) - 1, self.settings.port))
        # Only voters pay for loading the engine.
        from .election import Election

        bind = "%s:%s" % (host if is_local(host) else "0.0.0.0", port)
        self.election = Election(
            self.name, addresses, bind, self.settings.state_dir, self.settings.election_password, self.timing, self._leader_changed)

    async def stop(self) -> None:
        """Hand leadership over, say good-bye, end all work; within about a second."""
        self.leaving = True
        if self.election is not None and self.election.is_leader:
            await self.election.transfer(None, 0.5)
        self.say()
        farewells = [self._spawn(self.exchange(address)) for address in self._targets(3)]
        if farewells:
            await asyncio.wait(farewells, timeout=0.4)
        for task in list(self._tasks):
            task.cancel()
        if self.election is not None:
            self.election.close()
        if self._session is not None:
            await self._session.close()

    def _spawn(self, work) -> asyncio.Task:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.count("task_failures")
            log.error("a task failed", exc_info=task.exception())

    # What this node says of itself

    @property
    def uses_relays(self) -> bool:
        """Whether relay heartbeats are sent: the hosts file says so, or relays were named on the command line."""
        entry = self.own.entry
        return bool(entry.get("force_relay_mode") is True or self.settings.relay_peers
                    or (entry.get("nat_blocked") is True and self.directory.relays(self.name)))

    @property
    def nat_blocked(self) -> bool:
        """Whether nobody can dial this node: declared, or found out by the peers that tried."""
        now = time.monotonic()
        observed = now - self._refused_at < 15.0 and self._admitted_at < self._refused_at and self._refused_at > 0.0
        return self.own.entry.get("nat_blocked") is True or self.uses_relays or observed

    @property
    def relay_capable(self) -> bool:
        """Whether others may relay through this node."""
        return not self.nat_blocked and self.own.entry.get("relay_capable") is not False and not self.leaving

    def say(self) -> None:
        """Publish this node's card, if anything on it changed."""
        leader, term = self.leader()
        names = self.relay_choice.names
        card = {
            "host": self.host, "port": self.settings.advertise_port, "nat_blocked": self.nat_blocked, "relays": names,
            "relay_via": names[0] if names else None, "role": self.role, "leader_id": leader, "term": term, "leaving": self.leaving,
            "capabilities": capabilities(self.own.entry, self.name in self.directory.voters, self.settings.coordinator, self.settings.training_only),
            "has_gpu": has_gpu(self.own.entry), "version": __version__, "relay_capable": self.relay_capable,
            "relay_clients": len(self.mailboxes.clients(time.monotonic())), "started_at": self.started, "generation": self.settings.generation,
            "overlay": "%s:%d" % (self.overlay, self.settings.port) if self.overlay else None,
            "public": "%s:%d" % (self.public, self._public_port()) if self.public else None,
        }
        self.membership.set_section(membership.CARD, card)

    def _public_port(self) -> int:
        given = self.settings.advertise_port
        return given if given != self.settings.port or self.settings.advertise_host else self.own.public_port

    @property
    def role(self) -> str:
        """leader, candidate or follower; who does not vote follows."""
        return self.election.role if self.election is not None else "follower"

    def leader(self) -> tuple:
        """(leader or None, term). A voter says what it knows; others believe what a majority of all voters says."""
        if self.election is not None:
            return self.election.leader, self.election.term
        claims: dict = {}
        term = 0
        for name in self.fresh_voters():
            card = self.membership.members[name].card
            if card.get("leader_id"):
                claims.setdefault(card["leader_id"], []).append(card.get("term", 0))
        for leader, terms in claims.items():
            if len(terms) >= self.majority:
                return leader, max(terms)
        return None, term

    @property
    def majority(self) -> int:
        """Voters that make a majority of those in the hosts file."""
        return len(self.directory.voters) // 2 + 1

    def fresh_voters(self) -> list:
        """Voters whose heartbeat moved lately, this node among them if it votes."""
        now, patience = time.monotonic(), self.membership.patience()
        found = []
        for name in self.directory.voters:
            member = self.membership.members.get(name)
            if member is self.membership.me or (
                    member is not None and member.card and member.status != membership.LEFT and now - member.heard <= patience):
                found.append(name)
        return found

    def leader_seen_seconds(self) -> float | None:
        """Seconds since the leader was last heard of, None without a leader."""
        leader, unused_term = self.leader()
        if leader is None:
            return None
        if self.election is not None:
            return max(0.0, time.monotonic() - self.election.leader_heard)
        member = self.membership.members.get(leader)
        return max(0.0, time.monotonic() - member.heard) if member is not None else None

    # Sending

    def address_of(self, member: membership.Member) -> str | None:
        """``host:port`` at which this node can dial a member."""
        card = member.card
        if not card:
            return None
        if self.overlay and card.get("overlay"):
            return card["overlay"]
        if not hosts.is_overlay(card.get("host")) or not card.get("public"):
            return "%s:%d" % (card["host"], card["port"])
        return card["public"]

    def address_by_name(self, name: str) -> str | None:
        """``host:port`` of a node: as it says itself, else as the hosts file says."""
        member = self.membership.members.get(name)
        if member is not None and member.card and member.status != membership.DEAD:
            return self.address_of(member)
        return self.directory.own(name).address(bool(self.overlay))

    def _targets(self, count: int) -> list:
        """Addresses of the next few members to heartbeat to: every one comes up before any comes up again."""
        able = {member.name: member for member in self.membership.alive() if member.dialable}
        relayed = set(self.relay_choice.names)
        self._order = [name for name in self._order if name in able and name not in relayed]
        if len(self._order) < count:
            rest = [name for name in able if name not in self._order and name not in relayed]
            self.random.shuffle(rest)
            self._order += rest
        chosen, self._order = self._order[:count], self._order[count:]
        return [address for address in (self.address_of(able[name]) for name in chosen) if address]

    def _header(self, **fields) -> dict:
        self._sequence += 1
        return dict({"from": self.name, "inc": self.membership.me.incarnation, "seq": self._sequence}, **fields)

    async def _post(self, address: str, path: str, header: dict, sections: list) -> tuple:
        """Send one message; (header, sections) of the answer. Raises aiohttp.ClientError, asyncio.TimeoutError, OSError, WireError."""
        body = wire.encode(header, sections)
        self.count("bytes_sent", len(body))
        async with self._session.post("http://%s%s" % (address, path), data=body, allow_redirects=False) as response:
            answer = await response.content.read(wire.MAX_MESSAGE + 1)
            while not response.content.at_eof() and len(answer) <= wire.MAX_MESSAGE:
                answer += await response.content.read(wire.MAX_MESSAGE + 1 - len(answer))
            self.count("bytes_received", len(answer))
            if response.status == 409:
                return wire.decode(answer)
            if response.status != 200:
                self.count("refused_by_peers")
                raise aiohttp.ClientResponseError(response.request_info, (), status=response.status)
        return wire.decode(answer)

    async def exchange(self, address: str, relay: bool = False, page: str | None = None, doubtful: bool = False) -> dict | None:
        """One heartbeat with `address`: compare notes, fetch and send what is lacking. The answer's header, None if there was none.

        No answer from one that is `doubtful` anyway says nothing about this node's own health.
        """
        if address in self._in_flight:
            return None
        self._in_flight.add(address)
        path = "/relay/heartbeat" if relay else "/heartbeat"
        try:
            header = self._header(entries=self.membership.entries(), card=self.membership.me.card, leaving=self.leaving)
            if page is not None:
                header["page"] = page
            answer, sections = await self._post(address, path, header, [])
            await self._take(answer, sections)
            first = answer
            for unused_attempt in range(CATCH_UP_MESSAGES):
                want, unused_owed = self.membership.compare(first["entries"], time.monotonic(), time.time())
                deltas = self.membership.deltas(answer["want"])
                if not want and not deltas:
                    break
                answer, sections = await self._post(address, path, self._header(want=want, card=self.membership.me.card), deltas)
                if not await self._take(answer, sections) and not deltas:
                    break
            self.health.good()
            return first
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, wire.WireError) as problem:
            self.count("exchanges_failed")
            if not doubtful:
                self.health.bad()
            log.debug("%s: %r", address, problem)
            return None
        finally:
            self._in_flight.discard(address)

    async def _take(self, header: dict, sections: list) -> bool:
        """Take over an answer. Returns whether it brought news."""
        now = time.monotonic()
        if header.get("admitted"):
            self._admitted_at = now
        elif header.get("reason") == "not_dialable":
            self._refused_at = now
        for message in header.get("mail", ()):
            self._read_mail(message)
        return await self.absorb(sections)

    async def absorb(self, sections: list) -> bool:
        """Apply sections, the large ones each in a turn of the loop of its own. Returns whether any was news."""
        news = False
        for section in sections:
            if len(section[4]) > SMALL_SECTION:
                await asyncio.sleep(0)
            news = self.membership.apply(section, time.monotonic(), time.time()) or news
        return news

    def _read_mail(self, message: dict) -> None:
        """A relay's mailbox held `message`; a ping is answered with a heartbeat to the one who doubts this node."""
        asker = self.membership.members.get(message.get("from") if isinstance(message.get("from"), str) else "")
        address = self.address_of(asker) if asker is not None and asker.dialable else None
        if message.get("kind") == "ping" and address:
            self._spawn(self.exchange(address))
        else:
            self.count("mail_not_understood")

    # Receiving

    async def receive(self, header: dict, sections: list, relay: bool) -> bytes:
        """Answer a heartbeat. Raises Rejected."""
        sender = header["from"]
        if sender == self.name:
            raise Rejected(403, "own_name")
        known = self.membership.members.get(sender)
        if known is not None and header["inc"] < known.incarnation:
            self.count("superseded")
            return wire.encode(dict(self._answer(), admitted=False, reason="superseded", entries={
                sender: [known.incarnation, known.version, known.beat]}), [])
        self._check_sequence(sender, header)
        reason = self._admission(header, known, relay)
        if reason:
            self.count("not_admitted")
            return wire.encode(dict(self._answer(), admitted=False, reason=reason), [])
        await self.absorb(sections)
        want, owed = self.membership.compare(header["entries"], time.monotonic(), time.time())
        if header.get("entries") or "page" in header:
            answer = dict(self._answer(), admitted=True, want=want)
            if "page" in header:
                answer["entries"], answer["next"] = self.membership.page(header["page"])
            else:
                answer["entries"] = self.membership.entries()
        else:
            answer = dict(self._answer(), admitted=True)
        if relay:
            answer["mail"] = self.mailboxes.take(sender, time.monotonic())
        return wire.encode(answer, self.membership.deltas(dict(owed, **header["want"])))

    def _answer(self) -> dict:
        return {"from": self.name, "inc": self.membership.me.incarnation}

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

    def _admission(self, header: dict, known, relay: bool) -> str | None:
        """Why the sender is no member, or None. A member can be dialled at its address, or is registered at a relay."""
        sender, now = header["from"], time.monotonic()
        if relay:
            if not self.relay_capable:
                return "not_a_relay"
            return None if self.mailboxes.register(sender, now) else "relay_full"
        card = header.get("card")
        # However well it dials out itself: behind NAT and without a relay nobody comes to it any more.
        cut_off = isinstance(card, dict) and bool(card.get("nat_blocked")) and not card.get("relays")
        if known is not None and known.incarnation == header["inc"] and known.status != membership.DEAD and known.card and not cut_off:
            return None
        if self._dialled.get(sender) == header["inc"]:
            return None
        if card is None:
            return "card"
        try:
            membership.checked_card(card)
        except wire.WireError:
            self.count("malformed")
            return "card"
        if card.get("relays"):
            return "through_relay"
        if now - self._dial_failed.get(sender, -DIAL_BACK_REST) < DIAL_BACK_REST:
            return "not_dialable"
        if sender not in self._dialling and len(self._dialling) < DIAL_BACK_LIMIT:
            self._dialling.add(sender)
            self._spawn(self._dial_back(sender, header["inc"], card))
        return "pending"

    async def _dial_back(self, name: str, incarnation: int, card: dict) -> None:
        """Find out whether a node answers under its name at an address that it gave."""
        found = ["%s:%d" % (card.get("host"), card["port"]), card.get("public")]
        if self.overlay:
            found.insert(0, card.get("overlay"))
        try:
            for address in dict.fromkeys(address for address in found if address):
                if await self.answers(address) == name:
                    if len(self._dialled) >= membership.MAX_MEMBERS:
                        self._dialled.clear()
                    self._dialled[name] = incarnation
                    self._dial_failed.pop(name, None)
                    return
            self.count("dial_backs_failed")
            if len(self._dial_failed) >= membership.MAX_MEMBERS:
                self._dial_failed.clear()
            self._dial_failed[name] = time.monotonic()
        finally:
            self._dialling.discard(name)

    async def answers(self, address: str) -> str | None:
        """The name of the node that answers at `address`, None if none does. The token is not sent: who is there is not known yet."""
        try:
            async with self._session.get("http://%s/health" % address, allow_redirects=False, headers={"Authorization": ""}) as response:
                body = orjson.loads(await response.content.read(16384))
                return body.get("node_id") if isinstance(body, dict) else None
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError):
            return None

    # Work

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
        count = self.settings.fan_out
        if self.uses_relays:
            count = 1
            for address in self._relays():
                self._spawn(self._relay_heartbeat(address))
        for address in self._targets(count):
            self._spawn(self.exchange(address))

    def _relays(self) -> list:
        """Addresses to relay through: the command line's, the hosts file's, then any member's that could."""
        named = self.settings.relay_peers + [self.address_by_name(name) for name in self.directory.relays(self.name)]
        others = [self.address_by_name(name) for name in relays.candidates(self.membership.alive(), self.leader()[0], self.directory.voters)]
        found = (list(dict.fromkeys(address for address in part if address)) for part in (named, others))
        return self.relay_choice.update(*found, time.monotonic())

    async def _relay_heartbeat(self, address: str) -> None:
        if address in self._in_flight:
            return
        before = self.relay_choice.names
        answer = await self.exchange(address, relay=True)
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
            member = self.membership.members.get(name)
            # In a large cluster a few that ask are enough.
            if new == membership.SUSPECT and self.random.random() < 8.0 / len(self.membership.members):
                self._spawn(self._ask(member))

    async def _ask(self, member: membership.Member) -> None:
        """Ask a suspected member directly, or through a relay's mailbox, before it is taken for dead."""
        if member.dialable:
            address = self.address_of(member)
            if address:
                await self.exchange(address, doubtful=True)
            return
        for relay in member.card.get("relays", ()):
            address = self.address_by_name(relay)
            if not address or relay == self.name:
                continue
            try:
                async with self._session.post("http://%s/relay/message" % address, json={
                        "to": member.name, "message": {"kind": "ping", "from": self.name}}) as response:
                    if response.status == 200:
                        return
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError):
                continue

    def _leader_changed(self, unused_role: str, leader: str | None, term: int) -> None:
        """Tell the others at once."""
        log.info("leader %s, term %d", leader, term)
        self.say()
        self._round()

    async def _joining(self) -> None:
        """Join while alone; later look after those that fell out of sight, so that two halves find each other again."""
        while True:
            if self.membership.alive():
                await asyncio.sleep(self.timing.reconnect_every)
                address = self._one_out_of_sight()
                if address:
                    await self.exchange(address, doubtful=True)
            else:
                await self._bootstrap()
                await asyncio.sleep(self.timing.bootstrap_every * (0.5 + self.random.random()))

    def _seeds(self) -> list:
        """Addresses in the order in which they are tried: cached peers, --peers, then the built-in seeds shuffled."""
        builtin = list(self.settings.seeds)
        self.random.shuffle(builtin)
        own = {"%s:%d" % (address, self.settings.port) for address in (self.overlay, self.public, self.host) if address}
        return [address for address in dict.fromkeys(self._cached + self.settings.peers + builtin) if address not in own]

    def _one_out_of_sight(self) -> str | None:
        members = self.membership.members.values()
        gone = [self.address_of(member) for member in members if member.status == membership.DEAD and member.dialable]
        near = {self.address_of(member) for member in self.membership.alive()} | {"%s:%d" % (self.host, self.settings.advertise_port)}
        found = [address for address in gone + self._seeds() if address and address not in near]
        return self.random.choice(found) if found else None

    async def _bootstrap(self) -> None:
        self.count("bootstrap_rounds")
        # Cached peers may all be gone, so they get at most half of the six tries.
        tried = self._seeds()
        cached = [address for address in tried if address in self._cached][:BOOTSTRAP_ADDRESSES // 2]
        for address in (cached + [address for address in tried if address not in cached])[:BOOTSTRAP_ADDRESSES]:
            for unused_attempt in range(PENDING_TRIES):
                answer = await self.exchange(address)
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
            answer = await self.exchange(address, page=page)
            page = answer.get("next") if answer is not None else None

    async def _housekeeping(self) -> None:
        """Once in a while: remember the peers on disk, renew the claim."""
        wait = 5.0
        while True:
            await asyncio.sleep(wait)
            wait = 60.0
            peers = [self.address_of(member) for member in self.membership.alive() if member.dialable]
            peers = sorted(address for address in peers if address)[:64]
            try:
                if peers and peers != self._cached:
                    await asyncio.to_thread(locks.write_atomically, self._cache_path, orjson.dumps({"peers": peers}))
                    self._cached = peers
                await asyncio.to_thread(self.locks.refresh)
            except OSError as problem:
                self.count("disk_failures")
                log.warning("%s: %s", problem.filename, problem.strerror)

    @property
    def _cache_path(self) -> str:
        return os.path.join(self.settings.state_dir, "peers.json")

    def _read_cache(self) -> list:
        try:
            with open(self._cache_path, "rb") as stream:
                found = orjson.loads(stream.read(65536))["peers"]
            return [address for address in found if isinstance(address, str)][:64]
        except (OSError, ValueError, KeyError, TypeError):
            return []
