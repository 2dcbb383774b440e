# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of stand-in orchestrators, each a real process on loopback, and a way to run a module in this process."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from ansible.module_utils import basic

HERE = pathlib.Path(__file__).parent


class StandinCluster:
    """Members named a, b, c ...; `endpoints` is what the modules are given."""

    def __init__(self, folder, names):
        self.folder = folder
        self.names = list(names)
        self.ports = {}
        sockets = [socket.create_server(("127.0.0.1", 0)) for unused in self.names]
        for name, held in zip(self.names, sockets):
            self.ports[name] = held.getsockname()[1]
            held.close()
        self.processes = {}
        self.set("leader", self.names[0])

    def set(self, name, text=""):
        (self.folder / name).write_text(text)

    def unset(self, name):
        (self.folder / name).unlink()

    def read(self, name):
        return (self.folder / name).read_text()

    def command(self, name):
        return [sys.executable, str(HERE / "p2p_orchestrator.py"), str(self.folder), name, str(self.ports[name]), ",".join(self.names)]

    def start(self, *names, generation=None):
        for name in names:
            environment = dict(os.environ, **({"RINGRIFT_P2P_GENERATION": generation} if generation else {}))
            self.processes[name] = subprocess.Popen(self.command(name), env=environment, stdin=subprocess.DEVNULL)
        for name in names:
            self.wait(name)

    def wait(self, name):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/health", timeout=1) as answer:
                    return json.load(answer)
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"{name} did not start")

    def stop(self, name):
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    @property
    def endpoints(self):
        return {name: [f"127.0.0.1:{port}"] for name, port in self.ports.items()}

    def close(self):
        for name in list(self.processes):
            self.stop(name)
        # What the stand-in of systemctl has started is no child of this process.
        pid = self.folder / "unit.pid"
        if pid.exists():
            subprocess.run(["kill", "-KILL", pid.read_text().strip()], stderr=subprocess.DEVNULL, check=False)


@pytest.fixture
def cluster(tmp_path):
    """Builds clusters; what they started ends with the test."""
    made = []

    def build(names="abc", start=True):
        folder = tmp_path / f"cluster{len(made)}"
        folder.mkdir()
        made.append(StandinCluster(folder, names))
        if start:
            made[-1].start(*names)
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture
def run_module(capsys, monkeypatch):
    """Runs a module's main() with arguments; returns what it answers."""

    def run(module, check_mode=False, **arguments):
        capsys.readouterr()
        with monkeypatch.context() as patch:
            handed = {"ANSIBLE_MODULE_ARGS": dict(arguments, _ansible_check_mode=check_mode, _ansible_diff=True)}
            patch.setattr(basic, "_ANSIBLE_ARGS", json.dumps(handed).encode())
            # From ansible-core 2.19 on.
            patch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
            with pytest.raises(SystemExit):
                module.main()
        return json.loads(capsys.readouterr().out)

    return run
