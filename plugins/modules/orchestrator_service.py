#!/usr/bin/python
# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: orchestrator_service
short_description: Start, stop or restart the orchestrator of a node without costing the cluster its majority
version_added: 1.0.0
description:
  - Starts, stops or restarts the orchestrator under systemd or supervisord.
  - Before a running voter is stopped, the other voters are asked. It is stopped only when, with this node counted as down, the voters that are
    proven alive still make a majority and one leader is seen by all, for the whole of O(window).
  - A leader hands its leadership over first, where the orchestrator can do that (C(POST /leadership/transfer)), and the others are asked again.
  - The stop waits for the end of the process and for its port, the start for the node's own answer, and then for another voter's record of this node
    to move. All this is one call, so that nothing can come between the guard and what it guards.
  - A node that is down, or that is no voter, needs no guard.
author:
  - RingRift P2P contributors (@ringrift)
extends_documentation_fragment:
  - ringrift.p2p.attributes
attributes:
  check_mode:
    support: full
    details:
      - The guard is asked in check mode as well; nothing is touched.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - O(state=restarted) restarts each time. Use O(state=started) with O(expected_generation) to restart only what runs with another configuration.
options:
  name:
    description: Name of the unit or of the program.
    type: str
    default: ringrift-p2p
  manager:
    description: What runs the orchestrator.
    type: str
    choices: [systemd, supervisord]
    required: true
  supervisor_command:
    description: Command, as a list, that reaches C(supervisorctl) of the right instance. Required with O(manager=supervisord).
    type: list
    elements: str
    default: []
  supervisor_start_command:
    description: Command, as a list, that starts C(supervisord) where it does not run. Without it, a supervisord that does not run is an error.
    type: list
    elements: str
    default: []
  state:
    description:
      - With V(started), an orchestrator that runs is left alone, unless O(expected_generation) says that it should run with another configuration.
    type: str
    choices: [started, stopped, restarted]
    default: started
  enabled:
    description: Whether the unit is to start with the system as well. Only V(true) acts; supervisord starts what its configuration names.
    type: bool
    default: false
  node_id:
    description: Name of this node in the hosts file.
    type: str
    required: true
  port:
    description: HTTP port of the orchestrators, of this node and of endpoints that name none.
    type: int
    default: 8770
  voters:
    description: Names of all voters of the hosts file. Never shortened by a limit.
    type: list
    elements: str
    required: true
  endpoints:
    description:
      - Where the other voters are asked, as seen from this node; a mapping of names to lists of C(host:port), which are tried in order.
      - A voter without an entry counts as down. Other nodes may be named too, so that a leader that is no voter is seen.
    type: dict
    default: {}
  guard:
    description:
      - V(auto) asks the other voters when this node is a voter and its orchestrator runs.
      - V(always) asks them for any node that runs or not.
    type: str
    choices: [auto, always]
    default: auto
  leader_required:
    description:
      - Whether the voters must agree on one leader before a stop and after a start.
      - Only to be V(false) while the fault is repaired that keeps the cluster from having one. The majority is always required.
    type: bool
    default: true
  window:
    description:
      - Seconds over which the voters are watched before a stop.
      - Allow V(180) on the orchestrator in the field, whose records of each other move slowly.
    type: float
    default: 6
  interval:
    description: Seconds between two samples.
    type: float
    default: 1
  guard_timeout:
    description: Seconds that the guard may take until it allows the stop; at least O(window). Without it, O(window) and 20 seconds more.
    type: float
  handover_timeout:
    description: Seconds for another voter to be leader after this one handed over.
    type: float
    default: 20
  stop_timeout:
    description: Seconds for the orchestrator to end by itself. After them it is killed.
    type: float
    default: 60
  start_timeout:
    description: Seconds for the orchestrator to answer under its own name after the start.
    type: float
    default: 180
  join_timeout:
    description:
      - Seconds for the node to be part of the cluster again in the eyes of another voter, and a voter to name the leader that the others name.
      - V(0) does not wait for that.
    type: float
    default: 180
  request_timeout:
    description: Seconds that one node is given for one answer.
    type: float
    default: 3
  token_file:
    description: File with the token of the cluster on this node. A file that is missing means that there is no token.
    type: path
    default: /etc/ringrift/cluster-token
  expected_generation:
    description: What must stand in E(RINGRIFT_P2P_GENERATION) of the process that runs in the end.
    type: str
  lease:
    description:
      - Id of the run that must hold the restart lease of this node, see M(ringrift.p2p.restart_lease). The lease is renewed.
      - A voter without a lease is refused; any node with the lease of another run is.
    type: str
  lease_path:
    description: File of the lease.
    type: path
    default: /run/ringrift-p2p/restart.lease
seealso:
  - module: ringrift.p2p.cluster_health
  - module: ringrift.p2p.restart_lease
"""

EXAMPLES = r"""
- name: Restart a voter under the guard
  ringrift.p2p.orchestrator_service:
    manager: systemd
    state: restarted
    node_id: hetzner-cpu1
    voters: [hetzner-cpu1, hetzner-cpu2, nebius-backbone-1]
    endpoints:
      hetzner-cpu2: ["203.0.113.12:8770"]
      nebius-backbone-1: ["203.0.113.21:8770", "100.64.0.21:8770"]
    lease: "{{ run_id }}"

- name: Start the orchestrator of a container, or restart it where it runs with another configuration
  ringrift.p2p.orchestrator_service:
    manager: supervisord
    supervisor_command: [/usr/bin/supervisorctl, -c, /etc/ringrift/supervisord.conf]
    node_id: vast-30274241
    voters: "{{ voters }}"
    endpoints: "{{ endpoints }}"
    expected_generation: "{{ generation }}"
"""

RETURN = r"""
guard:
  description: What the guard asked and what it concluded.
  returned: always
  type: dict
  contains:
    required:
      description: Whether this act needed the guard.
      type: bool
    asked:
      description: Voters that were asked.
      type: list
      elements: str
    answers:
      description: What each of them proved, in words.
      type: list
      elements: str
    allowed:
      description: Whether the stop was allowed; true where no guard was needed.
      type: bool
    reason:
      description: Why not; V(none) where allowed.
      type: str
    samples:
      description: Number of rounds of samples.
      type: int
handover:
  description: How the leadership was handed over. Empty where this node did not lead.
  returned: always
  type: dict
  contains:
    supported:
      description: Whether the orchestrator can hand over.
      type: bool
    leader:
      description: The leader that the others agreed on afterwards; V(none) where they did not within O(handover_timeout).
      type: str
    detail:
      description: What the orchestrator answered where it refused.
      type: str
stopped_after:
  description: Seconds from the order to stop until the process and its port were gone; V(none) where nothing was stopped.
  returned: always
  type: float
killed:
  description: Whether the orchestrator had to be killed.
  returned: always
  type: bool
started_after:
  description: Seconds from the order to start until the node answered; V(none) where nothing was started.
  returned: always
  type: float
joined_after:
  description: Seconds from then on until another voter saw the node again; V(none) where that was not waited for.
  returned: always
  type: float
leader:
  description:
    - The leader that the voters agreed on when they were last asked, by the guard, after a handover or while the node joined.
    - V(none) where they were not asked or did not agree.
  returned: always
  type: str
before:
  description: The orchestrator as it was.
  returned: always
  type: dict
  contains:
    pid:
      description: Its process; V(none) where it did not run.
      type: int
    state:
      description: What the service manager said.
      type: str
    generation:
      description: E(RINGRIFT_P2P_GENERATION) of its environment.
      type: str
after:
  description: The orchestrator as it is, with the same keys.
  returned: always
  type: dict
failed_at:
  description: "The step that did not succeed: V(parameters), V(lease), V(guard), V(stop), V(start), V(generation) or V(join)."
  returned: failure
  type: str
log:
  description: The last lines that the orchestrator logged.
  returned: when it did not start or join
  type: list
  elements: str
"""

import contextlib
import os
import time
from signal import SIGKILL, SIGTERM

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ringrift.p2p.plugins.module_utils._cluster_view import Watch, judge
from ansible_collections.ringrift.p2p.plugins.module_utils._guard import joined, may_stop
from ansible_collections.ringrift.p2p.plugins.module_utils._http import endpoint_faults, get_json, post_json, read_token, sample_round, tcp, with_port
from ansible_collections.ringrift.p2p.plugins.module_utils._lease import decide, exclusive, new_lease, node_clock, read_lease, write_lease
from ansible_collections.ringrift.p2p.plugins.module_utils._services import (
    ServiceError,
    Supervisord,
    Systemd,
    environment_of,
    port_owners,
    send_signal,
    start_ticks,
)

ARGUMENTS = {
    "name": {"type": "str", "default": "ringrift-p2p"},
    "manager": {"type": "str", "choices": ["systemd", "supervisord"], "required": True},
    "supervisor_command": {"type": "list", "elements": "str", "default": []},
    "supervisor_start_command": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["started", "stopped", "restarted"], "default": "started"},
    "enabled": {"type": "bool", "default": False},
    "node_id": {"type": "str", "required": True},
    "port": {"type": "int", "default": 8770},
    "voters": {"type": "list", "elements": "str", "required": True},
    "endpoints": {"type": "dict", "default": {}},
    "guard": {"type": "str", "choices": ["auto", "always"], "default": "auto"},
    "leader_required": {"type": "bool", "default": True},
    "window": {"type": "float", "default": 6},
    "interval": {"type": "float", "default": 1},
    "guard_timeout": {"type": "float"},
    "handover_timeout": {"type": "float", "default": 20},
    "stop_timeout": {"type": "float", "default": 60},
    "start_timeout": {"type": "float", "default": 180},
    "join_timeout": {"type": "float", "default": 180},
    "request_timeout": {"type": "float", "default": 3},
    "token_file": {"type": "path", "default": "/etc/ringrift/cluster-token", "no_log": False},
    "expected_generation": {"type": "str"},
    "lease": {"type": "str"},
    "lease_path": {"type": "path", "default": "/run/ringrift-p2p/restart.lease"},
}

# Seconds between two looks at a process.
POLL = 0.3
# So many seconds and so many tries (where they are counted) without a process that stays are a loop of refused starts.
LOOP_SECONDS = 12.0
LOOP_STARTS = 2
# Seconds to wait for another act on this node to end.
LEASE_WAIT = 300.0


class Failure(Exception):
    """The act ends here: at which step, and why."""

    def __init__(self, step, message):
        super().__init__(message)
        self.step = step


def parameter_faults(parameters):
    """What is wrong with the parameters, all at once."""
    faults = endpoint_faults(parameters["endpoints"])
    faults += [f"{name} must be above 0" for name in ("window", "interval", "stop_timeout", "start_timeout", "request_timeout") if parameters[name] <= 0]
    if parameters["join_timeout"] < 0:
        faults.append("join_timeout must not be negative")
    if parameters["interval"] > parameters["window"] / 2:
        faults.append("interval must be at most half of window, as one sample proves nothing")
    if parameters["guard_timeout"] is not None and parameters["guard_timeout"] < parameters["window"]:
        faults.append("guard_timeout must be at least window")
    if parameters["manager"] == "supervisord" and not parameters["supervisor_command"]:
        faults.append("supervisor_command is required with manager 'supervisord'")
    return faults


def plan_act(state, running, generation, expected_generation):
    """What is to be done: (stop, start), from the wanted state and what runs."""
    if state == "stopped":
        return running, False
    if state == "restarted":
        return running, True
    if running and expected_generation is not None and generation != expected_generation:
        return True, True
    return False, not running


class Orchestrator:
    """The orchestrator of this node: its service, its processes, its answers, and the other voters' view of it."""

    def __init__(self, parameters, result):
        self.parameters = parameters
        self.result = result
        self.node_id = parameters["node_id"]
        self.own_address = f"127.0.0.1:{parameters['port']}"
        self.token = read_token(parameters["token_file"])
        others = {name: addresses for name, addresses in parameters["endpoints"].items() if name != self.node_id}
        self.endpoints = dict(with_port(others, parameters["port"]), **{self.node_id: [self.own_address]})
        if parameters["manager"] == "systemd":
            self.service = Systemd(parameters["name"])
        else:
            self.service = Supervisord(parameters["name"], parameters["supervisor_command"], parameters["supervisor_start_command"])

    def processes(self, state):
        """{pid: start ticks} of the service's process and of any orchestrator that has the port, whoever started it."""
        found = port_owners(self.parameters["port"])
        if state["pid"]:
            started = start_ticks(state["pid"])
            if started is not None:
                found[state["pid"]] = started
        return found

    def look(self):
        """(state of the service, {pid: start ticks}, {pid, state, generation})."""
        state = self.service.state()
        processes = self.processes(state)
        pid = state["pid"] if state["pid"] in processes else next(iter(processes), None)
        generation = environment_of(pid).get("RINGRIFT_P2P_GENERATION") if pid else None
        return state, processes, {"pid": pid, "state": state["state"], "generation": generation}

    def answer(self):
        """The node's own /health: (body | None, error | None)."""
        unused_status, body, problem = get_json(self.own_address, "/health", self.parameters["request_timeout"], self.token)
        return (None, problem) if problem else (body, None)

    def sample(self, watch):
        watch.add(sample_round(self.endpoints, self.parameters["request_timeout"], self.token))
        return watch.views()

    def watch(self):
        return Watch(self.parameters["voters"], self.parameters["voters"], window=self.parameters["window"])

    def ask_guard(self):
        """Watches the voters until a stop is allowed for a whole window, or the time is up; fills result.guard. Raises Failure."""
        parameters = self.parameters
        watch = self.watch()
        timeout = parameters["guard_timeout"] if parameters["guard_timeout"] is not None else parameters["window"] + 20
        start = time.monotonic()
        while True:
            began = time.monotonic()
            views = self.sample(watch)
            verdict = may_stop(self.node_id, views, parameters["voters"], parameters["window"], parameters["leader_required"])
            now = time.monotonic()
            pause = max(0.0, began + parameters["interval"] - now)
            if verdict["allowed"] or now + pause - start > timeout:
                break
            time.sleep(pause)
        self.result["leader"] = verdict["leader"]
        self.result["guard"] = {
            "required": True,
            "asked": [name for name in parameters["voters"] if name != self.node_id and name in self.endpoints],
            "answers": verdict["evidence"],
            "allowed": verdict["allowed"],
            "reason": verdict["reason"],
            "samples": watch.samples,
        }
        if not verdict["allowed"]:
            raise Failure(
                "guard",
                f"{self.node_id} is not stopped: {verdict['reason']}. What the others proved: {'; '.join(verdict['evidence']) or 'nothing'}. "
                "Nothing was touched on this node; bring the voters named here back, then run again.",
            )

    def leads(self):
        unused_status, body, problem = get_json(self.own_address, "/health", self.parameters["request_timeout"], self.token)
        return problem is None and body.get("role") == "leader"

    def hand_over(self):
        """Has another voter lead, where the orchestrator can; waits until the voters agree on it. Fills result.handover.

        A leader that can't hand over, or does not get rid of its leadership in time, is stopped as a leader: that costs an election, not the majority.
        """
        parameters, end = self.parameters, time.monotonic() + self.parameters["handover_timeout"]
        handover = self.result["handover"] = {"supported": True, "leader": None, "detail": None}
        watch = self.watch()
        while time.monotonic() < end:
            if self.leads():
                status, body, problem = post_json(self.own_address, "/leadership/transfer", {}, parameters["handover_timeout"], self.token)
                handover["detail"] = (body or {}).get("reason") or problem
                if status in (404, 405, 501):
                    handover["supported"] = False
                    return
            state = judge(self.sample(watch), parameters["voters"], parameters["voters"])
            if state["leader_agreed"] and state["leader"] != self.node_id:
                handover["leader"] = self.result["leader"] = state["leader"]
                return
            time.sleep(parameters["interval"])

    def stop(self):
        """Stops the service and whatever else has the port, and waits until all of it is gone. Raises Failure."""
        timeout = self.parameters["stop_timeout"]
        began = time.monotonic()
        state, processes, unused_seen = self.look()
        own = {state["pid"]} if state["pid"] else set()
        try:
            # A supervisord that starts now would start the program beside what is still running.
            if state["state"] != "UNREACHABLE":
                self.service.prepare()
            if state["active"]:
                self.service.stop(timeout)
        except ServiceError as problem:
            if time.monotonic() - began < timeout:
                raise Failure("stop", f"{self.node_id} could not be stopped: {problem}") from problem
            self.result["killed"] = True
            self.service.kill()
        for pid, started in processes.items():
            if pid not in own:
                send_signal(pid, started, SIGTERM)

        grace = 10.0
        end = max(began + timeout, time.monotonic() + grace)
        while True:
            left = {pid: started for pid, started in processes.items() if start_ticks(pid) == started}
            busy = tcp(self.own_address, 1.0)[0]
            if not left and not busy:
                self.result["stopped_after"] = round(time.monotonic() - began, 3)
                return
            if time.monotonic() > end:
                if self.result["killed"] or not left:
                    what = f"process {', '.join(map(str, left))} is still there" if left else f"port {self.parameters['port']} is still open"
                    raise Failure("stop", f"{self.node_id} did not stop within {timeout:g} s: {what}.")
                self.result["killed"] = True
                for pid, started in left.items():
                    send_signal(pid, started, SIGKILL)
                end = time.monotonic() + grace
            time.sleep(POLL)

    def start(self):
        """Starts the service and waits for the node's answer under its own name. Raises Failure with the last log lines."""
        began = time.monotonic()
        try:
            self.service.prepare()
            if self.parameters["enabled"]:
                self.service.enable()
            self.service.start()
        except ServiceError as problem:
            raise Failure("start", f"{self.node_id} could not be started: {problem}") from problem
        idle, refused_since, restarts_before = 0, None, None
        while True:
            state, unused_processes, seen = self.look()
            body, problem = self.answer()
            if body is not None and body.get("node_id") not in (None, self.node_id):
                problem = f"it answers under the name {body.get('node_id')}"
            elif body is not None and seen["pid"]:
                self.result["started_after"] = round(time.monotonic() - began, 3)
                return seen
            idle = 0 if state["active"] else idle + 1
            if restarts_before is None:
                restarts_before = state["restarts"] or 0
            if state["restarting"] and refused_since is None:
                refused_since = time.monotonic()
            tries = LOOP_STARTS if state["restarts"] is None else state["restarts"] - restarts_before
            why = None
            if idle >= 4:
                why = f"the start was refused: the process has ended ({state['state']}, {state['exit_status']})"
            elif state["restarting"] and tries >= LOOP_STARTS and time.monotonic() - refused_since > LOOP_SECONDS:
                why = f"the start is refused again and again ({state['state']}, {state['exit_status']})"
            elif time.monotonic() - began > self.parameters["start_timeout"]:
                why = f"no answer within {self.parameters['start_timeout']:g} s ({problem}; the service is {state['state']})"
            if why:
                raise Failure("start", f"{self.node_id} did not come up: {why}.")
            time.sleep(POLL)

    def join(self):
        """Waits until another voter sees this node again. Raises Failure."""
        began = time.monotonic()
        watch = self.watch()
        while True:
            verdict = joined(self.node_id, self.sample(watch), self.parameters["voters"], self.parameters["leader_required"])
            if verdict["joined"]:
                self.result["leader"] = verdict["leader"]
                self.result["joined_after"] = round(time.monotonic() - began, 3)
                return
            if time.monotonic() - began > self.parameters["join_timeout"]:
                raise Failure("join", f"{self.node_id} runs, but is not back in the cluster after {self.parameters['join_timeout']:g} s: {verdict['reason']}.")
            time.sleep(self.parameters["interval"])


@contextlib.contextmanager
def leased(parameters, check_mode):
    """Makes sure that the lease of this node belongs to the run, renews it, and keeps others from it until the act is over. Raises Failure."""
    run_id, path = parameters["lease"], parameters["lease_path"]
    with contextlib.ExitStack() as stack:
        try:
            # A node that never had a lease gets no folder for one.
            if run_id is not None and (check_mode or not os.path.exists(path)):
                _held(parameters, read_lease(path))
            elif run_id is not None:
                stack.enter_context(exclusive(path, LEASE_WAIT))
                current = read_lease(path)
                if _held(parameters, current):
                    write_lease(path, new_lease(current, "renew", current["holder"], node_clock(), current.get("time_to_live") or 0))
        except (OSError, ValueError) as problem:
            raise Failure("lease", f"The lease {path} of run {run_id} can't be read or renewed: {problem}.") from problem
        yield


def _held(parameters, current):
    """Whether there is a lease and the run holds it; raises Failure where it belongs to another run, or a voter has none."""
    if current is None:
        if parameters["node_id"] in parameters["voters"]:
            raise Failure("lease", f"Run {parameters['lease']} holds no lease on the voter {parameters['node_id']}; it was lost or never taken. Run again.")
        return False
    verdict = decide(current, {"run_id": parameters["lease"]}, node_clock())
    if verdict["decision"] != "renew":
        raise Failure("lease", f"{parameters['node_id']} is not touched: its lease is not held by run {parameters['lease']}; {verdict['reason']}.")
    return True


def act(orchestrator, check_mode):
    """Does what the parameters ask for; fills the result as it goes. Raises Failure, ServiceError."""
    parameters, result = orchestrator.parameters, orchestrator.result
    state, processes, before = orchestrator.look()
    result["before"] = result["after"] = before
    running = bool(processes) or orchestrator.answer()[0] is not None
    stop, start = plan_act(parameters["state"], running or state["active"], before["generation"], parameters["expected_generation"])
    enable = parameters["enabled"] and state["enabled"] is False
    result["changed"] = stop or start or enable
    if not (stop or start):
        if enable and not check_mode:
            orchestrator.service.enable()
        return

    with leased(parameters, check_mode):
        if parameters["guard"] == "always" or (stop and running and parameters["node_id"] in parameters["voters"]):
            orchestrator.ask_guard()
            if not check_mode and stop and orchestrator.leads():
                orchestrator.hand_over()
                orchestrator.ask_guard()
        if check_mode:
            result["after"] = {"pid": None, "state": parameters["state"], "generation": parameters["expected_generation"] if start else None}
        else:
            change(orchestrator, stop, start)


def change(orchestrator, stop, start):
    """Stops and starts, and waits for both to be true. Raises Failure."""
    parameters, result = orchestrator.parameters, orchestrator.result
    if stop:
        orchestrator.stop()
        result["after"] = orchestrator.look()[2]
    if start:
        result["after"] = orchestrator.start()
        wanted = parameters["expected_generation"]
        if wanted is not None and result["after"]["generation"] != wanted:
            seen = result["after"]["generation"]
            raise Failure("generation", f"{parameters['node_id']} runs with generation {seen} instead of {wanted}: its service reads other files.")
        if parameters["join_timeout"] > 0 and len(orchestrator.endpoints) > 1:
            orchestrator.join()


def summary(seen):
    return f"state: {seen['state']}\ngeneration: {seen['generation']}\n" if seen else ""


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    result = {
        "changed": False,
        "guard": {"required": False, "asked": [], "answers": [], "allowed": True, "reason": None, "samples": 0},
        "handover": {},
        "stopped_after": None,
        "killed": False,
        "started_after": None,
        "joined_after": None,
        "leader": None,
        "before": None,
        "after": None,
    }
    faults = parameter_faults(module.params)
    if faults:
        module.fail_json(msg=f"Parameters can't be used: {'; '.join(faults)}.", failed_at="parameters", **result)

    orchestrator = Orchestrator(module.params, result)
    failure = None
    try:
        act(orchestrator, module.check_mode)
    except Failure as problem:
        failure = {"msg": str(problem), "failed_at": problem.step}
        if problem.step in ("parameters", "lease", "guard"):
            result["changed"] = False
        elif problem.step in ("start", "generation", "join"):
            failure["log"] = orchestrator.service.log()
            if failure["log"]:
                failure["msg"] += f" Its last words: {' / '.join(failure['log'][-5:])}"
    except ServiceError as problem:
        failure = {"msg": f"The service manager of {module.params['node_id']} failed: {problem}.", "failed_at": "stop"}
    if failure and result["changed"] and not module.check_mode:
        try:
            result["after"] = orchestrator.look()[2]
        except ServiceError:
            result["after"] = None
    if result["changed"]:
        result["diff"] = {"before": summary(result["before"]), "after": summary(result["after"])}
    if failure:
        module.fail_json(**dict(result, **failure))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
