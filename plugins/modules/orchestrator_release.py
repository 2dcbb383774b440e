#!/usr/bin/python
# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: orchestrator_release
short_description: Install a release of the orchestrator on a node
version_added: 1.0.0
description:
  - Carries an archive from the controller to the node, checks its digest and unpacks it into C(releases/) beside the releases that
    are there. Nothing that runs is touched.
  - Writes the launcher C(scripts/p2p_orchestrator.py) where there is none, or where an older one of this collection stands. Somebody
    else's is never overwritten.
  - Points C(current) at the release only where O(switch) says so. Usually M(ringrift.p2p.node_config) does that, as part of a
    generation.
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
    platforms: posix
options:
  root:
    description: The folder that holds C(releases/) and C(current) on the node, absolute.
    type: path
    required: true
  release:
    description: The identity of the release.
    type: str
    required: true
  bundle:
    description: The archive on the controller. It is only needed where the release is not installed, and not in check mode.
    type: path
  sha256:
    description: The digest of the archive.
    type: str
  launcher:
    description: Whether the launcher is written, which needs a release of the embedded orchestrator.
    type: bool
    default: true
  switch:
    description: Whether C(current) is pointed at the release.
    type: bool
    default: false
  shared:
    description:
      - Paths below the release that become links to the same paths below O(root), because all releases share them. One whose name has no dot
        is a folder, which is made where it is missing.
    type: list
    elements: str
    default: []
  interpreter:
    description:
      - An interpreter on the node. With it, a release that is not in force is asked whether its imports work and whether the interpreter has
        what O(requirements) ask for. It is an error where either is not so. Nothing of the release is run and nothing is installed.
      - In check mode only a release that is unpacked can be asked.
    type: path
  requirements:
    description:
      - Requirements files of the release, in pip's format. What they include counts, and so do markers. One that the release does not have
        asks for nothing.
      - Links, paths, constraint files and the dependencies of extras are not judged but returned.
    type: list
    elements: str
    default: []
  owner:
    description: Who owns what is written; the user the module runs as by default.
    type: str
  group:
    description: The group of what is written; the primary group of the owner by default.
    type: str
  keep:
    description: How many releases are kept. The one in force and this one always are.
    type: int
    default: 8
  archive:
    description: Where the archive lies on the node. It is set by the action plugin.
    type: path
seealso:
  - module: ringrift.p2p.orchestrator_bundle
  - module: ringrift.p2p.node_config
"""

EXAMPLES = r"""
- name: Build the bundle for this node
  ringrift.p2p.orchestrator_bundle:
    python_version: "{{ p2p_observation.python.version }}"
    machine: "{{ p2p_observation.machine }}"
  register: bundle

- name: Install it
  ringrift.p2p.orchestrator_release:
    root: /home/ubuntu/ringrift/ai-service
    release: "{{ bundle.release }}"
    bundle: "{{ bundle.path }}"
    sha256: "{{ bundle.sha256 }}"
    owner: ubuntu

- name: Install your own orchestrator beside what runs
  ringrift.p2p.orchestrator_release:
    root: /home/ubuntu/ringrift/ai-service
    release: "{{ packed.release }}"
    bundle: "{{ packed.path }}"
    sha256: "{{ packed.sha256 }}"
    launcher: false
    shared: [data, logs]
    interpreter: /home/ubuntu/ringrift/ai-service/venv/bin/python
    requirements: [requirements.txt]
    owner: ubuntu
  vars:
    packed: "{{ query('ringrift.p2p.orchestrator_source', source='local', path='~/src/ringrift', shared=['data', 'logs']) | first }}"
"""

RETURN = r"""
release:
  description: The release that was asked for.
  returned: success
  type: str
path:
  description: Its folder on the node.
  returned: success
  type: str
current:
  description: The release in force afterwards; V(null) where there is none.
  returned: success
  type: str
requirements:
  description: The requirements files that the interpreter satisfies (C(checked)), and lines of them that only an installer could judge (C(unread)).
  returned: when the release was asked
  type: dict
  sample: {"checked": ["requirements.txt"], "unread": ["requirements.txt:9: -e ."]}
done:
  description: What was done, or would be.
  returned: success
  type: list
  elements: str
  sample: ["unpack releases/3f9a1c07d2be4455", "write scripts/p2p_orchestrator.py"]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ringrift.p2p.plugins.module_utils import _orchestrator_probe, _releases
from ansible_collections.ringrift.p2p.plugins.module_utils._generations import owner_ids
from ansible_collections.ringrift.p2p.plugins.module_utils._node_files import Files


def install(wanted, owner, check):
    """Brings the node to the wanted release; returns the result. Raises ReleaseError before anything in force is touched."""
    root, release = wanted["root"], wanted["release"]
    launcher = os.path.join(root, _releases.LAUNCHER)
    before = _releases.in_force(root)
    done = []
    present = _releases.launcher_text(launcher) if wanted["launcher"] else None
    if present is not None and not _releases.is_ours(present):
        raise _releases.refuse_foreign_launcher(launcher)
    there = _releases.installed(root, release)
    if not there:
        done.append("unpack releases/%s" % release)
        if not check:
            if not wanted["archive"] or not wanted["sha256"]:
                raise _releases.ReleaseError("release %s is not installed in %s and no bundle is given; give bundle and sha256" % (release, root))
            _releases.unpack(wanted["archive"], wanted["sha256"], root, release, owner, wanted.get("shared") or ())
            there = True
    checked = {}
    if there and wanted.get("interpreter") and before != release:
        checked = {"requirements": check_start(os.path.join(root, "releases", release), wanted["interpreter"], wanted.get("requirements") or ())}
    if wanted["launcher"]:
        source = os.path.join(root, "releases", release, _releases.LAUNCHER)
        # What a release that is not there yet brings along is only known once it is.
        action = _releases.launcher_action(present, _releases.launcher_text(source) or "") if there else ("write" if present is None else "keep")
        if action != "keep":
            done.append("%s %s" % (action, _releases.LAUNCHER))
            if not check:
                _releases.write_launcher(root, release, launcher, owner)
    if wanted["switch"] and before != release:
        done.append("point current at releases/%s" % release)
        if not check:
            _releases.switch(root, release, owner)
    after = release if wanted["switch"] else before
    if not check and done:
        _releases.remove(root, _releases.removable(_releases.releases_of(root), wanted["keep"], {release, before}))
    return dict(checked, **{
        "changed": bool(done), "release": release, "path": os.path.join(root, "releases", release), "current": after, "done": done,
        "diff": {"before": "current release: %s\n" % (before or "none"), "after": "current release: %s\n%s" % (after or "none", "".join(
            "%s\n" % line for line in done))} if done else {},
    })


def check_start(path, interpreter, requirements):
    """Returns C({checked, unread}) of the requirements files. Raises ReleaseError where a start of the release would end at its imports, or lacks packages."""
    try:
        found = _orchestrator_probe.imports(Files("/"), path, interpreter, path, path)
        environment = _orchestrator_probe.requirements(Files("/"), path, interpreter, requirements)
    except (OSError, ValueError) as exc:
        raise _releases.ReleaseError("%s can't be checked with %s: %s; name another interpreter (orchestrator_python)" % (path, interpreter, exc)) from exc
    faults = [] if found["ok"] else ["it would not start: %s" % (found["missing"] or found["error"])]
    if environment["faults"]:
        faults.append("its requirements are not met: %s" % ", ".join(environment["faults"]))
    if faults:
        install = "".join(" -r %s/%s" % (path, name) for name in environment["checked"])
        way_out = "install what it needs there"
        if environment["faults"]:
            way_out = "%s -m pip install%s, or ask for less in orchestrator_requirements_files" % (interpreter, install)
        raise _releases.ReleaseError("%s does not go with %s: %s. What was in force still is; %s, then repeat the run" % (
            path, interpreter, "; ".join(faults), way_out))
    return {"checked": environment["checked"], "unread": environment["unread"]}


def main():
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "bundle": {"type": "path"},
            "sha256": {"type": "str"},
            "launcher": {"type": "bool", "default": True},
            "switch": {"type": "bool", "default": False},
            "shared": {"type": "list", "elements": "str", "default": []},
            "interpreter": {"type": "path"},
            "requirements": {"type": "list", "elements": "str", "default": []},
            "owner": {"type": "str"},
            "group": {"type": "str"},
            "keep": {"type": "int", "default": 8},
            "archive": {"type": "path"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    if not os.path.isabs(wanted["root"]):
        module.fail_json(msg="root %r is not absolute; give the folder on the node in full" % wanted["root"])
    faults = [fault for fault in map(_releases.shared_fault, wanted["shared"]) if fault]
    if faults:
        module.fail_json(msg="; ".join(faults))
    try:
        owner = owner_ids(wanted["owner"], wanted["group"])
        result = install(wanted, owner, module.check_mode)
    except KeyError as exc:
        module.fail_json(msg=exc.args[0])
    except _releases.ReleaseError as exc:
        module.fail_json(msg=str(exc))
    except OSError as exc:
        module.fail_json(msg="%s: %s" % (exc.filename or wanted["root"], exc.strerror or exc))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
