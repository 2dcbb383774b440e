# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of real orchestrator processes on loopback, for the tests and the benchmarks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

REPOSITORY = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
EMBEDDED = os.path.join(REPOSITORY, "roles", "orchestrator", "files", "embedded")
LAUNCHER = os.path.join(EMBEDDED, "scripts", "p2p_orchestrator.py")
# Short periods, so that a test takes seconds; the proportions are those of the defaults.
FAST = {"HEARTBEAT": "0.3", "SUSPECT_AFTER": "1.5", "DIAL_TIMEOUT": "1", "BOOTSTRAP_EVERY": "0.6", "RECONNECT_EVERY": "2",
        "RAFT_APPEND": "0.15", "RAFT_MINIMUM": "0.7", "RAFT_MAXIMUM": "1.3", "RAFT_FALLBACK": "0.55"}


def free_ports(count):
    """`count` even ports that are free together with the one after each."""
    found, kept = [], []
    while len(found) < count:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1] & ~1
        pair = []
        try:
            for number in (port, port + 1):
                pair.append(socket.socket())
                pair[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                pair[-1].bind(("127.0.0.1", number))
            found.append(port)
            kept += pair
        except OSError:
            for probe in pair:
                probe.close()
    for probe in kept:
        probe.close()
    return found


class Cluster:
    """`names` nodes, of which `voters` vote. `entries` {name: keys of the hosts file}, `flags` {name: [arguments]}."""

    def __init__(self, folder, names, voters, entries=None, flags=None, timing=None, token="shared", seeds=None):
        self.folder, self.names, self.voters, self.token = str(folder), list(names), list(voters), token
        self.ports = dict(zip(self.names, free_ports(len(self.names))))
        self.processes, self.flags, self.environment = {}, flags or {}, {}
        self.seeds = self.names[:2] if seeds is None else seeds
        self.timing = FAST if timing is None else timing
        os.makedirs(os.path.join(self.folder, "path"), exist_ok=True)
        shutil.copy(os.path.join(REPOSITORY, "plugins", "module_utils", "_lock_guard.py"), os.path.join(self.folder, "path", "lock_guard.py"))
        for secret, content in (("password", "of the election"), ("token", token or "")):
            with open(os.path.join(self.folder, secret), "w", encoding="utf-8") as stream:
                stream.write(content)
        hosts = {name: dict({"ssh_host": "127.0.0.1", "p2p_port": self.ports[name]}, **(entries or {}).get(name, {})) for name in self.names}
        for name in self.names:
            for part in ("config", "data/coordination", "logs"):
                os.makedirs(os.path.join(self.path(name), part), exist_ok=True)
            with open(os.path.join(self.path(name), "config", "distributed_hosts.yaml"), "w", encoding="utf-8") as stream:
                # JSON is YAML.
                json.dump({"hosts": hosts, "p2p_voters": self.voters}, stream)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def path(self, name):
        return os.path.join(self.folder, name)

    def coordination(self, name, file):
        return os.path.join(self.path(name), "data", "coordination", file)

    def address(self, name):
        return "127.0.0.1:%d" % self.ports[name]

    def command(self, name, *more):
        """(argv, environment) of a start."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("RINGRIFT_", "P2P_", "NOTIFY_"))}
        environment.update({"RINGRIFT_P2P_" + key: value for key, value in self.timing.items()})
        environment.update(PYTHONPATH=os.path.join(self.folder, "path"), PYTHONDONTWRITEBYTECODE="1",
                           RINGRIFT_P2P_ELECTION_PASSWORD_FILE=os.path.join(self.folder, "password"))
        if self.token:
            environment["RINGRIFT_CLUSTER_AUTH_TOKEN_FILE"] = os.path.join(self.folder, "token")
        environment.update(self.environment.get(name, {}))
        seeds = ",".join(self.address(seed) for seed in self.seeds if seed != name)
        argv = [sys.executable, LAUNCHER, "--node-id", name, "--ringrift-path", self.path(name), "--host", "127.0.0.1",
                "--port", str(self.ports[name]), "--peers", seeds, *self.flags.get(name, []), *more]
        return argv, environment

    def start(self, *names):
        for name in names or self.names:
            argv, environment = self.command(name)
            with open(os.path.join(self.path(name), "log"), "ab") as log:
                self.processes[name] = subprocess.Popen(argv, env=environment, stderr=log)
        return self

    def run(self, name, *more, environment=None, timeout=40):
        """Start and wait for the end: the completed process, its error output as text."""
        argv, whole = self.command(name, *more)
        return subprocess.run(
            argv, env=dict(whole, **(environment or {})), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, timeout=timeout, check=False)

    def log(self, name):
        with open(os.path.join(self.path(name), "log"), encoding="utf-8") as stream:
            return stream.read()

    def request(self, name, path, body=None, token="", timeout=5.0):
        """(HTTP status, body in bytes); status 0 where nobody answers."""
        request = urllib.request.Request("http://%s%s" % (self.address(name), path), data=body)
        given = self.token if token == "" else token
        if given:
            request.add_header("Authorization", "Bearer " + given)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as problem:
            return problem.code, problem.read()
        except OSError:
            return 0, b"{}"

    def get(self, name, path="/status", **more):
        """The JSON body of a GET, {} where nobody answers."""
        return json.loads(self.request(name, path, **more)[1])

    def post(self, name, path, value):
        """(HTTP status, JSON body) of a POST."""
        status, body = self.request(name, path, json.dumps(value).encode(), timeout=6.0)
        return status, json.loads(body)

    def counter(self, name, event):
        """A counter of /metrics, 0 if it is not there."""
        for line in self.request(name, "/metrics")[1].decode().splitlines():
            if line.startswith('ringrift_p2p_events_total{event="%s"}' % event):
                return int(line.rsplit(" ", 1)[1])
        return 0

    def leader(self, *names):
        """The one leader that all of `names` see and that calls itself so, else None."""
        seen = {self.get(name, "/health").get("leader_id") for name in names or self.names}
        leader = seen.pop() if len(seen) == 1 else None
        return leader if leader and self.get(leader, "/health").get("role") == "leader" else None

    def joined(self, *names):
        """Whether all of `names` see each other alive and agree on a leader."""
        names = names or tuple(self.names)
        for name in names:
            if not set(names) - {name} <= set(self.get(name).get("peers", {})):
                return False
        return self.leader(*names) is not None

    def wait(self, condition, timeout=40.0, what="the cluster to get there"):
        """Seconds until `condition()` is true. Raises AssertionError with the logs."""
        start = time.monotonic()
        while time.monotonic() - start < timeout:
            if condition():
                return time.monotonic() - start
            time.sleep(0.05)
        raise AssertionError("waited %g s for %s\n%s" % (timeout, what, "\n".join("%s\n%s" % (name, self.log(name)[-1500:]) for name in self.processes)))

    def kill(self, name, number=signal.SIGKILL):
        self.processes[name].send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            return self.processes[name].wait(5)
        return None
