# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Service notifications to systemd (sd_notify); nothing happens where there is no systemd."""

from __future__ import annotations

import os
import socket


def notify(message: str, environment=None) -> bool:
    """Send `message` (such as ``READY=1``) to the service manager. Returns whether there was one that took it."""
    address = (os.environ if environment is None else environment).get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.sendto(message.encode(), address)
    except OSError:
        return False
    return True


def watchdog_interval(environment=None, pid=None) -> float | None:
    """Seconds between two signs of life that the service manager wants (half its limit), None if it wants none."""
    environment = os.environ if environment is None else environment
    try:
        limit = int(environment.get("WATCHDOG_USEC", "0"))
        owner = int(environment.get("WATCHDOG_PID", "0"))
    except ValueError:
        return None
    if limit <= 0 or owner not in (0, os.getpid() if pid is None else pid):
        return None
    return limit / 2_000_000.0
