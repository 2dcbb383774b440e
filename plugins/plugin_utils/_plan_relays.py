# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two relays for every node that cannot be dialled. Pure; shapes as in ``docs/architecture.md``.

A relay's *load* is the number of clients that have it as their primary; its *worst load* is what it carries after the
one other relay has died whose loss hits it hardest. The capacity limits the worst load.
"""

from __future__ import annotations

import bisect
import typing as t

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _plan_reach as reach_util
from ansible_collections.ringrift.p2p.plugins.plugin_utils import _plan_seeds

# Clients that one relay serves at a time, where the settings do not say.
DEFAULT_CAPACITY = 16
# The share of clients that one run may move away from relays of theirs.
MOVED_SHARE = 4
CANDIDATES_NAMED = 20
# Relays weighed against each other for one client.
WEIGHED = 24

Host = t.Mapping[str, t.Any]
Pair = t.Tuple[t.Optional[str], t.Optional[str]]


def needs_relay(host: Host, blocked: t.Container[str]) -> bool:
    """Whether others can come to this node through a relay only."""
    if host["name"] in blocked or host.get("gateway_only") or host.get("force_relay"):
        return True
    return reach_util.public(host) is None and reach_util.overlay(host) is None


def qualifies(host: Host | None, blocked: t.Container[str]) -> bool:
    """Whether a host may serve as a relay as far as the file says."""
    return bool(host is not None and host["belongs"] and host.get("relay_capable") is not False and reach_util.public(host)
                and not needs_relay(host, blocked))


def _provider(host: Host) -> str:
    return host.get("provider") or "other"


class Loads:
    """How many clients each relay carries, now and after the worst single loss."""

    def __init__(self, relays: t.Iterable[str], capacity: int) -> None:
        self.capacity = capacity
        self.primary: dict[str, int] = {name: 0 for name in relays}
        self._inherits: dict[str, dict[str, int]] = {name: {} for name in self.primary}
        self._worst: dict[str, int] = {name: 0 for name in self.primary}

    def add(self, pair: Pair) -> None:
        first, second = pair
        if first in self.primary:
            self.primary[first] += 1
        if second in self.primary and first is not None:
            heirs = self._inherits[second]
            heirs[first] = heirs.get(first, 0) + 1
            self._worst[second] = max(self._worst[second], heirs[first])

    def remove(self, pair: Pair) -> None:
        first, second = pair
        if first in self.primary:
            self.primary[first] -= 1
        if second in self.primary and first is not None:
            heirs = self._inherits[second]
            heirs[first] -= 1
            self._worst[second] = max(heirs.values())

    def worst(self, name: str) -> int:
        return self.primary[name] + self._worst[name]

    def worst_with(self, name: str, first: str | None) -> int:
        """The worst load of ``name`` with one more client that it inherits when ``first`` dies."""
        return self.primary[name] + max(self._worst[name], self._inherits[name].get(first, 0) + 1)


class RelayPlan:
    """The relays of one cluster; ``touch`` are the names that this run may change, None for all."""

    def __init__(self, hosts: t.Mapping[str, Host], reach: reach_util.Reach, blocked: t.Container[str], capacity: int | None = None,
                 add_relays: bool = False, touch: t.Container[str] | None = None) -> None:
        self._hosts = hosts
        self._reach = reach
        self._blocked = blocked
        self._capacity = capacity or DEFAULT_CAPACITY
        self.clients = sorted(name for name, host in hosts.items() if needs_relay(host, blocked))
        self._touched = {name for name in self.clients if touch is None or name in touch}
        self._hashes: dict[str, int] = {}
        self._rings: dict[str, tuple[list[int], list[str]]] = {}
        self._exhausted: set[tuple[str, str | None, bool, bool]] = set()
        self._usable: dict[tuple[str, str], bool] = {}
        self._qualified = {name for name, host in hosts.items() if qualifies(host, blocked)}
        self.previous = {name: list(hosts[name].get("relays") or [])[:2] for name in self.clients if hosts[name].get("relays")}
        serving = {relay for name in self.clients for relay in hosts[name].get("relays") or ()}
        self.pool = sorted(name for name in self._qualified if hosts[name].get("relay_capable") or name in serving)
        self._candidates = sorted((name for name in self._qualified.difference(self.pool) if self._may_be_added(name)), key=self._candidate_order)
        self.added: list[str] = []
        self.lent: list[str] = []
        self._extend(add_relays)
        self._provider_of = {name: _provider(hosts[name]) for name in self.pool}
        self.loads = Loads(self.pool, self._capacity)
        self.assignments: dict[str, list[str]] = {}
        self.moved: list[str] = []
        self._overloaded: list[str] = []
        self._short: list[str] = []
        self._assign()
        self.shortage = self._shortage()

    # Which nodes serve

    def _may_be_added(self, name: str) -> bool:
        host = self._hosts[name]
        return (host.get("provider") not in _plan_seeds.NEVER_PROVIDERS and not host.get("ephemeral")
                and any(self._serves(name, kind) for kind in reach_util.CLASSES))

    def _candidate_order(self, name: str) -> tuple[bool, int]:
        return bool(self._hosts[name].get("discrete_gpu")), reach_util.weight("relay", name)

    def _serves(self, name: str, kind: str) -> bool:
        """Whether clients of a class can come to a relay; one that was not tried is believed, one that was and failed is not."""
        key = (name, kind)
        if key not in self._usable:
            verdict = self._reach.verdict(reach_util.public(self._hosts[name]), kind, name)
            if verdict == reach_util.UNKNOWN:
                other = reach_util.OUTSIDE if kind == reach_util.OVERLAY else reach_util.OVERLAY
                verdict = self._reach.verdict(reach_util.public(self._hosts[name]), other, name)
            self._usable[key] = verdict != reach_util.UNREACHED
        return self._usable[key]

    def _works(self, relay: str, client: str) -> bool:
        return relay != client and relay in self._qualified and self._serves(relay, reach_util.node_class(self._hosts[client]))

    def _needed(self) -> int:
        """How many relays carry all clients after the loss of one."""
        return max(2, -(-len(self.clients) // self._capacity) + 1) if self.clients else 0

    def _providers(self) -> set[str]:
        return {_provider(self._hosts[name]) for name in self._working_pool()}

    def _working_pool(self) -> list[str]:
        return [name for name in self.pool if any(self._serves(name, kind) for kind in reach_util.CLASSES)]

    def _extend(self, add_relays: bool) -> None:
        if not self.clients:
            return
        working, providers = len(self._working_pool()), self._providers()
        order = self._candidates if not add_relays else self._by_need()
        for name in order:
            two_providers = len(providers) > 1
            if working >= self._needed() and two_providers or (two_providers and not add_relays):
                break
            if not two_providers and providers and _provider(self._hosts[name]) in providers and (not add_relays or working + 1 >= self._needed()):
                continue
            (self.added if add_relays else self.lent).append(name)
            self.pool.append(name)
            working += 1
            providers.add(_provider(self._hosts[name]))
        self.pool.sort()

    def _by_need(self) -> list[str]:
        """Candidates so that providers take turns, those that serve least first."""
        counts: dict[str, int] = {}
        for name in self._working_pool():
            counts[_provider(self._hosts[name])] = counts.get(_provider(self._hosts[name]), 0) + 1
        keys = {}
        for name in self._candidates:
            provider = _provider(self._hosts[name])
            keys[name] = (counts.get(provider, 0), self._candidate_order(name))
            counts[provider] = counts.get(provider, 0) + 1
        return sorted(self._candidates, key=keys.__getitem__)

    def addresses(self, client: str) -> list[str]:
        """Where a client finds its relays. One that is away at present stays: the client waits for it; one that cannot serve goes."""
        return [reach_util.public(self._hosts[name]) for name in self.assignments.get(client, ()) if name in self._qualified and name != client]

    def unused_candidates(self) -> list[str]:
        """Nodes that would qualify and do not serve yet, best first."""
        return [name for name in self._candidates if name not in self.pool]

    # Who is served by whom

    def _hash(self, name: str) -> int:
        value = self._hashes.get(name)
        if value is None:
            value = self._hashes[name] = reach_util.weight("rendezvous", name)
        return value

    def _ring(self, kind: str) -> tuple[list[int], list[str]]:
        """The relays that serve a class, in the order of their hashes."""
        ring = self._rings.get(kind)
        if ring is None:
            pairs = sorted((self._hash(name), name) for name in self.pool if self._serves(name, kind))
            ring = self._rings[kind] = ([number for number, _name in pairs], [name for _number, name in pairs])
        return ring

    def _nearby(self, client: str) -> tuple[list[str], bool]:
        """The relays to weigh for a client, and whether that is all of them.

        All of a small pool; of a large one those next on the ring of hashes, so that the work grows with the clients alone.
        """
        numbers, names = self._ring(reach_util.node_class(self._hosts[client]))
        if len(names) <= WEIGHED:
            return names, True
        start = bisect.bisect(numbers, self._hash(client))
        return (names[start:] + names[:start])[:WEIGHED] if start + WEIGHED > len(names) else names[start:start + WEIGHED], False

    def _pick(self, client: str, first: str | None, secondary: bool, strict: bool) -> str | None:
        """The relay with the least load that a client may have beside ``first``; ties by rendezvous hashing."""
        nearby, complete = self._nearby(client)
        found = self._least(nearby, client, first, secondary, strict)
        if found is None and not complete:
            key = (reach_util.node_class(self._hosts[client]), self._provider_of.get(first), secondary, strict)
            if key not in self._exhausted:
                found = self._least(self._ring(key[0])[1], client, first, secondary, strict)
                if found is None:
                    self._exhausted.add(key)
        return found

    def _least(self, names: t.Iterable[str], client: str, first: str | None, secondary: bool, strict: bool) -> str | None:
        avoid, mine, loads = self._provider_of.get(first), self._hash(client), self.loads
        best, best_key = None, None
        for name in names:
            if self._provider_of[name] == avoid or name == client:
                continue
            if secondary:
                load = loads.worst_with(name, first)
                full = load > loads.capacity
            else:
                load = loads.primary[name]
                full = loads.worst(name) >= loads.capacity
            if strict and full:
                continue
            # A multiplication mixes the two hashes well enough for ties, at a fraction of a digest per pair.
            key = (load, ((mine ^ self._hashes[name]) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
            if best_key is None or key < best_key:
                best, best_key = name, key
        return best

    def _choose(self, client: str, first: str | None, secondary: bool) -> str | None:
        found = self._pick(client, first, secondary, True)
        if found is None:
            # Cut off is worse than crowded: the cap gives way, and the shortage is reported.
            found = self._pick(client, first, secondary, False)
            if found is not None:
                self._overloaded.append(client)
        return found

    def _place(self, client: str, kept: str | None) -> list[str]:
        """A pair for a client that keeps ``kept`` as its primary, or has none that works."""
        first = kept or self._choose(client, None, False)
        if first is None:
            self._short.append(client)
            return []
        second = self._choose(client, first, True)
        if second is None:
            self._short.append(client)
            return [first]
        return [first, second]

    def _good(self, relays: t.Sequence[str]) -> bool:
        return len(relays) == 2 and _provider(self._hosts[relays[0]]) != _provider(self._hosts[relays[1]])

    def _set(self, client: str, relays: t.Sequence[str]) -> None:
        self.assignments[client] = list(relays)
        self.loads.add(_pair(relays))

    def _assign(self) -> None:
        place: list[tuple[str, str | None]] = []
        replace: list[tuple[str, str]] = []
        for client in self.clients:
            previous = self.previous.get(client, [])
            working = [name for name in self._hosts[client].get("relays") or [] if self._works(name, client)]
            if client not in self._touched or (working[:2] == previous and self._good(previous)):
                self._set(client, previous)
            elif not working:
                place.append((client, None))
            elif len(previous) == 2:
                replace.append((client, working[0]))
            else:
                place.append((client, working[0]))
        allowed = max(1, len(self.clients) // MOVED_SHARE)
        replace.sort(key=lambda item: self._hash(item[0]))
        for client, kept in sorted(place, key=lambda item: (item[1] is not None, self._hash(item[0]))):
            self._set(client, self._place(client, kept))
        for client, kept in replace[:allowed]:
            relays = self._place(client, kept)
            # Half a pair is no improvement on a pair of which half works.
            self._set(client, relays if len(relays) == 2 else self.previous[client])
        for client, _kept in replace[allowed:]:
            self._set(client, self.previous[client])
        self.moved = [client for client, _kept in replace[:allowed] if self.assignments[client] != self.previous[client]]
        self._rebalance(allowed - len(self.moved))
        self.moved.sort()

    def _rebalance(self, allowed: int) -> None:
        """Move clients off relays that could not bear the loss of another one."""
        over = sorted((name for name in self.pool if self.loads.worst(name) > self._capacity), key=lambda name: (-self.loads.worst(name), name))
        served: dict[str, list[str]] = {name: [] for name in over}
        for client in sorted(self._touched, key=self._hash):
            for relay in self.assignments[client]:
                if relay in served:
                    served[relay].append(client)
        self._exhausted.clear()
        for relay in over:
            for client in served[relay]:
                if allowed <= 0 or self.loads.worst(relay) <= self._capacity:
                    break
                if client not in self.moved and self._move(client, relay) and client in self.previous:
                    self.moved.append(client)
                    allowed -= 1

    def _move(self, client: str, relay: str) -> bool:
        """Give a client another relay in place of ``relay``, where one has room."""
        pair = self.assignments[client]
        kept = next((name for name in pair if name != relay), None)
        if relay not in pair or kept is None or not self._works(kept, client):
            return False
        self.loads.remove(_pair(pair))
        primary = pair[0] == relay
        other = self._pick(client, kept, not primary, True)
        if other is None or other == relay:
            self.loads.add(_pair(pair))
            return False
        self._set(client, [other, kept] if primary else [kept, other])
        return True

    def _shortage(self) -> dict[str, t.Any] | None:
        if not self.clients:
            return None
        declared = [name for name in self._working_pool() if name not in self.lent]
        providers = {_provider(self._hosts[name]) for name in declared}
        reasons = []
        missing = max(0, self._needed() - len(declared))
        if missing:
            reasons.append("%d clients at %d a relay need %d relays so that the loss of one fits into the rest, %d serve" % (
                len(self.clients), self._capacity, self._needed(), len(declared)))
        if len(providers) < 2:
            missing = max(missing, 2 - len(providers))
            reasons.append("relays of two providers are needed, there are %d" % len(providers))
        over = sorted(name for name in self.loads.primary if self.loads.worst(name) > self._capacity)
        if over:
            excess = max(self.loads.worst(name) for name in over) - self._capacity
            missing = max(missing, -(-excess // self._capacity))
            reasons.append("%s would carry more than %d clients after the loss of another relay" % (", ".join(over[:10]), self._capacity))
        without = sorted(set(self._short))
        if without:
            missing = max(missing, 1)
            reasons.append("without two working relays of different providers: %s" % ", ".join(without[:10]))
        if not missing:
            return None
        if self.lent:
            reasons.append("%s serve meanwhile without relay_capable" % ", ".join(self.lent))
        named = self.lent + self.unused_candidates()
        return {"missing": missing, "candidates": named[:CANDIDATES_NAMED], "reason": "; ".join(reasons)}

    def edits(self) -> dict[str, dict[str, t.Any]]:
        """What the hosts file must say about relays that it does not say yet: ``{host: {key: value|null}}``."""
        edits: dict[str, dict[str, t.Any]] = {}
        for client in self.clients:
            relays = self.assignments[client]
            if client not in self._touched or not relays:
                continue
            entry = self._hosts[client].get("entry") or {}
            wanted: dict[str, t.Any] = {"relay_primary": relays[0], "force_relay_mode": True}
            if len(relays) > 1:
                wanted["relay_secondary"] = relays[1]
            for key in ("relay_tertiary", "relay_quaternary"):
                if entry.get(key) in relays:
                    wanted[key] = None
            changed = {key: value for key, value in wanted.items() if entry.get(key) != value}
            if changed:
                edits[client] = changed
        return edits

    def to_dict(self) -> dict[str, t.Any]:
        """The plan's ``relays``."""
        return {
            "assignments": self.assignments,
            "previous": self.previous,
            "shortage": self.shortage,
            "load": {name: self.loads.primary[name] for name in sorted(self.loads.primary)},
            "worst_load": {name: self.loads.worst(name) for name in sorted(self.loads.primary)},
            "capacity": self._capacity,
            "moved": self.moved,
            "added": self.added,
        }


def _pair(relays: t.Sequence[str]) -> Pair:
    return (relays[0] if relays else None, relays[1] if len(relays) > 1 else None)
