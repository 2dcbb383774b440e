# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restarts every node of the lab again and again, with faults and without, while an observer watches the voters from outside.

    chaos.py [--runs 20] [--short] [--nodes NODE,...|all] [--no-lab] [--output docs/reliability.md]

It fails (exit 1) when a second passed without a majority or with two leaders in one term, when a fault was not really injected or
not healed, when a run did not end as it must, or when the same test passes with the guard switched off. What it measured is written
to docs/reliability.md. `--short` is one run, one fault and the test without the guard. The nodes are the voters and two more, unless named.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LAB = os.path.join(ROOT, "molecule", "lab")
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, LAB]

import containers
import faults
import inventory
import lab
import topology
from observer import Observer, percentile

WORK = os.path.join(ROOT, ".work", "chaos")
INVENTORY = os.path.join(inventory.FOLDER, "p2p.yml")
MORE_NODES = ("lambda-gh200-1", "vast-30274241")
# Restarts of the runs are spread over these: none may cost the majority.
FORKS = ((), ("--forks", "1"), ("--forks", "50"))
RUN_LIMIT = 900.0


class ChaosError(Exception):
    """The test can't go on; the text says why."""


def say(text):
    """Progress, for the person at the keyboard."""
    print(f"chaos: {text}", file=sys.stderr, flush=True)


class Run:
    """One run of a playbook, of stabilize.yml unless another is named."""

    def __init__(self, name, variables, tree=ROOT, playbook="playbooks/stabilize.yml", words=()):
        os.makedirs(WORK, exist_ok=True)
        self.log = os.path.join(WORK, f"{name.replace(' ', '-')}.log")
        command = os.path.join(os.path.dirname(sys.executable), "ansible-playbook")
        # Short windows: the lab's orchestrator beats every second.
        given = dict({"p2p_window": 4, "p2p_stable_for": 4, "p2p_timeout": 180, "p2p_join_timeout": 60, "p2p_join_grace": 0}, **variables)
        self.began = time.monotonic()
        with open(self.log, "w", encoding="utf-8") as stream:
            self._process = subprocess.Popen(
                [command, "-i", INVENTORY, playbook, "-e", json.dumps(given), *words],
                cwd=tree,
                env=dict(os.environ, ANSIBLE_CONFIG=os.path.join(tree, "ansible.cfg")),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        self.seconds = None

    def ended(self):
        """Whether it has ended."""
        return self._process.poll() is not None

    def wait(self):
        """Its exit code; raises ChaosError where it hangs."""
        try:
            code = self._process.wait(RUN_LIMIT)
        except subprocess.TimeoutExpired as problem:
            self.kill()
            raise ChaosError(f"a run did not end within {RUN_LIMIT:g} s: {self.log}") from problem
        self.seconds = round(time.monotonic() - self.began, 1)
        return code

    def kill(self):
        """kill -9 of the process that is the run. What its children have begun on the nodes goes on, as after a real one."""
        self._process.kill()
        self._process.wait()

    def said(self):
        """Its log."""
        with open(self.log, encoding="utf-8", errors="replace") as stream:
            return stream.read()

    def last_words(self):
        """The end of its log."""
        return "\n".join(self.said().splitlines()[-25:])


class Chaos:
    """The lab, the observer and what was measured."""

    def __init__(self, options):
        self.options = options
        self.known = topology.nodes(topology.load())
        self.names = list(self.known) if options.nodes == "all" else options.nodes.split(",") if options.nodes else [*self.voters(), *MORE_NODES]
        self.round = 0
        self.results, self.faults, self.flags, self.problems = [], [], [], []
        self.observer = None

    def voters(self):
        """Names of the lab's voters."""
        return [node.name for node in self.known.values() if node.voter]

    def watch(self):
        """A new observer over all voters."""
        return Observer({name: f"{self.known[name].public}:{topology.PORT}" for name in self.voters()}).start()

    def wanted(self, **more):
        """Variables that change the configuration of every node, so that every node is restarted."""
        self.round += 1
        return dict({"orchestrator_environment": {"RINGRIFT_CHAOS_ROUND": str(self.round)}}, **more)

    def prepare(self):
        """The lab in the report's state, made whole once."""
        if not self.options.no_lab:
            lab.raise_nodes(self.names, "break", len(self.names) < len(self.known))
        run = Run("prepare", {})
        if run.wait():
            raise ChaosError(f"the lab could not be made whole first: {run.log}\n{run.last_words()}")

    def processes(self):
        """{node: {(pid, start) of its orchestrators}}."""
        found = containers.everywhere(lambda name: faults.processes(containers.execute, name), self.names)
        return {name: {(pid, seen["start"]) for pid, seen in processes.items()} for name, processes in found.items()}

    def restarted(self, before):
        """Names of the nodes on which nothing runs any more that ran then."""
        after = self.processes()
        return {name for name in self.names if not before[name] & after[name]}

    def settled(self, observer, seconds=120):
        """Waits until every voter answers and one leads; raises ChaosError."""

        def whole():
            said = [observer.answers(name) or {} for name in self.voters()]
            return len({answer.get("leader_id") for answer in said}) == 1 and sum(answer.get("role") == "leader" for answer in said) == 1

        if not faults.until(whole, seconds):
            raise ChaosError(f"the voters did not agree on a leader again within {seconds:g} s")

    def rolling(self, count):
        """`count` runs that restart every node."""
        for number in range(1, count + 1):
            before = self.processes()
            run = Run(f"roll-{number}", self.wanted(), words=FORKS[number % len(FORKS)])
            code = run.wait()
            same = sorted({*self.names} - self.restarted(before))
            say(f"run {number} of {count}: exit {code}, {run.seconds} s, {len(self.names) - len(same)} of {len(self.names)} nodes restarted")
            self.results.append({"seconds": run.seconds, "code": code, "restarted": len(self.names) - len(same)})
            if code:
                self.problems.append(f"run {number} ended with {code}: {run.last_words()}")
            if same:
                self.problems.append(f"run {number} did not restart {', '.join(same)}")

    def mid_roll(self, observer, run):
        """Waits until the run has restarted its first voter, or is at it."""
        start = time.monotonic()

        def restarted():
            said = [observer.answers(name) for name in self.voters()]
            young = any(answer is None or (answer.get("uptime_seconds") or 0) < min(15, time.monotonic() - start) for answer in said)
            return young or run.ended()

        if not faults.until(restarted, RUN_LIMIT) or run.ended():
            raise ChaosError(f"the run ended before a voter was restarted: {run.log}\n{run.last_words()}")

    def with_fault(self, make, must_fail=None):
        """One run with a fault from its middle on, then healing, then a run that must succeed.

        `make(observer)` gives the fault once the run is on its way. `must_fail` says how the disturbed run has to end, where that is certain.
        """
        observer = self.observer
        run = Run(f"fault-{len(self.faults) + 1}", self.wanted())
        self.mid_roll(observer, run)
        fault = make(observer)
        entry = {"name": fault.name, "node": fault.node}
        self.faults.append(entry)
        try:
            fault.inject()
            entry["injected"] = fault.injected()
            entry["code"] = run.wait()
        finally:
            fault.heal()
        entry["healed"] = faults.until(fault.healed, 90)
        self._repeat(entry, must_fail)

    def _repeat(self, entry, must_fail=None):
        """The run after the fault, which goes on from what is left."""
        self.settled(self.observer)
        again = Run(f"after-{len(self.faults)}", {"orchestrator_environment": {"RINGRIFT_CHAOS_ROUND": str(self.round)}})
        entry["again"] = again.wait()
        told = ", ".join(f"{key} {entry[key]}" for key in ("injected", "code", "healed", "again"))
        say(f"{entry['name']} ({entry['node']}): {told}")
        if not entry["injected"]:
            self.problems.append(f"{entry['name']}: the fault was not there")
        if not entry["healed"]:
            self.problems.append(f"{entry['name']}: the fault did not heal")
        if entry["again"]:
            self.problems.append(f"{entry['name']}: the next run ended with {entry['again']}: {again.last_words()}")
        if must_fail is not None and bool(entry["code"]) != must_fail:
            self.problems.append(f"{entry['name']}: the disturbed run ended with {entry['code']}")

    def controller_killed(self):
        """The controller is killed in the middle of a roll; the run is repeated at once."""
        run = Run("controller", self.wanted())
        self.mid_roll(self.observer, run)
        run.kill()
        entry = {"name": "controller killed", "node": "controller", "injected": run.ended(), "code": -9, "healed": True}
        self.faults.append(entry)
        self._repeat(entry)

    def broken_configuration(self):
        """The new configuration can't run; each node that got it must have its previous one back."""
        before = self.round
        run = Run("broken", self.wanted(orchestrator_extra_args=["--no-such-flag"]))
        code = run.wait()
        entry = {"name": "broken configuration", "node": "all", "injected": code != 0, "code": code, "healed": True}
        self.faults.append(entry)
        self.settled(self.observer)
        alive = [name for name in self.voters() if self.observer.answers(name)]
        entry["healed"] = len(alive) == len(self.voters())
        self.round = before
        self._repeat(entry, must_fail=True)

    def chosen_by_flags(self):
        """Flags that choose hosts or tasks may have a run do less, and nothing else."""
        voter = self._other_voter(self.observer)
        cases = (
            (("--limit", voter), False, {voter}),
            (("--tags", "restart"), False, set()),
            (("--start-at-task", "Restart under the guard"), True, set()),
        )
        for words, must_fail, expected in cases:
            self.settled(self.observer)
            before = self.processes()
            run = Run(f"flag-{words[0].strip('-')}", self.wanted(), words=words)
            code, restarted = run.wait(), self.restarted(before)
            text = " ".join(words)
            say(f"{text}: exit {code}, restarted {', '.join(sorted(restarted)) or 'nothing'}")
            self.flags.append({"words": text, "code": code, "restarted": len(restarted)})
            if bool(code) != must_fail:
                self.problems.append(f"{text}: the run ended with {code}: {run.last_words()}")
            if restarted != expected:
                self.problems.append(f"{text}: restarted {sorted(restarted)} instead of {sorted(expected)}")

    def second_operator(self):
        """A second run while the first is on its way must refuse, and touch nothing."""
        self.settled(self.observer)
        before = self.processes()
        first = Run("first-operator", self.wanted())
        self.mid_roll(self.observer, first)
        second = Run("second-operator", self.wanted())
        codes = second.wait(), first.wait()
        self.round -= 1
        restarted = self.restarted(before)
        say(f"second operator: exit {codes[0]}, the first one's: exit {codes[1]}")
        self.flags.append({"words": "a second operator at the same time", "code": codes[0], "restarted": 0})
        if not codes[0] or "held by run" not in second.said():
            self.problems.append(f"the second operator's run ended with {codes[0]}: {second.last_words()}")
        if codes[1] or restarted != {*self.names}:
            self.problems.append(f"the first operator's run ended with {codes[1]}, {len(restarted)} nodes restarted: {first.last_words()}")

    def _other_voter(self, observer):
        """The voter that is up longest and does not lead: the run is not at it at this moment."""
        up = {name: (observer.answers(name) or {}).get("uptime_seconds") or 0 for name in self.voters() if name != observer.leader()}
        return max(up, key=up.get)

    def fault(self, kind, leader=False):
        """Makes the fault of that kind at the leader of the moment or at another voter."""

        def make(observer):
            name = (observer.leader() if leader else None) or self._other_voter(observer)
            return kind(name, self.known[name].public, containers.execute)

        return make

    def clock(self):
        """The clock of a voter steps while every node is restarted."""
        name = self._other_voter(self.observer)
        fault = faults.ClockStep(name, self.known[name].public, containers.execute, lambda: (self.observer.answers(name) or {}).get("timestamp"))
        fault.prepare()
        if Run("clock", self.wanted()).wait():
            self.problems.append("clock steps: the run before the step failed")
        self.with_fault(lambda unused: fault)

    def _roll_voters(self, names):
        """A playbook that restarts these voters one after the other, as the roll does, and goes on to the end."""
        service = {
            "manager": "systemd",
            "state": "restarted",
            "node_id": "{{ inventory_hostname }}",
            "voters": self.voters(),
            "endpoints": {name: [f"{self.known[name].public}:{topology.PORT}"] for name in self.voters()},
            "window": 4,
            "guard_timeout": 8,
            "join_timeout": 10,
        }
        play = {"hosts": names, "gather_facts": False, "serial": 1, "become": True, "tasks": [{"ringrift.p2p.orchestrator_service": service}]}
        path = os.path.join(WORK, "roll-voters.yml")
        with open(path, "w", encoding="utf-8") as stream:
            json.dump([play], stream, indent=1)
        return path

    def without_guard(self):
        """The same test with the guard switched off in a copy of the tree: it must fail there, and only there.

        With as many voters hung as the cluster can bear, the guard must stop nothing; without it the majority is lost.
        """
        spare = (len(self.voters()) - 1) // 2
        lost = {}
        for name, tree in (("with the guard", ROOT), ("without the guard", mutated_tree())):
            self.settled(self.observer)
            leader = self.observer.leader()
            hung = [voter for voter in self.voters() if voter != leader][:spare]
            stopped = [faults.Stopped(voter, self.known[voter].public, containers.execute) for voter in hung]
            playbook = self._roll_voters([voter for voter in self.voters() if voter not in hung])
            observer = self.watch()
            try:
                for fault in stopped:
                    fault.inject()
                if not all(fault.injected() for fault in stopped):
                    self.problems.append(f"{name}: the voters did not hang")
                time.sleep(3)
                run = Run(name, {}, tree, playbook)
                code = run.wait()
            finally:
                for fault in stopped:
                    fault.heal()
            lost[name] = observer.stop()["seconds_without_majority"]
            say(f"{name}: exit {code}, {lost[name]} s without a majority, with {spare} of {len(self.voters())} voters hung")
        self.settled(self.observer)
        if lost["with the guard"]:
            self.problems.append(f"with the guard the majority was lost for {lost['with the guard']} s")
        if not lost["without the guard"]:
            self.problems.append("without the guard the majority was not lost: this test proves nothing")
        return lost

    def run(self):
        """Everything; the figures."""
        self.prepare()
        self.observer = self.watch()
        self.settled(self.observer)
        figures = {}
        try:
            parts = [lambda: self.rolling(1), lambda: self.with_fault(self.fault(faults.Killed, leader=True))]
            if not self.options.short:
                kinds = (faults.Stopped, faults.CutOff, faults.CutOffOneWay, faults.DiskFull)
                parts[:1] = [self.chosen_by_flags, self.second_operator, lambda: self.rolling(self.options.runs)]
                parts += [lambda kind=kind: self.with_fault(self.fault(kind)) for kind in kinds]
                parts += [self.clock, self.controller_killed, self.broken_configuration]
            for part in parts:
                # What could not be shown is told with all the rest.
                try:
                    part()
                except (ChaosError, containers.LabError) as problem:
                    say(str(problem))
                    self.problems.append(str(problem))
        finally:
            figures["all"] = self.observer.stop()
        self.observer = self.watch()
        try:
            figures["lost"] = self.without_guard()
        finally:
            self.observer.stop()
        seen = figures["all"]
        if seen["seconds_without_majority"]:
            self.problems.append(f"{seen['seconds_without_majority']} s without a majority: {seen['losses']}")
        if seen["seconds_with_two_leaders"] or seen["terms_with_two_leaders"]:
            self.problems.append(f"two leaders in one term: {seen['clashes']} {seen['terms_with_two_leaders']}")
        if seen["rate"] < 10:
            self.problems.append(f"the observer looked {seen['rate']} times a second only")
        return figures


def mutated_tree():
    """A copy of the tree in which the guard allows everything; for this test only."""
    tree = os.path.join(WORK, "without-guard")
    shutil.rmtree(tree, ignore_errors=True)
    for part in ("playbooks", "plugins", "roles", "meta", "ansible.cfg", "galaxy.yml"):
        source, target = os.path.join(ROOT, part), os.path.join(tree, part)
        if os.path.isdir(source):
            shutil.copytree(source, target, symlinks=True)
        elif os.path.exists(source):
            os.makedirs(tree, exist_ok=True)
            shutil.copy2(source, target)
    with open(os.path.join(tree, "plugins", "module_utils", "_guard.py"), "a", encoding="utf-8") as stream:
        stream.write(
            "\n\ndef may_stop(candidate, views, voters, window, leader_required=True):\n"
            '    return {"allowed": True, "reason": None, "evidence": [], "alive": [], "majority": 0, "leader": None}\n'
        )
    return tree


def _flag_lines(flags):
    rows = []
    for entry in flags:
        words = f"`{entry['words']}`" if entry["words"].startswith("-") else entry["words"]
        rows.append(f"| {words} | exit {entry['code']} | {entry['restarted']} |")
    return ["## Whatever the flags", "", "The runs above took turns with `--forks 1`, `--forks 50` and the default.", "",
            "| Run | Ended with | Nodes it restarted |", "|---|---|---|", *rows, ""] if rows else []


def _ended(code):
    return "not at all" if code is None else f"exit {code}"


def document(chaos, figures):
    """docs/reliability.md, from what was measured."""
    seen, lost = figures["all"], figures["lost"]
    searches = seen["searches"]
    median, worst = percentile(searches, 0.5) or 0, percentile(searches, 0.95) or 0
    rolls = [result["seconds"] for result in chaos.results] or [0]
    yes = {True: "yes", False: "no", None: "no"}
    lines = [
        "# Reliability",
        "",
        f"Written by `tests/chaos/chaos.py` on {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d} from what it measured:",
        f"{len(chaos.names)} nodes, {len(chaos.voters())} voters, {os.cpu_count()} cores for all of them. `make chaos` measures again and writes this",
        "page anew.",
        "",
        "| What | Measured |",
        "|---|---|",
        f"| Runs that restarted every node | {len(chaos.results)}, each {min(rolls):.0f} to {max(rolls):.0f} s |",
        f"| Runs with a fault | {len(chaos.faults)} |",
        f"| Watched | {seen['seconds']:.0f} s, {seen['rate']:.1f} looks a second at every voter |",
        f"| Without a majority | {seen['seconds_without_majority']:g} s |",
        f"| Two leaders in one term | {seen['seconds_with_two_leaders']:g} s |",
        f"| Changes of leader | {len(seen['leaders']) - 1} |",
        f"| Time to one agreed leader | p50 {median:g} s, p95 {worst:g} s, longest {max(searches, default=0):g} s |",
        "",
        "Agreed: all voters that answer name the same one, and it alone calls itself leader. A voter that is back from a fault and answers, but names",
        "nobody yet, counts against it.",
        "",
        "## Faults, one at a time, in the middle of a run",
        "",
        "| Fault | Node | Injected | Healed | Disturbed run | Next run |",
        "|---|---|---|---|---|---|",
        *(
            f"| {entry['name']} | {entry['node']} | {yes[entry.get('injected')]} | {yes[entry.get('healed')]} | "
            f"{_ended(entry.get('code'))} | {_ended(entry.get('again'))} |"
            for entry in chaos.faults
        ),
        "",
        "The clock that steps is the one that the orchestrator's process sees; containers share the machine's. The disk that fills is the one",
        "below `/var/lib/ringrift-p2p`.",
        "",
        *_flag_lines(chaos.flags),
        "## The same test with the guard switched off",
        "",
        f"With {(len(chaos.voters()) - 1) // 2} of {len(chaos.voters())} voters hung, a run that wants to restart the others cost",
        f"{lost['with the guard']:g} s without a majority with the guard, and {lost['without the guard']:g} s in a copy of the tree in which the guard",
        "allows everything.",
        "",
        "## Verdict",
        "",
        *([f"- {problem.splitlines()[0]}" for problem in chaos.problems] or ["The promise held."]),
        "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=20, help="runs that restart every node")
    parser.add_argument("--short", action="store_true", help="one run, one fault, the test without the guard")
    parser.add_argument("--nodes", help="these nodes of the lab, all voters among them, or all of it")
    parser.add_argument("--no-lab", action="store_true", help="take the lab as it is")
    parser.add_argument("--output", help="file for the figures; without it docs/reliability.md, for --short none")
    options = parser.parse_args()
    output = options.output or (None if options.short else os.path.join(ROOT, "docs", "reliability.md"))
    try:
        chaos = Chaos(options)
        figures = chaos.run()
    except (ChaosError, containers.LabError) as problem:
        say(str(problem))
        return 1
    with open(os.path.join(WORK, "figures.json"), "w", encoding="utf-8") as stream:
        json.dump(figures, stream, indent=1)
    text = document(chaos, figures)
    print(text)
    if output:
        with open(output, "w", encoding="utf-8") as stream:
            stream.write(text)
    for problem in chaos.problems:
        say(problem)
    return 1 if chaos.problems else 0


if __name__ == "__main__":
    sys.exit(main())
