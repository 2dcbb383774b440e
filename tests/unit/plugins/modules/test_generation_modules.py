# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""node_config and orchestrator_release as a playbook calls them, with real Ansible: arguments, check mode, diff, secrets, transfer, errors."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
RELEASE = "c" * 16
PLAY = """
- hosts: all
  gather_facts: false
  vars:
    files:
      - {path: "{{ etc }}/node.conf", content: "A=1\\n", mode: "0640"}
      - {path: "{{ etc }}/token", secret: "very-secret-token\\n"}
      - {path: "{{ etc }}/hook.sh", block: "echo ours", disable_lines: ["^start"], disable_as: command}
    node_config: &node_config
      state_dir: "{{ state }}"
      generation: g1
      files: "{{ files }}"
      remove: ["{{ etc }}/old"]
    release: &release
      root: "{{ home }}"
      release: "{{ release_id }}"
      bundle: "{{ archive }}"
      sha256: "{{ sha256 }}"
      switch: true
  tasks:
    - {name: predicted, ringrift.p2p.node_config: *node_config, check_mode: true, diff: true, register: predicted}
    - {name: written, ringrift.p2p.node_config: *node_config, diff: true, register: written}
    - {name: again, ringrift.p2p.node_config: *node_config, register: again}
    - name: refused
      ringrift.p2p.node_config: {state_dir: "{{ state }}", files: [{path: "{{ home }}"}, {path: x, content: y}]}
      register: refused
      failed_when: false
    - {name: back, ringrift.p2p.node_config: {state: rolled_back, generation: g1, state_dir: "{{ state }}"}, register: back}
    - {name: back_again, ringrift.p2p.node_config: {state: rolled_back, generation: g1, state_dir: "{{ state }}"}, register: back_again}
    - {name: foreseen, ringrift.p2p.orchestrator_release: *release, check_mode: true, register: foreseen}
    - {name: installed, ringrift.p2p.orchestrator_release: *release, register: installed}
    - {name: kept, ringrift.p2p.orchestrator_release: *release, register: kept}
    - name: missing
      ringrift.p2p.orchestrator_release: {root: "{{ home }}", release: "{{ release_id }}", bundle: /nonexistent}
      register: missing
      failed_when: false
    - name: planned
      ringrift.p2p.orchestrator_bundle: {python_version: 3.11.2, machine: x86_64, cache_dir: "{{ home }}/cache"}
      check_mode: true
      register: planned
    - {name: unknown, ringrift.p2p.orchestrator_bundle: {python_version: 3.11.2, machine: vax}, register: unknown, failed_when: false}
    - ansible.builtin.copy:
        content: "{{ dict(names | zip(names | map('extract', vars))) | to_json }}"
        dest: "{{ home }}/results.json"
        mode: "0600"
      vars:
        names: [predicted, written, again, refused, back, back_again, foreseen, installed, kept, missing, planned, unknown]
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The results of every task of the play, what it printed, and the folder that it worked in."""
    folder = tmp_path_factory.mktemp("modules")
    for name in ("etc", "home"):
        (folder / name).mkdir()
    (folder / "etc" / "old").write_text("old\n", encoding="utf-8")
    (folder / "etc" / "hook.sh").write_text("#!/bin/sh\nstart me\n", encoding="utf-8")
    with tarfile.open(str(folder / "bundle.tar.gz"), "w:gz") as tar:
        for name, text in (("RELEASE.json", json.dumps({"release": RELEASE})), ("scripts/p2p_orchestrator.py", "# ringrift.p2p embedded orchestrator\n")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode("utf-8")))
    variables = {
        "etc": str(folder / "etc"), "home": str(folder / "home"), "state": str(folder / "state"), "archive": str(folder / "bundle.tar.gz"),
        "sha256": hashlib.sha256((folder / "bundle.tar.gz").read_bytes()).hexdigest(), "release_id": RELEASE,
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable,
    }
    (folder / "inventory.json").write_text(json.dumps({"all": {"hosts": {"node": variables}}}), encoding="utf-8")
    (folder / "play.yml").write_text(PLAY, encoding="utf-8")
    (folder / "none.cfg").write_text("", encoding="utf-8")
    environment = dict(os.environ, ANSIBLE_CONFIG=str(folder / "none.cfg"), ANSIBLE_COLLECTIONS_PATH=str(ROOT / "playbooks" / "collections"),
                       ANSIBLE_LOCAL_TEMP=str(folder / "tmp"), ANSIBLE_REMOTE_TEMP=str(folder / "remote"), ANSIBLE_INVENTORY_ENABLED="yaml")
    program = [sys.executable, "-m", "ansible", "playbook", "-vvv", "-i", str(folder / "inventory.json"), str(folder / "play.yml")]
    done = subprocess.run(program, cwd=str(folder), env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return json.loads((folder / "home" / "results.json").read_text(encoding="utf-8")), done.stdout, folder


def actions(result):
    return {os.path.basename(item["path"]): item["action"] for item in result["files"]}


def test_check_mode_and_the_run_tell_the_same(ran):
    results, _shown, _folder = ran
    assert actions(results["written"]) == {"node.conf": "created", "token": "created", "hook.sh": "changed", "old": "removed"}
    for key in ("changed", "generation", "previous", "files", "daemon_reload", "diff"):
        assert results["predicted"][key] == results["written"][key]
    assert not results["again"]["changed"]


def test_secrets_are_nowhere_in_what_is_shown(ran):
    _results, shown, _folder = ran
    assert "very-secret-token" not in shown and "node.conf" in shown and "A=1" in shown


def test_all_faults_come_in_one_answer(ran):
    results, _shown, _folder = ran
    assert len(results["refused"]["faults"]) == 2 and results["refused"]["msg"].startswith("files[0]") and "Traceback" not in str(results["refused"])


def test_going_back_restores_everything_once(ran):
    results, _shown, folder = ran
    assert results["back"]["changed"] and not results["back_again"]["changed"]
    assert {name: (folder / "etc" / name).read_text(encoding="utf-8") for name in os.listdir(str(folder / "etc"))} == {
        "old": "old\n", "hook.sh": "#!/bin/sh\nstart me\n"}


def test_a_bundle_is_carried_over_installed_and_then_left_alone(ran):
    results, _shown, folder = ran
    assert results["foreseen"]["changed"] and results["foreseen"]["done"] == results["installed"]["done"] and len(results["installed"]["done"]) == 3
    assert os.readlink(str(folder / "home" / "current")) == "releases/" + RELEASE
    assert not results["kept"]["changed"] and results["kept"]["current"] == RELEASE
    assert "build it with ringrift.p2p.orchestrator_bundle" in results["missing"]["msg"]
    assert os.listdir(str(folder / "remote")) == []


def test_a_bundle_is_only_planned_in_check_mode_and_an_unknown_machine_is_told(ran):
    results, _shown, folder = ran
    assert results["planned"]["path"] is None and len(results["planned"]["release"]) == 16 and not (folder / "home" / "cache").exists()
    assert "no locked dependencies" in results["unknown"]["msg"]
