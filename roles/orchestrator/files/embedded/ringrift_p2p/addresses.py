# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""At which addresses this node is dialled, and at which one it dials others."""

from __future__ import annotations

import asyncio
import shutil
import socket

from . import hosts, membership


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


class Addresses:
    """The own addresses, once `find` has looked for them, and those of the others."""

    def __init__(self, settings, directory: hosts.Directory, members: dict) -> None:
        self._settings, self._directory, self._members = settings, directory, members
        self._own = directory.own(settings.node_id)
        self.overlay: str | None = None
        self.public: str | None = None
        self.host = ""

    async def find(self) -> None:
        """Look for the own addresses: what was asked for, else overlay and public address, else the one towards the peers."""
        settings = self._settings
        overlay = self._own.overlay if is_local(self._own.overlay) else await tailscale_address()
        if hosts.is_overlay(settings.advertise_host):
            overlay = settings.advertise_host
        self.overlay = overlay
        self.public = settings.advertise_host if settings.advertise_host and not hosts.is_overlay(settings.advertise_host) else self._own.public
        preferred = [self.public, overlay] if settings.prefer_public else [overlay, self.public]
        fallback = settings.host if settings.host not in ("0.0.0.0", "::") else route_address(settings.peers + settings.seeds)
        self.host = settings.advertise_host or next((address for address in preferred if address), fallback)

    def card(self) -> dict:
        """What of this stands on the node's card."""
        settings = self._settings
        given = settings.advertise_port
        public_port = given if given != settings.port or settings.advertise_host else self._own.public_port
        return {
            "host": self.host, "port": given,
            "overlay": "%s:%d" % (self.overlay, settings.port) if self.overlay else None,
            "public": "%s:%d" % (self.public, public_port) if self.public else None,
        }

    def of(self, member: membership.Member) -> str | None:
        """``host:port`` at which this node can dial a member."""
        card = member.card
        if not card:
            return None
        if self.overlay and card.get("overlay"):
            return card["overlay"]
        if not hosts.is_overlay(card.get("host")) or not card.get("public"):
            return "%s:%d" % (card["host"], card["port"])
        return card["public"]

    def by_name(self, name: str) -> str | None:
        """``host:port`` of a node: as it says itself, else as the hosts file says."""
        member = self._members.get(name)
        if member is not None and member.card and member.status != membership.DEAD:
            return self.of(member)
        return self._directory.own(name).address(bool(self.overlay))
