#!/usr/bin/python
# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hosts_file
short_description: Edit host entries of a distributed_hosts.yaml, leaving every other byte as it is
version_added: 1.0.0
description:
  - Sets, adds and removes keys of host entries in the C(distributed_hosts.yaml) of a cluster. The file lies on the controller, where this runs;
    no connection to the host is made.
  - Only the characters of the changed values differ afterwards. Comments, quotes, indentation, line ends and the order of keys stay.
    A new key is put after the entry's last one, in its indentation. A removed key goes with its lines.
  - All edits land in one write, or none does. Before it, the result is read again, and has to differ in exactly the wanted keys.
  - If somebody else has changed the file in the meantime, nothing is written and the task fails.
  - Refused, with the reason and the line, are values that are mappings or lists, values with an anchor, entries that are an alias, new keys
    in entries written in braces, keys that stand twice, and files of more than one YAML document.
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
  path:
    description: The file. It must exist and be UTF-8.
    type: path
    required: true
  edits:
    description:
      - A mapping of each host to a mapping of its keys to their values.
      - Values are text, numbers or booleans. V(null) removes the key.
      - The type counts. V(8770) and V("8770") are two different values. Keys that the collection understands must get the type that it expects.
    type: dict
    required: true
  backup:
    description: Keep a copy of the file as it was, beside it, with the time in its name.
    type: bool
    default: true
  digest:
    description: SHA-256 of the content that the edits were planned from, in hexadecimal. If the file has another one, the task fails.
    type: str
  return_content:
    description: Return the whole content that the file has afterwards.
    type: bool
    default: false
notes:
  - This is an action plugin, it runs on the controller. Use C(run_once) with it.
"""

EXAMPLES = r"""
- name: Let two GPU nodes train again, and take a dead relay out
  ringrift.p2p.hosts_file:
    path: "{{ p2p_hosts_file }}"
    edits:
      nebius-l40s-1:
        role: gpu_training_primary
        training_enabled: true
      vultr-a100-40gb:
        role: gpu_training_primary
        training_enabled: true
      lambda-gh200-3:
        relay_tertiary: null
  run_once: true
"""

RETURN = r"""
path:
  description: Absolute path of the file.
  returned: success
  type: str
  sample: /home/operator/cluster/distributed_hosts.yaml
changes:
  description: What was changed (in check mode, what would be), in the order of the file.
  returned: success
  type: list
  elements: dict
  contains:
    host:
      description: Name of the host.
      type: str
      sample: nebius-l40s-1
    key:
      description: The key.
      type: str
      sample: role
    line:
      description: Line of the key before the change, of the host for a new key.
      type: int
      sample: 408
    before:
      description: The value before, null if there was none.
      type: raw
      sample: coordinator
    after:
      description: The value afterwards, null if the key was removed.
      type: raw
      sample: gpu_training_primary
digest:
  description: SHA-256 of the content that the file has afterwards (in check mode, would have).
  returned: success
  type: str
  sample: 7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730
content:
  description: The content that the file has afterwards (in check mode, would have).
  returned: when O(return_content=true)
  type: str
backup_file:
  description: The copy of the file as it was, null if none was made.
  returned: success
  type: str
  sample: /home/operator/cluster/distributed_hosts.yaml.20260125T101500.bak
"""
