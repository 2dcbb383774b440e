# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Electing a leader among the voters with PySyncObj, on the event loop.

Raft ticks on the loop that serves HTTP, so a node whose loop hangs loses its leadership instead of keeping it unseen.
A voter calls itself leader only once a majority has committed an entry of its own term.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time

from pysyncobj import SyncObj, SyncObjConf, SyncObjException, replicated
from pysyncobj.journal import MetaStorer

from .configuration import ElectionError
from .raft_network import LoopPoller, Transport

log = logging.getLogger("ringrift_p2p")
HISTORY = 32
TICK = 0.2


class _Raft(SyncObj):
    """The replicated state: which node led in which term."""

    def __init__(self, own: str, others: list, conf: SyncObjConf, poller: LoopPoller) -> None:
        # What stands before the base constructor belongs to this process, what comes after it is replicated.
        self.loop_poller = poller
        self.transport_in_use = None
        self.committed_before = 0
        super().__init__(own, others, conf, transportClass=Transport)
        self.history = []

    @property
    def _poller(self):
        return self.loop_poller

    @_poller.setter
    def _poller(self, unused_value):
        """PySyncObj makes a poller of its own; the loop's is used."""

    @replicated
    def record_leader(self, term, name):
        self.history = (self.history + [[term, name]])[-HISTORY:]


class Election:
    """One voter's part in the election. All methods run on the event loop."""

    def __init__(self, name: str, addresses: dict, bind: str, state_dir: str, password: str, timing, changed) -> None:
        """`addresses` {voter: host:port}, `bind` host:port to listen at. `changed(role, leader, term)` is called when one of them is new.

        Raises ElectionError.
        """
        if not password:
            raise ElectionError("a voter needs the election's password (its messages are pickled): "
                                "name a file that holds it in RINGRIFT_P2P_ELECTION_PASSWORD_FILE")
        self._names = {address: voter for voter, address in addresses.items()}
        self._addresses, self._name, self._timing, self._changed, self._told = addresses, name, timing, changed, None
        journal, self._marker = os.path.join(state_dir, "election.journal"), os.path.join(state_dir, "election.voted")
        vote = journal + ".meta"
        lost = journal if not os.path.exists(journal) else vote if "currentTerm" not in MetaStorer(vote).getMeta() else None
        if lost and os.path.exists(self._marker):
            raise ElectionError(
                "%s is lost, and this voter has voted before: voting again could elect a second leader for one term. Put it back; or, once the "
                "other voters agree on a leader, remove %s" % (lost, self._marker))
        self._poller = LoopPoller(asyncio.get_running_loop())
        conf = SyncObjConf(
            password=password, autoTick=False, journalFile=journal, fullDumpFile=journal + ".dump", useFork=False, bindAddress=bind,
            logCompactionMinEntries=1000, logCompactionMinTime=86400.0, raftMinTimeout=timing.raft_minimum,
            raftMaxTimeout=timing.raft_maximum, appendEntriesPeriod=timing.raft_append, leaderFallbackTimeout=timing.raft_fallback,
            connectionTimeout=timing.raft_maximum + 2.0 * Transport.KEEPALIVE, connectionRetryTime=0.5, maxBindRetries=1, onStateChanged=self._state_changed,
            tcp_keepalive=(2, 1, 3))
        self._raft = None
        try:
            self._raft = _Raft(addresses[name], [address for voter, address in addresses.items() if voter != name], conf, self._poller)
        except (OSError, ValueError, IndexError) as problem:
            raise ElectionError("%s: cannot be used: %s; put it back from a copy" % (journal, problem)) from None
        except SyncObjException as problem:
            raise ElectionError("the election can't listen at %s: %s" % (bind, problem)) from None
        self._spare_the_disk(self._raft._SyncObj__raftLog)
        self._recorded = 0
        self._last_tick = time.monotonic()
        self._poller.after_event = self._after_event
        self._timer = asyncio.get_running_loop().call_later(TICK, self._on_timer)

    @staticmethod
    def _spare_the_disk(log_on_disk) -> None:
        """Keep PySyncObj from writing the commit index each second although it stands still, as it does in an idle cluster."""
        store = log_on_disk.setRaftCommitIndex
        known = [None]

        def store_if_new(index):
            if index != known[0]:
                known[0] = index
                store(index)

        log_on_disk.setRaftCommitIndex = store_if_new

    def _state_changed(self, unused_old, new) -> None:
        if new == 2 and self._raft is not None:
            self._raft.committed_before = self._raft.raftCommitIndex

    def _on_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK, self._on_timer)
        self.tick()

    def _after_event(self) -> None:
        if self._raft._isLeader() and not self._confirmed():
            self.tick()

    def tick(self) -> None:
        """Let Raft look at its clocks."""
        self._last_tick = time.monotonic()
        self._raft.doTick(0.0)
        if self.is_leader and self._recorded != self.term:
            self._recorded = self.term
            self._raft.record_leader(self.term, self._name)
        said = (self.role, self.leader, self.term)
        if said != self._told:
            self._told = said
            if self.term:
                with open(self._marker, "ab"):
                    pass
            self._changed(*said)

    def _confirmed(self) -> bool:
        return self._raft.raftCommitIndex > self._raft.committed_before

    @property
    def term(self) -> int:
        return self._raft._getTerm()

    @property
    def is_leader(self) -> bool:
        """Whether this node leads now: elected, confirmed by a majority in its own term, and heard by one since."""
        if time.monotonic() - self._last_tick > 3 * TICK:
            # The loop was held up; what was true before is not believed before the clocks were looked at.
            self._last_tick = time.monotonic()
            self._raft.doTick(0.0)
        return self._raft._isLeader() and self._confirmed()

    @property
    def role(self) -> str:
        """leader, candidate or follower."""
        if self.is_leader:
            return "leader"
        return "candidate" if self.leader is None else "follower"

    @property
    def leader(self) -> str | None:
        """The voter that leads as far as this one knows, None while it does not know."""
        if self._raft._isLeader():
            return self._name if self.is_leader else None
        node = self._raft._getLeader()
        heard = time.monotonic() - self._raft.transport_in_use.leader_heard
        return self._names.get(node.id) if node is not None and heard <= self._timing.raft_maximum else None

    @property
    def leader_heard(self) -> float:
        """When the leader was last heard (monotonic)."""
        return time.monotonic() if self.is_leader else self._raft.transport_in_use.leader_heard

    def status(self) -> dict:
        """For /status: `{term, log_length, history [[term, node]], connections_dropped}`, the last for sending or waiting too long."""
        return {"term": self.term, "log_length": self._raft._getRaftLogSize(), "history": self._raft.history[-8:],
                "connections_dropped": self._raft.transport_in_use.dropped}

    async def transfer(self, to: str | None, timeout: float = 3.0) -> dict:
        """Hand leadership over to `to`, or to the most caught-up voter: `{transferred, leader_id, reason}` once another leads."""
        if not self.is_leader:
            return {"transferred": False, "leader_id": self.leader, "reason": "not the leader"}
        if to is not None and (to == self._name or to not in self._addresses):
            return {"transferred": False, "leader_id": self._name, "reason": "%s is not another voter" % to}
        term, outcome, end = self.term, [], time.monotonic() + timeout
        while time.monotonic() < end:
            if self.term > term and self.leader not in (None, self._name):
                return {"transferred": True, "leader_id": self.leader, "reason": None}
            if self._raft._isLeader() and outcome[-1:] != [0]:
                # Refused while that voter lacks the newest entry, which it has a moment later.
                self._raft.transferLeadership(self._addresses[to] if to else None, lambda unused_result, error: outcome.append(error))
            await asyncio.sleep(0.05)
        reason = "no other voter took over within %g s" if 0 in outcome else "the voter is not connected or lagged behind for %g s"
        return {"transferred": False, "leader_id": self.leader, "reason": reason % timeout}

    def close(self) -> None:
        """Stop voting and close the journal."""
        self._timer.cancel()
        self._poller.after_event = None
        self._raft.destroy()
