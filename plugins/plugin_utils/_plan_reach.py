# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who can dial whom: what the observations prove about addresses and NAT. Pure; shapes as in ``docs/architecture.md``."""

from __future__ import annotations

import collections
import hashlib
import ipaddress
import re
import typing as t

OVERLAY = "overlay"
OUTSIDE = "outside"
CLASSES = (OVERLAY, OUTSIDE)

# What is known about an address, seen from a class of nodes.
REACHED = "reached"      # at least one node of the class got a healthy answer
UNREACHED = "unreached"  # nodes of the class tried, none got one, and nothing explains it
DOWN = "down"            # the node behind it says itself that nothing runs there: says nothing about the address
UNKNOWN = "unknown"      # no node of the class was asked

# Two witnesses: a single node that cannot dial another may have the fault on its own side.
NAT_WITNESSES = 2

_OVERLAY_NETWORKS = tuple(ipaddress.ip_network(text) for text in ("100.64.0.0/10", "fd7a:115c:a1e0::/48"))
_NOT_PUBLIC = _OVERLAY_NETWORKS + tuple(ipaddress.ip_network(text) for text in (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"))
_EVERYTHING = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*\.?\Z")

Host = t.Mapping[str, t.Any]
Observation = t.Mapping[str, t.Any]


def split_address(text: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``; ValueError says what is wrong."""
    host, colon, port = str(text).strip().rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("%r is not host:port" % (text,))
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1])), int(port)
    if ":" in host:
        raise ValueError("%r: write an IPv6 address in brackets" % (text,))
    if not _HOST_NAME.match(host):
        raise ValueError("%r does not name a host" % (text,))
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return "[%s]:%d" % (host, port) if ":" in host else "%s:%d" % (host, port)


def is_overlay(host: str) -> bool:
    """Whether a host lies in the Tailscale overlay; a name does not."""
    return _within(host, _OVERLAY_NETWORKS)


def _within(host: str, networks: t.Iterable[t.Any]) -> bool:
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(parsed.version == network.version and parsed in network for network in networks)


def has_moved(host: Host, observation: Observation | None) -> bool:
    """Whether the node has public addresses, and the one of the file is not among them.

    A node whose addresses are all private says nothing about this: its provider may translate.
    """
    own = [str(item).partition("/")[0] for item in (observation or {}).get("addresses") or []]
    own = [item for item in own if not _within(item, _NOT_PUBLIC)]
    return bool(own and host.get("public_address") and _within(host["public_address"], _EVERYTHING) and host["public_address"] not in own)


def node_class(host: Host) -> str:
    """The class of a node as one that dials: with userspace Tailscale it is dialled over the overlay, but cannot dial there."""
    return OVERLAY if host.get("overlay") and not host.get("userspace_tailscale") else OUTSIDE


def public(host: Host) -> str | None:
    """The address at which everybody may dial the node."""
    if not host.get("public_address"):
        return None
    return join_address(host["public_address"], host.get("public_port") or host.get("port") or 8770)


def overlay(host: Host) -> str | None:
    """The address at which nodes in the overlay may dial the node."""
    if not host.get("overlay") or not host.get("tailscale_address"):
        return None
    return join_address(host["tailscale_address"], host.get("port") or 8770)


def weight(*parts: str) -> int:
    """A number that depends on the parts alone: order without preference, for rendezvous hashing."""
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def is_up(observation: Observation | None) -> bool:
    """Whether the node's own orchestrator answered on the node."""
    return bool(observation and (observation.get("health") or (observation.get("view") or {}).get("answers")))


class Reach:
    """What all observations together say about addresses.

    ``hosts`` are those of the cluster that belong, ``observations`` those of this run ({node: observation}).
    """

    def __init__(self, hosts: t.Mapping[str, Host], observations: t.Mapping[str, Observation]) -> None:
        self._hosts = hosts
        self._observations = {name: item for name, item in observations.items() if name in hosts and item}
        self.owners: dict[str, str] = {}
        for name in sorted(hosts, reverse=True):
            for address in (public(hosts[name]), overlay(hosts[name])):
                if address:
                    self.owners[address] = name
        self._asked: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in CLASSES}
        self._healthy: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in CLASSES}
        self._dialled: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in CLASSES}
        self._reached_any: set[str] = set()
        answers: set[tuple[str, t.Any]] = set()
        for name, observation in self._observations.items():
            self._note(name, observation.get("candidates") or {}, answers)
        self._answered: dict[str, set[str]] = {}
        for address, node in answers:
            if node in hosts:
                self._answered.setdefault(address, set()).add(node)

    def _note(self, observer: str, candidates: t.Mapping[str, t.Any], answers: set[tuple[str, t.Any]]) -> None:
        kind = node_class(self._hosts[observer])
        # What a node reaches at its own address proves nothing for others.
        own = (public(self._hosts[observer]), overlay(self._hosts[observer]))
        tried = [(address, result) for address, result in candidates.items() if result and address not in own and result.get("node_id") != observer]
        healthy = [(address, result.get("node_id")) for address, result in tried if result.get("health")]
        dialled = [address for address, result in tried if result.get("tcp") or result.get("health")]
        self._asked[kind].update([address for address, _result in tried])
        self._healthy[kind].update([address for address, _node in healthy])
        self._dialled[kind].update(dialled)
        answers.update(healthy)
        if dialled:
            self._reached_any.add(observer)

    def owner(self, address: str) -> str | None:
        """The node behind an address: the one that answers there, else the one that the file puts there."""
        answered = self._answered.get(address, ())
        if len(answered) == 1:
            return next(iter(answered))
        return self.owners.get(address)

    def asked(self, kind: str) -> bool:
        """Whether any node of the class tried any address."""
        return bool(self._asked[kind])

    def verdict(self, address: str, kind: str, owner: str | None = None) -> str:
        """What is known about an address, seen from a class."""
        if self._healthy[kind][address]:
            return REACHED
        owner = owner or self.owner(address)
        if owner in self._observations and not is_up(self._observations[owner]):
            return DOWN
        return UNREACHED if self._asked[kind][address] else UNKNOWN

    def askers(self, address: str, kind: str) -> list[str]:
        """Who of a class tried an address, by name."""
        return sorted(
            name for name, item in self._observations.items()
            if node_class(self._hosts[name]) == kind and self.owners.get(address) != name and (item.get("candidates") or {}).get(address))

    def errors(self, address: str, kind: str) -> list[str]:
        """The different errors that nodes of a class met at an address."""
        return sorted({
            str(self._observations[name]["candidates"][address].get("error") or "no healthy answer") for name in self.askers(address, kind)})

    def nat(self, name: str) -> dict[str, t.Any]:
        """Whether others can dial a node: ``{declared, observed (bool|null: not judged), asked (how many tried), reached (how many came through), moved}``.

        Observed as blocked: it answers on itself and reaches others, at least two others tried, and nobody came through at
        any of its addresses. Where the file has a public address that is not the node's (``moved``), that is the fault instead.
        """
        host = self._hosts[name]
        addresses = [address for address in (public(host), overlay(host)) if address]
        witnesses = max((sum(self._asked[kind][address] for kind in CLASSES) for address in addresses), default=0)
        reached = max((sum(self._dialled[kind][address] for kind in CLASSES) for address in addresses), default=0)
        moved = has_moved(host, self._observations.get(name))
        observed = None
        if reached:
            observed = False
        elif witnesses >= NAT_WITNESSES and not moved and is_up(self._observations.get(name)) and name in self._reached_any:
            observed = True
        return {"declared": bool(host.get("nat_blocked")), "observed": observed, "asked": witnesses, "reached": reached, "moved": moved}
