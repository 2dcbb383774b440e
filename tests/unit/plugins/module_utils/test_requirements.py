# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What requirements files ask for, compared with what an interpreter has."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from ansible_collections.ringrift.p2p.plugins.module_utils import _node_files
from ansible_collections.ringrift.p2p.plugins.module_utils import _orchestrator_probe
from ansible_collections.ringrift.p2p.plugins.module_utils import _requirements as requirements

ENVIRONMENT = {"python_version": "3.10", "python_full_version": "3.10.12", "sys_platform": "linux", "platform_machine": "aarch64", "os_name": "posix",
               "implementation_name": "cpython"}


@pytest.mark.parametrize("found, operator, wanted, satisfied", [
    ("3.9.1", "==", "3.9.1", True), ("3.9.1", "==", "3.9.1.0", True), ("3.9.1", "==", "3.9", False), ("3.9.1", "==", "3.9.*", True),
    ("3.10", "==", "3.1.*", False), ("3", "==", "3.0.*", True), ("3.9.1", "!=", "3.9.*", False), ("3.9.1", "!=", "3.9.2", True),
    ("3.10.0", ">=", "3.9", True), ("3.9", ">", "3.9.0", False), ("3.9.post1", ">", "3.9", False), ("3.9.1", ">", "3.9", True),
    ("2.0rc1", "<", "2.0", False), ("2.0rc1", "<=", "2.0", True), ("1.9", "<", "2.0", True), ("2.0rc1", "<", "2.0rc2", True),
    ("2.0.dev3", "<=", "2.0a1", True), ("1!1.0", ">", "2.0", True), ("2.4.7", "~=", "2.4", True), ("3.0", "~=", "2.4", False),
    ("2.4.7", "~=", "2.4.8", False), ("2.5.0", "~=", "2.4.2", False), ("2.1.0+cu121", "==", "2.1.0", True), ("2.1.0", "==", "2.1.0+cu121", False),
    ("v1.0", "==", "1.0", True), ("1.0-1", "==", "1.0.post1", True), ("2024a", "===", "2024A", True),
])
def test_versions_compare_as_the_standard_has_it(found, operator, wanted, satisfied):
    assert requirements.satisfies(found, operator, wanted) is satisfied


@pytest.mark.parametrize("marker, result", [
    ("python_version < '3.9'", False), ('python_version >= "3.9"', True), ("python_version<'3.9' or platform_machine=='aarch64'", True),
    ("sys_platform == 'win32' and (os_name == 'posix' or python_version > '3')", False), ("sys_platform not in 'win32 cygwin'", True),
    ("extra == 'test'", False), ("'linux' in sys_platform", True), ("python_full_version == '3.10.*'", True),
])
def test_markers_hold_or_not(marker, result):
    assert requirements.holds(marker, ENVIRONMENT) is result


@pytest.mark.parametrize("marker", ["python_version", "os_name == 'posix' and", "(os_name == 'posix'", "os_name == 'posix')", "moon == 'full'",
                                    "os_name > 'a'", "%"])
def test_a_marker_that_cannot_be_read_is_told(marker):
    with pytest.raises(ValueError):
        requirements.holds(marker, ENVIRONMENT)


FILES = {
    "requirements.txt": """\
# what it needs
--extra-index-url https://example.com/simple
-r more/base.txt
aiohttp[speedups]>=3.9,<4  # the server
PyYAML ; python_version < "3.9"
orjson==3.9.1 \\
    --hash=sha256:00
torch @ https://user:secret@example.com/torch.whl ; sys_platform == 'linux'
-e .
./local.whl
git+https://user:secret@example.com/x.git
-c constraints.txt
""",
    "more/base.txt": "Some_Package.Name (~=1.4)\n-r ../requirements.txt\n-r gone.txt\n-r ../../outside.txt\n",
}


def test_files_are_read_with_what_they_include_and_what_only_an_installer_knows_is_named():
    found, checked, unread = requirements.read(["requirements.txt", "none.txt"], FILES.get)
    assert [(item.name, item.specifiers, item.place) for item in found] == [
        ("aiohttp", ((">=", "3.9"), ("<", "4")), "requirements.txt:4"), ("PyYAML", (), "requirements.txt:5"),
        ("orjson", (("==", "3.9.1"),), "requirements.txt:6"), ("torch", (), "requirements.txt:8"), ("Some_Package.Name", (("~=", "1.4"),), "more/base.txt:1"),
    ]
    assert checked == ["requirements.txt", "more/base.txt"]
    assert unread == ["requirements.txt:9: -e .", "requirements.txt:10: ./local.whl", "requirements.txt:11: git+https://example.com/x.git",
                      "requirements.txt:12: -c constraints.txt", "more/base.txt:3: -r gone.txt", "more/base.txt:4: -r ../../outside.txt"]


def test_everything_missing_or_wrong_is_named_with_its_place():
    found, _checked, _unread = requirements.read(["requirements.txt"], FILES.get)
    faults, unread = requirements.judge(found, {"AIOHTTP": "3.8.6", "some-package-name": "1.9", "orjson": "odd-version"}, ENVIRONMENT)
    assert faults == ["aiohttp is 3.8.6 (requirements.txt:4: aiohttp[speedups]>=3.9,<4)",
                      "torch is missing (requirements.txt:8: torch @ https://example.com/torch.whl ; sys_platform == 'linux')"]
    assert unread == ["requirements.txt:6: orjson==3.9.1"]
    satisfied = {"aiohttp": "3.9.5", "orjson": "3.9.1", "torch": "2.1.0+cu121", "some.package_name": "1.4.2"}
    assert requirements.judge(found, satisfied, ENVIRONMENT) == ([], [])


def interpreter(folder: pathlib.Path, packages: dict[str, str]) -> str:
    """An interpreter of its own that has exactly these packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name, version in packages.items():
        metadata = site / ("%s-%s.dist-info" % (name, version))
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (name, version), encoding="utf-8")
    (site / "broken-0.dist-info").mkdir()
    return str(folder / "bin" / "python")


def test_a_real_interpreter_is_asked_and_nothing_of_the_release_runs(tmp_path):
    release = tmp_path / "release"
    release.mkdir()
    (release / "sitecustomize.py").write_text("raise SystemExit('ran')\n", encoding="utf-8")
    (release / "requirements.txt").write_text("aiohttp>=3.9\norjson\ngone; os_name == 'nt'\n", encoding="utf-8")
    files, python = _node_files.Files("/"), interpreter(tmp_path / "venv", {"aiohttp": "3.8.1"})
    result = _orchestrator_probe.requirements(files, str(release), python, ["requirements.txt", "requirements-gpu.txt"])
    assert result == {"checked": ["requirements.txt"], "unread": [], "faults": [
        "aiohttp is 3.8.1 (requirements.txt:1: aiohttp>=3.9)", "orjson is missing (requirements.txt:2: orjson)"]}
    assert sorted(os.listdir(release)) == ["requirements.txt", "sitecustomize.py"]
    # Without a file there is nothing to ask, whatever the interpreter is.
    assert _orchestrator_probe.requirements(files, str(release), "/nonexistent", ["none.txt"]) == {"checked": [], "faults": [], "unread": []}


@pytest.mark.parametrize("status, output, errors, message", [
    (1, "", "Traceback\nImportError: broken\n", "ImportError: broken"), (139, "", "", "ended with status 139"),
    (0, '{"packages": null, "environment": {}}', "", "Python 3.8"),
])
def test_an_interpreter_that_cannot_tell_is_an_error_with_a_reason(status, output, errors, message):
    with pytest.raises(ValueError, match=message):
        requirements.answer(status, output, errors)
