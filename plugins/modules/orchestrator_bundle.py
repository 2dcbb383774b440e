#!/usr/bin/python
# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: orchestrator_bundle
short_description: Build what a node needs to run the orchestrator, on the controller
version_added: 1.0.0
description:
  - Builds one archive with the embedded orchestrator, the lock guard and their dependencies, so that nodes reach no registry.
  - Dependencies are pinned and checked by hash. They are fetched by pip on the controller, for the Python version and machine of the
    node, not of the controller.
  - The archive is kept in a cache on the controller, named by its release. The release follows from the sources, the locked
    requirements, the Python version and the machine.
  - Nothing on the node is looked at or changed.
author:
  - RingRift P2P contributors (@ringrift)
extends_documentation_fragment:
  - ringrift.p2p.attributes
attributes:
  check_mode:
    support: full
    details:
      - In check mode the release is told but no archive is built.
  diff_mode:
    support: N/A
    details:
      - The archive is a copy of what the collection holds.
  idempotent:
    support: full
  platform:
    platforms: posix
options:
  kind:
    description:
      - V(embedded) holds the embedded orchestrator.
      - V(supervisor) holds supervisord alone, for a container that has an orchestrator of its own.
    type: str
    choices: [embedded, supervisor]
    default: embedded
  python_version:
    description: The version of Python on the node, such as V(3.11.2).
    type: str
    required: true
  machine:
    description: The machine of the node as C(uname -m) tells it.
    type: str
    required: true
  cache_dir:
    description: Where archives are kept on the controller.
    type: str
    default: ~/.cache/ringrift-p2p
requirements:
  - pip and a package index, on the controller, for the first archive of each Python version and machine
seealso:
  - module: ringrift.p2p.orchestrator_release
  - plugin: ringrift.p2p.orchestrator_release
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Build the bundle for this node
  ringrift.p2p.orchestrator_bundle:
    python_version: "{{ p2p_observation.python.version }}"
    machine: "{{ p2p_observation.machine }}"
  register: bundle
"""

RETURN = r"""
path:
  description: The archive on the controller; V(null) in check mode.
  returned: success
  type: str
sha256:
  description: Its digest; V(null) in check mode.
  returned: success
  type: str
release:
  description: The identity of the release.
  returned: success
  type: str
  sample: 3f9a1c07d2be4455
built:
  description: Whether the archive was made just now rather than found in the cache.
  returned: success
  type: bool
"""
