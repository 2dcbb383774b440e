# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs ansible-test sanity on a copy of the work tree, in the folder layout that it asks for. Arguments are handed on.

ansible-test makes virtual environments of its own and puts pip into them with a script that it downloads from a site of its
makers. Where that script is not in its cache, Python's own ensurepip does the same, and the site is not needed.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / ".cache" / "ansible_collections" / "ringrift" / "p2p"
PIP_SCRIPT = '''"""Puts pip into a virtual environment from Python's own wheels, then what is asked for."""
import subprocess
import sys

# ensurepip switches the configuration of pip off, for the process that it runs in.
subprocess.check_call([sys.executable, "-m", "ensurepip"])
words = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *words]))
'''


def copy_work_tree():
    """Brings the copy up to date with the files that git knows or would add; returns how many there are."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True)
    wanted = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file() and not name.startswith("playbooks/collections/")}
    # ansible-test asks git for the files; within this checkout, where the copy is ignored, it would be told of none.
    COPY.mkdir(parents=True, exist_ok=True)
    if not (COPY / ".git").exists():
        subprocess.run(["git", "init", "--quiet"], cwd=COPY, check=True)
    for folder, names, members in os.walk(COPY):
        names[:] = [name for name in names if name != ".git"]
        for member in members:
            path = Path(folder, member)
            name = path.relative_to(COPY).as_posix()
            if name not in wanted and not name.startswith("tests/output/"):
                path.unlink()
    for name in sorted(wanted):
        source, target = ROOT / name, COPY / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != source.read_bytes():
            shutil.copyfile(source, target)
        shutil.copymode(source, target)
    return len(wanted)


def provide_pip():
    """Puts the substitute into ansible-test's cache for each version of pip that it may ask for and has not."""
    import ansible_test

    source = Path(next(iter(ansible_test.__path__)), "_internal", "python_requirements.py").read_text(encoding="utf-8")
    for version in re.findall(r"\bpip='([0-9.]+)'", source):
        path = Path("~/.ansible/test/cache", f"get_pip_{version.replace('.', '_')}.py").expanduser()
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(PIP_SCRIPT, encoding="utf-8")


def search_path():
    """PATH with the Pythons of pyenv, where there is one: modules are checked on every version found."""
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    return os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath), *sorted(glob.glob(f"{pyenv}/versions/*/bin"))])


def main(words):
    """Runs ansible-test and gives its exit code."""
    print(f"ansible-test sanity on {copy_work_tree()} files", flush=True)
    provide_pip()
    command = [os.path.join(os.path.dirname(sys.executable), "ansible-test"), "sanity", *(["--color", "no"] if not sys.stdout.isatty() else []), *words]
    return subprocess.run(command, cwd=COPY, env={**os.environ, "PATH": search_path()}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
