# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of address a string of the hosts file is. Nothing is looked up."""

from __future__ import annotations

import ipaddress
import re

PUBLIC = "public"
OVERLAY = "overlay"
PRIVATE = "private"
LOOPBACK = "loopback"
GATEWAY = "gateway"
PLACEHOLDER = "placeholder"
INVALID = "invalid"

_TAILSCALE_6 = ipaddress.ip_network("fd7a:115c:a1e0::/48")
# Documentation ranges count as public: labs use them for the very reason that they are nobody's.
_PRIVATE_6 = tuple(ipaddress.ip_network(net) for net in ("fc00::/7", "fe80::/10", "ff00::/8", "::/128"))

_PLACEHOLDER_WORDS = frozenset((
    "", "-", "?", "...", "tbd", "n/a", "na", "none", "null", "unknown", "pending", "placeholder", "changeme", "change-me", "unset", "0.0.0.0", "::",
))
_PLACEHOLDER = re.compile(r"[<>{}]|^your[-_.]|^(?:[x\d]{1,3}\.){3}[x\d]{1,3}$", re.IGNORECASE)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"^{_LABEL}(?:\.{_LABEL})*\.?$", re.IGNORECASE)
_NUMERIC = re.compile(r"^[\d.]+$")
_PRIVATE_NAME = re.compile(r"\.(?:local|internal|lan|home|intranet|home\.arpa)\.?$", re.IGNORECASE)
_GATEWAY_NAME = re.compile(r"(?:^ssh\d*\.vast\.ai|(?:^|\.)ssh\.runpod\.io)\.?$", re.IGNORECASE)


def _kind_4(parts: list[str]) -> str:
    try:
        first, second, third, fourth = [int(part) for part in parts]
    except ValueError:
        return INVALID
    if max(first, second, third, fourth) > 255:
        return INVALID
    if first == 100 and 64 <= second <= 127:
        return OVERLAY
    if first == 127:
        return LOOPBACK
    if first == 10 or (first == 172 and 16 <= second <= 31) or (first == 192 and second == 168) or (first == 169 and second == 254):
        return PRIVATE
    if first == 0 or first >= 224:
        return INVALID
    return PUBLIC


def kind(host: str) -> str:
    """The kind of ``host``, a name or an address without user and port: one of the constants of this file.

    A name counts as PUBLIC unless its form says otherwise; one of a single label is PRIVATE.
    """
    parts = host.split(".")
    if len(parts) == 4 and host.replace(".", "").isdigit() and host.isascii():
        return PLACEHOLDER if host == "0.0.0.0" else _kind_4(parts)
    lowered = host.lower()
    if lowered in _PLACEHOLDER_WORDS or _PLACEHOLDER.search(host):
        return PLACEHOLDER
    if ":" in host:
        try:
            address = ipaddress.IPv6Address(host.strip("[]"))
        except ValueError:
            return INVALID
        if address in _TAILSCALE_6:
            return OVERLAY
        if address.is_loopback:
            return LOOPBACK
        if address.ipv4_mapped is not None:
            return kind(str(address.ipv4_mapped))
        return PRIVATE if any(address in net for net in _PRIVATE_6) else PUBLIC
    if not _NAME.match(host) or len(host) > 253 or _NUMERIC.match(host):
        return INVALID
    if lowered.rstrip(".") == "localhost" or lowered.rstrip(".").endswith(".localhost"):
        return LOOPBACK
    if lowered.rstrip(".").endswith(".ts.net"):
        return OVERLAY
    if _GATEWAY_NAME.search(host):
        return GATEWAY
    if "." not in host.rstrip(".") or _PRIVATE_NAME.search(host):
        return PRIVATE
    return PUBLIC


def split(target: str) -> tuple[str | None, str, int | None]:
    """``[user@]host[:port]`` as ``(user, host, port)``; brackets around an IPv6 address are taken off."""
    user, at, rest = target.rpartition("@")
    port = None
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        if bracket and tail.startswith(":") and tail[1:].isdigit():
            port = int(tail[1:])
        elif tail:
            host = rest
    else:
        host, colon, tail = rest.partition(":")
        if colon and tail.isdigit() and "." in host:
            port = int(tail)
        elif colon:
            host = rest
    return (user if at else None), host, port
