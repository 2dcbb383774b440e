# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line, environment and files become one Settings; every fault is reported at once, before anything is touched."""

from __future__ import annotations

import argparse
import os
import re
import socket
from dataclasses import dataclass, field

from . import wire

DEFAULT_PORT = 8770
_TRUE = ("1", "true", "yes", "on")


class UsageError(Exception):
    """Settings that can't be used; `faults` names each with its place and way out."""

    def __init__(self, faults: list) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class ElectionError(Exception):
    """This voter must not vote; the message says why and what to do."""


@dataclass
class Timing:
    """Seconds. Each is overridden by RINGRIFT_P2P_<NAME>, such as RINGRIFT_P2P_HEARTBEAT."""

    heartbeat: float = 1.0
    suspect_after: float = 5.0
    forget_after: float = 3600.0
    dial_timeout: float = 2.0
    bootstrap_every: float = 3.0
    reconnect_every: float = 5.0
    raft_append: float = 0.4
    raft_minimum: float = 1.5
    raft_maximum: float = 2.5
    # Below raft_minimum less a round trip, so that a cut-off leader has stepped down before another is elected.
    raft_fallback: float = 1.2


@dataclass
class Settings:
    """Everything that is decided before the orchestrator starts."""

    node_id: str
    node_id_source: str
    host: str
    port: int
    advertise_host: str
    advertise_port: int
    peers: list
    relay_peers: list
    seeds: list
    ringrift_path: str
    token: str = field(repr=False)
    election_password: str = field(repr=False)
    coordinator: bool
    prefer_public: bool
    generation: str
    # Flags that mean just what they say, such as `flags.kill_duplicates`.
    flags: argparse.Namespace = field(repr=False)
    timing: Timing

    @property
    def hosts_file(self) -> str:
        return os.path.join(self.ringrift_path, "config", "distributed_hosts.yaml")

    @property
    def coordination_dir(self) -> str:
        return os.path.join(self.ringrift_path, "data", "coordination")

    @property
    def state_dir(self) -> str:
        return os.path.join(self.ringrift_path, "data", "p2p_embedded")


def parser() -> argparse.ArgumentParser:
    """The command line of the orchestrator in the field, and --no-lock-cleanup."""
    found = argparse.ArgumentParser(prog="p2p_orchestrator.py", description="Embedded orchestrator of ringrift.p2p.", allow_abbrev=False)
    add = found.add_argument
    add("--node-id", default="", help="name of this node in distributed_hosts.yaml")
    add("--host", default="0.0.0.0", help="address to listen at (default: all)")
    add("--port", type=int, default=DEFAULT_PORT, help="HTTP port; the election of voters uses the next one (default: %d)" % DEFAULT_PORT)
    add("--advertise-host", default="", help="address that other nodes dial (default: overlay address, else the public one of the hosts file)")
    add("--advertise-port", type=int, default=0, help="port that other nodes dial (default: --port)")
    add("--peers", default="", help="addresses to join through, host[:port], comma-separated; tried ahead of the built-in seeds")
    add("--relay-peers", default="", help="addresses to relay through, host[:port], comma-separated")
    add("--ringrift-path", default="", help="folder that holds scripts/, config/ and data/ (default: the one above this script)")
    add("--auth-token", default="", help="refused: it would stand in the process list; use RINGRIFT_CLUSTER_AUTH_TOKEN_FILE")
    add("--require-auth", action="store_true", help="do not start without a cluster token")
    add("--storage-type", default="disk", help="accepted for compatibility")
    add("--supervised", action="store_true", help="accepted for compatibility: run by a service manager")
    add("--kill-duplicates", action="store_true", help="end other orchestrators of this folder first")
    add("--force-takeover", action="store_true", help="end the process that holds the orchestrator's lock or port")
    add("--no-zombie-check", action="store_true", help="accepted for compatibility")
    add("--skip-port-check", action="store_true", help="accepted for compatibility: the port is bound, nobody is asked first")
    add("--ignore-supervisor", action="store_true", help="start although another supervisor claims this node, and leave its claim")
    add("--force-supervisor", action="store_true", help="start although another supervisor claims this node, and take the claim over")
    add("--managed-by-master-loop", action="store_true", help="claim this node for master_loop")
    add("--training-only", action="store_true", help="offer training, no selfplay")
    add("--no-lock-cleanup", action="store_true", help="leave stale locks alone and judge them as the software in the field does")
    return found


def env_file(text: str) -> dict:
    """KEY=VALUE lines of an environment file; comments, `export` and quotes are understood, anything else is passed over."""
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", line)
        if match:
            value = match.group(2).strip()
            if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            found[match.group(1)] = value
    return found


def addresses(text: str, default_port: int, place: str, faults: list) -> list:
    """``host:port`` strings of a comma-separated list; `http(s)://` is taken off. What is no address goes to `faults`."""
    found = []
    for part in re.split(r"[,\s]+", text.strip()):
        if not part:
            continue
        match = re.fullmatch(r"(?:https?://)?([A-Za-z0-9._-]+)(?::(\d{1,5}))?/?", part)
        port = int(match.group(2) or default_port) if match else 0
        if not 0 < port < 65536:
            faults.append("%s: %r is not host[:port]" % (place, part))
            continue
        found.append("%s:%d" % (match.group(1), port))
    return list(dict.fromkeys(found))


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return None


def _secret(variable: str, environment: dict, faults: list) -> str:
    path = environment.get(variable, "")
    if not path:
        return ""
    text = _read(path)
    if text is None or not text.strip():
        faults.append("%s: %s is empty or cannot be read; write the secret there" % (variable, path))
        return ""
    return text.strip()


def _identity(argument: str, environment: dict, root: str) -> tuple:
    """(node id, where it was found). The host's own file wins over the environment, which may be another node's, copied."""
    default = env_file(_read(os.path.join(root, "etc/default/ringrift-p2p")) or "").get("NODE_ID", "")
    found = (
        (argument, "--node-id"), ((_read(os.path.join(root, "etc/ringrift/node-id")) or "").strip(), "/etc/ringrift/node-id"),
        (environment.get("RINGRIFT_NODE_ID", "").strip(), "RINGRIFT_NODE_ID"),
        (default, "/etc/default/ringrift-p2p"), (socket.gethostname(), "host name"))
    return next((name, source) for name, source in found if name)


def _timing(environment: dict, faults: list) -> Timing:
    timing = Timing()
    for name in vars(timing):
        variable = "RINGRIFT_P2P_" + name.upper()
        if environment.get(variable):
            try:
                value = float(environment[variable])
            except ValueError:
                value = 0.0
            if not 0.01 <= value <= 86400:
                faults.append("%s: %r is not a number of seconds from 0.01 to 86400" % (variable, environment[variable]))
                continue
            setattr(timing, name, value)
    if not 3 * timing.raft_append < timing.raft_minimum < timing.raft_maximum:
        faults.append("RINGRIFT_P2P_RAFT_*: want 3 x APPEND < MINIMUM < MAXIMUM")
    if not timing.raft_append < timing.raft_fallback < timing.raft_minimum:
        faults.append("RINGRIFT_P2P_RAFT_FALLBACK: want APPEND < FALLBACK < MINIMUM, or a cut-off leader outlives its successor's election")
    return timing


def settings(argv: list, builtin_seeds: list, root_path: str, environment: dict, root: str = "/") -> Settings:
    """Settings of a start. Reads files, changes nothing. Raises UsageError with all faults; unknown flags exit 2 in argparse."""
    given = parser().parse_args(argv)
    faults: list = []
    path = os.path.abspath(os.path.expanduser(given.ringrift_path or environment.get("RINGRIFT_PATH", "") or root_path))
    if not os.path.isdir(path):
        faults.append("--ringrift-path: %s is not a folder" % path)
    # A variable of the environment wins over the same one in .env.local, as in the field.
    environment = dict(env_file(_read(os.path.join(path, ".env.local")) or ""), **environment)
    node_id, source = _identity(given.node_id, environment, root)
    if not wire.is_name(node_id):
        faults.append("%s: %r is not a node name (letters, digits, dot, dash, underscore)" % (source, node_id[:80]))
    for place, port in (("--port", given.port), ("--advertise-port", given.advertise_port or given.port)):
        if not 0 < port < 65535:
            faults.append("%s: %d is not from 1 to 65534" % (place, port))
    for place, value in (("--auth-token", given.auth_token), ("RINGRIFT_CLUSTER_AUTH_TOKEN", environment.get("RINGRIFT_CLUSTER_AUTH_TOKEN", ""))):
        if value:
            faults.append("%s: others on this host could read the token there; put it in a file and name that in RINGRIFT_CLUSTER_AUTH_TOKEN_FILE" % place)
    token = _secret("RINGRIFT_CLUSTER_AUTH_TOKEN_FILE", environment, faults)
    if given.require_auth and not token:
        faults.append("--require-auth: no token; name its file in RINGRIFT_CLUSTER_AUTH_TOKEN_FILE")
    # Only voters need it, and who votes stands in the hosts file: Election refuses a voter without.
    password = _secret("RINGRIFT_P2P_ELECTION_PASSWORD_FILE", environment, [])
    peers = addresses(given.peers, DEFAULT_PORT, "--peers", faults)
    relay_peers = addresses(given.relay_peers, DEFAULT_PORT, "--relay-peers", faults)
    more = addresses(environment.get("RINGRIFT_P2P_BOOTSTRAP_SEEDS", ""), DEFAULT_PORT, "RINGRIFT_P2P_BOOTSTRAP_SEEDS", faults)
    builtin = addresses(",".join(map(str, builtin_seeds)), DEFAULT_PORT, "BOOTSTRAP_SEEDS", faults)
    timing = _timing(environment, faults)
    if faults:
        raise UsageError(faults)
    return Settings(
        node_id=node_id, node_id_source=source, host=given.host, port=given.port, advertise_host=given.advertise_host,
        advertise_port=given.advertise_port or given.port, peers=peers + [seed for seed in more if seed not in peers], relay_peers=relay_peers,
        seeds=builtin, ringrift_path=path, token=token, election_password=password,
        coordinator=environment.get("RINGRIFT_IS_COORDINATOR", "").strip().lower() in _TRUE,
        prefer_public=environment.get("RINGRIFT_PREFER_PUBLIC_IP", "").strip().lower() in _TRUE,
        generation=environment.get("RINGRIFT_P2P_GENERATION", ""), flags=given, timing=timing)
