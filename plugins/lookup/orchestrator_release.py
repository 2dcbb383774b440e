# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: orchestrator_release
short_description: Tell which release of the orchestrator's bundle a node should have
version_added: 1.0.0
description:
  - Tells the identity of the bundle that M(ringrift.p2p.orchestrator_bundle) would build, without building it, so that it can be compared
    with what a node has.
author:
  - RingRift P2P contributors (@ringrift)
options:
  kind:
    description: What the bundle holds, the embedded orchestrator or supervisord alone.
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
seealso:
  - module: ringrift.p2p.orchestrator_bundle
"""

EXAMPLES = r"""
- name: Tell the release for a node
  ansible.builtin.debug:
    msg: "{{ (query('ringrift.p2p.orchestrator_release', python_version='3.11.2', machine='x86_64') | first).release }}"
"""

RETURN = r"""
_raw:
  description: One dictionary.
  type: list
  elements: dict
  contains:
    release:
      description: The identity of the release.
      type: str
    manifest:
      description: The text of its C(RELEASE.json).
      type: str
"""

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.ringrift.p2p.plugins.plugin_utils import _bundle


class LookupModule(LookupBase):
    """Answers with the planned release as a dictionary."""

    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        try:
            wanted = _bundle.plan(self.get_option("kind"), self.get_option("python_version"), self.get_option("machine"))
        except _bundle.BundleError as exc:
            raise AnsibleLookupError(str(exc)) from exc
        return [{"release": wanted.release, "manifest": wanted.manifest}]
