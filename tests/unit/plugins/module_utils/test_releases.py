# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile

import pytest
from ansible_collections.ringrift.p2p.plugins.module_utils import _releases
from ansible_collections.ringrift.p2p.plugins.module_utils._releases import ReleaseError
from ansible_collections.ringrift.p2p.plugins.modules import orchestrator_release

LAUNCHER = """\
# ringrift.p2p embedded orchestrator
import sys
BOOTSTRAP_SEEDS: list[str] = [
]
sys.exit(0)
"""
R1, R2 = "a" * 16, "b" * 16


def bundle(folder, release, launcher=LAUNCHER, extra=()):
    """An archive on disk as the controller makes it; returns (path, sha256)."""
    files = {"RELEASE.json": json.dumps({"release": release}), "scripts/p2p_orchestrator.py": launcher, "lib/x/y.py": "1\n"}
    path = os.path.join(str(folder), release + ".tar.gz")
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
        for member in extra:
            tar.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
    with open(path, "rb") as handle:
        return path, hashlib.sha256(handle.read()).hexdigest()


def install(root, archive, release, check=False, **changes):
    path, sha256 = archive
    wanted = dict(root=str(root), release=release, archive=path, sha256=sha256, launcher=True, switch=False, keep=8)
    wanted.update(changes)
    return orchestrator_release.install(wanted, (os.geteuid(), os.getegid()), check)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "home" / "ringrift"


def test_a_release_is_installed_beside_what_runs_and_a_second_time_changes_nothing(tmp_path, root):
    archive = bundle(tmp_path, R1)
    predicted = install(root, archive, R1, check=True)
    assert predicted["changed"] and not root.exists()
    result = install(root, archive, R1)
    assert result["done"] == predicted["done"] == ["unpack releases/" + R1, "write scripts/p2p_orchestrator.py"]
    assert result["current"] is None and not os.path.lexists(str(root / "current"))
    assert (root / "releases" / R1 / "lib" / "x" / "y.py").read_text() == "1\n"
    assert os.access(str(root / "scripts" / "p2p_orchestrator.py"), os.X_OK)
    again = install(root, archive, R1)
    assert not again["changed"] and again["diff"] == {}


def test_switching_is_one_step_and_keeps_the_one_before(tmp_path, root):
    install(root, bundle(tmp_path, R1), R1, switch=True)
    assert os.readlink(str(root / "current")) == "releases/" + R1
    result = install(root, bundle(tmp_path, R2), R2, switch=True, keep=1)
    assert result["current"] == R2 and os.readlink(str(root / "current")) == "releases/" + R2
    assert sorted(os.listdir(str(root / "releases"))) == [R1, R2]
    assert not install(root, ("", ""), R2, switch=True)["changed"]


def test_everything_belongs_to_the_owner(tmp_path, root):
    path, sha256 = bundle(tmp_path, R1)
    wanted = dict(root=str(root), release=R1, archive=path, sha256=sha256, launcher=True, switch=True, keep=8)
    orchestrator_release.install(wanted, (1234, 1235), False)
    found = [os.path.join(folder, name) for folder, folders, names in os.walk(str(root)) for name in folders + names] + [str(root)]
    assert len(found) >= 10 and {(os.lstat(path).st_uid, os.lstat(path).st_gid) for path in found} == {(1234, 1235)}


def test_a_foreign_launcher_is_left_alone_and_nothing_else_is_done(tmp_path, root):
    (root / "scripts").mkdir(parents=True)
    (root / "scripts" / "p2p_orchestrator.py").write_text("# somebody's own\n")
    for check in (True, False):
        with pytest.raises(ReleaseError, match="orchestrator_source: present"):
            install(root, bundle(tmp_path, R1), R1, check=check)
    assert os.listdir(str(root)) == ["scripts"] and (root / "scripts" / "p2p_orchestrator.py").read_text() == "# somebody's own\n"


SEEDED = LAUNCHER.replace("= [\n]", "= [\n    '203.0.113.60:8770',  # vultr\n]")


@pytest.mark.parametrize(
    ("present", "action"),
    [(None, "write"), (LAUNCHER, "keep"), (SEEDED, "keep"), (SEEDED.replace("exit(0)", "exit(1)"), "replace"), ("# mine\n", "refuse"),
     ("# ringrift.p2p embedded orchestrator\ndef broken(:\n", "replace"), (LAUNCHER.replace(": list[str]", ""), "replace")],
)
def test_seeds_put_into_a_launcher_do_not_make_it_another(present, action):
    assert _releases.launcher_action(present, LAUNCHER) == action


def test_an_older_launcher_of_ours_is_replaced(tmp_path, root):
    install(root, bundle(tmp_path, R1, LAUNCHER.replace("exit(0)", "exit(1)")), R1)
    result = install(root, bundle(tmp_path, R2), R2)
    assert result["done"][1] == "replace scripts/p2p_orchestrator.py"
    assert (root / "scripts" / "p2p_orchestrator.py").read_text() == LAUNCHER


def member(name, kind=tarfile.REGTYPE, size=0, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


@pytest.mark.parametrize(
    "bad",
    [member("../out"), member("/etc/passwd"), member("lib/../../out"), member("link", tarfile.SYMTYPE, link="/etc"), member("hard", tarfile.LNKTYPE, link="x"),
     member("fifo", tarfile.FIFOTYPE), member("dev", tarfile.CHRTYPE), member("a\\b")],
)
def test_an_archive_that_would_leave_its_folder_is_refused_as_a_whole(tmp_path, root, bad):
    with pytest.raises(ReleaseError, match="the archive is not unpacked"):
        install(root, bundle(tmp_path, R1, extra=[bad]), R1)
    assert not root.exists() and not (tmp_path / "out").exists()


def test_a_damaged_or_misnamed_archive_is_refused(tmp_path, root):
    path, sha256 = bundle(tmp_path, R1)
    with pytest.raises(ReleaseError, match="damaged on its way"):
        install(root, (path, "0" * 64), R1)
    with pytest.raises(ReleaseError, match="holds release %s, not %s" % (R1, R2)):
        install(root, (path, sha256), R2)
    junk = tmp_path / "junk"
    junk.write_bytes(b"no archive")
    with pytest.raises(ReleaseError, match="can't be read"):
        install(root, (str(junk), hashlib.sha256(b"no archive").hexdigest()), R1)
    with pytest.raises(ReleaseError, match="no bundle is given"):
        install(root, ("", ""), R1)
    assert not (root / "releases" / R2).exists() and not os.listdir(str(root / "releases"))


def test_half_a_release_of_a_dead_run_is_put_aside(tmp_path, root):
    half = root / "releases" / R1
    half.mkdir(parents=True)
    (half / "left").write_text("x")
    install(root, bundle(tmp_path, R1), R1)
    aside = [name for name in os.listdir(str(root / "releases")) if name.startswith(R1 + ".incomplete-")]
    assert len(aside) == 1 and (root / "releases" / aside[0] / "left").exists() and not (half / "left").exists()


def test_current_that_is_a_folder_is_refused(tmp_path, root):
    (root / "current").mkdir(parents=True)
    with pytest.raises(ReleaseError, match="is not a link"):
        install(root, bundle(tmp_path, R1), R1, switch=True)


def test_the_newest_releases_and_those_in_use_stay():
    releases = [("old", 1.0), ("used", 2.0), ("mid", 3.0), ("new", 4.0)]
    assert _releases.removable(releases, 2, {"used"}) == ["old"]
    assert _releases.removable(releases, 0, set()) == ["mid", "old", "used"]
    assert _releases.removable(releases, 9, set()) == []
