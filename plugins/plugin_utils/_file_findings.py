# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts file says against itself. Nothing here stops a run; every finding names the line."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _addresses, _findings, _gpu_roles, _providers

KNOWN_STATUS = frozenset((
    "ready", "offline", "retired", "proxy_only", "terminated", "pending_setup", "destroyed", "disabled", "setup", "needs_setup",
    "needs_tailscale_auth", "ssh_key_rejected",
))
_GONE = re.compile(r"\b(terminated|destroyed|decommissioned|retired|deleted)\b", re.IGNORECASE)
_FILE_FIRST = "Correct the entry in the hosts file."


def find(cluster: t.Any) -> list[dict[str, t.Any]]:
    """All findings about a ClusterFile, in the order of the file: FILE_CONTRADICTION, VOTER_UNFIT, GPU_COORDINATOR."""
    found = _about_voters(cluster) + _about_coordinators(cluster)
    for name, host in cluster.hosts.items():
        found += _about_host(cluster, name, host)
    found += _about_duplicates(cluster)
    return sorted(found, key=lambda item: item["line"])


def _finding(cluster: t.Any, code: str, node: str | None, line: int, path: str, summary: str, evidence: t.Sequence[str] = (),
             remedy: str | None = None) -> dict[str, t.Any]:
    place = f"{cluster.source}, line {line}: {path}"
    return _findings.make(code, node, [place, *evidence], summary=summary, remedy=remedy, line=line, path=path)


def _about_host(cluster: t.Any, name: str, host: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    entry = host["entry"]
    found: list[dict[str, t.Any]] = []
    lines: dict[str, int] = {}

    def add(code: str, key: str | None, summary: str, *evidence: str, remedy: str | None = None) -> None:
        if not lines:
            lines.update(cluster.lines_of(name))
        line = lines.get(key, host["line"]) if key else host["line"]
        found.append(_finding(cluster, code, name, line, f"hosts.{name}" + (f".{key}" if key else ""), summary, evidence, remedy))

    def contradiction(key: str | None, summary: str, *evidence: str, remedy: str = _FILE_FIRST) -> None:
        add("FILE_CONTRADICTION", key, summary, *evidence, remedy=remedy)

    _provider_contradictions(name, host, contradiction)
    status = host["status"]
    ready = status is not None and status.lower() == "ready"
    if ready and entry.get("p2p_enabled") is False:
        contradiction("p2p_enabled", "The node is ready, yet p2p_enabled is false",
                      remedy="Remove p2p_enabled: false to let the node in, or set a status that says why it is out.")
    if status is not None and status.lower() not in KNOWN_STATUS:
        contradiction("status", f"The status {status!r} is not known; the node counts as belonging to the cluster",
                      remedy=f"Use one of: {', '.join(sorted(KNOWN_STATUS))}.")
    note = entry.get("note")
    if ready and isinstance(note, str):
        gone = _GONE.search(note)
        if gone:
            contradiction("status", f"The node is ready, yet its note says {gone.group(1).lower()}", f"note: {note}")
    stated_user, _host, stated_port = _addresses.split(entry["ssh_host"]) if isinstance(entry.get("ssh_host"), str) else (None, "", None)
    if stated_user and entry.get("ssh_user") and stated_user != host["ssh_user"]:
        contradiction("ssh_user", f"ssh_host names the user {stated_user}, ssh_user says {host['ssh_user']}; ssh_user counts")
    if stated_port and entry.get("ssh_port") and stated_port != host["ssh_port"]:
        contradiction("ssh_port", f"ssh_host names the port {stated_port}, ssh_port says {host['ssh_port']}; ssh_port counts")
    for key, wanted, meaning in (("tailscale_ip", _addresses.OVERLAY, "a Tailscale address (100.64.0.0/10 or fd7a:115c:a1e0::/48)"),
                                 ("p2p_public_host", _addresses.PUBLIC, "an address that is public")):
        value = entry.get(key)
        if isinstance(value, str) and value.strip() and _addresses.kind(value.strip()) not in (wanted, _addresses.PLACEHOLDER):
            contradiction(key, f"{value} is not {meaning}; it is not used")
    _nat_contradictions(cluster, host, contradiction)
    role = host["role"]
    if role and "training" in role and host["training_enabled"] is False:
        contradiction("training_enabled", f"The role is {role}, yet training_enabled is false")
    if entry.get("p2p_voter") is False and host["voter"]:
        contradiction("p2p_voter", "p2p_voter is false, yet p2p_voters names the node; it counts as a voter")
    if not host["belongs"] and host["ssh_proxy"] is not None and host["ssh_proxy"] not in cluster.hosts:
        contradiction("ssh_proxy", f"The proxy {host['ssh_proxy']!r} is no host of this file")

    for reason in _gpu_roles.reasons(host):
        key = "role" if reason.startswith("role") else "training_enabled"
        edit = _gpu_roles.role_for(host["gpu_vram_gb"], cluster.gpu_role)
        add("GPU_COORDINATOR", key, f"A GPU node ({host['gpu'] or 'GPU without a name'}) is kept from training: {reason}",
            f"wanted: role: {edit}, training_enabled: true", "not named as elo_sync.coordinator or in p2p_coordinators")
        break
    return found


def _provider_contradictions(name: str, host: dict[str, t.Any], contradiction: t.Callable[..., None]) -> None:
    entry = host["entry"]
    ids = _providers.of_ids(entry)
    provider, evidence = host["provider"], host["provider_evidence"]
    against = [f"{key} says {other}" for key, other in ids.items() if other != provider]
    named = _providers.of_name(name)
    if evidence not in ("option providers", "name", "none") and named and named != provider:
        against.append(f"the name says {named}")
    if against:
        contradiction(None, f"The provider is {provider} ({evidence}), yet {', '.join(against)}",
                      remedy="Keep the key that is right; a key provider settles it.")


def _nat_contradictions(cluster: t.Any, host: dict[str, t.Any], contradiction: t.Callable[..., None]) -> None:
    entry = host["entry"]
    if host["nat_blocked"] and entry.get("force_relay_mode") is False:
        contradiction("force_relay_mode", "nat_blocked is true, yet force_relay_mode is false",
                      remedy="Set force_relay_mode: true, or remove it; the node is given relays either way.")
    if host["force_relay"] and entry.get("nat_blocked") is False:
        contradiction("nat_blocked", "force_relay_mode is true, yet nat_blocked is false",
                      remedy="Remove force_relay_mode if the node can be reached, else set nat_blocked: true.")
    if host["nat_blocked"] and host["relay_capable"]:
        contradiction("relay_capable", "relay_capable is true, yet nat_blocked is true: no node can reach this relay")
    for key in ("relay_primary", "relay_secondary", "relay_tertiary", "relay_quaternary"):
        relay = entry.get(key)
        if not isinstance(relay, str) or not relay.strip():
            continue
        other = cluster.hosts.get(relay.strip())
        if other is None:
            contradiction(key, f"The relay {relay!r} is no host of this file")
        elif other is host:
            contradiction(key, "The node is named as its own relay")
        elif host["belongs"] and not other["belongs"]:
            contradiction(key, f"The relay {relay} does not belong to the cluster: {other['excluded_reason']}")
        elif other["nat_blocked"]:
            contradiction(key, f"The relay {relay} is behind NAT itself")


def unfit_reasons(host: dict[str, t.Any]) -> list[str]:
    """Why a voter that is in the file cannot do a voter's work; empty if nothing speaks against it."""
    found = []
    if not host["belongs"]:
        found.append(f"it does not belong to the cluster: {host['excluded_reason']}")
    if host["nat_blocked"]:
        found.append("nat_blocked is true: the other voters cannot reach it")
    if host["container"]:
        found.append("it is a container, which may be stopped or moved at any time")
    if host["ephemeral"]:
        found.append("is_ephemeral is true")
    if host["gateway_only"]:
        found.append("only its SSH gateway is known, no address of its own")
    if host["ssh_host"] is not None and _addresses.kind(host["ssh_host"]) == _addresses.LOOPBACK:
        found.append("its ssh_host is this machine itself, which the other voters cannot reach under that name")
    return found


def _about_voters(cluster: t.Any) -> list[dict[str, t.Any]]:
    found = []
    for name in cluster.voters:
        line = cluster.voter_lines[name]
        host = cluster.hosts.get(name)
        if host is None:
            found.append(_finding(cluster, "VOTER_UNFIT", name, line, "p2p_voters", f"The voter {name!r} is no host of this file"))
            continue
        unfit = unfit_reasons(host)
        if unfit:
            path = "p2p_voters" if line < host["line"] or "p2p_voter" not in host["entry"] else f"hosts.{name}.p2p_voter"
            found.append(_finding(cluster, "VOTER_UNFIT", name, line, path, f"The voter cannot do a voter's work: {unfit[0]}", unfit))
    belonging = any(host["belongs"] for host in cluster.hosts.values())
    line = cluster.top_lines.get("p2p_voters", cluster.top_lines.get("hosts", 1))
    count = len(cluster.voters)
    remedy = "Name three or five voters in p2p_voters, on machines of different providers that the others can reach."
    if count == 0 and belonging:
        found.append(_finding(cluster, "FILE_CONTRADICTION", None, line, "p2p_voters", "No voter is named, so no leader can be elected", remedy=remedy))
    elif count == 1:
        found.append(_finding(
            cluster, "FILE_CONTRADICTION", None, line, "p2p_voters", "There is a single voter: with it the cluster loses its leader", remedy=remedy))
    elif count and count % 2 == 0:
        found.append(_finding(
            cluster, "FILE_CONTRADICTION", None, line, "p2p_voters",
            f"The number of voters is even ({count}): it stands no more failures than {count - 1} would", remedy=remedy))
    if cluster.hosts and not belonging:
        found.append(_finding(cluster, "FILE_CONTRADICTION", None, cluster.top_lines.get("hosts", 1), "hosts", "No host of the file belongs to the cluster"))
    return found


def _about_coordinators(cluster: t.Any) -> list[dict[str, t.Any]]:
    section = "elo_sync" if "elo_sync" in cluster.top_lines else "p2p_coordinators"
    line = cluster.top_lines.get(section, 1)
    return [
        _finding(cluster, "FILE_CONTRADICTION", None, line, section, f"The coordinator {name!r} is no host of this file")
        for name in cluster.coordinators if name not in cluster.hosts
    ]


def _about_duplicates(cluster: t.Any) -> list[dict[str, t.Any]]:
    """Two nodes of the cluster at one address: one of the entries is wrong, and would be stabilized twice."""
    first: dict[tuple, str] = {}
    found = []
    for name, host in cluster.hosts.items():
        if not host["belongs"]:
            continue
        loopback = host["ssh_host"] is not None and _addresses.kind(host["ssh_host"]) == _addresses.LOOPBACK
        for key, address in (
            ("p2p_public_host" if "p2p_public_host" in host["entry"] else "ssh_host",
             host["public_address"] and (host["public_address"], host["public_port"])),
            ("tailscale_ip", host["tailscale_address"] and (host["tailscale_address"], host["port"])),
            ("ssh_host", None if loopback or host["ssh_proxy"] else host["ssh_host"] and (host["ssh_host"], host["ssh_port"], "ssh")),
        ):
            if not address:
                continue
            other = first.setdefault(address, name)
            if other == name or (found and found[-1]["node"] == name and found[-1]["duplicate_of"] == other):
                continue
            line = cluster.lines_of(name).get(key, host["line"])
            finding = _finding(
                cluster, "FILE_CONTRADICTION", name, line, f"hosts.{name}.{key}",
                f"{address[0]}:{address[1]} is the address of {other} too", [f"{other}: line {cluster.hosts[other]['line']}"])
            found.append({**finding, "duplicate_of": other})
    return found
