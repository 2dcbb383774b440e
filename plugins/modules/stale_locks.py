#!/usr/bin/python
# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: stale_locks
short_description: Free the locks of a p2p orchestrator whose owner is proven dead
version_added: 1.0.0
description:
  - Judges the supervisor claim, the flock files and the PID files of an orchestrator, and frees those that are stale.
  - A lock is stale only where its owner is proven dead. The owner is a PID with its start time, boot and PID namespace, so a recycled PID is no owner. Age
    proves nothing, and neither does a process that cannot be looked at.
  - A stale claim is exchanged for its free form, a stale PID file moved away. What stood there before is kept in O(quarantine_dir), with a record of why.
    Files that are held by C(flock) are never touched, and neither is anything that is not a lock.
  - The same code runs before every start of the service.
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
  coordination_dir:
    description: Folder of C(p2p_supervisor.json) and of the flock files, C(data/coordination) below the orchestrator's folder. A missing one is no error.
    type: path
  logs_dir:
    description: Folder of C(p2p.pid) and C(p2p_keepalive.lock), C(logs) below the orchestrator's folder.
    type: path
  paths:
    description:
      - Globs of the other files to look at, in place of the built-in ones.
      - By default C(/tmp/p2p_*), C(/tmp/ringrift_locks/*.lock), C(/tmp/ringrift_node_resilience_*.lock) and C(/run/ringrift-p2p.pid). Of these only
        C(*.lock), C(*.pid) and JSON with a C(pid) count as locks.
    type: list
    elements: str
  process_pattern:
    description: Regular expression that the file name of an orchestrator's script has to match in full. Without it, C(p2p_orchestrator.py).
    type: str
  port:
    description: The orchestrator's HTTP port. Where an orchestrator answers on it, a claim is held.
    type: int
    default: 8770
  quarantine_dir:
    description:
      - Folder that keeps what was replaced or moved, by day.
      - By default C(/var/lib/ringrift-p2p/quarantine), or C(quarantine) in O(coordination_dir) where that cannot be written.
    type: path
  settle:
    description: Seconds over which an empty or half-written file has to stay unchanged before it is called unreadable.
    type: float
    default: 2
  accept_foreign:
    description: Free locks of another host or PID namespace too. Only for locks whose owner is known to be gone.
    type: bool
    default: false
seealso:
  - module: ringrift.p2p.orchestrator_processes
  - module: ringrift.p2p.node_info
"""

EXAMPLES = r"""
- name: Free the stale locks of an orchestrator
  ringrift.p2p.stale_locks:
    coordination_dir: /root/ringrift/ai-service/data/coordination
    logs_dir: /root/ringrift/ai-service/logs

- name: Only say what would be freed
  ringrift.p2p.stale_locks:
    coordination_dir: "{{ p2p_path }}/data/coordination"
  check_mode: true
"""

RETURN = r"""
locks:
  description: Every file that was looked at.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
    format:
      description: V(json), V(flock), V(pid) or V(other).
      type: str
    owner_pid:
      description: The PID that it names, if any.
      type: int
    verdict:
      description: V(free), V(held), V(stale), V(foreign), V(unreadable) or V(not_a_lock).
      type: str
    reason:
      description: The proof.
      type: str
    action:
      description: V(none), V(reset), V(quarantined) or V(failed).
      type: str
    error:
      description: Why it could not be freed.
      type: str
  sample:
    - path: /root/ringrift/ai-service/data/coordination/p2p_supervisor.json
      format: json
      owner_pid: 4711
      verdict: stale
      reason: "PID 4711 is recycled: it started 3600.0 s after the lock was written"
      action: reset
      error: null
"""

import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ringrift.p2p.plugins.module_utils import _lock_guard


def faults(params):
    """Everything that is wrong with the parameters, as one list of sentences."""
    found = []
    if not params["coordination_dir"] and not params["logs_dir"] and params["paths"] == []:
        found.append("coordination_dir, logs_dir and paths: all are empty, so there is nothing to look at; give at least one")
    if params["process_pattern"] is not None:
        try:
            re.compile(params["process_pattern"])
        except re.error as exc:
            found.append("process_pattern: %s is no regular expression: %s" % (params["process_pattern"], exc))
    if not 0 < params["port"] < 65536:
        found.append("port: %d is not between 1 and 65535" % params["port"])
    if not 0 <= params["settle"] <= 60:
        found.append("settle: %g is not between 0 and 60 seconds" % params["settle"])
    for index, path in enumerate(params["paths"] or []):
        if not path.startswith(("/", "~")):
            found.append("paths[%d]: %s is not absolute" % (index, path))
    return found


def lines(locks, after):
    """One line for each lock that is freed, for a diff."""
    changed = [lock for lock in locks if lock["action"] in ("reset", "quarantined")]
    return "".join("%s: %s\n" % (lock["path"], lock["action"] if after else "%s, PID %s" % (lock["verdict"], lock["owner_pid"])) for lock in changed)


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "coordination_dir": {"type": "path"},
            "logs_dir": {"type": "path"},
            "paths": {"type": "list", "elements": "str"},
            "process_pattern": {"type": "str"},
            "port": {"type": "int", "default": _lock_guard.DEFAULT_PORT},
            "quarantine_dir": {"type": "path"},
            "settle": {"type": "float", "default": _lock_guard.DEFAULT_SETTLE},
            "accept_foreign": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wrong = faults(module.params)
    if wrong:
        module.fail_json(msg="; ".join(wrong))
    locks = _lock_guard.clean(check=module.check_mode, **module.params)
    result = {
        "changed": any(lock["action"] in ("reset", "quarantined") for lock in locks), "locks": locks,
        "diff": {"before": lines(locks, False), "after": lines(locks, True)},
    }
    failed = ["%s: %s" % (lock["path"], lock["error"]) for lock in locks if lock["action"] == "failed"]
    if failed:
        module.fail_json(msg="Stale locks could not be freed: %s" % "; ".join(failed), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
