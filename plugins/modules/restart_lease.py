#!/usr/bin/python
# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: restart_lease
short_description: Hold the right to restart nodes, so that two runs never do at once
version_added: 1.0.0
description:
  - Keeps a small file on a node (or on the controller) that says which run may restart the orchestrators of the cluster.
  - A run that holds the lease of a majority of the voters knows that no other run does.
  - The lease dies with its run. It expires when it is not renewed, and it is taken over at once when the run that asks is on the same controller and the
    process of the run that holds it has ended; the action plugin looks for that itself.
  - Taking a lease that this run holds already renews it.
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
options:
  state:
    description:
      - With V(acquired), the run holds the lease afterwards, or the task fails and says who does.
      - With V(released), the run does not hold it any more. The lease of another run is left alone.
    type: str
    choices: [acquired, released]
    default: acquired
  path:
    description: File of the lease.
    type: path
    default: /run/ringrift-p2p/restart.lease
  run_id:
    description: Name of the run. Without it, the action plugin derives one from the host and the process of the run.
    type: str
  holder:
    description:
      - Who the run is. The action plugin fills it in.
      - With the keys C(run_id), C(user), C(controller), C(machine_id), C(boot_id), C(pid_namespace), C(pid) and C(pid_start).
    type: dict
  dead:
    description:
      - Holders whose process is known to have ended, with the same keys. The action plugin fills it in.
      - Believed only where they ran on the same machine, in the same boot and PID namespace as O(holder).
    type: list
    elements: dict
    default: []
  time_to_live:
    description: Seconds after which the lease expires unless it is renewed.
    type: float
    default: 900
  wait:
    description: Seconds to wait for the end of a restart that is under way on the node, as after a run that was killed.
    type: float
    default: 300
seealso:
  - module: ringrift.p2p.orchestrator_service
"""

EXAMPLES = r"""
- name: Hold the lease of the controller
  ringrift.p2p.restart_lease:
    path: "{{ ansible_config_file | dirname }}/.cache/restart.lease"
  delegate_to: localhost
  run_once: true
  register: controller_lease

- name: Hold the lease of a voter
  ringrift.p2p.restart_lease:
    run_id: "{{ controller_lease.run_id }}"
    time_to_live: 600

- name: Give it back
  ringrift.p2p.restart_lease:
    run_id: "{{ controller_lease.run_id }}"
    state: released
"""

RETURN = r"""
run_id:
  description: Name of the run.
  returned: always
  type: str
held:
  description: Whether this run holds the lease now (in check mode, would hold it).
  returned: always
  type: bool
decision:
  description:
    - "What was done: V(acquire), V(renew), V(take_over) or V(refuse); for a release V(release), V(absent) or V(keep)."
  returned: success
  type: str
reason:
  description: Why.
  returned: success
  type: str
lease:
  description: The lease in the file afterwards (when refused, that of the other run); V(none) where there is none.
  returned: always
  type: dict
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ringrift.p2p.plugins.module_utils._lease import (
    decide,
    decide_release,
    exclusive,
    holder_faults,
    new_lease,
    node_clock,
    read_lease,
    write_lease,
)


def summary(lease):
    holder = lease["holder"] if lease else None
    return f"held by: {holder['run_id']}\n" if holder else "held by: nobody\n"


def settle(parameters, current, clock):
    """What to do: (decision with reason, lease to be in the file afterwards)."""
    if parameters["state"] == "released":
        verdict = decide_release(current, parameters["holder"]["run_id"])
        return verdict, None if verdict["decision"] == "release" else current
    verdict = decide(current, parameters["holder"], clock, parameters["dead"])
    if verdict["decision"] == "refuse":
        return verdict, current
    return verdict, new_lease(current, verdict["decision"], parameters["holder"], clock, parameters["time_to_live"])


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["acquired", "released"], "default": "acquired"},
            "path": {"type": "path", "default": "/run/ringrift-p2p/restart.lease"},
            "run_id": {"type": "str"},
            "holder": {"type": "dict"},
            "dead": {"type": "list", "elements": "dict", "default": []},
            "time_to_live": {"type": "float", "default": 900},
            "wait": {"type": "float", "default": 300},
        },
        supports_check_mode=True,
    )
    parameters = module.params
    parameters["holder"] = dict(parameters["holder"] or {})
    if parameters["run_id"]:
        parameters["holder"]["run_id"] = parameters["run_id"]
    faults = holder_faults(parameters["holder"])
    if parameters["time_to_live"] <= 0:
        faults.append("time_to_live must be above 0")
    if not os.path.isabs(parameters["path"]):
        faults.append("path must be absolute")
    run_id = parameters["holder"].get("run_id")
    if faults:
        module.fail_json(msg=f"Parameters can't be used: {'; '.join(faults)}.", run_id=run_id, held=False, lease=None)

    path = parameters["path"]
    try:
        if module.check_mode or (parameters["state"] == "released" and not os.path.exists(path)):
            current = read_lease(path)
            verdict, wanted = settle(parameters, current, node_clock())
        else:
            with exclusive(path, parameters["wait"]):
                current = read_lease(path)
                verdict, wanted = settle(parameters, current, node_clock())
                if verdict["decision"] == "release":
                    os.unlink(path)
                elif wanted != current:
                    write_lease(path, wanted)
    except (OSError, ValueError) as problem:
        module.fail_json(
            msg=f"The lease {path} can't be used: {problem}. If no other run is at work, remove the file.", run_id=run_id, held=False, lease=None
        )

    held = parameters["state"] == "acquired" and verdict["decision"] != "refuse"
    if verdict["decision"] == "refuse":
        module.fail_json(
            msg=f"Another run is at work: the lease {path} is {verdict['reason']}. Wait for it to end; nothing was touched.",
            run_id=run_id,
            held=False,
            lease=current,
            decision="refuse",
            reason=verdict["reason"],
        )
    # A renewal leaves the lease with whom it was.
    changed = verdict["decision"] in ("acquire", "take_over", "release")
    result = {"changed": changed, "run_id": run_id, "held": held, "decision": verdict["decision"], "reason": verdict["reason"], "lease": wanted}
    if changed:
        result["diff"] = {"before": summary(current), "after": summary(wanted)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
