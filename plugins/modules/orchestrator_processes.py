#!/usr/bin/python
# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: orchestrator_processes
short_description: Leave exactly one orchestrator running on a node, that of the service
version_added: 1.0.0
description:
  - Finds orchestrators by executable, arguments and cgroup. An editor, a pager or a shell with the script's name in its command line is none.
  - Keeps that of the service and ends every other one by pidfd, first with SIGTERM, after O(stop_timeout) with SIGKILL.
  - Refuses to end a process whose identity is not proven, and fails naming it. One of another PID namespace belongs to a container of its own and is left
    alone.
  - Returns only when the processes have ended and, where none is left, nothing listens on O(port) any more.
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
  service:
    description: Name of the systemd unit (without C(.service)) or supervisord program whose orchestrator stays.
    type: str
    default: ringrift-p2p
  without_service:
    description:
      - What to do where no orchestrator is the service's.
      - With V(keep), the one that has the orchestrator's lock open stays, otherwise the oldest one.
      - With V(end), all of them are ended, so that the service can start.
    type: str
    choices: [keep, end]
    default: keep
  process_pattern:
    description: Regular expression that the file name of an orchestrator's script has to match in full. Without it, C(p2p_orchestrator.py).
    type: str
  port:
    description: TCP port that has to be free in the end where no orchestrator is left.
    type: int
    default: 8770
  stop_timeout:
    description: Seconds to wait for a graceful stop before SIGKILL.
    type: float
    default: 30
seealso:
  - module: ringrift.p2p.rival_managers
  - module: ringrift.p2p.stale_locks
"""

EXAMPLES = r"""
- name: End every orchestrator that is not the service's
  ringrift.p2p.orchestrator_processes:

- name: Make room for the service
  ringrift.p2p.orchestrator_processes:
    without_service: end
    stop_timeout: 45
"""

RETURN = r"""
kept:
  description: The orchestrator that stays, or V(none).
  returned: always
  type: dict
  sample: {"pid": 812, "argv": ["python3", "scripts/p2p_orchestrator.py"], "service": true}
ended:
  description: The processes that were ended (in check mode, would be).
  returned: always
  type: list
  elements: dict
  contains:
    pid:
      description: Its PID.
      type: int
    argv:
      description: Its arguments, secrets masked.
      type: list
      elements: str
    signal:
      description: The signal that ended it, V(TERM) or V(KILL); none where it had ended by itself, and in check mode.
      type: str
    seconds:
      description: How long that took.
      type: float
refused:
  description: Orchestrators that were left alone because their identity is not proven, or because they are not this node's.
  returned: always
  type: list
  elements: dict
  contains:
    pid:
      description: Its PID.
      type: int
    reason:
      description: Why.
      type: str
    foreign:
      description: Whether it belongs to another container.
      type: bool
"""

import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ringrift.p2p.plugins.module_utils import _lock_guard, _processes


def faults(params):
    """Everything that is wrong with the parameters, as one list of sentences."""
    found = []
    if params["process_pattern"] is not None:
        try:
            re.compile(params["process_pattern"])
        except re.error as exc:
            found.append("process_pattern: %s is no regular expression: %s" % (params["process_pattern"], exc))
    if not 0 < params["port"] < 65536:
        found.append("port: %d is not between 1 and 65535" % params["port"])
    if not 0 < params["stop_timeout"] <= 600:
        found.append("stop_timeout: %g is not between 0 and 600 seconds" % params["stop_timeout"])
    if not re.match(r"[A-Za-z0-9:_.@-]+\Z", params["service"]):
        found.append("service: %s is no name of a unit or program" % params["service"])
    return found


def lines(processes):
    """One line for each process, for a diff."""
    return "".join("%d %s\n" % (process["pid"], " ".join(process["argv"])) for process in processes)


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "default": _processes.DEFAULT_SERVICE},
            "without_service": {"type": "str", "choices": ["keep", "end"], "default": "keep"},
            "process_pattern": {"type": "str"},
            "port": {"type": "int", "default": 8770},
            "stop_timeout": {"type": "float", "default": _processes.DEFAULT_STOP_TIMEOUT},
        },
        supports_check_mode=True,
    )
    wrong = faults(module.params)
    if wrong:
        module.fail_json(msg="; ".join(wrong))
    pattern = module.params["process_pattern"]
    processes = _processes.scan(service=module.params["service"], pattern=pattern)
    choice = _processes.choose(processes, _lock_guard.identity()["pid_namespace"], module.params["without_service"])
    doomed = [process for family in choice["end"] for process in family]
    kept = choice["keep"] or []
    left = kept + [process for process in processes if any(item["pid"] == process["pid"] for item in choice["refused"])]
    result = {
        "changed": bool(doomed), "kept": kept[0] if kept else None, "refused": choice["refused"],
        "ended": [{"pid": process["pid"], "argv": process["argv"], "signal": None, "seconds": 0.0} for process in doomed],
        "diff": {"before": lines([process for process in processes if process["kind"] == "orchestrator"]), "after": lines(left)},
    }
    errors = ["PID %d: %s" % (item["pid"], item["reason"]) for item in choice["refused"] if not item["foreign"]]
    if not module.check_mode:
        ended = [_processes.end(process, module.params["stop_timeout"], pattern=pattern) for process in doomed]
        errors += ["PID %d: %s" % (item["pid"], item["error"]) for item in ended if not item["ended"]]
        result["ended"] = [{key: item[key] for key in ("pid", "argv", "signal", "seconds")} for item in ended if item["ended"]]
        result["changed"] = any(item["signal"] for item in ended)
        if doomed and not left and not errors and not _processes.wait_for_port(module.params["port"], _processes.KILL_TIMEOUT):
            errors.append("port %d: something still listens on it that is no orchestrator; see who with 'ss -ltnp'" % module.params["port"])
    if errors:
        module.fail_json(msg="Not every other orchestrator could be ended: %s. End them by hand, as their owner." % "; ".join(errors), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
