# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs orchestrator_processes among real processes: C(process_lab.py WORK SCENE...), as root of PID and mount namespaces of its own.

Prints a JSON list: for each scene what the module answered, who lived before and after, by name.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "playbooks" / "collections"))


class Scene:
    """Processes by name, and the module run among them."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.started: dict[str, subprocess.Popen] = {}
        self.facts: dict[str, dict] = {}

    def start(self, name: str, *words: str, script: str = "p2p_orchestrator.py", prefix: tuple = (), environment: dict | None = None) -> None:
        path = self.work / script
        path.write_text((HERE / "owner.py").read_text())
        self.started[name] = subprocess.Popen(
            [*prefix, sys.executable, str(path), "600", *words], stdout=subprocess.PIPE, env={**os.environ, **(environment or {})})
        self.facts[name] = json.loads(self.started[name].stdout.readline())

    def supervised(self) -> None:
        """An orchestrator as supervisord starts it: its child, told the program's name."""
        script = self.work / "supervisord"
        script.write_text("import subprocess, sys\nsubprocess.run(sys.argv[1:])\n")
        self.start("service", prefix=(sys.executable, str(script)), environment={"SUPERVISOR_PROCESS_NAME": "ringrift-p2p", "RINGRIFT_TOKEN": "secret"})

    def command(self, name: str, *words: str) -> None:
        self.started[name] = subprocess.Popen(words, stdout=subprocess.DEVNULL)

    def alive(self) -> list[str]:
        return sorted(name for name, process in self.started.items() if process.poll() is None)

    def ask(self, **arguments) -> dict:
        basic = importlib.import_module("ansible.module_utils.basic")
        module = importlib.import_module("ansible_collections.ringrift.p2p.plugins.modules.orchestrator_processes")
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
        basic._ANSIBLE_PROFILE = "legacy"
        # A process of its own, as each call of a module is.
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(write, 1)
            try:
                module.main()
            finally:
                sys.stdout.flush()
                os._exit(0)
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as stream:
            answer = json.load(stream)
        os.waitpid(child, 0)
        return answer

    def end(self) -> None:
        for process in self.started.values():
            process.kill()
            process.wait()
        # Children outlive a parent that is killed; in this PID namespace nobody else runs any.
        for process in importlib.import_module("ansible_collections.ringrift.p2p.plugins.module_utils._processes").scan():
            os.kill(process["pid"], signal.SIGKILL)


def bystanders(scene: Scene) -> dict:
    """Commands that merely mention the script."""
    path = scene.work / "p2p_orchestrator.py"
    scene.start("only")
    scene.command("shell", "/bin/sh", "-c", "sleep 600; : python3 p2p_orchestrator.py")
    scene.command("pager", "tail", "-f", str(path))
    scene.command("inline", sys.executable, "-c", "import time; time.sleep(600)", "p2p_orchestrator.py")
    scene.start("training", script="selfplay.py")
    return {}


def duplicates(scene: Scene) -> dict:
    """The service's and two others, one with a child that it forked."""
    scene.start("first")
    scene.supervised()
    scene.start("forking", "fork")
    return {}


def stubborn(scene: Scene) -> dict:
    """One that does not heed SIGTERM."""
    scene.supervised()
    scene.start("stubborn", "stubborn")
    return {"stop_timeout": 0.3}


def unmanaged(scene: Scene) -> dict:
    """Two without any service: the oldest stays."""
    scene.start("first")
    scene.start("second")
    return {}


def make_room(scene: Scene) -> dict:
    """No service yet: all have to go, and the port with them."""
    scene.start("first")
    scene.start("second")
    return {"without_service": "end", "port": scene.facts["first"]["port"]}


def container(scene: Scene) -> dict:
    """An orchestrator of another PID namespace on the same host is not this node's."""
    scene.supervised()
    scene.start("contained", prefix=("unshare", "--pid", "--fork"))
    scene.start("other")
    return {}


def holder(scene: Scene) -> dict:
    """Without a service, who has the lock stays, though it is not the oldest."""
    scene.start("first")
    with open(scene.work / "ringrift_p2p_orchestrator.lock", "w") as lock:
        os.dup2(lock.fileno(), 200)
        os.set_inheritable(200, True)
        path = scene.work / "p2p_orchestrator.py"
        scene.started["holder"] = subprocess.Popen([sys.executable, str(path), "600"], stdout=subprocess.PIPE, pass_fds=[200])
        scene.facts["holder"] = json.loads(scene.started["holder"].stdout.readline())
        os.close(200)
    return {}


def main() -> None:
    results = {}
    for name in sys.argv[2:]:
        work = Path(sys.argv[1]) / name
        work.mkdir()
        scene = Scene(work)
        arguments = globals()[name](scene)
        before = scene.alive()
        predicted = scene.ask(_ansible_check_mode=True, **arguments)
        untouched = scene.alive() == before
        result = scene.ask(**arguments)
        after = scene.alive()
        again = scene.ask(**arguments)
        names = {facts["pid"]: key for key, facts in scene.facts.items()}
        results[name] = {
            "predicted": predicted, "untouched": untouched, "result": result, "before": before, "after": after, "again": again,
            "names": {str(pid): key for pid, key in names.items()},
        }
        scene.end()
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
