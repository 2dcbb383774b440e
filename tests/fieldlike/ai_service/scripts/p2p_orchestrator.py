#!/usr/bin/env python
# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the orchestrator of the field, with its command line, files, answers and faults. It does no work; see the README.

It needs its own folder in PYTHONPATH, as that one does.
"""

from __future__ import annotations

import argparse
import hmac
import http.client
import json
import os
import random
import re
import signal
import socket
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from scripts.p2p import supervisor
from scripts.p2p.managers import initialization_manager
from scripts.p2p.mesh import Mesh

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VERSION = "fieldlike-1"
LARGEST_BODY = 8 * 1024 * 1024


def log(text):
    """One line on standard error."""
    print("%s [p2p] %s" % (time.strftime("%Y-%m-%d %H:%M:%S"), text), file=sys.stderr, flush=True)


def read(path):
    """The text of a file; empty where it can't be read."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError):
        return ""


def load_env_local():
    """Variables of .env.local that the environment does not set yet."""
    for line in read(os.path.join(ROOT, ".env.local")).splitlines():
        match = re.match(r"^\s*(?:export\s+)?([A-Z][A-Z0-9_]*)=(.*)$", line)
        if match:
            os.environ.setdefault(match.group(1), match.group(2).strip().strip("\"'"))


def duration(name, default):
    """A setting of the stand-in itself, in seconds or as a factor."""
    return float(os.environ.get("RINGRIFT_FIELDLIKE_" + name) or default)


def identity(given):
    """The node's name, from where the field looks for it."""
    default = re.search(r"^NODE_ID=[\"']?([^\"'\s]+)", read("/etc/default/ringrift-p2p"), re.MULTILINE)
    return (given or read("/etc/ringrift/node-id").strip() or os.environ.get("RINGRIFT_NODE_ID") or (default.group(1) if default else "")
            or socket.gethostname())


def hosts_file(path):
    """({host: {key: text}}, voters) of a distributed_hosts.yaml; only what a line-wise look can tell."""
    hosts, voters, section, host = {}, [], None, None
    for line in read(os.path.join(path, "config", "distributed_hosts.yaml")).splitlines():
        line = re.sub(r"\s+#.*$", "", line.rstrip())
        top = re.match(r"^(\w+):\s*(.*)$", line)
        if top:
            section, host = top.group(1), None
            if section == "p2p_voters":
                voters += [name.strip().strip("\"'") for name in top.group(2).strip("[]").split(",") if name.strip()]
        elif section == "hosts" and re.match(r"^  [\w.-]+:\s*$", line):
            host = line.strip().rstrip(":")
            hosts[host] = {}
        elif section == "hosts" and host and re.match(r"^    \w+:", line):
            key, _colon, value = line.strip().partition(":")
            hosts[host][key] = value.strip().strip("\"'")
        elif section == "p2p_voters" and line.strip().startswith("- "):
            voters.append(line.strip()[2:].strip().strip("\"'"))
    return hosts, voters


def truth(text):
    """Whether a variable or a value of the file says yes."""
    return str(text or "").strip().lower() in ("1", "true", "yes", "on")


def request(address, path, body, token, timeout):
    """The answer of a node as a dict. Raises OSError or ValueError."""
    url = urllib.parse.urlsplit(address if "://" in address else "http://" + address)
    connection = (http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection)(url.hostname, url.port or 8770, timeout=timeout)
    headers = {"Content-Type": "application/json", **({"Authorization": "Bearer " + token} if token else {})}
    try:
        connection.request("POST" if body is not None else "GET", path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        content = answer.read(LARGEST_BODY)
    except http.client.HTTPException as exc:
        raise OSError(str(exc)) from exc
    finally:
        connection.close()
    if answer.status != 200:
        raise OSError("%s answers %d" % (address, answer.status))
    decoded = json.loads(content)
    if not isinstance(decoded, dict):
        raise ValueError("%s answers something else" % address)
    return decoded


def parser():
    """The command line of the field."""
    result = argparse.ArgumentParser(description="P2P orchestrator (stand-in)")
    for name in ("node-id", "advertise-host", "peers", "relay-peers", "ringrift-path", "auth-token", "storage-type"):
        result.add_argument("--" + name, default="")
    result.add_argument("--host", default="0.0.0.0")
    result.add_argument("--port", type=int, default=8770)
    result.add_argument("--advertise-port", type=int, default=0)
    for name in ("require-auth", "supervised", "kill-duplicates", "force-takeover", "no-zombie-check", "skip-port-check", "ignore-supervisor",
                 "force-supervisor", "managed-by-master-loop", "training-only"):
        result.add_argument("--" + name, action="store_true")
    return result


def split(text):
    """The entries of a list with commas."""
    return [item.strip() for item in text.split(",") if item.strip()]


class Node:
    """The running node: the mesh and what connects it."""

    def __init__(self, options):
        self.options = options
        self.scale = duration("SCALE", 1.0)
        self.node_id = identity(options.node_id)
        self.hosts, voters = hosts_file(options.ringrift_path or ROOT)
        self.entry = self.hosts.get(self.node_id, {})
        self.token = options.auth_token or os.environ.get("RINGRIFT_CLUSTER_AUTH_TOKEN", "") or read(
            os.environ.get("RINGRIFT_CLUSTER_AUTH_TOKEN_FILE", "")).strip()
        self.peers, self.relays = split(options.peers), split(options.relay_peers)
        self.lock = threading.Lock()
        self.ending, self.hung = threading.Event(), threading.Event()
        self._status = (0.0, b"")
        host = self.advertised()
        coordinator = truth(os.environ.get("RINGRIFT_IS_COORDINATOR"))
        idle = self.entry.get("role") == "coordinator" or coordinator or (
            self.entry.get("selfplay_enabled") == "false" and self.entry.get("training_enabled") == "false")
        own = {
            "node_id": self.node_id, "version": VERSION, "nat_blocked": truth(self.entry.get("nat_blocked")),
            "has_gpu": self.entry.get("gpu", "none") != "none", "capabilities": [] if idle else ["selfplay", "training"],
        }
        self.mesh = Mesh(self.node_id, (host, options.advertise_port or options.port), self.scale, voters, coordinator, own, time.time())

    def advertised(self):
        """The address that others are told: the overlay's where the file has one, unless something says otherwise."""
        overlay = self.entry.get("tailscale_ip", "")
        if self.options.advertise_host:
            return self.options.advertise_host
        if overlay and not truth(os.environ.get("RINGRIFT_PREFER_PUBLIC_IP")):
            return overlay
        return self.entry.get("p2p_public_host") or self.entry.get("ssh_host", "").rpartition("@")[2] or socket.gethostname()

    def await_overlay(self):
        """Waits up to 90 s for the overlay where the file names an address in it, with the port still closed."""
        overlay = self.entry.get("tailscale_ip", "")
        if not overlay or self.options.advertise_host or truth(os.environ.get("RINGRIFT_PREFER_PUBLIC_IP")):
            return
        deadline = time.time() + 90 * self.scale
        while time.time() < deadline and not self.ending.is_set():
            try:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.bind((overlay, 0))
                return
            except OSError:
                self.ending.wait(min(1.0, self.scale))
        log("Tailscale address %s did not come up" % overlay)

    def through_relay(self, address):
        """Whether heartbeats to this address go through it as a relay: the very same text in both lists, https, or forced by the file."""
        return (address in self.peers and address in self.relays) or address.startswith("https://") or truth(self.entry.get("force_relay_mode"))

    def dial(self, address):
        """One heartbeat to one address; whether it was answered."""
        relay = self.through_relay(address)
        with self.lock:
            said = self.mesh.record()
        try:
            answer = request(address, "/relay/heartbeat" if relay else "/heartbeat", said, self.token, max(1.0, 10 * self.scale))
            own, records = dict(answer["self"]), {name: dict(record) for name, record in dict(answer["peers"]).items()}
        except (OSError, ValueError, KeyError, TypeError):
            return False
        with self.lock:
            now = time.time()
            self.mesh.reached(own, now)
            self.mesh.told(records, now, relay)
            if relay:
                self.mesh.relay_via = own["node_id"]
        return True

    def run(self):
        """Keeps the node in the mesh until it ends."""
        next_bootstrap = time.time()
        shuffled = random.Random(self.node_id)
        with ThreadPoolExecutor(max_workers=8) as pool:
            while not self.ending.wait(max(0.05, self.scale)):
                now = time.time()
                with self.lock:
                    due = ["%s:%s" % (self.mesh.peers[name]["host"], self.mesh.peers[name]["port"]) for name in self.mesh.due(now)]
                    fresh = ["%s:%s" % (self.mesh.peers[name]["host"], self.mesh.peers[name]["port"]) for name in self.mesh.fresh(now)]
                    self.mesh.elect(now)
                for address in due:
                    pool.submit(self.dial, address)
                if now >= next_bootstrap:
                    pool.submit(self.bootstrap, fresh, shuffled)
                    with self.lock:
                        next_bootstrap = now + self.mesh.pause()

    def bootstrap(self, cached, shuffled):
        """A round: six addresses at most, up to the first that answers; and a heartbeat at every relay."""
        relays = [address for address in self.peers if self.through_relay(address)]
        for address in relays:
            self.dial(address)
        if len(cached) >= 2 and not relays:
            return
        own = {"%s:%s" % (self.mesh.host, self.mesh.port)}
        for address in initialization_manager.candidates([] if len(cached) < 2 else cached, self.peers, own, shuffled):
            if address in relays or self.dial(address):
                return

    def status(self):
        """The body of /status, up to five seconds old."""
        with self.lock:
            now = time.time()
            if now - self._status[0] > 5 * self.scale:
                self._status = (now, json.dumps(self.mesh.status(now)).encode())
            return self._status[1]

    def receive(self, path, body):
        """The answer to a heartbeat."""
        with self.lock:
            now = time.time()
            known = self.mesh.known()
            (self.mesh.relayed if path == "/relay/heartbeat" else self.mesh.heard)(body, now)
            return {"self": self.mesh.record(), "peers": known}


def handler(node, side):
    """The request handler of the node's port, or of the `side` one, which stays green whatever happens."""

    class Handler(BaseHTTPRequestHandler):
        """GET and POST of the node."""

        protocol_version = "HTTP/1.1"
        timeout = 30

        def log_message(self, format, *args):
            """Says nothing."""

        def answer(self, code, body):
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self):
            path = self.path.partition("?")[0]
            while node.hung.is_set() and not side:
                time.sleep(0.2)
            if path == "/health":
                with node.lock:
                    body = {"healthy": True, "status": "ok"} if side else node.mesh.health(time.time())
                self.answer(200, body)
            elif path == "/status" and not side:
                self.answer(200, node.status())
            elif path in ("/relay/peers", "/relay/status", "/relay/health") and not side:
                with node.lock:
                    clients = [name for name, peer in node.mesh.peers.items() if peer["relay_via"] == node.node_id]
                self.answer(200, {"node_id": node.node_id, "peers": clients})
            else:
                self.answer(404, {"error": "not found"})

        def do_POST(self):
            while node.hung.is_set() and not side:
                time.sleep(0.2)
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(min(length, LARGEST_BODY))
            given = self.headers.get("X-RingRift-Auth") or (self.headers.get("Authorization") or "").replace("Bearer ", "", 1)
            if node.token and not hmac.compare_digest(given.encode(), node.token.encode()):
                self.answer(401, {"error": "unauthorized"})
                return
            try:
                body = json.loads(content)
                if side or self.path not in ("/heartbeat", "/relay/heartbeat") or not isinstance(body, dict):
                    raise ValueError("no such thing")
            except ValueError as exc:
                self.answer(400, {"error": str(exc)})
                return
            self.answer(200, node.receive(self.path, body))

    return Handler


def serve(node, port, side):
    """A server in a thread of its own."""

    class Server(ThreadingHTTPServer):
        """Does not wait for connections when it closes."""

        daemon_threads = True
        block_on_close = False

        def handle_error(self, request, client_address):
            """Who asks and goes away before the answer is nobody's fault."""

    server = Server((node.options.host, port), handler(node, side))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    return server


def port_of(argv):
    """The port, read before arguments are parsed."""
    for index, word in enumerate(argv):
        value = argv[index + 1] if word == "--port" and index + 1 < len(argv) else word.partition("=")[2] if word.startswith("--port=") else ""
        if value.isdigit():
            return int(value)
    return 8770


def port_state(port):
    """What has the port: free, healthy or silent."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            pass
    except OSError:
        return "free"
    try:
        return "healthy" if request("127.0.0.1:%d" % port, "/health", None, "", 3).get("healthy") else "silent"
    except (OSError, ValueError):
        return "silent"


def kill_port_owner(port):
    """Kills what listens at the port and does not answer."""
    listening = set()
    for line in read("/proc/net/tcp").splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
            listening.add("socket:[%s]" % fields[9])
    for name in os.listdir("/proc"):
        folder = "/proc/%s/fd" % name
        try:
            if name.isdigit() and int(name) != os.getpid() and any(os.readlink(os.path.join(folder, item)) in listening for item in os.listdir(folder)):
                log("killing unresponsive owner of port %d: pid %s" % (port, name))
                os.kill(int(name), signal.SIGKILL)
        except OSError:
            continue


def main(argv):
    """The start, in the order of the field; gives the exit status."""
    load_env_local()
    port = port_of(argv)
    state = "free" if "--skip-port-check" in argv else port_state(port)
    if state == "healthy":
        log("P2P orchestrator already running on port %d" % port)
        return 0
    managed_by = "master_loop" if "--managed-by-master-loop" in argv else "manual"
    claimed = supervisor.holder(ROOT, time.time())
    if claimed and not {"--force-supervisor", "--force-takeover", "--ignore-supervisor"} & set(argv):
        log("Supervisor role already claimed by %s; refusing to start" % claimed)
        return 0
    if "--ignore-supervisor" not in argv:
        supervisor.write_claim(ROOT, managed_by, os.getpid(), time.time())
    if state == "silent":
        kill_port_owner(port)
    if "--kill-duplicates" in argv:
        for pid in supervisor.kill_duplicates(os.environ.get("RINGRIFT_FIELDLIKE_MARK", "")):
            log("killed duplicate pid %d" % pid)
    time.sleep(0.05)
    if supervisor.take_lock(ROOT) is None:
        log("Another P2P orchestrator holds %s" % supervisor.LOCK)
        return 1
    options = parser().parse_args(argv)

    node = Node(options)
    signal.signal(signal.SIGTERM, lambda *_signal: node.ending.set())
    signal.signal(signal.SIGINT, lambda *_signal: node.ending.set())
    # The event loop hangs, the process lives: for tests.
    signal.signal(signal.SIGUSR1, lambda *_signal: node.hung.set())
    node.await_overlay()
    node.ending.wait(6 * node.scale)
    if not node.ending.is_set():
        try:
            servers = [serve(node, options.port, False), serve(node, options.port + 2, True)]
        except OSError as exc:
            log("port %d: %s" % (options.port, exc))
            return 1
        log("%s listens on port %d" % (node.node_id, options.port))
        node.run()
        for server in servers:
            server.shutdown()
            server.server_close()
    log("stopping")
    time.sleep(duration("STOP_SECONDS", 15.0))
    supervisor.write_claim(ROOT, "none", 0, time.time())
    log("stopped")
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    # Threads that still dial somebody do not keep a stopped node alive.
    os._exit(status)
