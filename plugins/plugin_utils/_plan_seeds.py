# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses a node dials first, per class of node. Pure; shapes as in ``docs/architecture.md``."""

from __future__ import annotations

import typing as t

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _plan_reach as reach_util

# The orchestrator tries at most six addresses a round.
SEEDS_TRIED = 6
PER_PROVIDER = 2
PUBLIC_PROVIDERS = 3
# Machines of these providers come and go with their price.
NEVER_PROVIDERS = frozenset(("vast", "runpod"))
# How many nodes are tried as seeds from every node: enough for replacements, few enough for one bounded round.
SEEDS_CHECKED = 12

Host = t.Mapping[str, t.Any]


class Seed(t.NamedTuple):
    """One address that may be a seed."""

    address: str
    node: str | None
    provider: str
    overlay: bool
    pinned: bool


def rank(host: Host) -> tuple[bool, bool, int]:
    """The order among hosts that may be seeds: voters, then machines without a discrete GPU (they are always on), then by hash."""
    return not host.get("voter"), bool(host.get("discrete_gpu")), reach_util.weight("seed", host["name"])


def unfit(host: Host | None, blocked: t.Container[str]) -> str | None:
    """Why a host may not be a seed, or None."""
    if host is None or not host["belongs"]:
        return "it is not in the cluster"
    if host["name"] in blocked:
        return "it is behind NAT"
    if host.get("gateway_only") or host.get("force_relay"):
        return "it is reached through a relay only"
    if host.get("provider") in NEVER_PROVIDERS or host.get("ephemeral"):
        return "its provider or its kind is ephemeral"
    return None


class SeedPlan:
    """The seeds of one class of node.

    ``hosts`` are those that belong, ``blocked`` the names of those that others cannot dial, ``pinned`` a list of
    ``{address, node?}`` from the settings.
    """

    def __init__(self, kind: str, hosts: t.Mapping[str, Host], all_hosts: t.Mapping[str, Host], reach: reach_util.Reach, blocked: t.Container[str],
                 ranked: t.Sequence[Host], pinned: t.Sequence[t.Mapping[str, t.Any]], count: int, minimum: int) -> None:
        self._kind = kind
        self._hosts = hosts
        self._count = count
        self._reach = reach
        self.left_out: list[dict[str, t.Any]] = []
        self._pinned = self._usable_pins(pinned, all_hosts, blocked)
        pinned_addresses = {seed.address for seed in self._pinned} | {item["address"] for item in self.left_out}
        self._public: list[Seed] = []
        self._overlay: list[Seed] = []
        self._other: list[Seed] = []
        for host in ranked:
            public, overlay = reach_util.public(host), reach_util.overlay(host) if kind == reach_util.OVERLAY else None
            usable = []
            for address, is_overlay in ((public, False), (overlay, True)):
                if address and address not in pinned_addresses and self._usable(address, host["name"], "%s of the file" % host["name"]):
                    usable.append(Seed(address, host["name"], host.get("provider") or "other", is_overlay, False))
            self._public += [seed for seed in usable if not seed.overlay]
            # Behind the public ones the overlay address comes first: it gets through where the public network does not.
            self._overlay += usable[-1:]
            self._other += usable[:-1]
        self.seeds = self.without(None)
        self.refused = self._refusal(minimum, ranked, blocked)

    def _usable(self, address: str, node: str | None, what: str) -> bool:
        if self._reach.verdict(address, self._kind, node) != reach_util.UNREACHED:
            return True
        self._leave_out(address, "%s: no node of this class gets an answer there (%s)" % (what, ", ".join(self._reach.errors(address, self._kind))),
                        self._reach.askers(address, self._kind))
        return False

    def _leave_out(self, address: str, reason: str, tried_by: t.Sequence[str] = ()) -> None:
        self.left_out.append({"address": address, "reason": reason, "tried_by": list(tried_by)})

    def _usable_pins(self, pinned: t.Sequence[t.Mapping[str, t.Any]], all_hosts: t.Mapping[str, Host], blocked: t.Container[str]) -> list[Seed]:
        seeds: list[Seed] = []
        per_provider: dict[str, int] = {}
        for item in pinned:
            address = item["address"]
            node = self._reach.owner(address) or item.get("node")
            is_overlay = reach_util.is_overlay(reach_util.split_address(address)[0])
            if any(seed.address == address for seed in seeds):
                continue
            if is_overlay and self._kind == reach_util.OUTSIDE:
                self._leave_out(address, "pinned: an overlay address, which this class of node cannot dial")
                continue
            why = unfit(all_hosts[node], blocked) if node in all_hosts else None
            if why:
                self._leave_out(address, "pinned: %s may not be a seed: %s" % (node, why))
                continue
            if not self._usable(address, node, "pinned"):
                continue
            if node and any(seed.node == node for seed in seeds):
                self._leave_out(address, "pinned: a second address of %s" % node)
                continue
            # Nothing is known about the provider of a stranger: it counts as one of its own.
            provider = (all_hosts[node].get("provider") or "other") if node in all_hosts else "address " + address
            per_provider[provider] = per_provider.get(provider, 0) + 1
            if per_provider[provider] > PER_PROVIDER:
                self._leave_out(address, "pinned: more than %d seeds of provider %s" % (PER_PROVIDER, provider))
                continue
            seeds.append(Seed(address, node, provider, is_overlay, True))
        return seeds

    def without(self, node: str | None) -> list[Seed]:
        """The seeds of one node: never its own address, the next one instead."""
        chosen: list[Seed] = []
        nodes: set[str] = set()
        addresses: set[str] = set()
        per_provider: dict[str, int] = {}

        def take(seed: Seed, again: bool = False) -> None:
            if len(chosen) >= self._count or seed.address in addresses or (seed.node is not None and seed.node == node):
                return
            if per_provider.get(seed.provider, 0) >= PER_PROVIDER or (seed.node in nodes and not again):
                return
            chosen.append(seed)
            addresses.add(seed.address)
            per_provider[seed.provider] = per_provider.get(seed.provider, 0) + 1
            if seed.node:
                nodes.add(seed.node)

        for seed in self._pinned:
            take(seed)
        covered = {seed.provider for seed in chosen if not seed.overlay}
        for seed in self._public:
            if len(covered) >= PUBLIC_PROVIDERS or len(chosen) >= self._count:
                break
            if seed.provider not in covered:
                take(seed)
                covered.update(item.provider for item in chosen[-1:] if not item.overlay)
        for seed in self._overlay:
            if len(chosen) >= self._count:
                break
            take(seed)
        for seed in self._overlay + self._other:
            if len(chosen) >= self._count:
                break
            take(seed, again=True)
        return chosen

    def _refusal(self, minimum: int, ranked: t.Sequence[Host], blocked: t.Container[str]) -> str | None:
        members = [host for host in self._hosts.values() if reach_util.node_class(host) == self._kind]
        # A cluster of two can have one seed each, a cluster of one none.
        minimum = min(minimum, len(self._hosts) - 1)
        remaining = len({seed.node or seed.address for seed in self.seeds})
        if not members or remaining >= minimum:
            return None
        reason = "%d of at least %d seeds remain for the %d nodes %s" % (
            remaining, minimum, len(members), "in the overlay" if self._kind == reach_util.OVERLAY else "outside the overlay")
        if self.left_out:
            return "%s; left out: %s" % (reason, "; ".join("%s (%s)" % (item["address"], item["reason"]) for item in self.left_out))
        without_public = sorted(host["name"] for host in ranked if not reach_util.public(host))
        if self._kind == reach_util.OUTSIDE and without_public:
            return "%s: a public address is missing; set p2p_public_host (and p2p_public_port) for at least %d of %s" % (
                reason, minimum - remaining, ", ".join(without_public[:10]))
        return "%s: the file has no more hosts that may be seeds (in the cluster, dialable, not %s, not ephemeral)" % (
            reason, " or ".join(sorted(NEVER_PROVIDERS)))

    def to_dict(self) -> dict[str, t.Any]:
        """The plan's ``seeds.<class>``."""
        unverified = [seed.address for seed in self.seeds if self._reach.verdict(seed.address, self._kind, seed.node) != reach_util.REACHED]
        return {
            "addresses": [seed.address for seed in self.seeds],
            "sources": {seed.address: "pinned" if seed.pinned else seed.node for seed in self.seeds},
            "owners": {seed.address: seed.node for seed in self.seeds},
            "basis": "observed" if self._reach.asked(self._kind) else "file",
            "unverified": unverified,
            "left_out": self.left_out,
            "refused": self.refused,
        }


def ranked_hosts(hosts: t.Mapping[str, Host], blocked: t.Container[str]) -> list[Host]:
    """The hosts that may be seeds, best first."""
    return sorted((host for host in hosts.values() if unfit(host, blocked) is None), key=rank)


def checked(ranked: t.Sequence[Host], pinned: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """The addresses to try from every node before seeds are written: the pinned ones and the best hosts of the file."""
    addresses = [item["address"] for item in pinned]
    per_provider: dict[str, int] = {}
    taken = 0
    for host in ranked:
        provider = host.get("provider") or "other"
        # Two more of a provider than may be chosen are replacements enough.
        if per_provider.get(provider, 0) >= 2 * PER_PROVIDER or taken >= SEEDS_CHECKED:
            continue
        per_provider[provider] = per_provider.get(provider, 0) + 1
        taken += 1
        addresses += [address for address in (reach_util.public(host), reach_util.overlay(host)) if address]
    return list(dict.fromkeys(addresses))
