#!/usr/bin/python
# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rival_managers
short_description: Disable what else restarts or kills the orchestrator on a node, reversibly
version_added: 1.0.0
description:
  - Two managers on one node fight over the orchestrator's locks. This module finds the others and disables them so that they can be put back.
  - A line of a cron table or start script becomes a marked comment in its place, a unit is masked and stopped, a process is ended by pidfd.
  - A record of each is kept under O(records) before anything is touched. What is put back, is put back byte by byte; units that ran are started, and
    processes are started again with the arguments, environment and user that they had.
  - The record says whether a rival is disabled for good or held off for a run. So what a run that died has held off can be put back later, and what was
    disabled for good stays so.
author:
  - RingRift P2P contributors (@ringrift)
extends_documentation_fragment:
  - ringrift.p2p.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
    platforms: linux
options:
  state:
    description:
      - With V(disabled), no active rival is left, and what was held off is disabled for good.
      - With V(held), no active rival is left until it is V(released).
      - With V(released), every rival that was held off is back; what was disabled for good is left alone.
      - With V(restored), every rival that was held off or disabled here is back.
    type: str
    choices: [disabled, held, released, restored]
    required: true
  run:
    description:
      - Id of the run, kept in the records. Required with O(state=held).
      - With O(state=released), only what that run held off is put back. Without it, what any run has.
    type: str
  leave:
    description:
      - With O(state=held), leaves rivals alone that are defined by one of these files, or units that are masked by one of them.
      - For files that the caller is about to write itself, so that what is kept of them is what stood there.
    type: list
    elements: path
    default: []
  kinds:
    description: Act on rivals of these kinds only.
    type: list
    elements: str
    choices: [cron, file, unit, process]
    default: [cron, file, unit, process]
  service:
    description: Name of the collection's own service, which is no rival of itself.
    type: str
    default: ringrift-p2p
  records:
    description: Folder of the records.
    type: path
    default: /var/lib/ringrift-p2p/rivals
  stop_timeout:
    description: Seconds to wait for a process to end gracefully.
    type: float
    default: 10
seealso:
  - module: ringrift.p2p.orchestrator_processes
"""

EXAMPLES = r"""
- name: Leave the orchestrator to its service alone
  ringrift.p2p.rival_managers:
    state: disabled

- name: Hold them off while this run is at work
  ringrift.p2p.rival_managers:
    state: held
    run: 20261123T120000.000000Z

- name: Put back what was held off
  ringrift.p2p.rival_managers:
    state: released

- name: Put the other managers back, those that were disabled for good as well
  ringrift.p2p.rival_managers:
    state: restored
"""

RETURN = r"""
rivals:
  description: The rivals that were disabled, held off or put back (in check mode, would be).
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: V(cron), V(file), V(unit) or V(process).
      type: str
    name:
      description: What it runs, or the unit's name.
      type: str
    location:
      description: Where it is defined.
      type: str
    line:
      description: The line there, if any.
      type: int
    action:
      description: V(disabled), V(held), V(released), V(restored) or V(failed).
      type: str
"""

import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ringrift.p2p.plugins.module_utils import _rivals


def faults(params):
    """Everything that is wrong with the parameters, as one list of sentences."""
    found = []
    if not params["kinds"]:
        found.append("kinds: the list is empty; leave it out for all of them")
    if not 0 < params["stop_timeout"] <= 600:
        found.append("stop_timeout: %g is not between 0 and 600 seconds" % params["stop_timeout"])
    if not re.match(r"[A-Za-z0-9:_.@-]+\Z", params["service"]):
        found.append("service: %s is no name of a unit or program" % params["service"])
    if params["state"] == "held" and not params["run"]:
        found.append("run: it is required with state=held")
    return found


def place(rival):
    """Where a rival is defined, as one word."""
    return "%s:%s" % (rival["location"], rival["line"]) if rival.get("line") else rival["location"]


def line(rival, state):
    """One line for a diff."""
    return "%s %s %s: %s\n" % (rival["kind"], rival["name"], place(rival), state)


def work(rivals, params):
    """What is to be done: a list of (rival or record, the call that does it, what it was before). Raises RivalError."""
    state, run = params["state"], params["run"]
    if state == "restored":
        return [(record, rivals.restore, "held" if record.get("held") else "disabled") for record in rivals.recorded()]
    if state == "released":
        return [(record, rivals.restore, "held") for record in rivals.recorded() if record.get("held") and run in (None, record.get("run"))]
    active = [rival for rival in _rivals.detect(service=params["service"]) if rival["active"]]
    if state == "held":
        leave = set(params["leave"])
        return [(rival, lambda item: rivals.disable(item, run), "active") for rival in active if not _rivals.stands_in(rival, leave)]
    held = [record for record in rivals.recorded() if record.get("held")]
    return [(record, rivals.keep_disabled, "held") for record in held] + [(rival, rivals.disable, "active") for rival in active]


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["disabled", "held", "released", "restored"], "required": True},
            "run": {"type": "str"},
            "leave": {"type": "list", "elements": "path", "default": []},
            "kinds": {"type": "list", "elements": "str", "choices": ["cron", "file", "unit", "process"], "default": ["cron", "file", "unit", "process"]},
            "service": {"type": "str", "default": "ringrift-p2p"},
            "records": {"type": "path", "default": _rivals.RECORDS},
            "stop_timeout": {"type": "float", "default": 10.0},
        },
        supports_check_mode=True,
    )
    wrong = faults(module.params)
    if wrong:
        module.fail_json(msg="; ".join(wrong))
    state = module.params["state"]
    rivals = _rivals.Rivals(module.params["records"], stop_timeout=module.params["stop_timeout"])
    errors = []
    try:
        todo = work(rivals, module.params)
    except _rivals.RivalError as exc:
        module.fail_json(msg=str(exc))
    done, before, after = [], "", ""
    for rival, act, was in todo:
        if rival["kind"] not in module.params["kinds"]:
            continue
        action = state
        if not module.check_mode:
            try:
                act(rival)
            except _rivals.RivalError as exc:
                errors.append(str(exc))
                action = "failed"
        done.append({"kind": rival["kind"], "name": rival["name"], "location": rival["location"], "line": rival.get("line"), "action": action})
        if action != "failed":
            before += line(rival, was)
            after += line(rival, state)
    result = {"changed": bool(after), "rivals": done, "diff": {"before": before, "after": after}}
    if errors:
        module.fail_json(msg="; ".join(errors), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
