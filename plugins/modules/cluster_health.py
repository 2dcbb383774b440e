#!/usr/bin/python
# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_health
short_description: Watch a cluster from outside until it is healthy and stays so
version_added: 1.0.0
description:
  - Samples C(/status) (or C(/health), where that is refused) of all given nodes together, again and again, and judges the cluster
    over a sliding window.
  - A node is connected when it answers for itself and the record that another node keeps of its last heartbeat moved within the window.
  - The majority is computed from O(voters). What nodes say about their own quorum is not believed.
  - There is one leader when all live voters name the same node, and exactly that one calls itself leader.
  - Works on the embedded orchestrator and on the one in the field alike. Only sends C(GET) requests.
author:
  - RingRift P2P contributors (@ringrift)
extends_documentation_fragment:
  - ringrift.p2p.attributes
  - ringrift.p2p.attributes.info_module
options:
  endpoints:
    description:
      - Where each node is asked, as seen from the host the task runs on.
      - A mapping of node names to lists of C(host:port), which are tried in order.
      - A node without an entry is not asked; it then stands on the records of the others alone.
    type: dict
    required: true
  voters:
    description: Names of the voters, as in the hosts file.
    type: list
    elements: str
    required: true
  expected:
    description: Names of the nodes that should be connected. Without it, the nodes of O(endpoints).
    type: list
    elements: str
  min_connected:
    description: As many nodes must be connected for the cluster to count as healthy. Without it, all of O(expected).
    type: int
  without:
    description: Nodes that count as down, whatever they say.
    type: list
    elements: str
    default: []
  stable_for:
    description:
      - For how many seconds the cluster must have been healthy under one leader before the task ends.
      - With V(0), the task ends at the first healthy sample.
    type: float
    default: 5
  interval:
    description: Seconds between two samples.
    type: float
    default: 1
  window:
    description:
      - Seconds over which heartbeats must move.
      - Allow V(180) on the orchestrator in the field.
    type: float
    default: 30
  timeout:
    description:
      - Seconds after which the task ends, healthy or not. The task does not fail for it; look at RV(healthy).
    type: float
    default: 120
  request_timeout:
    description: Seconds that one node is given for one answer.
    type: float
    default: 4
  token_file:
    description: File with the token of the cluster, on the host the task runs on. A file that is missing means that there is no token.
    type: path
    default: /etc/ringrift/cluster-token
  port:
    description: Port for endpoints that name none.
    type: int
    default: 8770
seealso:
  - module: ringrift.p2p.orchestrator_service
  - module: ringrift.p2p.node_info
"""

EXAMPLES = r"""
- name: Wait until all nodes are in, and have been for ten seconds
  ringrift.p2p.cluster_health:
    endpoints:
      hetzner-cpu1: ["203.0.113.11:8770"]
      hetzner-cpu2: ["203.0.113.12:8770"]
      nebius-backbone-1: ["203.0.113.21:8770", "100.64.0.21:8770"]
    voters: [hetzner-cpu1, hetzner-cpu2, nebius-backbone-1]
    stable_for: 10
    timeout: 180
  register: health
  failed_when: not health.healthy

- name: Would the cluster keep its majority without hetzner-cpu1?
  ringrift.p2p.cluster_health:
    endpoints: "{{ endpoints }}"
    voters: "{{ voters }}"
    without: [hetzner-cpu1]
    stable_for: 0
    timeout: 10
  register: health
"""

RETURN = r"""
healthy:
  description: Whether the cluster was healthy for O(stable_for) seconds up to the end.
  returned: success
  type: bool
reason:
  description: What is missing, in words; V(none) where nothing is.
  returned: success
  type: str
connected:
  description: Number of expected nodes that are connected.
  returned: success
  type: int
connected_ids:
  description: Names of the expected nodes that are connected.
  returned: success
  type: list
  elements: str
missing:
  description: Names of the expected nodes that are not connected.
  returned: success
  type: list
  elements: str
expected:
  description: Number of nodes that should be connected.
  returned: success
  type: int
leader:
  description: The node that all live voters name as leader; V(none) where they do not agree.
  returned: success
  type: str
leaders_seen:
  description: Every node that was named as leader within the window.
  returned: success
  type: list
  elements: str
leader_agreed:
  description: Whether all live voters name the same leader and exactly that one calls itself leader.
  returned: success
  type: bool
term:
  description: Highest term of the election that a node told; V(none) where none does.
  returned: success
  type: int
quorum:
  description: The voters, counted.
  returned: success
  type: dict
  contains:
    voters:
      description: Number of voters.
      type: int
    alive:
      description: Number of voters that are connected.
      type: int
    alive_ids:
      description: Their names.
      type: list
      elements: str
    majority:
      description: Number of voters that make a majority.
      type: int
    ok:
      description: Whether there is a majority.
      type: bool
nodes:
  description: "Per node: whether it is C(connected), C(answers), whose records of it moved (C(seen_by)), its C(role) and the C(leader_id) that it names."
  returned: success
  type: dict
samples:
  description: Number of rounds of samples taken.
  returned: success
  type: int
stable_for:
  description: For how many seconds the cluster has been healthy under one leader.
  returned: success
  type: float
rounds:
  description: The samples, reduced. The action plugin joins those of several calls into one judgement and does not hand them on.
  returned: when the module runs without its action plugin
  type: list
  elements: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ringrift.p2p.plugins.module_utils._cluster_view import Watch, reduce_sample
from ansible_collections.ringrift.p2p.plugins.module_utils._http import endpoint_faults, read_token, sample_round, with_port

ARGUMENTS = {
    "endpoints": {"type": "dict", "required": True},
    "voters": {"type": "list", "elements": "str", "required": True},
    "expected": {"type": "list", "elements": "str"},
    "min_connected": {"type": "int"},
    "without": {"type": "list", "elements": "str", "default": []},
    "stable_for": {"type": "float", "default": 5},
    "interval": {"type": "float", "default": 1},
    "window": {"type": "float", "default": 30},
    "timeout": {"type": "float", "default": 120},
    "request_timeout": {"type": "float", "default": 4},
    "token_file": {"type": "path", "default": "/etc/ringrift/cluster-token", "no_log": False},
    "port": {"type": "int", "default": 8770},
}


def parameter_faults(parameters):
    """What is wrong with the parameters, all at once."""
    faults = endpoint_faults(parameters["endpoints"])
    faults += [f"{name} must be above 0" for name in ("interval", "request_timeout", "window", "timeout") if parameters[name] <= 0]
    if parameters["stable_for"] < 0:
        faults.append("stable_for must not be negative")
    if parameters["min_connected"] is not None and parameters["min_connected"] < 0:
        faults.append("min_connected must not be negative")
    return faults


def watch_of(parameters):
    """The Watch that the parameters ask for."""
    expected = parameters["expected"] if parameters["expected"] is not None else list(parameters["endpoints"])
    return Watch(expected, parameters["voters"], parameters["without"], parameters["min_connected"], parameters["window"])


def slim(sample):
    """A reduced sample with no more of its peers than their heartbeats: a hundred nodes tell of a hundred each."""
    reduced = reduce_sample(sample)
    peers = reduced["peers"]
    return dict(reduced, peers=peers and {name: {"last_heartbeat": record["last_heartbeat"]} for name, record in peers.items()})


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    parameters = module.params
    faults = parameter_faults(parameters)
    if faults:
        module.fail_json(msg=f"Parameters can't be used: {'; '.join(faults)}.")

    endpoints = with_port(parameters["endpoints"], parameters["port"])
    token = read_token(parameters["token_file"])
    watch = watch_of(parameters)
    end = time.monotonic() + parameters["timeout"]
    rounds = []
    while True:
        started = time.monotonic()
        sampled = sample_round(endpoints, parameters["request_timeout"], token)
        sampled["nodes"] = {name: slim(sample) for name, sample in sampled["nodes"].items()}
        rounds.append(sampled)
        state = watch.add(sampled)
        now = time.monotonic()
        done = state["healthy"] and state["stable_for"] >= parameters["stable_for"]
        pause = max(0.0, started + parameters["interval"] - now)
        if done or now + pause > end:
            break
        time.sleep(pause)

    if state["healthy"] and state["stable_for"] < parameters["stable_for"]:
        state["healthy"] = False
        state["reason"] = f"healthy for {state['stable_for']:.1f} s only, {parameters['stable_for']:g} s are asked for"
    # The action plugin joins the rounds of several calls, and keeps them to itself.
    module.exit_json(changed=False, rounds=rounds, **state)


if __name__ == "__main__":
    main()
