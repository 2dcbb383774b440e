# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the node reads from `config/distributed_hosts.yaml`: addresses, voters, relays and its own entry."""

from __future__ import annotations

import ipaddress
import re

import yaml

DEFAULT_PORT = 8770
OVERLAY = ipaddress.ip_network("100.64.0.0/10")
_GATEWAY = re.compile(r"ssh\d*\.vast\.ai")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def is_overlay(address: str | None) -> bool:
    """Whether `address` is an IPv4 address of the Tailscale range."""
    try:
        return ipaddress.ip_address(address or "") in OVERLAY
    except ValueError:
        return False


def usable(value) -> str | None:
    """A host name or address from the file, or None for a placeholder, a gateway or anything else that can't be dialled."""
    if not isinstance(value, str):
        return None
    host = value.rpartition("@")[2].strip()
    if not _HOST.fullmatch(host) or _GATEWAY.fullmatch(host) or host.startswith("your-") or re.fullmatch(r"[x0-9.]*x[x0-9.]*", host):
        return None
    return host


def _port(value) -> int:
    try:
        port = int(value)
    except (TypeError, ValueError):
        return DEFAULT_PORT
    return port if 0 < port < 65535 else DEFAULT_PORT


class Host:
    """One entry of the file, reduced to what the orchestrator needs."""

    def __init__(self, name: str, entry: dict) -> None:
        self.name, self.entry = name, entry
        ssh_host = usable(entry.get("ssh_host"))
        overlay = usable(entry.get("tailscale_ip")) or (ssh_host if is_overlay(ssh_host) else None)
        self.overlay = overlay if is_overlay(overlay) else None
        # On Vast and RunPod ssh goes through a gateway or a mapped port, at which nothing but ssh answers.
        gateway = name.startswith(("vast-", "runpod-")) or bool(entry.get("vast_instance_id") or entry.get("runpod_id"))
        self.public = usable(entry.get("p2p_public_host")) or (ssh_host if ssh_host and not is_overlay(ssh_host) and not gateway else None)
        self.port = _port(entry.get("p2p_port", DEFAULT_PORT))
        self.public_port = _port(entry.get("p2p_public_port", self.port))

    def address(self, in_overlay: bool) -> str | None:
        """``host:port`` at which a node inside or outside the overlay dials it, None if it can't."""
        if in_overlay and self.overlay:
            return "%s:%d" % (self.overlay, self.port)
        return "%s:%d" % (self.public, self.public_port) if self.public else None


class Directory:
    """The file as a whole. `faults` lists what the orchestrator can't live with in it, each with the place."""

    def __init__(self, data: dict, source: str) -> None:
        self.source = source
        self.faults: list = []
        hosts = data.get("hosts") if isinstance(data, dict) else None
        if not isinstance(hosts, dict):
            self.faults.append("%s: hosts: a mapping of name to entry is needed" % source)
            hosts = {}
        self.hosts = {str(name): Host(str(name), entry) for name, entry in hosts.items() if isinstance(entry, dict)}
        listed = data.get("p2p_voters") if isinstance(data, dict) else None
        voters = [str(name) for name in listed] if isinstance(listed, list) else []
        voters += [name for name, host in self.hosts.items() if host.entry.get("p2p_voter") is True]
        self.voters = list(dict.fromkeys(voters))

    def own(self, name: str) -> Host:
        """The entry of this node, an empty one if the file has none."""
        return self.hosts.get(name) or Host(name, {})

    def relays(self, name: str) -> list:
        """Names of the relays that the file assigns to `name`, primary first."""
        entry = self.own(name).entry
        keys = ("relay_primary", "relay_secondary", "relay_tertiary", "relay_quaternary")
        return list(dict.fromkeys(entry[key] for key in keys if isinstance(entry.get(key), str) and entry[key] != name))

    def voter_addresses(self) -> dict:
        """{voter: ``host:port`` of its election}, the same on every node: all in the overlay if all have it, else all public.

        The election's port is the one after the HTTP port. A voter without an address is left out; see election_faults.
        """
        hosts = [self.own(name) for name in self.voters]
        overlay = all(host.overlay for host in hosts)
        chosen = {host.name: host.overlay if overlay else host.public for host in hosts}
        return {host.name: "%s:%d" % (chosen[host.name], host.port + 1) for host in hosts if chosen[host.name]}

    def election_faults(self) -> list:
        """Why no leader can be elected by this file, each fault with its place and way out."""
        faults, addresses = [], self.voter_addresses()
        if len(self.voters) < 3:
            faults.append("%s: p2p_voters: %d listed, an election needs at least 3; list more hosts there" % (self.source, len(self.voters)))
        for name in self.voters:
            if name not in self.hosts:
                faults.append("%s: p2p_voters: %s is not among the hosts; add it there or take it off the voters" % (self.source, name))
            elif name not in addresses:
                faults.append("%s: hosts.%s: a voter without an address that the other voters can dial; give it tailscale_ip or p2p_public_host"
                              % (self.source, name))
        taken = {}
        for name, address in addresses.items():
            if taken.setdefault(address, name) != name:
                faults.append("%s: hosts.%s: has the election address %s of %s; give it its own" % (self.source, name, address, taken[address]))
        return faults


def read(path: str) -> Directory:
    """Read the file at `path`. One that is missing or broken gives an empty directory whose `faults` say so."""
    try:
        with open(path, "rb") as stream:
            return Directory(yaml.safe_load(stream) or {}, path)
    except OSError as problem:
        empty = Directory({"hosts": {}}, path)
        empty.faults.append("%s: cannot be read: %s" % (path, problem.strerror))
        return empty
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        empty = Directory({"hosts": {}}, path)
        empty.faults.append("%s: not YAML: %s" % (path, " ".join(str(problem).split())))
        return empty
