# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's nodes: the seed document's 22, as inventory/distributed_hosts.example.yaml describes them. Pure, apart from reading that file."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field

import yaml

from containers import INSTANCE, LabError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXAMPLE = os.path.join(ROOT, "inventory", "distributed_hosts.example.yaml")
PORT = 8770

LAMBDA = tuple(f"lambda-gh200-{number}" for number in (1, 2, 3, 5, 8, 9, 10, 11))
VAST = ("vast-30274241", "vast-30274242", "vast-29128352", "vast-29129151")
OTHERS = (
    "runpod-a100-1", "hetzner-cpu1", "hetzner-cpu2", "hetzner-cpu3", "nebius-h100-1", "nebius-h100-3", "nebius-l40s-1",
    "nebius-backbone-1", "vultr-a100-20gb", "vultr-a100-40gb",
)
NAMES = LAMBDA + VAST + OTHERS
# Down on a stale lock, cut off for want of a reachable seed, cut off for want of a relay.
LOCKED = ("lambda-gh200-2", "lambda-gh200-5", "lambda-gh200-11")
NO_RELAY = ("lambda-gh200-8", "lambda-gh200-9")
OUTSIDE = LOCKED + VAST + NO_RELAY
# The seed document's three public seeds, as the lab's inventory pins them.
PINNED = ("vultr-a100-20gb", "hetzner-cpu1", "nebius-h100-3")
# What the built-in lists of the field hold: addresses in the overlay, all of them.
OVERLAY_SEEDS = ("hetzner-cpu1", "nebius-backbone-1", "vultr-a100-20gb", "nebius-h100-3")
COORDINATOR = "hetzner-cpu1"
COORDINATOR_BY_ENVIRONMENT = "vultr-a100-40gb"

# The example's addresses, and those that take their place: machines have been seen whose package mirror has an address in the
# range that the example uses. Beside the first lab, others live in the range that is set apart for benchmarks.
EXAMPLE_PUBLIC, EXAMPLE_OVERLAY = "203.0.113.", "100.64.0."
LAB_PUBLIC = f"198.18.{INSTANCE}." if INSTANCE else "198.51.100."
LAB_OVERLAY = f"100.64.{INSTANCE or 0}."
PUBLIC = ipaddress.ip_network(f"{LAB_PUBLIC}0/24")
OVERLAY = ipaddress.ip_network(f"{LAB_OVERLAY}0/24")
# A rented container is reached through its provider's gateway; in the lab the gateway is the node's own address.
FIRST_GATEWAY_ADDRESS = 200


@dataclass(frozen=True)
class Node:
    """One node. `entry` is its mapping in the hosts file; addresses are text, `overlay` is empty outside of it."""

    name: str
    public: str
    overlay: str
    user: str
    path: str
    systemd: bool
    inbound_blocked: bool
    voter: bool
    relays: tuple = ()
    entry: dict = field(default_factory=dict, compare=False, hash=False)

    @property
    def provider(self):
        """The provider, from the name's prefix."""
        return self.name.split("-", 1)[0]

    @property
    def home(self):
        """The home of the user that ssh logs in as."""
        return "/root" if self.user == "root" else f"/home/{self.user}"


def _inside(network, *candidates):
    for candidate in candidates:
        try:
            if ipaddress.ip_address(str(candidate)) in network:
                return str(candidate)
        except ValueError:
            continue
    return ""


def hosts_text():
    """The example file with the lab's addresses; raises LabError where there is none."""
    try:
        with open(EXAMPLE, encoding="utf-8") as stream:
            return stream.read().replace(EXAMPLE_PUBLIC, LAB_PUBLIC).replace(EXAMPLE_OVERLAY, LAB_OVERLAY)
    except OSError as error:
        raise LabError(f"the lab is laid out after {EXAMPLE}, which cannot be read: {error}") from error


def load():
    """The lab's hosts file as a mapping; raises LabError where there is none."""
    try:
        return yaml.safe_load(hosts_text())
    except yaml.YAMLError as error:
        raise LabError(f"the lab is laid out after {EXAMPLE}, which is not YAML: {error}") from error


def nodes(document):
    """{name: Node} of the 22 nodes, in the order of NAMES; raises LabError naming all that the file lacks."""
    hosts = document.get("hosts") or {}
    voters = document.get("p2p_voters") or []
    found, faults = {}, []
    for name in NAMES:
        entry = hosts.get(name)
        if not isinstance(entry, dict):
            faults.append(f"hosts.{name} is missing")
            continue
        gateway = name in VAST
        public = _inside(PUBLIC, entry.get("p2p_public_host"), str(entry.get("ssh_host", "")).rpartition("@")[2])
        if gateway:
            public = str(PUBLIC[FIRST_GATEWAY_ADDRESS + VAST.index(name)])
        if not public:
            faults.append(f"hosts.{name} has no address in {PUBLIC}")
            continue
        user = entry.get("ssh_user") or ("ubuntu" if name.startswith(("lambda-", "nebius-")) else "root")
        home = "/root" if user == "root" else f"/home/{user}"
        path = str(entry.get("ringrift_path") or "~/ringrift/ai-service")
        found[name] = Node(
            name=name,
            public=public,
            overlay="" if gateway else _inside(OVERLAY, entry.get("tailscale_ip")),
            user=user,
            path=home + path[1:] if path.startswith("~") else path,
            systemd=not name.startswith(("vast-", "runpod-")),
            inbound_blocked=name in LAMBDA or gateway,
            voter=name in voters or bool(entry.get("p2p_voter")),
            relays=tuple(entry[key] for key in ("relay_primary", "relay_secondary", "relay_tertiary", "relay_quaternary") if entry.get(key)),
            entry=entry,
        )
    addresses = [address for node in found.values() for address in (node.public, node.overlay) if address]
    faults += [f"{address} stands at more than one node" for address in sorted(set(addresses)) if addresses.count(address) > 1]
    if faults:
        raise LabError("the lab cannot be laid out after the hosts file:\n  " + "\n  ".join(faults))
    return found


def choose(known, names):
    """The nodes of those names (all of them for an empty list), in the order of `known`."""
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise LabError(f"no such node: {', '.join(unknown)}; there are {', '.join(known)}")
    return [node for name, node in known.items() if not names or name in names]
