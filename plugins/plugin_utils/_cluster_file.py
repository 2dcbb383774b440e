# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one reader of ``distributed_hosts.yaml``: text in, the cluster as data out. Its shape is in docs/architecture.md.

Two kinds of trouble are kept apart. A *fault* makes an entry unreadable (a port that is no port): parsing fails, with all faults at once.
A *contradiction* leaves the meaning clear enough to go on (a voter that is offline): it becomes a finding.

Who belongs to the cluster is decided in ``_excluded_reason``, in this order: ``p2p_enabled: false``; a ``status`` that says that the machine is
gone, off or not set up; the role or status of a proxy; ``ringrift_path: null``; no usable address (missing or a placeholder). Everything else belongs.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import typing as t

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _addresses, _file_findings, _gpu_roles, _providers, _yaml_lines
from ansible_collections.ringrift.p2p.plugins.plugin_utils._yaml_lines import Fault

DEFAULT_PORT = 8770
DEFAULT_SSH_PORT = 22
RELAY_KEYS = ("relay_primary", "relay_secondary", "relay_tertiary", "relay_quaternary")

EXCLUDING_STATUS = {
    "offline": "is off", "retired": "is retired", "terminated": "is terminated", "destroyed": "is destroyed", "disabled": "is disabled",
    "proxy_only": "is only a proxy", "pending_setup": "is not set up yet", "setup": "is not set up yet", "needs_setup": "is not set up yet",
    "needs_tailscale_auth": "still has to be let into the overlay", "ssh_key_rejected": "rejects the SSH key",
}

# A node's name becomes an inventory name, an argument and part of file names.
_HOST_NAME = re.compile(r"[^\W_](?:[\w.+@~-]{0,251}[\w+~])?\Z")
_RESERVED_NAMES = frozenset(("all", "ungrouped"))
_SSH_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\$-]*\Z")
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*(?:gb|gib)?\Z", re.IGNORECASE)

_TEXT, _FLAG, _PORT, _AMOUNT = "text", "flag", "port", "amount"
_KINDS = {
    **dict.fromkeys(("ssh_host", "ssh_user", "ssh_key", "ssh_proxy", "role", "status", "gpu", "tailscale_ip", "p2p_public_host", "ringrift_path",
                     "venv_activate", "provider", *RELAY_KEYS), _TEXT),
    **dict.fromkeys(("p2p_enabled", "p2p_voter", "selfplay_enabled", "training_enabled", "is_container", "is_ephemeral", "nat_blocked",
                     "force_relay_mode", "relay_capable", "needs_userspace_tailscale"), _FLAG),
    **dict.fromkeys(("ssh_port", "p2p_port", "p2p_public_port"), _PORT),
    "gpu_vram_gb": _AMOUNT,
}
_CLASSES = {_TEXT: str, _FLAG: bool, _PORT: int, _AMOUNT: int}
# As many faults as somebody reads; the exception holds them all.
_SHOWN_FAULTS = 50


class ClusterFileError(Exception):
    """The file cannot be read as a cluster. ``faults``: all of them, each with ``path``, ``line``, ``column`` and ``message``."""

    def __init__(self, source: str, faults: t.Iterable[Fault]):
        self.source = source
        self.faults = sorted(faults, key=lambda fault: (fault.line, fault.column, fault.path))
        lines = [f"{source} cannot be used: {len(self.faults)} fault{'s' if len(self.faults) > 1 else ''}. Correct the file, then run again."]
        for fault in self.faults[:_SHOWN_FAULTS]:
            place = f"{fault.path}: " if fault.path else ""
            lines.append(f"  line {fault.line}, column {fault.column}: {place}{fault.message}")
        if len(self.faults) > _SHOWN_FAULTS:
            lines.append(f"  and {len(self.faults) - _SHOWN_FAULTS} more")
        super().__init__("\n".join(lines))


class ClusterFile:
    """What the file says. ``hosts`` maps each name to a dict (see docs/architecture.md) without ``lines``, which ``lines_of`` gives."""

    def __init__(self, source: str, digest: str, gpu_role: str | dict[t.Any, str]):
        self.source = source
        self.digest = digest
        self.gpu_role = gpu_role
        self.hosts: dict[str, dict[str, t.Any]] = {}
        self.voters: list[str] = []
        self.voter_lines: dict[str, int] = {}
        self.coordinators: list[str] = []
        self.protocols: dict[str, t.Any] = {}
        self.top_lines: dict[str, int] = {}
        self._key_lines: dict[str, list[int]] = {}

    def lines_of(self, name: str) -> dict[str, int]:
        """``{key: line}`` of the host's entry."""
        return dict(zip(self.hosts[name]["entry"], self._key_lines[name]))

    @property
    def gpu_edits(self) -> dict[str, dict[str, t.Any]]:
        """What the file has to say instead about GPU nodes that it keeps from training by mistake."""
        return _gpu_roles.edits(self.hosts, self.gpu_role)

    @property
    def findings(self) -> list[dict[str, t.Any]]:
        """FILE_CONTRADICTION, VOTER_UNFIT and GPU_COORDINATOR findings, each with ``line``."""
        return _file_findings.find(self)

    def to_dict(self) -> dict[str, t.Any]:
        """The cluster as JSON-able data."""
        return {
            "source": self.source,
            "digest": self.digest,
            "hosts": {name: {**host, "lines": self.lines_of(name)} for name, host in self.hosts.items()},
            "voters": list(self.voters),
            "coordinators": list(self.coordinators),
            "protocols": self.protocols,
            "gpu_edits": self.gpu_edits,
            "findings": self.findings,
        }


def parse(text: bytes | str, source: str, providers: dict[str, list[str]] | None = None,
          gpu_role: str | dict[t.Any, str] = _gpu_roles.DEFAULT_ROLE) -> ClusterFile:
    """Read the file. ``providers`` maps a provider to extra glob patterns of names; ``gpu_role`` is the option ``p2p_gpu_role``.

    Raises ClusterFileError with every fault of the file, ValueError for a bad option.
    """
    problems = [*_gpu_roles.role_faults(gpu_role), *_option_faults(providers)]
    if problems:
        raise ValueError("; ".join(problems))
    content = _yaml_lines.plain_text(text).encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        tree = _yaml_lines.load(_yaml_lines.decode(text)[0])
    except _yaml_lines.YamlError as exc:
        raise ClusterFileError(source, exc.faults) from exc
    cluster = ClusterFile(source, hashlib.sha256(content).hexdigest(), gpu_role)
    faults = _Reader(cluster, tree, providers or {}).read()
    if faults:
        raise ClusterFileError(source, faults)
    return cluster


def _option_faults(providers: t.Any) -> list[str]:
    if providers is None:
        return []
    if not isinstance(providers, dict):
        return [f"providers is {providers!r}; expected a mapping of a provider to a list of name patterns"]
    faults = [f"providers has the key {name!r}; expected one of {', '.join(_providers.PROVIDERS)}" for name in providers if name not in _providers.PROVIDERS]
    faults += [f"providers.{name} is {patterns!r}; expected a list of name patterns, such as [\"gpu-*\"]" for name, patterns in providers.items()
               if not isinstance(patterns, list) or not all(isinstance(item, str) for item in patterns)]
    return faults


def _kind_name(value: t.Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return f"the boolean {'true' if value else 'false'}"
    return repr(value) if len(repr(value)) < 60 else repr(value)[:57] + "..."


def _coerced(kind: str, value: t.Any) -> tuple[t.Any, str | None]:
    """``(value, None)`` where the value can be read as ``kind``, else ``(None, what was expected)``."""
    if kind == _TEXT:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value), None
        return None, "expected text; put it in quotes if it is meant as text" if not isinstance(value, (dict, list)) else "expected text"
    if kind == _FLAG:
        if isinstance(value, str) and value.strip().lower() in ("true", "false", "yes", "no", "on", "off"):
            return None, "expected true or false without quotes (the cluster software takes any quoted word for true)"
        return None, "expected true or false"
    if kind == _PORT:
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535:
            return value, None
        return None, "expected a port, a number from 1 to 65535"
    if isinstance(value, float) and value >= 0:
        return value, None
    if isinstance(value, str):
        found = _NUMBER.match(value.strip())
        if found:
            number = float(found.group(1))
            return (int(number) if number.is_integer() else number), None
    return None, "expected a number of gigabytes"


def value_fault(key: str, value: t.Any) -> str | None:
    """Why ``value`` cannot stand at ``key`` in an entry, None if it can (or means nothing here)."""
    kind = _KINDS.get(key)
    if kind is None or value is None:
        return None
    expected = _read(kind, value)[1]
    return f"{expected}, found {_kind_name(value)}" if expected else None


def _read(kind: str, value: t.Any) -> tuple[t.Any, str | None]:
    """``(value as kind, None)``, or ``(None, what was expected)``."""
    if value.__class__ is _CLASSES[kind]:
        if kind == _TEXT:
            return value.strip() or None, None
        if kind == _FLAG or (0 < value < 65536 if kind == _PORT else value >= 0):
            return value, None
    return _coerced(kind, value)


class _Reader:
    """Fills a ClusterFile from a tree, gathering faults."""

    def __init__(self, cluster: ClusterFile, tree: _yaml_lines.Tree, providers: dict[str, list[str]]):
        self.cluster = cluster
        self.tree = tree
        self.faults: list[Fault] = []
        self.patterns = [
            (re.compile("|".join(fnmatch.translate(item) for item in patterns)), provider)
            for provider, patterns in providers.items() if patterns
        ]

    def fault(self, path: str, line: int, message: str, column: int = 1) -> None:
        self.faults.append(Fault(path, max(line, 1), column, message))

    def read(self) -> list[Fault]:
        root, tree = self.tree.root, self.tree
        if isinstance(root, str) and root.startswith("$ANSIBLE_VAULT"):
            self.fault("", 1, "the file is encrypted; decrypt it, the cluster's nodes read it too")
            return self.faults
        if root is None:
            self.fault("", 1, "the file is empty; expected a mapping with the key hosts")
            return self.faults
        if not isinstance(root, dict):
            self.fault("", 1, f"expected a mapping with the key hosts, found {_kind_name(root)}")
            return self.faults
        cluster = self.cluster
        cluster.top_lines = dict(zip(root, tree.lines[id(root)][1]))
        self.faults += [fault for fault in tree.duplicates if "." not in fault.path or fault.path.startswith("hosts.")]

        declared = self._coordinators(root)
        listed = self._names(root, "p2p_voters")
        voters = dict(listed)
        hosts = self._mapping(root, "hosts")
        if hosts is None:
            if "hosts" not in root:
                self.fault("hosts", 1, "the key is missing; expected a mapping of each host's name to its entry (hosts: {} if there are none yet)")
        else:
            self._hosts(hosts, voters, frozenset(declared))
        cluster.voters = list(voters)
        cluster.voter_lines = voters
        cluster.coordinators = declared
        cluster.protocols = self._mapping(root, "protocols") or {}
        self._proxies()
        return self.faults

    def _mapping(self, root: dict, key: str) -> dict | None:
        value = root.get(key)
        if value is None:
            return {} if key in root else None
        if not isinstance(value, dict):
            self.fault(key, self.cluster.top_lines[key], f"expected a mapping, found {_kind_name(value)}")
            return None
        return value

    def _names(self, root: dict, key: str) -> dict[str, int]:
        """The names of a list at the top of the file, each with its line."""
        value = root.get(key)
        if value is None:
            return {}
        if not isinstance(value, list):
            self.fault(key, self.cluster.top_lines[key], f"expected a list of host names, found {_kind_name(value)}")
            return {}
        found: dict[str, int] = {}
        for index, name in enumerate(value):
            line = self.tree.line_of(value, index)
            if not isinstance(name, str) or not name.strip():
                self.fault(f"{key}[{index}]", line, f"expected a host name, found {_kind_name(name)}")
            else:
                found.setdefault(name.strip(), line)
        return found

    def _coordinators(self, root: dict) -> list[str]:
        found = []
        section = self._mapping(root, "elo_sync")
        if section and section.get("coordinator") is not None:
            name = section["coordinator"]
            if isinstance(name, str):
                found.append(name.strip())
            else:
                self.fault("elo_sync.coordinator", self.tree.line_of(section, "coordinator"), f"expected a host name, found {_kind_name(name)}")
        found += [name for name in self._names(root, "p2p_coordinators") if name not in found]
        return found

    def _hosts(self, hosts: dict, voters: dict[str, int], declared: frozenset[str]) -> None:
        odd = frozenset(self.tree.odd_keys.get(id(hosts), ()))
        name_lines = self.tree.lines[id(hosts)][1] if hosts else []
        nothing: tuple[int, list[int]] = (0, [])
        for (name, entry), line in zip(hosts.items(), name_lines):
            if name in odd:
                self.fault(f"hosts.{name}", line, "YAML does not read this name as text; put it in quotes")
                continue
            if not _HOST_NAME.match(name):
                self.fault(f"hosts.{name}", line,
                           f"{name!r} cannot be a node's name; use letters, digits and - _ . + ~ @, beginning with a letter or a digit")
                continue
            if name in _RESERVED_NAMES:
                self.fault(f"hosts.{name}", line, "this name has a meaning of its own in every inventory; give the node another one")
                continue
            if not isinstance(entry, dict):
                self.fault(f"hosts.{name}", line, f"expected a mapping with at least ssh_host, found {_kind_name(entry)}")
                continue
            lines = self.tree.lines.get(id(entry), nothing)[1]
            host = self._host(name, line, entry, lines, voters, declared)
            self.cluster.hosts[name] = host
            self.cluster._key_lines[name] = lines

    def _values(self, name: str, line: int, entry: dict, lines: list[int]) -> dict[str, t.Any]:
        """The entry with the keys that are understood here in their right types; those that cannot be read are left out, as faults."""
        values = entry
        for index, key in enumerate(entry):
            kind = _KINDS.get(key)
            value = entry[key]
            if kind is None or value is None:
                continue
            if value.__class__ is str and kind is _TEXT and value and value[0] not in " \t\n" and value[-1] not in " \t\n":
                continue
            read, expected = _read(kind, value)
            if read is value:
                continue
            if values is entry:
                values = dict(entry)
            values[key] = read
            if expected:
                self.fault(f"hosts.{name}.{key}", lines[index] if index < len(lines) else line, f"{expected}, found {_kind_name(value)}")
        return values

    def _host(self, name: str, line: int, entry: dict, lines: list[int], voters: dict[str, int], declared: frozenset[str]) -> dict[str, t.Any]:
        values = self._values(name, line, entry, lines)
        get = values.get
        provider, evidence = _providers.decide(name, values, self.patterns)

        def at(key: str) -> int:
            return dict(zip(entry, lines)).get(key, line)

        ssh_host, ssh_user, ssh_port = get("ssh_host"), get("ssh_user"), get("ssh_port")
        kind = _addresses.PLACEHOLDER
        if ssh_host is not None:
            if "@" in ssh_host or ":" in ssh_host:
                user, ssh_host, port = _addresses.split(ssh_host)
                ssh_user = ssh_user or user
                ssh_port = ssh_port or port
                if port is not None and not 0 < port < 65536:
                    self.fault(f"hosts.{name}.ssh_host", at("ssh_host"), f"the port {port} is not a number from 1 to 65535")
            kind = _addresses.kind(ssh_host)
            if kind == _addresses.INVALID:
                self.fault(f"hosts.{name}.ssh_host", at("ssh_host"), f"{ssh_host!r} is neither an address nor a host name")
            elif kind == _addresses.PLACEHOLDER:
                ssh_host = None
        if ssh_user is not None and not _SSH_USER.match(ssh_user):
            self.fault(f"hosts.{name}.ssh_user", at("ssh_user" if get("ssh_user") else "ssh_host"), f"{ssh_user!r} cannot be a user's name")
        ssh_key = get("ssh_key")
        if ssh_key and not ssh_key.isprintable():
            self.fault(f"hosts.{name}.ssh_key", at("ssh_key"), "a path must not hold control characters")

        tailscale = get("tailscale_ip")
        if tailscale is not None:
            tailscale = tailscale if _addresses.kind(tailscale) == _addresses.OVERLAY else None
        if tailscale is None and kind == _addresses.OVERLAY:
            tailscale = ssh_host
        gateway = provider in _providers.CONTAINER_PROVIDERS or kind == _addresses.GATEWAY
        public = get("p2p_public_host")
        if public is not None:
            public_kind = _addresses.kind(public)
            if public_kind == _addresses.INVALID:
                self.fault(f"hosts.{name}.p2p_public_host", at("p2p_public_host"), f"{public!r} is neither an address nor a host name")
            if public_kind != _addresses.PUBLIC:
                public = None
        if public is None and not gateway and kind == _addresses.PUBLIC:
            public = ssh_host

        port = get("p2p_port") or DEFAULT_PORT
        gpu, vram = get("gpu"), get("gpu_vram_gb")
        if get("p2p_voter"):
            voters.setdefault(name, at("p2p_voter"))
        container = get("is_container")
        relays = []
        for key in RELAY_KEYS:
            relay = get(key)
            if relay and relay not in relays:
                relays.append(relay)
        host = {
            "name": name, "line": line, "provider": provider, "provider_evidence": evidence, "role": get("role"), "status": get("status"),
            "belongs": True, "excluded_reason": None,
            "port": port, "public_address": public, "public_port": get("p2p_public_port") or port,
            "tailscale_address": tailscale, "overlay": tailscale is not None,
            "ssh_host": ssh_host, "ssh_user": ssh_user or _providers.DEFAULT_USERS.get(provider), "ssh_port": ssh_port or DEFAULT_SSH_PORT,
            "ssh_key": ssh_key, "ssh_proxy": get("ssh_proxy"),
            "voter": name in voters, "nat_blocked": bool(get("nat_blocked")), "gateway_only": gateway and public is None and tailscale is None,
            "force_relay": bool(get("force_relay_mode")), "relays": relays, "relay_capable": get("relay_capable"),
            "ephemeral": bool(get("is_ephemeral")), "container": provider in _providers.CONTAINER_PROVIDERS if container is None else container,
            "gpu": gpu, "gpu_vram_gb": vram, "discrete_gpu": _gpu_roles.is_discrete(gpu, vram),
            "training_enabled": get("training_enabled"), "selfplay_enabled": get("selfplay_enabled"), "coordinator": name in declared,
            "path": get("ringrift_path"), "venv_activate": get("venv_activate"), "userspace_tailscale": bool(get("needs_userspace_tailscale")),
            "entry": entry,
        }
        reason = _excluded_reason(host, values, kind)
        if reason:
            host["belongs"] = False
            host["excluded_reason"] = reason
        return host

    def _proxies(self) -> None:
        """A proxy that is missing, or reaches itself through others, leaves no way to the node."""
        hosts = self.cluster.hosts
        for name, host in hosts.items():
            if host["ssh_proxy"] is None or not host["belongs"]:
                continue
            try:
                proxy_chain(hosts, name)
            except ValueError as exc:
                self.fault(f"hosts.{name}.ssh_proxy", self.cluster.lines_of(name).get("ssh_proxy", host["line"]), str(exc))


def proxy_chain(hosts: dict[str, dict[str, t.Any]], name: str) -> list[str]:
    """The nodes to jump through on the way to ``name``, first hop first. Raises ValueError for a loop or a proxy that cannot be one."""
    chain: list[str] = []
    seen = {name}
    proxy = hosts[name]["ssh_proxy"]
    while proxy is not None:
        if proxy not in hosts:
            raise ValueError(f"{proxy!r} is no host of this file; name one, or remove the key")
        if proxy in seen:
            raise ValueError(f"the proxies lead in a circle: {' -> '.join([name, *reversed(chain), proxy])}; name a proxy that is reached directly")
        if hosts[proxy]["ssh_host"] is None:
            raise ValueError(f"the proxy {proxy!r} has no usable ssh_host; give it one, or name another proxy")
        seen.add(proxy)
        chain.insert(0, proxy)
        proxy = hosts[proxy]["ssh_proxy"]
    return chain


def _excluded_reason(host: dict[str, t.Any], values: dict[str, t.Any], ssh_kind: str) -> str | None:
    """Why the host does not belong to the cluster, None if it does. The order is that of this file's docstring."""
    if values.get("p2p_enabled") is False:
        return "p2p_enabled is false"
    status = host["status"]
    if status is not None and status.lower() in EXCLUDING_STATUS:
        return f"status {status}: the node {EXCLUDING_STATUS[status.lower()]}"
    if host["role"] == "proxy":
        return "role proxy: no orchestrator runs there"
    if host["path"] is None and "ringrift_path" in host["entry"]:
        return "ringrift_path is null: the software is not on this machine"
    if host["ssh_host"] is None and host["tailscale_address"] is None and host["public_address"] is None:
        if values.get("ssh_host") is None:
            return "it has no address: ssh_host is missing"
        return f"its address is a placeholder: ssh_host is {values['ssh_host']!r}"
    return None
