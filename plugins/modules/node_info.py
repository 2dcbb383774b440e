#!/usr/bin/python
# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_info
short_description: Observe everything about a node of a P2P cluster in one read-only call
version_added: 1.0.0
author:
  - RingRift P2P contributors (@ringrift)
description:
  - Gathers what decides whether a node takes part in its cluster. That is lock files and what they amount to, orchestrator
    processes, rival managers, the service, everything that can start an orchestrator, the seeds in effect, digests of managed
    files, what the running process was started with, what it says about the cluster over a window, and which seeds and relays
    answer from here.
  - It has no opinions and never changes anything. Every probe has a time limit of its own; one that fails is listed under
    C(errors) of the result, and the others go on.
  - Values of secrets never leave the node. The cluster's token is compared by a fingerprint.
extends_documentation_fragment:
  - ringrift.p2p.attributes
  - ringrift.p2p.attributes.info_module
options:
  node_id:
    description: Name of the node in C(distributed_hosts.yaml), which is also its inventory name.
    type: str
    required: true
  path:
    description:
      - Folder of the orchestrator, as C(ringrift_path) of the hosts file has it. C(~) and a missing C(/ai-service) are resolved.
      - Without it, the folder is told from what runs or would be started.
    type: str
  user:
    description:
      - Whose home C(~) in O(path) and O(venv_activate) means.
      - By default the user who logged in, also where the task became root with C(sudo).
    type: str
  venv_activate:
    description:
      - What the hosts file has under C(venv_activate), for example C(source venv/bin/activate), C(:) or C(conda activate p2p).
      - The orchestrator's interpreter is told from it; nothing of it is run.
    type: str
  port:
    description: Port of the orchestrator's HTTP interface.
    type: int
    default: 8770
  files:
    description: Paths of files to digest.
    type: list
    elements: path
    default: []
  candidates:
    description:
      - Addresses (C(host:port)) that are tried from this node, all at once and within 2 seconds in all, by TCP and then by C(/health).
    type: list
    elements: str
    default: []
  window:
    description:
      - Seconds over which the node's own C(/status) is sampled.
      - It ends early as soon as the last heartbeat of every node in O(expected) was seen to move. V(0) takes one sample, which proves nothing about peers.
    type: float
    default: 0.0
  expected:
    description: Names of the nodes whose heartbeats end the window early.
    type: list
    elements: str
    default: []
  token_file:
    description: File with the cluster's token, used to ask where the running orchestrator's own can't be told. It may be missing.
    type: path
    default: /etc/ringrift/cluster-token
  service:
    description: Name of the service, without suffix.
    type: str
    default: ringrift-p2p
  lock_paths:
    description: Globs of lock files to look at instead of the usual ones outside the orchestrator's folder.
    type: list
    elements: str
  hosts_file:
    description: The node's copy of the hosts file. By default C(config/distributed_hosts.yaml) below the folder that the orchestrator is told to use.
    type: path
  probes:
    description:
      - Only run these probes. All others leave their part of the result empty.
      - V(view) includes C(/health). V(imports) is run for orchestrators that are not the embedded one, and for that one only if named here.
    type: list
    elements: str
    choices:
      - addresses
      - locks
      - processes
      - rivals
      - service
      - start_mechanisms
      - orchestrator
      - imports
      - seeds
      - files
      - view
      - candidates
      - coordinator_environment
      - identity
      - hosts_file
      - token
      - disk
seealso:
  - module: ringrift.p2p.cluster_health
  - module: ringrift.p2p.stale_locks
"""

EXAMPLES = r"""
- name: Observe a node
  ringrift.p2p.node_info:
    node_id: "{{ inventory_hostname }}"
    path: ~/ringrift/ai-service
    venv_activate: source ~/ringrift/ai-service/venv/bin/activate
    files:
      - /etc/ringrift/node-id
      - /etc/ringrift/node.conf
    candidates:
      - 203.0.113.10:8770
      - 203.0.113.11:8770
    window: 180
    expected: "{{ groups['p2p'] }}"
  become: true
  register: observed

- name: Ask the orchestrator alone
  ringrift.p2p.node_info:
    node_id: "{{ inventory_hostname }}"
    probes:
      - view
"""

RETURN = r"""
observation:
  description: What was observed. Times are epoch seconds, durations seconds, addresses C(host:port).
  returned: always
  type: dict
  contains:
    node_id:
      description: The name that the node should have, from O(node_id).
      type: str
      sample: hetzner-cpu1
    time:
      description: When the observation began, by the node's clock.
      type: float
    hostname:
      description: The host's own name.
      type: str
    boot_id:
      description: Identity of the running kernel's boot.
      type: str
    pid_namespace:
      description: The PID namespace in which the module ran.
      type: str
      sample: pid:[4026531836]
    machine:
      description: Hardware name, as C(uname -m) gives it.
      type: str
      sample: aarch64
    python:
      description: C(version) and C(executable) of the interpreter that ran the module.
      type: dict
    init:
      description: What starts services here.
      type: str
      sample: systemd
    identity:
      description: The name under which the orchestrator takes part (C(effective)), where it comes from (C(source)) and what contradicts it (C(conflicts)).
      type: dict
    addresses:
      description: IP addresses of the node without loopback and link-local ones.
      type: list
      elements: str
    locks:
      description: Lock files with C(path), C(format), C(owner_pid), C(verdict) and C(reason).
      type: list
      elements: dict
    processes:
      description: Processes of orchestrators and managers. C(service) tells whether one belongs to the service.
      type: list
      elements: dict
    rivals:
      description: Cron lines, units, processes and files that restart or kill the orchestrator on their own. C(held) marks what a run holds off, or has
        left so when it died.
      type: list
      elements: dict
    service:
      description: State of the service with C(manager), C(name), C(installed), C(enabled), C(active), C(pid), C(state), C(restarts), C(exit_status),
        C(unit_path), C(drop_ins), C(watchdog) and C(notify); and its last lines (C(log)) where the node does not answer.
      type: dict
    start_mechanisms:
      description: Everything that starts an orchestrator or lends it its environment, with C(kind), C(location), C(name), C(command), C(arguments)
        (the orchestrator's own), C(interpreter), C(directory), C(environment) and C(active).
      type: list
      elements: dict
    orchestrator:
      description: Where the orchestrator lies (C(path), C(present)) and from where it runs (C(folder), which is C(path) or C(path/current)), which one it
        is (C(kind), C(release), C(revision)), whether its files are changed on the node (C(dirty), C(changes)), what updates its source
        (C(self_updating)), with which C(interpreter) it runs, whether its C(imports) would work, and its C(engines).
      type: dict
    seeds:
      description: Seeds on the C(command_line), in the C(environment) and in C(literals) of its source; C(effective) are those it dials, in order.
      type: dict
    files:
      description: For each path of O(files) C(exists), C(sha256), C(mode), C(owner), C(group) and C(size).
      type: dict
    running:
      description: What the orchestrator that runs was started with (C(pid), C(generation), C(started_at), C(argv), C(environment)). C(pid) is null without one.
      type: dict
    view:
      description: What the node said about its cluster over the window.
      type: dict
    health:
      description: The last answer to C(GET /health), null without one.
      type: dict
    health_error:
      description: Why there is no answer.
      type: str
    candidates:
      description: For each address of O(candidates) C(tcp), C(health), C(node_id), C(milliseconds) and C(error).
      type: dict
    coordinator_environment:
      description: Each place that sets C(RINGRIFT_IS_COORDINATOR), with C(location), C(line), C(value), and whether it is C(effective).
      type: list
      elements: dict
    hosts_file:
      description: C(path), C(sha256) and C(exists) of the node's copy of the hosts file.
      type: dict
    token:
      description: Whether a token is C(configured) and its C(fingerprint).
      type: dict
    clock_offset:
      description: Seconds by which the node's clock is ahead of the candidates that answered (median), null without any.
      type: float
    disk:
      description: C(path), C(free_bytes), C(total_bytes) and C(free_percent) of the file system that holds the orchestrator.
      type: dict
    errors:
      description: Probe to message, for each probe that failed or did not end in time.
      type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ringrift.p2p.plugins.module_utils import _node_probe


def faults_of(parameters):
    """Everything that is wrong with the parameters, one sentence each with the way out."""
    faults = []
    if not parameters["node_id"].strip():
        faults.append("node_id is empty: give the node's name in distributed_hosts.yaml")
    if not 0 < parameters["port"] < 65536:
        faults.append("port %d is not one: give a number from 1 to 65535" % parameters["port"])
    if parameters["window"] < 0 or parameters["window"] > 3600:
        faults.append("window %g is out of range: give 0 to 3600 seconds" % parameters["window"])
    if "/" in parameters["service"] or not parameters["service"]:
        faults.append("service %r is not the name of a service: give it without path and suffix" % parameters["service"])
    return faults


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "node_id": {"type": "str", "required": True},
            "path": {"type": "str"},
            "user": {"type": "str"},
            "venv_activate": {"type": "str"},
            "port": {"type": "int", "default": 8770},
            "files": {"type": "list", "elements": "path", "default": []},
            "candidates": {"type": "list", "elements": "str", "default": []},
            "window": {"type": "float", "default": 0.0},
            "expected": {"type": "list", "elements": "str", "default": []},
            "token_file": {"type": "path", "default": "/etc/ringrift/cluster-token", "no_log": False},
            "service": {"type": "str", "default": "ringrift-p2p"},
            "lock_paths": {"type": "list", "elements": "str"},
            "hosts_file": {"type": "path"},
            "probes": {"type": "list", "elements": "str", "choices": list(_node_probe.PROBES)},
        },
        supports_check_mode=True,
    )
    faults = faults_of(module.params)
    if faults:
        module.fail_json(msg="; ".join(faults))
    module.exit_json(changed=False, observation=_node_probe.NodeProbe(module.params).gather())


if __name__ == "__main__":
    main()
