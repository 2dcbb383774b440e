# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's own orchestrator, from a repository, a folder or an archive to a release on a node: real git, real files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from ansible_collections.ringrift.p2p.plugins.module_utils import _releases
from ansible_collections.ringrift.p2p.plugins.modules import orchestrator_release
from ansible_collections.ringrift.p2p.plugins.plugin_utils import _source_release
from ansible_collections.ringrift.p2p.plugins.plugin_utils._source_release import SourceError

FIELDLIKE = Path(__file__).resolve().parents[3] / "fieldlike" / "ai_service"
SHARED = ["data", "logs", "config/distributed_hosts.yaml"]


def git(folder, *words):
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *identity, *words], cwd=str(folder), env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A repository in the shape of the field: the orchestrator's folder below its top."""
    tree = tmp_path / "checkout"
    shutil.copytree(str(FIELDLIKE), str(tree / "ai-service"), ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "ai-service" / "data").mkdir()
    (tree / "ai-service" / "data" / "tracked.json").write_text("{}", encoding="utf-8")
    (tree / "README.md").write_text("a game\n", encoding="utf-8")
    git(tree, "init", "--quiet")
    git(tree, "add", "-A")
    git(tree, "commit", "--quiet", "-m", "one")
    return tree


def from_git(checkout, cache, revision="main", monkeypatch=None, run="run-1"):
    if monkeypatch is not None:
        monkeypatch.setattr(_source_release, "_run_key", lambda: run)
    return _source_release.release("git", {"repository": str(checkout), "revision": revision, "shared": SHARED}, str(cache))


def install(root, packed, check=False, **changes):
    wanted = dict(root=str(root), release=packed["release"], archive=packed["path"], sha256=packed["sha256"], launcher=False, switch=False, keep=8,
                  shared=SHARED, interpreter=sys.executable)
    return orchestrator_release.install(dict(wanted, **changes), (os.geteuid(), os.getegid()), check)


def test_repository_folder_and_archive_of_the_same_content_are_the_same_release(checkout, tmp_path):
    packed = from_git(checkout, tmp_path / "cache")
    assert packed["revision"] == git(checkout, "rev-parse", "HEAD")
    folder = _source_release.release("local", {"path": str(checkout), "shared": SHARED}, str(tmp_path / "other"))
    alone = _source_release.release("local", {"path": str(checkout / "ai-service"), "shared": SHARED}, str(tmp_path / "other"))
    archive = tmp_path / "top.tar.gz"
    with tarfile.open(str(archive), "w:gz") as tar:
        tar.add(str(checkout), arcname="ringrift-1.0")
    unpacked = _source_release.release("local", {"path": str(archive), "shared": SHARED}, str(tmp_path / "other"))
    assert {item["release"] for item in (folder, alone, unpacked)} == {packed["release"]}
    names = json.loads(packed["manifest"])["files"]
    assert "scripts/p2p_orchestrator.py" in names and names["scripts/p2p_orchestrator.py"][1] is True
    assert not any(name.startswith(("data/", ".git")) or name == "README.md" for name in names)


def test_a_branch_is_resolved_once_in_a_run_and_anew_in_the_next(checkout, tmp_path, monkeypatch):
    first = from_git(checkout, tmp_path / "cache", monkeypatch=monkeypatch)
    (checkout / "ai-service" / "more.py").write_text("MORE = 1\n", encoding="utf-8")
    git(checkout, "add", "-A")
    git(checkout, "commit", "--quiet", "-m", "two")
    assert from_git(checkout, tmp_path / "cache", monkeypatch=monkeypatch) == first
    second = from_git(checkout, tmp_path / "cache", monkeypatch=monkeypatch, run="run-2")
    assert second["release"] != first["release"]
    # A commit that is known needs no repository.
    shutil.move(str(checkout), str(tmp_path / "gone"))
    assert from_git(checkout, tmp_path / "cache", first["revision"], monkeypatch, "run-3") == first


def test_a_changed_folder_is_another_release_and_a_damaged_archive_is_packed_again(checkout, tmp_path):
    settings = {"path": str(checkout), "shared": SHARED}
    first = _source_release.release("local", settings, str(tmp_path / "cache"))
    Path(first["path"]).write_bytes(b"damaged")
    again = _source_release.release("local", settings, str(tmp_path / "cache"))
    assert again["release"] == first["release"] and Path(again["path"]).stat().st_size > 1000
    (checkout / "ai-service" / "scripts" / "p2p_keepalive.sh").write_text("#!/bin/sh\n", encoding="utf-8")
    assert _source_release.release("local", settings, str(tmp_path / "cache"))["release"] != first["release"]


def test_faults_name_the_place_and_the_way_out(checkout, tmp_path):
    cache = str(tmp_path / "cache")
    with pytest.raises(SourceError, match=r"orchestrator_repository names no repository; orchestrator_revision '' is not a branch"):
        _source_release.release("git", {}, cache)
    with pytest.raises(SourceError, match="has no branch, tag or commit 'nowhere'"):
        from_git(checkout, tmp_path / "cache", "nowhere")
    with pytest.raises(SourceError, match="'--upload-pack=x' is not a branch"):
        from_git(checkout, tmp_path / "cache", "--upload-pack=x")
    with pytest.raises(SourceError, match="does not exist on the controller"):
        _source_release.release("local", {"path": str(tmp_path / "none")}, cache)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="it holds no scripts/p2p_orchestrator.py"):
        _source_release.release("local", {"path": str(tmp_path / "empty")}, cache)
    (tmp_path / "text").write_text("no archive", encoding="utf-8")
    with pytest.raises(SourceError, match="neither a folder nor a tar archive"):
        _source_release.release("local", {"path": str(tmp_path / "text")}, cache)
    with pytest.raises(SourceError, match="'../x' is not a path below"):
        _source_release.release("local", {"path": str(checkout), "shared": ["../x", "data"]}, cache)
    with pytest.raises(SourceError) as caught:
        _source_release.release("git", {"repository": "file://user:hunter2@localhost/none", "revision": "main"}, cache)
    assert "hunter2" not in str(caught.value)


def test_links_that_lead_out_are_left_out_and_named(checkout, tmp_path):
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (checkout / "ai-service" / "out").symlink_to(tmp_path / "secret")
    (checkout / "ai-service" / "inside.py").symlink_to("app/p2p/constants.py")
    git(checkout, "add", "-A")
    git(checkout, "commit", "--quiet", "-m", "links")
    local = _source_release.release("local", {"path": str(checkout), "shared": SHARED}, str(tmp_path / "cache"))
    for packed in (from_git(checkout, tmp_path / "cache"), local):
        assert packed["left_out"] == ["out"]
        names = json.loads(packed["manifest"])["files"]
        assert names["inside.py"][0] == names["app/p2p/constants.py"][0]


def test_a_release_lands_beside_a_checkout_with_its_state_shared_and_nothing_there_is_touched(checkout, tmp_path):
    root = tmp_path / "node" / "ai-service"
    shutil.copytree(str(checkout / "ai-service"), str(root))
    (root / "scripts" / "p2p_orchestrator.py").write_text("changed = 1\n", encoding="utf-8")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    packed = from_git(checkout, tmp_path / "cache")
    predicted = install(root, packed, check=True)
    assert predicted["changed"] and not (root / "releases").exists()
    assert install(root, packed)["done"] == predicted["done"] == ["unpack releases/" + packed["release"]]
    assert not install(root, packed)["changed"]
    assert {path: path.read_bytes() for path in before} == before
    release = root / "releases" / packed["release"]
    assert (release / "data").resolve() == root / "data" and (release / "logs").resolve() == root / "logs"
    assert (release / "data" / "tracked.json").read_text(encoding="utf-8") == "{}"
    assert os.readlink(str(release / "config" / "distributed_hosts.yaml")) == "../../../config/distributed_hosts.yaml"
    assert os.access(str(release / "scripts" / "p2p_orchestrator.py"), os.X_OK)
    # It runs from there, under its own claim in the shared state: a flag that it does not know is noticed behind that.
    environment = dict(os.environ, PYTHONPATH=str(release), PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run([sys.executable, "scripts/p2p_orchestrator.py", "--no-such-flag", "--port", "1"], cwd=str(release), env=environment,
                          capture_output=True, check=False, timeout=30)
    assert done.returncode == 2
    assert (root / "data" / "coordination" / "p2p_supervisor.json").exists()


def test_a_release_whose_imports_would_fail_is_refused_before_it_is_in_force(checkout, tmp_path):
    script = checkout / "ai-service" / "scripts" / "p2p_orchestrator.py"
    script.write_text(script.read_text(encoding="utf-8").replace("import hmac\n", "import hmac\nimport a_package_nobody_has\n"), encoding="utf-8")
    packed = _source_release.release("local", {"path": str(checkout), "shared": SHARED}, str(tmp_path / "cache"))
    with pytest.raises(_releases.ReleaseError, match="a_package_nobody_has"):
        install(tmp_path / "node", packed, switch=True)
    assert _releases.in_force(str(tmp_path / "node")) is None


def test_a_release_whose_packages_are_missing_is_refused_with_the_way_out_before_it_is_in_force(checkout, tmp_path):
    (checkout / "ai-service" / "requirements.txt").write_text("pytest>=1\nnobody-has-this==2.0\n-e .\n", encoding="utf-8")
    script = checkout / "ai-service" / "scripts" / "p2p_orchestrator.py"
    script.write_text(script.read_text(encoding="utf-8").replace("import hmac\n", "import hmac\nimport a_package_nobody_has\n"), encoding="utf-8")
    packed = _source_release.release("local", {"path": str(checkout), "shared": SHARED}, str(tmp_path / "cache"))
    with pytest.raises(_releases.ReleaseError) as caught:
        install(tmp_path / "node", packed, switch=True, requirements=["requirements.txt"])
    release = tmp_path / "node" / "releases" / packed["release"]
    assert "it would not start: a_package_nobody_has; its requirements are not met: nobody-has-this is missing (requirements.txt:2" in str(caught.value)
    assert "%s -m pip install -r %s/requirements.txt, or ask for less" % (sys.executable, release) in str(caught.value)
    assert _releases.in_force(str(tmp_path / "node")) is None
    # Nothing was installed, and unpacking it is not accepting it: the next run refuses again.
    with pytest.raises(_releases.ReleaseError, match="nobody-has-this"):
        install(tmp_path / "node", packed, switch=True, requirements=["requirements.txt"], check=True)


def test_an_interpreter_that_does_not_run_is_an_error_with_the_way_out(checkout, tmp_path):
    packed = from_git(checkout, tmp_path / "cache")
    with pytest.raises(_releases.ReleaseError, match="can't be checked with /nonexistent/python: .*; name another interpreter"):
        install(tmp_path / "node", packed, switch=True, interpreter="/nonexistent/python")
    assert _releases.in_force(str(tmp_path / "node")) is None


def test_a_release_whose_packages_are_there_is_taken_and_what_was_compared_is_told(checkout, tmp_path):
    (checkout / "ai-service" / "requirements.txt").write_text("pytest>=1\n-e .\n", encoding="utf-8")
    packed = _source_release.release("local", {"path": str(checkout), "shared": SHARED}, str(tmp_path / "cache"))
    result = install(tmp_path / "node", packed, switch=True, requirements=["requirements.txt", "requirements-gpu.txt"])
    assert result["requirements"] == {"checked": ["requirements.txt"], "unread": ["requirements.txt:2: -e ."]}
    assert _releases.in_force(str(tmp_path / "node")) == packed["release"]
    assert "requirements" not in install(tmp_path / "node", packed, switch=True, requirements=["requirements.txt"])


def test_an_archive_that_was_damaged_on_its_way_is_refused(checkout, tmp_path):
    packed = from_git(checkout, tmp_path / "cache")
    with pytest.raises(_releases.ReleaseError, match="damaged on its way"):
        install(tmp_path / "node", packed, sha256="0" * 64)
    assert not (tmp_path / "node" / "releases" / packed["release"]).exists()
