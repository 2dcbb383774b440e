#!/usr/bin/python
# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_config
short_description: Write a node's configuration as one generation
version_added: 1.0.0
description:
  - Writes a set of files as one I(generation). Either all of them land or none does. What stood there before is kept, so that the
    generation can be taken back.
  - Every file is staged beside its place, synced to disk and renamed. A run that dies half-way is undone by the next one.
  - A path that is a directory, a device or a socket is refused, never replaced.
  - When a systemd unit or drop-in is among the files that changed, systemd reads its units again.
author:
  - RingRift P2P contributors (@ringrift)
extends_documentation_fragment:
  - ringrift.p2p.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - The content of secrets is left out, and values of other files that look like secrets are masked.
  idempotent:
    support: full
  platform:
    platforms: posix
options:
  state:
    description:
      - V(present) makes the files what O(files) and O(remove) say.
      - V(rolled_back) puts back what the generation in force replaced. With O(generation) only where that one is in force, so that
        repeating it changes nothing.
      - V(absent) puts back what stood at every path before the first generation.
    type: str
    choices: [present, rolled_back, absent]
    default: present
  generation:
    description:
      - The identity of the generation. Without it, a digest of what is asked for.
    type: str
  files:
    description:
      - The files of the generation. Each has exactly one of O(files[].content), O(files[].secret), O(files[].link), or an edit
        (O(files[].block) with or without O(files[].disable_lines)).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the file is, absolute and normalised.
        type: path
        required: true
      content:
        description: The whole content.
        type: str
      secret:
        description: The whole content, where it must not be shown. The mode is then V(0600) unless O(files[].mode) says otherwise.
        type: str
      link:
        description: The target of a symbolic link. It must exist, except in check mode.
        type: str
      block:
        description:
          - Lines to keep between markers near the top of a file that belongs to somebody else. The rest of it stays.
          - A file that is missing is made, as a shell script.
        type: str
      disable_lines:
        description:
          - Regular expressions. A line that one of them matches is put out of force behind a marker, together with the lines that it
            continues on.
        type: list
        elements: str
        default: []
      disable_as:
        description: How lines are put out of force, as a comment, or as a shell command that does nothing.
        type: str
        choices: [comment, command]
        default: comment
      mode:
        description: Permissions, octal. An edited file keeps its own.
        type: str
      owner:
        description: Name or number of the owner; the user the module runs as by default. An edited file keeps its own.
        type: str
      group:
        description: Name or number of the group; the primary group of the owner by default. An edited file keeps its own.
        type: str
      sensitive:
        description: Whether the content is left out of the diff.
        type: bool
        default: false
      brief:
        description: Whether the diff shows digests in place of the content, for long files that nobody reads there.
        type: bool
        default: false
  remove:
    description: Files that the generation replaces. They are kept for the way back.
    type: list
    elements: path
    default: []
  situation:
    description:
      - How things stood with what O(state=present) replaces, such as whether the node was connected. It is kept with the generation, and
        O(state=rolled_back) returns it, for there the same is to be expected again.
    type: dict
  keep:
    description: How many generations are kept. What stood there before the first one is always kept.
    type: int
    default: 5
  state_dir:
    description: Where generations are kept. Only its owner can read it.
    type: path
    default: /var/lib/ringrift-p2p/generations
seealso:
  - module: ringrift.p2p.orchestrator_service
    description: Restarts the orchestrator so that the generation comes into force.
"""

EXAMPLES = r"""
- name: Write two files and the release switch as one generation
  ringrift.p2p.node_config:
    generation: 4f2c9d
    files:
      - path: /etc/ringrift/node-id
        content: "vast-30274241\n"
      - path: /etc/ringrift/cluster-token
        secret: "{{ cluster_token }}\n"
        owner: ubuntu
      - path: /home/ubuntu/ringrift/ai-service/current
        link: releases/4f2c9d

- name: Put a hook into a script that belongs to somebody else, and its own start command out of force
  ringrift.p2p.node_config:
    files:
      - path: /root/onstart.sh
        block: /etc/ringrift/on-start
        disable_lines: ['p2p_orchestrator\.py']
        disable_as: command

- name: Go back from a generation that did not come up
  ringrift.p2p.node_config:
    state: rolled_back
    generation: 4f2c9d
"""

RETURN = r"""
generation:
  description: The generation in force afterwards; V(null) where there is none.
  returned: success
  type: str
previous:
  description: The generation in force before.
  returned: success
  type: str
files:
  description: What happened to each path.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The path.
      type: str
    action:
      description: One of V(unchanged), V(created), V(changed), V(removed).
      type: str
  sample: [{"path": "/etc/ringrift/node-id", "action": "created"}]
situation:
  description: What O(situation) said when the generation was written that was taken back.
  returned: with O(state=rolled_back) where a generation is in force
  type: dict
daemon_reload:
  description: Whether a unit of systemd changed, so that systemd read its units again.
  returned: success
  type: bool
faults:
  description: Everything that stood in the way. Nothing was changed.
  returned: failure
  type: list
  elements: str
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ringrift.p2p.plugins.module_utils._generations import GenerationError, Store, needs_daemon_reload


def reload_units(run_command):
    """Returns what makes systemd read its units again after paths changed; a host that does not run systemd needs nothing."""

    def finish(paths):
        if not needs_daemon_reload(paths) or not os.path.isdir("/run/systemd/system"):
            return
        code, out, error = run_command(["systemctl", "daemon-reload"])
        if code != 0:
            raise GenerationError("systemctl daemon-reload ended with %d, so nothing was changed: %s" % (code, (error or out).strip()))

    return finish


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "rolled_back", "absent"], "default": "present"},
            "generation": {"type": "str"},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "content": {"type": "str"},
                    "secret": {"type": "str", "no_log": True},
                    "link": {"type": "str"},
                    "block": {"type": "str"},
                    "disable_lines": {"type": "list", "elements": "str", "default": []},
                    "disable_as": {"type": "str", "choices": ["comment", "command"], "default": "comment"},
                    "mode": {"type": "str"},
                    "owner": {"type": "str"},
                    "group": {"type": "str"},
                    "sensitive": {"type": "bool", "default": False},
                    "brief": {"type": "bool", "default": False},
                },
            },
            "remove": {"type": "list", "elements": "path", "default": []},
            "situation": {"type": "dict"},
            "keep": {"type": "int", "default": 5},
            "state_dir": {"type": "path", "default": "/var/lib/ringrift-p2p/generations"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    store = Store(wanted["state_dir"], finish=reload_units(module.run_command))
    try:
        if wanted["state"] == "present":
            result = store.present(wanted["files"], wanted["remove"], wanted["generation"], wanted["keep"], module.check_mode, wanted["situation"])
        elif wanted["state"] == "rolled_back":
            result = store.rolled_back(wanted["generation"], module.check_mode)
        else:
            result = store.absent(module.check_mode)
    except GenerationError as exc:
        module.fail_json(msg="; ".join(exc.faults), faults=exc.faults)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
