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
  - A record of each is kept under O(records) before anything is touched. With O(state=restored), everything recorded is put back byte by byte, units that
    ran are started, and processes are started again with the arguments, environment and user that they had.
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
      - With V(disabled), no active rival is left.
      - With V(restored), every rival that was disabled here is back.
    type: str
    choices: [disabled, restored]
    required: true
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

- name: Put the other managers back
  ringrift.p2p.rival_managers:
    state: restored
"""

RETURN = r"""
rivals:
  description: The rivals that were disabled or restored (in check mode, would be).
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
      description: V(disabled), V(restored) or V(failed).
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
    return found


def place(rival):
    """Where a rival is defined, as one word."""
    return "%s:%s" % (rival["location"], rival["line"]) if rival.get("line") else rival["location"]


def lines(rivals, state):
    """One line for each rival, for a diff."""
    return "".join("%s %s %s: %s\n" % (rival["kind"], rival["name"], place(rival), state) for rival in rivals)


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["disabled", "restored"], "required": True},
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
        if state == "disabled":
            todo, act = [rival for rival in _rivals.detect(service=module.params["service"]) if rival["active"]], rivals.disable
        else:
            todo, act = rivals.recorded(), rivals.restore
    except _rivals.RivalError as exc:
        module.fail_json(msg=str(exc))
    done = []
    for rival in todo:
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
    changed = [rival for rival in done if rival["action"] != "failed"]
    result = {
        "changed": bool(changed), "rivals": done,
        "diff": {
            "before": lines(changed, "active" if state == "disabled" else "disabled"),
            "after": lines(changed, state),
        },
    }
    if errors:
        module.fail_json(msg="; ".join(errors), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
