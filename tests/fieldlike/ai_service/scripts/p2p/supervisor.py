# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor claim and the process lock, with the faults of the field."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from datetime import datetime, timezone

CLAIM = "data/coordination/p2p_supervisor.json"
LOCK = "data/coordination/ringrift_p2p_orchestrator.lock"
CLAIM_AGE = 600.0


def stamp(moment: float) -> str:
    """A time as the claim has it: UTC, naive, with a Z."""
    return datetime.fromtimestamp(moment, timezone.utc).replace(tzinfo=None).isoformat() + "Z"


def alive(pid: int) -> bool:
    """Whether something has that number: neither what it is nor since when is looked at, and what may not be signalled counts as dead."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def holder(root: str, now: float) -> str | None:
    """Who is believed to hold the supervisor role, or None. Age decides, though the time is written once and never again."""
    try:
        with open(os.path.join(root, CLAIM), encoding="utf-8") as stream:
            claim = json.load(stream)
        pid, managed_by = int(claim.get("pid") or 0), claim.get("managed_by") or "none"
        checked = datetime.fromisoformat(str(claim["last_health_check"]).rstrip("Z")).replace(tzinfo=timezone.utc).timestamp()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if managed_by == "none" or pid in (0, os.getpid()) or not alive(pid) or now - checked > CLAIM_AGE:
        return None
    return "%s (pid %d)" % (managed_by, pid)


def write_claim(root: str, managed_by: str, pid: int, now: float) -> None:
    """Writes the claim in place: a reader can find half of it."""
    path = os.path.join(root, CLAIM)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        json.dump({"managed_by": managed_by, "pid": pid, "started_at": stamp(now), "last_health_check": stamp(now)}, stream, indent=2)


def take_lock(root: str) -> int | None:
    """The descriptor of the process lock, or None where another process has it. The file is never removed."""
    path = os.path.join(root, LOCK)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode("ascii"))
    return descriptor


def kill_duplicates(mark: str) -> list[int]:
    """Kills every process with the script's name anywhere in its command line, its own start shell included; returns their numbers.

    `mark` is no part of the field's behaviour: where it is set, only processes with it in their environment are killed, so that tests
    on a shared machine kill nobody else's.
    """
    killed = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open("/proc/%s/cmdline" % name, "rb") as stream:
                command = stream.read()
            if b"p2p_orchestrator.py" not in command:
                continue
            if mark:
                with open("/proc/%s/environ" % name, "rb") as stream:
                    if mark.encode() not in stream.read():
                        continue
            os.kill(int(name), signal.SIGKILL)
        except OSError:
            continue
        killed.append(int(name))
    return killed
