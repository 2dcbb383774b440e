# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
# Files in memory cost no waiting for a disk.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
VERSIONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")


def interpreters() -> dict[str, str]:
    """One interpreter for each version of Python that this machine has, this one among them."""
    found = {"%d.%d" % sys.version_info[:2]: sys.executable}
    for version in VERSIONS:
        candidates = sorted(Path.home().glob(".pyenv/versions/%s.*/bin/python" % version)) + [Path(shutil.which("python" + version) or "/nowhere")]
        for candidate in candidates:
            works = os.access(candidate, os.X_OK) and subprocess.run([candidate, "-c", ""], stderr=subprocess.DEVNULL, check=False).returncode == 0
            if version not in found and works:
                found[version] = str(candidate)
    return {version: found[version] for version in sorted(found)}


def isolated() -> list[str]:
    """The prefix of a command that gets PID and mount namespaces of its own, with root in them."""
    rootless = [] if os.geteuid() == 0 else ["--user", "--map-root-user", "--map-auto"]
    return ["unshare", *rootless, "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]


@pytest.fixture(scope="session")
def isolation() -> list[str]:
    """See isolated()."""
    return isolated()


@pytest.fixture(scope="session")
def ansible_path():
    """A folder from which any interpreter can import ansible-core's module_utils and nothing else of this environment."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        os.symlink(Path(importlib.util.find_spec("ansible").origin).parent, Path(folder) / "ansible")
        yield folder


@pytest.fixture(scope="session")
def judged(ansible_path):
    """What lock_lab.py found: by version of Python, surface and case."""
    versions = interpreters()
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        done = subprocess.run(
            [*isolated(), sys.executable, str(HERE / "lock_lab.py"), folder, *versions.values()],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env={**os.environ, "PYTHONPATH": ansible_path, "PYTHONDONTWRITEBYTECODE": "1"},
            check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    return {version: results[path] for version, path in versions.items()}
