# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the state of services from systemd or supervisord with one question each; starts, stops and changes nothing."""

from __future__ import annotations

import base64
import http.client
import re
import shlex
import socket
import subprocess
import typing as t
import xmlrpc.client

from ansible_collections.ringrift.p2p.plugins.module_utils import _start_mechanisms as _text
from ansible_collections.ringrift.p2p.plugins.module_utils._node_files import Files

PROPERTIES = ("Id", "LoadState", "ActiveState", "SubState", "MainPID", "NRestarts", "ExecMainStatus", "ExecMainCode", "ExecMainStartTimestampMonotonic",
              "UnitFileState", "FragmentPath", "DropInPaths", "Type", "NotifyAccess", "WatchdogUSec", "Result")
LOG_LINES = 20


def run(argv: t.Sequence[str], timeout: float, directory: str | None = None, environment: t.Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Runs a command that only reads. Returns (exit status, output, errors); raises OSError or TimeoutError."""
    try:
        done = subprocess.run(list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, check=False,
                              cwd=directory, env=None if environment is None else dict(environment))
    except subprocess.TimeoutExpired as exc:
        raise TimeoutError("%s: no answer within %g s" % (argv[0], timeout)) from exc
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def empty(manager: str, name: str) -> dict[str, t.Any]:
    """The state of a service of which nothing is known."""
    return {"manager": manager, "name": name, "installed": False, "enabled": False, "active": False, "pid": None, "state": None, "restarts": None,
            "exit_status": None, "unit_path": None, "drop_ins": [], "log": [], "watchdog": False, "notify": False}


def parse_systemctl(output: str) -> dict[str, dict[str, str]]:
    """Unit → property → value of ``systemctl show`` for several units."""
    units: dict[str, dict[str, str]] = {}
    for block in re.split(r"\n\s*\n", output):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("Id"):
            units[values["Id"]] = values
    return units


def from_systemctl(name: str, values: t.Mapping[str, str]) -> dict[str, t.Any]:
    """The ``service`` of an observation from a unit's properties."""
    service = empty("systemd", name)
    service["installed"] = values.get("LoadState") in ("loaded", "masked")
    service["enabled"] = values.get("UnitFileState", "") in ("enabled", "enabled-runtime", "static", "generated")
    service["active"] = values.get("ActiveState") in ("active", "activating", "reloading")
    service["state"] = "masked" if values.get("LoadState") == "masked" else "/".join(filter(None, (values.get("ActiveState"), values.get("SubState")))) or None
    service["pid"] = _number(values.get("MainPID")) or None
    service["restarts"] = _number(values.get("NRestarts"))
    # Until a first process was started, systemd shows a status of 0 that means nothing.
    started = values.get("ExecMainStartTimestampMonotonic", "1") not in ("", "0")
    service["exit_status"] = _number(values.get("ExecMainStatus")) if started and not service["pid"] else None
    service["unit_path"] = values.get("FragmentPath") or None
    service["drop_ins"] = values.get("DropInPaths", "").split()
    service["watchdog"] = values.get("WatchdogUSec", "0") not in ("", "0", "infinity")
    service["notify"] = values.get("Type", "").startswith("notify") or values.get("NotifyAccess", "none") not in ("", "none")
    return service


def starts(values: t.Mapping[str, str]) -> bool:
    """Whether systemd runs this unit or would start it by itself."""
    return values.get("ActiveState") in ("active", "activating", "reloading") or values.get("UnitFileState", "") in ("enabled", "enabled-runtime")


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def systemd_units(names: t.Sequence[str], timeout: float = 5.0) -> dict[str, dict[str, str]]:
    """Asks systemd about all units in one call. Raises OSError or TimeoutError."""
    status, output, errors = run(["systemctl", "show", "--no-pager", "--property=" + ",".join(PROPERTIES), "--"] + list(names), timeout)
    if status and not output.strip():
        raise OSError(status, "systemctl: " + (errors.strip().splitlines() or ["exit status %d" % status])[-1])
    return parse_systemctl(output)


def journal(name: str, timeout: float = 3.0) -> list[str]:
    """The last lines that the unit logged; empty where there is no journal."""
    try:
        _status, output, _errors = run(["journalctl", "--unit=" + name, "--lines=%d" % LOG_LINES, "--output=cat", "--no-pager", "--quiet"], timeout)
    except (OSError, TimeoutError):
        return []
    return [_text.mask_text(line.rstrip()) for line in output.splitlines() if line.strip()][-LOG_LINES:]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str, username: str | None, password: str | None, timeout: float) -> None:
        headers = []
        if username:
            pair = base64.b64encode(("%s:%s" % (username, password or "")).encode()).decode()
            headers.append(("Authorization", "Basic " + pair))
        super().__init__(headers=headers)
        self._path, self._timeout = path, timeout

    def make_connection(self, host: t.Any) -> http.client.HTTPConnection:
        return _UnixConnection(self._path, self._timeout)


def supervisord_processes(path: str, username: str | None, password: str | None, timeout: float = 3.0) -> list[dict[str, t.Any]]:
    """What supervisord says about its programs, asked at its socket. Raises OSError with the reason."""
    transport = _UnixTransport(path, username, password, timeout)
    try:
        with xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=transport) as server:
            answer = server.supervisor.getAllProcessInfo()
    except (xmlrpc.client.Error, http.client.HTTPException, ValueError) as exc:
        raise OSError(5, "supervisord at %s: %s" % (path, exc)) from exc
    return [item for item in answer if isinstance(item, dict)] if isinstance(answer, list) else []


def from_supervisord(name: str, program: t.Mapping[str, t.Any] | None, process: t.Mapping[str, t.Any] | None, starts_with_host: bool) -> dict[str, t.Any]:
    """The ``service`` of an observation from a program's section and what supervisord says about its process."""
    service = empty("supervisord", name)
    if program:
        service.update(installed=True, enabled=bool(program["autostart"]) and starts_with_host, unit_path=program["location"])
    if process:
        state = str(process.get("statename") or "")
        service.update(
            installed=True, state=state or None, active=state in ("RUNNING", "STARTING", "BACKOFF"), pid=process.get("pid") or None,
            exit_status=process.get("exitstatus") if state in ("EXITED", "FATAL", "BACKOFF") else None)
    return service


def log_of_program(files: Files, program: t.Mapping[str, t.Any] | None, process: t.Mapping[str, t.Any] | None) -> list[str]:
    """The last lines of a program's own log file."""
    path = str((process or {}).get("stdout_logfile") or (program or {}).get("stdout_logfile") or "")
    return [_text.mask_text(line) for line in files.tail(path, LOG_LINES)] if path.startswith("/") else []


def supervisord_configuration(argv: t.Sequence[str], directory: str | None) -> str | None:
    """The configuration file of a running supervisord from its command line; its defaults are not guessed."""
    if not any(word.rpartition("/")[2] in ("supervisord", "supervisor.supervisord") for word in argv[:4]):
        return None
    for index, word in enumerate(argv):
        if word in ("-c", "--configuration") and index + 1 < len(argv):
            return _text.join_path(directory, argv[index + 1])
        if word.startswith("--configuration="):
            return _text.join_path(directory, word.partition("=")[2])
    return "/etc/supervisor/supervisord.conf"


def describe(argv: t.Sequence[str]) -> str:
    """A command line as one masked, copyable line."""
    return _text.mask_text(shlex.join(argv))
