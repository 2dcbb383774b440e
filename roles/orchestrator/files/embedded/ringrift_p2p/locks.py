# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One orchestrator per host: stale locks, the supervisor's claim, the flock and the port, in the order of the field."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import select
import signal
import socket
import time
from datetime import datetime, timezone

CLAIM = "p2p_supervisor.json"
LOCK = "ringrift_p2p_orchestrator.lock"
# The field takes a claim for live while its last_health_check is younger than this (seconds).
FIELD_CLAIM_AGE = 600.0
GRACE = 5.0

log = logging.getLogger("ringrift_p2p")


class Refused(Exception):
    """This start must not go on; the message says who is in the way and what to do."""


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(65536)
    except OSError:
        return b""


def write_atomically(path: str, content: bytes) -> None:
    """Replace a file as a whole. Raises OSError."""
    scratch = "%s.%d.new" % (path, os.getpid())
    with open(scratch, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(scratch, path)


def is_orchestrator(argv: list) -> bool:
    """Whether a command line is a Python interpreter running p2p_orchestrator.py, and not one that merely mentions it."""
    if len(argv) < 2 or not os.path.basename(argv[0]).startswith("python"):
        return False
    script = next((word for word in argv[1:] if not word.startswith("-")), "")
    return os.path.basename(script) == "p2p_orchestrator.py"


def _argv(pid: int) -> list:
    return [os.fsdecode(word) for word in _read("/proc/%d/cmdline" % pid).split(b"\0")[:-1]]


def duplicates(ringrift_path: str, lock_holder: int) -> list:
    """PIDs of other orchestrators of this folder: its lock's holder, and those whose script or --ringrift-path is of it."""
    found, here = [], os.path.realpath(ringrift_path)
    for entry in os.listdir("/proc"):
        pid = int(entry) if entry.isdigit() else 0
        argv = _argv(pid) if pid and pid != os.getpid() else []
        if not is_orchestrator(argv):
            continue
        try:
            folder = os.readlink("/proc/%d/cwd" % pid)
        except OSError:
            folder = "/"
        script = next(word for word in argv[1:] if not word.startswith("-"))
        path = os.path.dirname(os.path.dirname(os.path.join(folder, script)))
        for place, word in enumerate(argv):
            if word.startswith("--ringrift-path"):
                path = os.path.join(folder, word.partition("=")[2] or (argv + [""])[place + 1])
        if pid == lock_holder or os.path.realpath(path) == here:
            found.append(pid)
    return found


def end(pid: int) -> bool:
    """End a process gracefully, then by force, by a descriptor that can't come to mean another one. Returns whether it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    try:
        if not is_orchestrator(_argv(pid)):
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(descriptor, number)
            if select.select([descriptor], [], [], GRACE)[0]:
                return True
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    finally:
        os.close(descriptor)
    return False


def _iso(now: float) -> str:
    return datetime.fromtimestamp(now, timezone.utc).replace(tzinfo=None).isoformat() + "Z"


def field_claim_refusal(content: bytes, now: float, alive) -> str | None:
    """Why the software in the field would not start beside this claim, or None. `alive(pid)` is its ``kill -0``."""
    try:
        claim = json.loads(content)
        pid, checked = int(claim["pid"]), str(claim["last_health_check"])
        age = now - datetime.fromisoformat(checked.rstrip("Z")).replace(tzinfo=timezone.utc).timestamp()
    except (ValueError, KeyError, TypeError):
        return None
    if pid <= 0 or claim.get("managed_by") == "none" or not alive(pid) or age >= FIELD_CLAIM_AGE:
        return None
    return "pid %d (%s), last health check %s" % (pid, claim.get("managed_by"), checked)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


class Locks:
    """What this process holds of its host. `acquire` takes it or raises Refused, `release` gives it back."""

    def __init__(self, settings) -> None:
        self._settings = settings
        self._claim = os.path.join(settings.coordination_dir, CLAIM)
        self._lock = os.path.join(settings.coordination_dir, LOCK)
        self._descriptor = None
        self._claimed = None
        self.socket = None
        self.cleaned: list = []

    def acquire(self) -> socket.socket:
        """Returns the bound socket of the HTTP port. Raises Refused."""
        settings = self._settings
        try:
            os.makedirs(settings.coordination_dir, exist_ok=True)
            os.makedirs(settings.state_dir, exist_ok=True)
            self._check_claim()
            self._end_duplicates()
            self._take_lock()
            self._bind()
            if not settings.flags.ignore_supervisor:
                self._write_claim()
        except OSError as problem:
            self.release()
            raise Refused("%s: %s" % (problem.filename or settings.coordination_dir, problem.strerror)) from None
        except Refused:
            self.release()
            raise
        return self.socket

    def _check_claim(self) -> None:
        settings = self._settings
        if settings.flags.no_lock_cleanup:
            reason = field_claim_refusal(_read(self._claim), time.time(), _exists)
        else:
            reason = self._clean()
        if reason and not (settings.flags.force_supervisor or settings.flags.ignore_supervisor):
            raise Refused("%s: this node is claimed: %s; end that, or start with --force-supervisor" % (self._claim, reason))

    def _clean(self) -> str | None:
        import lock_guard

        settings = self._settings
        claim = None
        for found in lock_guard.clean(
                coordination_dir=settings.coordination_dir, logs_dir=os.path.join(settings.ringrift_path, "logs"), port=settings.port):
            if found["action"] != "none":
                self.cleaned.append(found["path"])
                log.warning("lock %s: %s, %s (%s)", found["path"], found["verdict"], found["action"], found["reason"])
            if os.path.basename(found["path"]) == CLAIM and (found["verdict"] in ("held", "foreign", "unreadable") or found["action"] == "failed"):
                claim = found["reason"]
        return claim

    def _holder(self) -> int:
        content = _read(self._lock).strip()
        return int(content) if content.isdigit() else 0

    def _end_duplicates(self) -> None:
        settings, holder = self._settings, self._holder()
        found = duplicates(settings.ringrift_path, holder) if settings.flags.kill_duplicates else []
        if settings.flags.force_takeover and holder not in found and is_orchestrator(_argv(holder)):
            found.append(holder)
        for pid in found:
            if not end(pid):
                raise Refused("process %d is another orchestrator and can't be ended; end it as its owner" % pid)
            log.warning("ended process %d, a duplicate", pid)

    def _take_lock(self) -> None:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            os.close(descriptor)
            if problem.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise Refused("%s: another orchestrator runs here, process %s; end it, or start with --kill-duplicates"
                          % (self._lock, self._holder() or "unknown")) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d" % os.getpid(), 0)
        self._descriptor = descriptor

    def _bind(self) -> None:
        settings = self._settings
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.socket.bind((settings.host, settings.port))
        except OSError as problem:
            raise Refused("port %d at %s: %s; end what listens there" % (settings.port, settings.host, problem.strerror)) from None

    def _write_claim(self) -> None:
        now = time.time()
        if self._claimed is None:
            manager = "master_loop" if self._settings.flags.managed_by_master_loop else "manual"
            self._claimed = {"managed_by": manager, "pid": os.getpid(), "started_at": _iso(now)}
        self._claimed["last_health_check"] = _iso(now)
        write_atomically(self._claim, json.dumps(self._claimed).encode())

    def refresh(self) -> None:
        """Say again that this process lives; to be called well within ten minutes."""
        if self._claimed is not None:
            self._write_claim()

    def release(self) -> None:
        """Free the claim if it is this process's, and close the lock, whose file stays."""
        try:
            if self._claimed is not None and json.loads(_read(self._claim) or b"{}").get("pid") == os.getpid():
                free = {"managed_by": "none", "pid": 0, "started_at": None, "last_health_check": _iso(time.time())}
                write_atomically(self._claim, json.dumps(free).encode())
        except (OSError, ValueError, AttributeError) as problem:
            log.warning("%s: not released: %s", self._claim, problem)
        self._claimed = None
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
