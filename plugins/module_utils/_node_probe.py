# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathers the Observation of ``docs/architecture.md`` in one go: reads everything, judges little, changes nothing.

Every probe runs under a time limit of its own; one that fails or takes too long leaves its part empty and a line under ``errors``.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import platform
import pwd
import re
import socket
import sys
import threading
import time
import typing as t

from ansible_collections.ringrift.p2p.plugins.module_utils import _hosts_probe
from ansible_collections.ringrift.p2p.plugins.module_utils import _http
from ansible_collections.ringrift.p2p.plugins.module_utils import _identity
from ansible_collections.ringrift.p2p.plugins.module_utils import _lock_guard
from ansible_collections.ringrift.p2p.plugins.module_utils import _orchestrator_probe
from ansible_collections.ringrift.p2p.plugins.module_utils import _processes
from ansible_collections.ringrift.p2p.plugins.module_utils import _rivals
from ansible_collections.ringrift.p2p.plugins.module_utils import _seeds_probe
from ansible_collections.ringrift.p2p.plugins.module_utils import _service_probe
from ansible_collections.ringrift.p2p.plugins.module_utils import _start_mechanisms as _text
from ansible_collections.ringrift.p2p.plugins.module_utils import _start_reader
from ansible_collections.ringrift.p2p.plugins.module_utils._node_files import Files

PROBES = ("addresses", "locks", "processes", "rivals", "service", "start_mechanisms", "orchestrator", "imports", "seeds", "files", "view",
          "candidates", "coordinator_environment", "identity", "hosts_file", "token", "disk")
# What has to be read first for the sake of another probe.
_NEEDS_PROCESSES = {"processes", "service", "start_mechanisms", "orchestrator", "imports", "seeds", "coordinator_environment", "identity", "hosts_file",
                    "token", "locks"}
_NEEDS_STARTS = {"service", "start_mechanisms", "orchestrator", "imports", "seeds", "coordinator_environment", "identity", "hosts_file", "token",
                 "locks", "disk"}
_NEEDS_PATH = {"orchestrator", "imports", "seeds", "hosts_file", "locks", "disk", "start_mechanisms", "coordinator_environment"}
_NEEDS_SYSTEMD = {"service", "start_mechanisms", "coordinator_environment", "orchestrator", "seeds", "identity", "token"}

LOCAL_LIMIT = 10.0
HOSTS_FILE = "config/distributed_hosts.yaml"
TOKEN_VARIABLE = "RINGRIFT_CLUSTER_AUTH_TOKEN"
GENERATION_VARIABLE = "RINGRIFT_P2P_GENERATION"
# Where orchestrators of the field log to when nothing says where their output goes.
_USUAL_LOGS = ("logs/p2p_orchestrator.log", "logs/p2p.log")
_RANK = {"unit": 0, "supervisord": 1, "on_start": 2, "cron": 3}


# --- judgements: data in, data out ----------------------------------------------------------------------------------


def parse_fib_trie(text: str) -> list[str]:
    """The IPv4 addresses of the host from ``/proc/net/fib_trie``, without loopback."""
    found = []
    candidate = ""
    for line in text.splitlines():
        match = re.match(r"^\s+\|--\s+(\S+)$", line)
        if match:
            candidate = match.group(1)
        elif "/32 host LOCAL" in line and candidate and not candidate.startswith("127."):
            found.append(candidate)
    return list(dict.fromkeys(found))


def parse_if_inet6(text: str) -> list[str]:
    """The IPv6 addresses of the host from ``/proc/net/if_inet6``, without loopback and link-local ones."""
    found = []
    for line in text.splitlines():
        digits = line.split(" ", 1)[0]
        if len(digits) != 32:
            continue
        address = ipaddress.IPv6Address(int(digits, 16))
        if not address.is_loopback and not address.is_link_local:
            found.append(str(address))
    return list(dict.fromkeys(found))


def main_process(processes: t.Sequence[t.Mapping[str, t.Any]], service_pid: int | None = None, port: int = _text.DEFAULT_PORT,
                 pid_namespace: str | None = None) -> dict[str, t.Any] | None:
    """The orchestrator of the node: the service's own, else the one with this port, else the one that runs longest.

    Children of an orchestrator are part of it. One in another PID namespace is a container's, and so another node's.
    """
    found = [item for item in processes if item.get("kind") == "orchestrator"]
    pids = {item.get("pid") for item in found}
    tops = [item for item in found if item.get("ppid") not in pids
            and (not pid_namespace or not item.get("pid_namespace") or item["pid_namespace"] == pid_namespace)]

    def rank(item: t.Mapping[str, t.Any]) -> tuple[bool, bool, bool, float]:
        given = _text.options(item.get("argv") or [])["port"] or _text.DEFAULT_PORT
        return item.get("pid") != service_pid, not item.get("service"), given != port, item.get("started_at") or 0.0

    return dict(min(tops, key=rank)) if tops else None


def in_charge(invocations: t.Sequence[tuple[dict[str, t.Any], _text.Invocation]], service: str) -> tuple[dict[str, t.Any], _text.Invocation] | None:
    """The mechanism that would start the orchestrator next: an active one first, our service before others, then by kind."""
    ranked = sorted(invocations, key=lambda item: (not item[0]["active"], item[0]["name"] not in (service, service + ".service"),
                                                   _RANK.get(item[0]["kind"], 9)))
    return ranked[0] if ranked else None


def effective_seeds(command_line: t.Sequence[str], environment: t.Mapping[str, str], literals: t.Sequence[t.Mapping[str, t.Any]],
                    read_names: t.Collection[str]) -> list[str]:
    """What the orchestrator dials, in order: the command line, then the environment where its code reads that name, then its literals."""
    found = list(command_line)
    found += [address for name in _text.SEED_VARIABLES if name in read_names for address in _text.split_addresses(environment.get(name, ""))]
    found += [entry for literal in literals if literal["in_effect"] for entry in literal["entries"]]
    return list(dict.fromkeys(_text.normal_address(item) for item in found))


def fingerprint(token: str | None) -> str | None:
    """By what tokens are compared: the first 16 hexadecimal digits of a salted digest."""
    return hashlib.sha256(("ringrift-p2p:" + token).encode()).hexdigest()[:16] if token else None


def environment_of(data: bytes | None) -> dict[str, str]:
    """The environment of a process from ``/proc/PID/environ``."""
    pairs = (item.partition("=") for item in (data or b"").decode("utf-8", "replace").split("\0") if "=" in item)
    return {name: value for name, _separator, value in pairs}


def shown_environment(environment: t.Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that concerns the orchestrator, secrets masked."""
    return _text.mask_environment({name: value for name, value in environment.items()
                                   if name.startswith(("RINGRIFT_", "P2P_")) or name in ("PYTHONPATH", "PEER_LIST", "COORDINATOR_URL", "NODE_ID")})


def scrub(value: t.Any, secrets: t.Collection[str]) -> t.Any:
    """The same data with every occurrence of a secret replaced: the last line of defence before data leaves the node."""
    if isinstance(value, str):
        for secret in secrets:
            if secret in value:
                value = value.replace(secret, _text.MASK)
        return value
    if isinstance(value, dict):
        return {key: scrub(item, secrets) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [scrub(item, secrets) for item in value]
    return value


# --- gathering ------------------------------------------------------------------------------------------------------


class NodeProbe:
    """One observation of one node. ``parameters`` are those of ``node_info``; ``files`` may be another tree than the host's."""

    def __init__(self, parameters: t.Mapping[str, t.Any], files: Files | None = None) -> None:
        self.parameters = dict(parameters)
        self.node_id = str(parameters["node_id"])
        self.port = int(parameters.get("port") or _text.DEFAULT_PORT)
        self.service = str(parameters.get("service") or "ringrift-p2p")
        self.probes = set(parameters.get("probes") or PROBES)
        self.files = files or Files("/", home_of(parameters.get("user")))
        self.errors: dict[str, str] = {}
        self.secrets: set[str] = set()
        self.processes: list[dict[str, t.Any]] = []
        self.main: dict[str, t.Any] | None = None
        self.environment: dict[str, str] = {}
        self.options: dict[str, t.Any] = _text.options([])
        self.found = _start_reader.Found()
        self.chosen: tuple[dict[str, t.Any], _text.Invocation] | None = None
        self.path: str | None = None
        # From where it runs: the path itself, or the release in force below it.
        self.folder: str | None = None
        self.units: dict[str, dict[str, str]] = {}
        self.supervisords: dict[str, int] = {}
        self.cron_runs = False

    def wants(self, *names: str) -> bool:
        """Whether one of these probes was asked for."""
        return bool(self.probes & set(names))

    def limited(self, name: str, probe: t.Callable[[], t.Any], default: t.Any, limit: float = LOCAL_LIMIT) -> t.Any:
        """What a probe returns; ``default`` and an entry in ``errors`` where it fails or takes longer than ``limit`` seconds."""
        box: list[t.Any] = []

        def work() -> None:
            try:
                box.append((True, probe()))
            except Exception as exc:
                # Whatever a probe trips over on a node that is out of order is an observation about that node.
                box.append((False, "%s: %s" % (type(exc).__name__, exc)))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(limit)
        if not box:
            self.errors[name] = "no result within %g s" % limit
            return default
        done, result = box[0]
        if not done:
            self.errors[name] = result
            return default
        return result

    def gather(self) -> dict[str, t.Any]:
        """The observation. Never raises for anything that is wrong with the node."""
        observation = self._host()
        self.supervisords, self.cron_runs = self.limited("processes", self._daemons, ({}, False))
        observation["init"] = "systemd" if self.files.is_directory("/run/systemd/system") else "supervisord" if self.supervisords else "none"
        self.systemd = observation["init"] == "systemd"
        if self.probes & _NEEDS_PROCESSES:
            self.limited("processes", self._read_processes, None)
        token = self._token_for_reading()

        answers: dict[str, t.Any] = {}
        threads = self._ask(answers, token)
        if self.probes & _NEEDS_STARTS:
            self._read_starts()
        self._describe_local(observation)
        window = float(self.parameters.get("window") or 0.0)
        for thread in threads:
            thread.join(window + 4 * _hosts_probe.SAMPLE_TIMEOUT)
        self._collect(observation, answers)
        if self.wants("service"):
            observation["service"] = self.limited("service", lambda: self._service(observation["health"] is None), observation["service"])
        if self.wants("identity"):
            observation["identity"] = self.limited("identity", lambda: self._identity(observation), observation["identity"])
        if self.wants("processes"):
            observation["processes"] = self._shown_processes(observation["service"]["pid"])
        observation["running"] = self.running()
        observation["errors"] = dict(self.errors)
        return scrub(observation, self.secrets - {self.node_id})

    # The host itself.

    def _host(self) -> dict[str, t.Any]:
        files = self.files
        observation: dict[str, t.Any] = {
            "node_id": self.node_id, "time": time.time(), "hostname": socket.gethostname(),
            "boot_id": (files.text("/proc/sys/kernel/random/boot_id", 100) or "").strip() or None,
            "pid_namespace": files.link("/proc/self/ns/pid"), "machine": platform.machine(),
            "python": {"version": platform.python_version(), "executable": sys.executable}, "init": "none",
            "identity": {"effective": None, "source": None, "conflicts": []}, "addresses": [], "locks": [], "processes": [], "rivals": [],
            "service": _service_probe.empty("none", self.service), "start_mechanisms": [],
            "orchestrator": {"path": None, "folder": None, "present": False, "kind": None, "release": None, "revision": None, "dirty": None,
                             "changes": [], "self_updating": [], "interpreter": None,
                             "imports": {"ok": None, "error": None, "missing": None, "pythonpath": None},
                             "engines": {"pysyncobj": None, "swim": None, "swim_transport": None}},
            "seeds": {"command_line": [], "environment": {}, "literals": [], "effective": []}, "files": {},
            "running": {"pid": None, "generation": None, "started_at": None, "argv": [], "environment": {}},
            "view": None, "health": None, "health_error": None, "candidates": {}, "coordinator_environment": [],
            "hosts_file": {"path": None, "sha256": None, "exists": False}, "token": {"configured": False, "fingerprint": None},
            "clock_offset": None, "disk": {"path": None, "free_bytes": None, "total_bytes": None, "free_percent": None}, "errors": {},
        }
        if self.wants("addresses"):
            observation["addresses"] = self.limited("addresses", lambda: parse_fib_trie(files.text("/proc/net/fib_trie", 4 * 1024 * 1024) or "")
                                                    + parse_if_inet6(files.text("/proc/net/if_inet6") or ""), [])
        return observation

    def _daemons(self) -> tuple[dict[str, int], bool]:
        supervisords: dict[str, int] = {}
        cron = False
        for name in self.files.names("/proc"):
            if not name.isdigit():
                continue
            comm = (self.files.text("/proc/%s/comm" % name, 64) or "").strip()
            if comm in ("cron", "crond", "anacron"):
                cron = True
            elif comm == "supervisord" or comm.startswith("python"):
                argv = _arguments(self.files.bytes("/proc/%s/cmdline" % name, 65536))
                if any("supervisor" in word for word in argv[:4]):
                    configuration = _service_probe.supervisord_configuration(argv, self.files.link("/proc/%s/cwd" % name))
                    if configuration:
                        supervisords[self.files.expand(configuration)] = int(name)
        return supervisords, cron

    # Processes and what starts them.

    def _read_processes(self) -> None:
        self.processes = [dict(item) for item in _processes.scan(self.files.root + "/proc", self.service)]
        self.main = main_process(self.processes, None, self.port, self.files.link("/proc/self/ns/pid"))
        if self.main is None:
            return
        self.environment = environment_of(self.files.bytes("/proc/%d/environ" % self.main["pid"])) or dict(self.main.get("environment") or {})
        argv = list(self.main.get("argv") or [])
        # The scan masks secrets; the process's own words are needed to ask with its token.
        argv = _arguments(self.files.bytes("/proc/%d/cmdline" % self.main["pid"], 131072)) or argv
        invocation = _text.find_invocation(argv, {}, self.main.get("cwd"))
        self.options = _text.options(invocation.arguments if invocation else argv)
        self.secrets |= _text.secret_values(self.environment, argv)

    def _read_starts(self) -> None:
        if self.systemd and self.probes & _NEEDS_SYSTEMD:
            names = _start_reader.unit_names(self.files, self.service)
            self.units = self.limited("service", lambda: _service_probe.systemd_units(names), {})
        active = {name: _service_probe.starts(values) for name, values in self.units.items()}
        hint = self._running_folder()
        wanted = self.parameters.get("path")

        def read() -> None:
            first = _orchestrator_probe.locate(self.files, wanted, [hint])
            found = _start_reader.read(self.files, self.service, first, socket.gethostname(), self.cron_runs, self.systemd, self.supervisords, active)
            chosen = in_charge(found.invocations, self.service)
            folder = _orchestrator_probe.folder_of(chosen[1].script, chosen[1].directory, _text.options(chosen[1].arguments)) if chosen else None
            path = _orchestrator_probe.locate(self.files, wanted, [hint, folder])
            if path != first and path:
                found = _start_reader.read(self.files, self.service, path, socket.gethostname(), self.cron_runs, self.systemd, self.supervisords, active)
                chosen = in_charge(found.invocations, self.service)
            self.found, self.chosen, self.path = found, chosen, path
            if path:
                # What our service starts next counts more than what another start has left running.
                ours = chosen and chosen[0]["name"] in (self.service, self.service + ".service")
                self.folder = _orchestrator_probe.folder_in_force(self.files, path, [folder if ours else None, hint, folder])

        self.limited("start_mechanisms", read, None)
        if self.found.errors:
            self.errors["start_mechanisms"] = "; ".join(self.found.errors)
        for mechanism in self.found.mechanisms:
            self.secrets |= _text.secret_values(mechanism["environment"], mechanism["arguments"] or [])

    def _running_folder(self) -> str | None:
        if not self.main:
            return None
        invocation = _text.find_invocation(self.main.get("argv") or [], {}, self.main.get("cwd"))
        return _orchestrator_probe.folder_of(invocation.script, self.main.get("cwd"), self.options) if invocation else self.main.get("cwd")

    def _start_environment(self) -> dict[str, str]:
        """The environment that counts: of what runs, else of what would start."""
        if self.main:
            return self.environment
        if self.chosen:
            return dict(self.chosen[0]["environment"], **self.chosen[1].environment)
        return {}

    def _start_options(self) -> dict[str, t.Any]:
        if self.main:
            return self.options
        return _text.options(self.chosen[1].arguments) if self.chosen else self.options

    # Asking over the network.

    def _token_for_reading(self) -> str | None:
        token = self._token_of(self._start_environment(), self._start_options()) if self.main else None
        if token is None:
            token = _http.read_token(self.files.real(str(self.parameters.get("token_file") or ""))) if self.parameters.get("token_file") else None
        if token:
            self.secrets |= _text.secret_values({TOKEN_VARIABLE: token})
        return token

    def _token_of(self, environment: t.Mapping[str, str], options: t.Mapping[str, t.Any]) -> str | None:
        token = options.get("auth_token") or environment.get(TOKEN_VARIABLE)
        if not token and environment.get(TOKEN_VARIABLE + "_FILE"):
            token = _http.read_token(self.files.real(environment[TOKEN_VARIABLE + "_FILE"]))
        return token.strip() if token else None

    def _ask(self, answers: dict[str, t.Any], token: str | None) -> list[threading.Thread]:
        window = float(self.parameters.get("window") or 0.0)
        host = self.options.get("host") or "127.0.0.1"
        host = "127.0.0.1" if host in ("0.0.0.0", "::", "*", "localhost") else host
        own = "%s:%d" % ("[%s]" % host if ":" in host else host, self.port)
        threads = []

        def start(name: str, probe: t.Callable[[], t.Any], limit: float) -> None:
            def work() -> None:
                answers[name] = self.limited(name, probe, None, limit)
            threads.append(threading.Thread(target=work, daemon=True))
            threads[-1].start()

        if self.wants("view"):
            expected = [str(name) for name in self.parameters.get("expected") or []]
            start("view", lambda: _hosts_probe.sample_view(self.node_id, own, window, expected, token), window + 3 * _hosts_probe.SAMPLE_TIMEOUT)
        candidates = [str(item) for item in self.parameters.get("candidates") or []]
        if self.wants("candidates") and candidates:
            start("candidates", lambda: _hosts_probe.try_candidates(candidates, token), _hosts_probe.CANDIDATES_TIMEOUT + 2.0)
        return threads

    def _collect(self, observation: dict[str, t.Any], answers: t.Mapping[str, t.Any]) -> None:
        if answers.get("view"):
            observation["view"], observation["health"], observation["health_error"] = answers["view"]
        elif self.wants("view"):
            observation["health_error"] = self.errors.get("view") or "not asked in time"
        if answers.get("candidates"):
            observation["candidates"], offsets = answers["candidates"]
            observation["clock_offset"] = _hosts_probe.clock_offset(
                offset for address, offset in offsets.items() if observation["candidates"][address]["node_id"] != self.node_id)

    # Everything that is read on the spot.

    def _describe_local(self, observation: dict[str, t.Any]) -> None:
        if self.wants("files"):
            observation["files"] = self.limited("files", lambda: {str(path): self.files.describe(str(path)) for path in self.parameters.get("files") or []}, {})
        if self.wants("rivals"):
            observation["rivals"] = self.limited("rivals", self._rivals, [])
        if self.wants("locks"):
            observation["locks"] = self.limited("locks", self._locks, [])
        if self.wants("start_mechanisms"):
            observation["start_mechanisms"] = self.limited("start_mechanisms", self._mechanisms, [])
        if self.wants("coordinator_environment"):
            observation["coordinator_environment"] = self.limited("coordinator_environment", self._coordinator, [])
        if self.wants("orchestrator", "imports", "seeds"):
            observation["orchestrator"] = self.limited("orchestrator", self._orchestrator, observation["orchestrator"])
        if self.wants("imports"):
            self._imports(observation["orchestrator"])
        if self.wants("seeds"):
            observation["seeds"] = self.limited("seeds", lambda: self._seeds(observation["orchestrator"]["kind"]), observation["seeds"])
        if self.wants("hosts_file"):
            observation["hosts_file"] = self.limited("hosts_file", self._hosts_file, observation["hosts_file"])
        if self.wants("token"):
            observation["token"] = self.limited("token", self._token, observation["token"])
        if self.wants("disk"):
            observation["disk"] = self.limited("disk", self._disk, observation["disk"])

    def _rivals(self) -> list[dict[str, t.Any]]:
        found = _rivals.detect(self.files.root or "/", service=self.service)
        shown = [dict(item, held=False) for item in found]
        shown += [dict(item, held=True) for item in _rivals.held_off(self.files.real(_rivals.RECORDS))]
        return [{key: _masked(item.get(key)) for key in ("kind", "name", "location", "line", "active", "held")} for item in shown]

    def _locks(self) -> list[dict[str, t.Any]]:
        path = self.path or self.files.expand(str(self.parameters.get("path") or ""))
        paths = self.parameters.get("lock_paths")
        judged = _lock_guard.clean(
            coordination_dir=self.files.real(path + "/data/coordination") if path else None, logs_dir=self.files.real(path + "/logs") if path else None,
            paths=[str(item) for item in paths] if paths else None, port=self.port, settle=0.0, check=True)
        return [{key: item.get(key) for key in ("path", "format", "owner_pid", "verdict", "reason")} for item in judged]

    def _mechanisms(self) -> list[dict[str, t.Any]]:
        shown = []
        for mechanism in self.found.mechanisms:
            item = dict(mechanism, environment=_text.mask_environment(mechanism["environment"]))
            item["command"] = _masked(item["command"])
            item["arguments"] = None if item["arguments"] is None else _text.mask_argv(item["arguments"])
            shown.append(item)
        if self.main:
            argv = list(self.main.get("argv") or [])
            invocation = _text.find_invocation(argv, {}, self.main.get("cwd"))
            shown.append({"kind": "process", "location": "pid %d" % self.main["pid"], "name": None, "command": _service_probe.describe(argv),
                          "environment": shown_environment(self.environment), "active": True,
                          "arguments": _text.mask_argv(invocation.arguments) if invocation else None,
                          "interpreter": invocation.interpreter if invocation else None, "directory": self.main.get("cwd")})
        return shown

    def _coordinator(self) -> list[dict[str, t.Any]]:
        entries = list(self.found.coordinator)
        value = self.environment.get(_start_reader.COORDINATOR) if self.main else None
        if value is not None:
            entries.append({"location": "environment of pid %d" % self.main["pid"], "line": None, "value": value, "scope": "process", "active": True})
        return _start_reader.judge_coordinator(entries)

    def _orchestrator(self) -> dict[str, t.Any]:
        files, path, folder = self.files, self.path, self.folder
        kind = _orchestrator_probe.kind(files, folder)
        result: dict[str, t.Any] = {
            "path": path or (files.expand(str(self.parameters["path"])) if self.parameters.get("path") else None), "folder": folder,
            "present": kind is not None, "kind": kind, "release": _orchestrator_probe.release(files, path) if path else None,
            "revision": None, "dirty": None, "changes": [],
            "self_updating": [dict(item, command=_masked(item["command"])) for item in self.found.updating + self._own_updates()],
            "interpreter": None, "imports": {"ok": None, "error": None, "missing": None, "pythonpath": self._start_environment().get("PYTHONPATH")},
            "engines": {"pysyncobj": None, "swim": None, "swim_transport": None},
        }
        result["interpreter"] = _orchestrator_probe.interpreter(files, path, self.parameters.get("venv_activate"), self._interpreters())
        if not path or not folder or kind is None:
            return result
        if kind == "embedded":
            result["engines"] = _orchestrator_probe.engines(_orchestrator_probe.vendored(files, path), self._start_environment())
            return result
        changes = None
        try:
            if folder != path:
                result["revision"] = _orchestrator_probe.manifest(files, folder).get("revision")
                changes = _orchestrator_probe.changed_in_release(files, folder)
            else:
                checkout = _orchestrator_probe.git_folder(files, path)
                result["revision"] = _orchestrator_probe.revision(files, checkout[1]) if checkout else None
                changes = _orchestrator_probe.changed_in_checkout(files.real(checkout[0])) if checkout else None
        except TimeoutError as exc:
            self.errors["orchestrator"] = str(exc)
        if changes is not None:
            result["dirty"], result["changes"] = bool(changes), changes[:_orchestrator_probe.NAMED_CHANGES]
        return result

    def _own_updates(self) -> list[dict[str, t.Any]]:
        places = [(item["location"], item["environment"]) for item in self.found.mechanisms if item["active"]]
        places += [("environment of pid %d" % self.main["pid"], self.environment)] if self.main else []
        return [{"location": place, "line": None, "command": "%s=%s" % (_text.UPDATE_VARIABLE, environment[_text.UPDATE_VARIABLE])}
                for place, environment in places if _text.is_true(environment.get(_text.UPDATE_VARIABLE, ""))]

    def _interpreters(self) -> list[str | None]:
        found: list[str | None] = []
        if self.main:
            argv = self.main.get("argv") or [""]
            folder = self.environment.get("VIRTUAL_ENV")
            # A name alone was looked up in the process's own PATH; /proc/PID/exe would lead past a virtual environment.
            folders = self.environment.get("PATH", "").split(":") if "/" not in argv[0] else []
            found += [folder + "/bin/python" if folder else None, argv[0] if argv[0].startswith("/") else None]
            found += [item + "/" + argv[0] for item in folders if item.startswith("/")] + [self.main.get("executable")]
        for mechanism, invocation in ([self.chosen] if self.chosen else []) + self.found.invocations:
            folder = mechanism["environment"].get("VIRTUAL_ENV") or invocation.environment.get("VIRTUAL_ENV")
            found += [folder + "/bin/python" if folder else None, invocation.interpreter and _text.join_path(
                invocation.directory if "/" in invocation.interpreter else None, invocation.interpreter)]
        return found

    def _imports(self, orchestrator: dict[str, t.Any]) -> None:
        asked = "imports" in (self.parameters.get("probes") or [])
        if not self.folder or not orchestrator["interpreter"] or not (orchestrator["kind"] == "field" or (asked and orchestrator["present"])):
            return
        pythonpath = self._start_environment().get("PYTHONPATH")
        directory = self.main.get("cwd") if self.main else self.chosen[1].directory if self.chosen else None
        folder, executable = self.folder, orchestrator["interpreter"]
        result = self.limited("imports", lambda: _orchestrator_probe.imports(self.files, folder, executable, pythonpath, directory), None,
                              _orchestrator_probe.IMPORT_TIMEOUT + 2.0)
        if result is None:
            orchestrator["imports"]["error"] = self.errors.get("imports")
            return
        packages = result.pop("packages")
        result.pop("python")
        orchestrator["imports"] = result
        orchestrator["engines"] = _orchestrator_probe.engines(packages, self._start_environment())

    def _seeds(self, kind: str | None) -> dict[str, t.Any]:
        environment = self._start_environment()
        command_line = self._start_options()["peers"]
        literals, read_names = _seeds_probe.read(self.files, self.folder, environment) if self.folder and kind else ([], set())
        named = {name: environment[name] for name in _text.SEED_VARIABLES if environment.get(name)}
        return {"command_line": list(command_line), "environment": named, "literals": literals,
                "effective": effective_seeds(command_line, named, literals, read_names)}

    def _hosts_file(self) -> dict[str, t.Any]:
        path = self.parameters.get("hosts_file")
        if not path:
            folder = self._start_options().get("ringrift_path") or self.path
            path = "%s/%s" % (self.files.expand(folder).rstrip("/"), HOSTS_FILE) if folder else None
        if not path:
            return {"path": None, "sha256": None, "exists": False}
        described = self.files.describe(str(path))
        return {"path": self.files.expand(str(path)), "sha256": described["sha256"], "exists": described["exists"]}

    def _token(self) -> dict[str, t.Any]:
        token = self._token_of(self._start_environment(), self._start_options())
        if token is None and not self.main and self.parameters.get("token_file"):
            token = _http.read_token(self.files.real(str(self.parameters["token_file"])))
        if token:
            self.secrets |= _text.secret_values({TOKEN_VARIABLE: token})
        return {"configured": bool(token), "fingerprint": fingerprint(token)}

    def _disk(self) -> dict[str, t.Any]:
        path = self.path or self.files.expand(str(self.parameters.get("path") or "/"))
        while path not in ("", "/") and not self.files.exists(path):
            path = path.rpartition("/")[0]
        status = os.statvfs(self.files.real(path or "/"))
        total, free = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
        return {"path": path or "/", "free_bytes": free, "total_bytes": total, "free_percent": round(100.0 * free / total, 2) if total else None}

    # The service, once it is known whether the node answers.

    def _service(self, silent: bool) -> dict[str, t.Any]:
        unit = self.service + ".service"
        if self.systemd:
            values = self.units.get(unit)
            service = _service_probe.from_systemctl(self.service, values) if values else _service_probe.empty("systemd", self.service)
            proved = bool(values) and values.get("Type", "").startswith("notify") and service["pid"] is not None and service["active"]
            if service["watchdog"] and service["notify"] and self.folder and not proved:
                # Being allowed to notify is not doing it.
                service["notify"] = _orchestrator_probe.notifies(self.files, self.folder)
            if silent and service["installed"]:
                service["log"] = (_service_probe.journal(unit) + self._log_of_unit(unit))[-_service_probe.LOG_LINES:]
            return service
        program = next((item for item in self.found.programs if item["name"] == self.service), None)
        process = None
        for configuration in self.supervisords:
            connection = self.found.sockets.get(configuration)
            if connection and (program is None or program["configuration"] == configuration):
                told = _service_probe.supervisord_processes(self.files.real(connection["file"]), connection["username"], connection["password"])
                process = next((item for item in told if item.get("name") == self.service), process)
        if program or process:
            service = _service_probe.from_supervisord(self.service, program, process, self._starts_with_host())
            if silent:
                service["log"] = _service_probe.log_of_program(self.files, program, process)
            return service
        service = _service_probe.empty("supervisord" if self.supervisords else "none", self.service)
        if silent:
            service["log"] = self._log_elsewhere()
        return service

    def _log_of_unit(self, unit: str) -> list[str]:
        path = next((item["log_file"] for item in self.found.mechanisms if item["kind"] == "unit" and item["name"] == unit), None)
        # Half for each of the two places: the journal tells how it ended, the file what it said.
        return [_text.mask_text(line) for line in self.files.tail(path, _service_probe.LOG_LINES // 2)] if path else []

    def _starts_with_host(self) -> bool:
        if 1 in self.supervisords.values():
            return True
        return any("supervisord" in text or "ringrift/on-start" in text
                   for text in (self.files.text(path, 65536) or "" for path in _start_reader.ON_START_FILES if path != "/etc/ringrift/on-start"))

    def _log_elsewhere(self) -> list[str]:
        outputs = [_text.join_path(invocation.directory, invocation.output) for _mechanism, invocation in self.found.invocations if invocation.output]
        outputs += ["%s/%s" % (self.path, name) for name in _USUAL_LOGS if self.path]
        for path in outputs:
            lines = self.files.tail(path, _service_probe.LOG_LINES)
            if lines:
                return [_text.mask_text(line) for line in lines]
        return []

    def _identity(self, observation: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        health = observation["health"] or {}
        sources: list[tuple[str, str, str | None]] = [("health", "GET /health", health.get("node_id") if isinstance(health.get("node_id"), str) else None)]
        if self.main:
            place = "pid %d" % self.main["pid"]
            sources.append(("command_line", "--node-id of " + place, self.options["node_id"]))
            sources.append(("environment", "RINGRIFT_NODE_ID of " + place, self.environment.get("RINGRIFT_NODE_ID")))
        if self.chosen:
            mechanism, invocation = self.chosen
            environment = dict(mechanism["environment"], **invocation.environment)
            sources.append(("command_line", "--node-id in " + mechanism["location"], _text.options(invocation.arguments)["node_id"]))
            sources.append(("environment", "RINGRIFT_NODE_ID in " + mechanism["location"], environment.get("RINGRIFT_NODE_ID")))
        sources.append(("node_id_file", "/etc/ringrift/node-id", self.files.text("/etc/ringrift/node-id", 4096)))
        default = _text.as_environment(_text.parse_dotenv(self.files.text("/etc/default/ringrift-p2p", 65536) or ""))
        sources.append(("default_file", "NODE_ID in /etc/default/ringrift-p2p", default.get("NODE_ID")))
        sources.append(("hostname", "host name", str(observation["hostname"])))
        return _identity.identify(sources)

    def _shown_processes(self, service_pid: int | None) -> list[dict[str, t.Any]]:
        parents = {item.get("pid"): item.get("ppid") for item in self.processes}
        shown = []
        for item in self.processes:
            pid, ours = item.get("pid"), bool(item.get("service"))
            while pid in parents and not ours:
                ours = pid == service_pid
                pid = parents[pid]
            shown.append(dict(item, service=ours, argv=_text.mask_argv(item.get("argv") or []),
                              environment=shown_environment(item.get("environment") or {})))
        return shown

    def running(self) -> dict[str, t.Any]:
        """The ``running`` of the observation: what the orchestrator that runs was started with."""
        if not self.main:
            return {"pid": None, "generation": None, "started_at": None, "argv": [], "environment": {}}
        return {"pid": self.main["pid"], "generation": self.environment.get(GENERATION_VARIABLE), "started_at": self.main.get("started_at"),
                "argv": _text.mask_argv(self.main.get("argv") or []), "environment": shown_environment(self.environment)}


def home_of(user: str | None) -> str:
    """The home that ``~`` means: of the named user, else of the one who logged in and became root, else of this process."""
    for name in (user, os.environ.get("SUDO_USER")):
        if name:
            try:
                return pwd.getpwnam(name).pw_dir
            except KeyError:
                continue
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return os.environ.get("HOME") or "/root"


def _arguments(data: bytes | None) -> list[str]:
    return (data or b"").decode("utf-8", "replace").split("\0")[:-1]


def _masked(text: t.Any) -> t.Any:
    return _text.mask_text(text) if isinstance(text, str) else text
