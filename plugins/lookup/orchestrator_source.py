# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: orchestrator_source
short_description: Make a release of your own orchestrator on the controller
version_added: 1.0.0
description:
  - Packs the orchestrator out of a git repository, or of a folder or a tar archive on the controller, into an archive that
    M(ringrift.p2p.orchestrator_release) installs.
  - Everything happens on the controller, in a cache; nodes need neither git nor keys. What was packed before is not packed again.
  - A branch is resolved once in a run, so that all nodes get the same.
author:
  - RingRift P2P contributors (@ringrift)
options:
  source:
    description: Where the orchestrator comes from.
    type: str
    choices: [git, local]
    required: true
  repository:
    description: The address of the git repository, as the controller reaches it.
    type: str
    default: ""
  revision:
    description: A branch, a tag or a commit.
    type: str
    default: ""
  key_file:
    description: A private key on the controller that may read the repository.
    type: str
    default: ""
  path:
    description: The folder or tar archive on the controller. The orchestrator may lie in C(ai-service/) below it.
    type: str
    default: ""
  shared:
    description: Paths below the orchestrator's folder that all releases of a node share. What the source holds there is left out.
    type: list
    elements: str
    default: []
  cache_dir:
    description: Where archives are kept on the controller.
    type: str
    default: ~/.cache/ringrift-p2p
seealso:
  - module: ringrift.p2p.orchestrator_release
"""

EXAMPLES = r"""
- name: Tell which release a branch is
  ansible.builtin.debug:
    msg: "{{ (query('ringrift.p2p.orchestrator_source', source='local', path='~/src/ringrift') | first).release }}"
"""

RETURN = r"""
_raw:
  description: One dictionary.
  type: list
  elements: dict
  contains:
    release:
      description: The identity of the release, which follows from its content.
      type: str
    revision:
      description: The commit; V(null) where the source is no repository.
      type: str
    manifest:
      description: The text of its C(RELEASE.json).
      type: str
    path:
      description: The archive on the controller.
      type: str
    sha256:
      description: The digest of the archive.
      type: str
    left_out:
      description: What was not packed, such as links that lead out.
      type: list
      elements: str
"""

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.ringrift.p2p.plugins.plugin_utils import _source_release


class LookupModule(LookupBase):
    """Answers with the release as a dictionary."""

    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        wanted = self.get_options()
        try:
            return [_source_release.release(wanted["source"], wanted, wanted["cache_dir"])]
        except _source_release.SourceError as exc:
            raise AnsibleLookupError(str(exc)) from exc
