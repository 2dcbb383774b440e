#!/usr/bin/python

# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bootstrap_seeds
short_description: Put bootstrap seeds into list literals of Python source
version_added: 1.0.0
description:
  - Edits every literal of a variable, C(BOOTSTRAP_SEEDS) by default, in a Python source file, so that it begins with the given seeds.
  - Finds lists and tuples, annotated or not, over one line or many, inside C(if)/C(else), in conditional expressions, in functions and classes.
  - Keeps comments and every other byte. The comment behind an entry moves with the entry.
  - What is not a literal, for example a list comprehension over an environment variable, is left alone and returned with the reason.
  - The result is parsed again before it is written; what does not read as wanted is not written.
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
    description:
      - The Python source file. A symbolic link is followed, and the file behind it is edited.
    type: path
    required: true
  variable:
    description:
      - The name whose literals are edited.
    type: str
    default: BOOTSTRAP_SEEDS
  seeds:
    description:
      - The seeds as C(host:port), in the order in which they are to be tried; IPv6 addresses in brackets.
    type: list
    elements: str
    required: true
  placement:
    description:
      - V(first) puts the seeds ahead of what the list holds already.
      - V(exclusive) leaves nothing but the seeds.
    type: str
    choices: [first, exclusive]
    default: first
  backup:
    description:
      - Keep the file as it was beside the new one, under a name with the time in it.
    type: bool
    default: true
notes:
  - A patched source does not last on a host that updates its checkout by itself; the command line and the environment of the service do.
  - The source is parsed by the Python that runs the module; source with newer syntax is refused with the line that it stumbles over.
author:
  - RingRift P2P contributors (@ringrift)
"""

EXAMPLES = r"""
- name: Public seeds go ahead of the overlay ones
  ringrift.p2p.bootstrap_seeds:
    path: /root/ringrift/ai-service/scripts/p2p/managers/initialization_manager.py
    seeds:
      - 203.0.113.60:8770
      - 203.0.113.40:8770

- name: Nothing but the planned seeds
  ringrift.p2p.bootstrap_seeds:
    path: "{{ p2p_path }}/app/p2p/constants.py"
    seeds: "{{ p2p_node.peers }}"
    placement: exclusive
"""

RETURN = r"""
path:
  description: The file that was edited, with symbolic links resolved.
  returned: success
  type: str
  sample: /root/ringrift/ai-service/scripts/p2p_orchestrator.py
literals:
  description: Every place that gives the variable a value, in the order of the file.
  returned: success
  type: list
  elements: dict
  contains:
    line:
      description: Line of the literal before the edit, from 1.
      type: int
      sample: 41
    column:
      description: Column of the literal before the edit, from 1.
      type: int
      sample: 31
    scope:
      description: Function or class it stands in, empty at module level.
      type: str
      sample: ''
    annotated:
      description: Whether the assignment has an annotation.
      type: bool
      sample: true
    before:
      description: Its entries before.
      type: list
      elements: str
      sample: ['100.64.0.40:8770']
    entries:
      description: Its entries after.
      type: list
      elements: str
      sample: ['203.0.113.60:8770', '100.64.0.40:8770']
    changed:
      description: Whether it was edited.
      type: bool
      sample: true
    refusal:
      description: Why it cannot be edited, none where it can.
      type: str
      sample: 'a list comprehension: its entries are computed when the program runs'
backup_file:
  description: Where the file as it was is kept.
  returned: changed, and O(backup=true)
  type: str
  sample: /root/ringrift/ai-service/scripts/p2p_orchestrator.py.4711.2026-01-25@12:00:00~
"""

import os
import re
import tempfile

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ringrift.p2p.plugins.module_utils import _seed_literals

_SEED = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})\Z")


def seed_faults(seeds):
    """What is wrong with the seeds, one sentence each."""
    faults = []
    if not seeds:
        faults.append("seeds: at least one is needed; an empty list would leave the orchestrator alone")
    for index, seed in enumerate(seeds):
        match = _SEED.match(seed)
        if not match or not 0 < int(match.group(1)) < 65536:
            faults.append("seeds[%d]: %r is not host:port" % (index, seed))
        elif seed in seeds[:index]:
            faults.append("seeds[%d]: %s stands there twice" % (index, seed))
    return faults


def described(edited):
    """The literals as the module returns them."""
    literals = []
    for before, after in zip(edited.before, edited.after):
        literal = before.to_dict()
        literal.update(before=before.entries, entries=after.entries, changed=before.entries != after.entries)
        literals.append(literal)
    return literals


def write(module, path, source):
    """Replaces the file in one step; mode and owner stay."""
    handle, staged = tempfile.mkstemp(prefix=".bootstrap_seeds.", dir=module.tmpdir)
    with os.fdopen(handle, "wb") as stream:
        stream.write(source)
    module.atomic_move(staged, path)


def main():
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "variable": {"type": "str", "default": "BOOTSTRAP_SEEDS"},
            "seeds": {"type": "list", "elements": "str", "required": True},
            "placement": {"type": "str", "choices": ["first", "exclusive"], "default": "first"},
            "backup": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    faults = seed_faults(params["seeds"])
    if not params["variable"].isidentifier():
        faults.append("variable: %r is not a name in Python" % params["variable"])
    if faults:
        module.fail_json(msg="; ".join(faults))

    path = os.path.realpath(params["path"])
    try:
        with open(path, "rb") as stream:
            source = stream.read()
    except OSError as exc:
        module.fail_json(msg="path: %s cannot be read: %s" % (params["path"], exc.strerror))
    try:
        edited = _seed_literals.edit(source, params["seeds"], params["variable"], params["placement"])
    except _seed_literals.SeedLiteralsError as exc:
        module.fail_json(msg="%s: %s. Nothing was written; put the seeds on the command line (--peers) instead" % (path, exc))

    literals = described(edited)
    if not literals:
        module.fail_json(msg="%s: nothing there gives %s a value. Name the file that does, or another variable" % (path, params["variable"]), literals=[])
    if all(literal["refusal"] for literal in literals):
        reasons = "; ".join("line %d: %s" % (literal["line"], literal["refusal"]) for literal in literals)
        module.fail_json(
            msg="%s: no literal of %s can be edited (%s). Put the seeds on the command line (--peers) instead" % (path, params["variable"], reasons),
            literals=literals)

    result = {"changed": edited.source != source, "path": path, "literals": literals}
    if module._diff:
        result["diff"] = {
            "before": _seed_literals.decode(source)[0], "after": _seed_literals.decode(edited.source)[0],
            "before_header": path, "after_header": path,
        }
    if result["changed"] and not module.check_mode:
        if params["backup"]:
            result["backup_file"] = module.backup_local(path)
        write(module, path, edited.source)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
