# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stops and starts one service under systemd or supervisord, and finds the process that has a port.

Both managers give the same state: {installed, active, restarting (between an end and the next try), restarts (int | null where not counted),
state (text), pid | null, exit_status (text | null), enabled (bool | null)}.
The command runner is an argument: `run(argv, timeout) -> (exit status, standard output, standard error)`.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess

_SUPERVISOR_STATE = re.compile(r"^(?P<name>\S+)\s+(?P<state>[A-Z]+)\s*(?P<detail>.*)$")


class ServiceError(Exception):
    """A service manager did not do what it was told; the text says which command and what it answered."""


def run_command(argv, timeout):
    """Runs a command without a shell. Returns (exit status, standard output, standard error); raises ServiceError where it can't be run."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, check=False, encoding="utf-8", errors="replace"
        )
    except subprocess.TimeoutExpired as problem:
        raise ServiceError(f"'{' '.join(argv)}' did not end within {timeout:g} s") from problem
    except OSError as problem:
        raise ServiceError(f"'{' '.join(argv)}' can't be run: {problem}") from problem
    return done.returncode, done.stdout, done.stderr


class Systemd:
    """A unit of systemd."""

    def __init__(self, name, run=run_command):
        self.name = name if name.endswith(".service") else f"{name}.service"
        self._run = run

    def _systemctl(self, *arguments, timeout=30.0):
        status, out, err = self._run(["systemctl", *arguments], timeout)
        if status:
            raise ServiceError(f"'systemctl {' '.join(arguments)}' ended with {status}: {(err or out).strip()}")
        return out

    def state(self):
        """State of the unit, with `needs_reload`: its files are newer than what systemd has read."""
        keys = "LoadState,ActiveState,SubState,MainPID,Result,ExecMainStatus,NRestarts,UnitFileState,NeedDaemonReload"
        out = self._systemctl("show", self.name, f"--property={keys}")
        got = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
        pid = got.get("MainPID", "0")
        return {
            "installed": got.get("LoadState") == "loaded",
            "active": got.get("ActiveState") in ("active", "activating", "reloading", "deactivating"),
            "restarting": got.get("SubState") == "auto-restart",
            "restarts": int(got["NRestarts"]) if got.get("NRestarts", "").isdigit() else None,
            "state": f"{got.get('ActiveState', 'unknown')} ({got.get('SubState', 'unknown')})",
            "pid": int(pid) if pid.isdigit() and int(pid) else None,
            "exit_status": f"{got.get('Result')}, {got.get('ExecMainStatus')}" if "ExecMainStatus" in got else None,
            "enabled": got.get("UnitFileState", "").startswith("enabled"),
            "needs_reload": got.get("NeedDaemonReload") == "yes" or got.get("LoadState") == "not-found",
        }

    def prepare(self):
        """Makes systemd read what is on disk."""
        if self.state()["needs_reload"]:
            self._systemctl("daemon-reload")

    def stop(self, timeout):
        """Stops the unit and waits for its end; raises ServiceError where that takes longer than `timeout` seconds."""
        self._systemctl("stop", self.name, timeout=timeout)

    def kill(self):
        """Ends whatever is left of the unit."""
        self._systemctl("kill", "--signal=KILL", self.name)

    def start(self):
        """Asks for the start and returns at once; earlier failures do not count against it."""
        with contextlib.suppress(ServiceError):
            self._systemctl("reset-failed", self.name)
        self._systemctl("start", "--no-block", self.name)

    def enable(self):
        """Has the unit started with the system."""
        self._systemctl("enable", self.name)

    def log(self, lines=20):
        """The last lines that the unit logged."""
        with contextlib.suppress(ServiceError):
            out = self._run(["journalctl", "--unit", self.name, "--lines", str(lines), "--no-pager", "--output", "cat"], 15.0)[1]
            return out.splitlines()[-lines:]
        return []


class Supervisord:
    """A program of supervisord, reached through the argv prefix of its supervisorctl."""

    def __init__(self, name, command, start_command=(), run=run_command):
        self.name = name
        self._command = list(command)
        self._start_command = list(start_command)
        self._run = run

    def _ask(self, *arguments, timeout=30.0):
        return self._run([*self._command, *arguments], timeout)

    def _control(self, *arguments, accept=(), timeout=30.0):
        status, out, err = self._ask(*arguments, timeout=timeout)
        text = f"{out}\n{err}".strip()
        if (status or "ERROR" in text) and not any(word in text for word in accept):
            raise ServiceError(f"'supervisorctl {' '.join(arguments)}' ended with {status}: {text}")

    def state(self):
        """State of the program; `state` says UNREACHABLE where no supervisord answers."""
        found = None
        try:
            unused_status, out, err = self._ask("status", self.name)
        except ServiceError as problem:
            # Not there yet, as on a node that is looked at before its first installation.
            out, err = "", str(problem)
        for line in out.splitlines():
            match = _SUPERVISOR_STATE.match(line)
            if match and match.group("name").rpartition(":")[2] == self.name:
                found = match
        if found is None:
            known = "no such process" in f"{out}{err}"
            state = "UNKNOWN" if known else "UNREACHABLE"
            return {
                "installed": False,
                "active": False,
                "restarting": False,
                "restarts": None,
                "state": state,
                "pid": None,
                "exit_status": None,
                "enabled": None,
            }
        pid = re.search(r"\bpid (\d+)", found.group("detail"))
        state = found.group("state")
        return {
            "installed": True,
            "active": state in ("RUNNING", "STARTING", "STOPPING", "BACKOFF"),
            "restarting": state == "BACKOFF",
            "restarts": None,
            "state": state,
            "pid": int(pid.group(1)) if pid else None,
            "exit_status": found.group("detail") if state in ("EXITED", "FATAL", "BACKOFF") else None,
            "enabled": None,
        }

    def prepare(self):
        """Starts supervisord itself where it does not run and a command for that was given."""
        if self._start_command and self.state()["state"] == "UNREACHABLE":
            status, out, err = self._run(self._start_command, 60.0)
            if status:
                raise ServiceError(f"'{' '.join(self._start_command)}' ended with {status}: {(err or out).strip()}")

    def stop(self, timeout):
        """Stops the program and waits for its end; raises ServiceError where that takes longer than `timeout` seconds."""
        self._control("stop", self.name, accept=("not running", "no such process"), timeout=timeout)

    def kill(self):
        """Ends what is left of the program."""
        self._control("signal", "KILL", self.name, accept=("not running", "no such process"))

    def start(self):
        """Has supervisord read its configuration again and start the program."""
        self._control("reread")
        self._control("update", self.name, timeout=120.0)
        # A process that ends at once is noticed by who waits for it, with its last words.
        self._control("start", self.name, accept=("already started", "spawn error", "abnormal termination"), timeout=120.0)

    def enable(self):
        """Nothing to do: supervisord's own configuration says what it starts."""

    def log(self, lines=20):
        """The last lines that the program wrote."""
        with contextlib.suppress(ServiceError):
            parts = [self._ask("tail", "-4000", self.name, stream)[1] for stream in ("stdout", "stderr")]
            return [line for part in parts for line in part.splitlines() if line.strip() and "ERROR (no log file)" not in line][-lines:]
        return []


def _text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def start_ticks(pid):
    """Start time of a process in clock ticks since boot; None where it has ended."""
    # The command name, in parentheses, may hold spaces and parentheses of its own.
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] not in "ZX" else None


def environment_of(pid):
    """The environment that a process was started with, {} where it can't be read."""
    pairs = (entry.partition("=") for entry in _text(f"/proc/{pid}/environ").split("\0"))
    return {name: value for name, separator, value in pairs if separator}


def port_owners(port):
    """Orchestrators of this network namespace that listen on TCP `port`: {pid: start ticks}."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in _text(table).splitlines()[1:]:
            fields = line.split()
            # 0A is LISTEN.
            if len(fields) > 9 and fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    owners = {}
    for entry in os.listdir("/proc") if inodes else ():
        if entry.isdigit() and "p2p_orchestrator.py" in _text(f"/proc/{entry}/cmdline") and _holds(entry, inodes):
            started = start_ticks(int(entry))
            if started is not None:
                owners[int(entry)] = started
    return owners


def _holds(pid, links):
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{descriptor}") in links:
                return True
    return False


def send_signal(pid, started, number):
    """Sends a signal to the process with that pid and start time, and to no other. Returns whether it was there."""
    try:
        handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    except OSError:
        return False
    try:
        # With the handle open, the pid can't be given to another process between this look and the signal.
        if start_ticks(pid) != started:
            return False
        if handle is None:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True
