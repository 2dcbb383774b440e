# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an orchestrator lies, which one it is, and whether it would start; on real trees, real git and real interpreters."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.ringrift.p2p.plugins.module_utils import _import_check
from ansible_collections.ringrift.p2p.plugins.module_utils import _node_files
from ansible_collections.ringrift.p2p.plugins.module_utils import _orchestrator_probe as probe


def tree(root: pathlib.Path, files: t.Mapping[str, str]) -> _node_files.Files:
    for path, text in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return _node_files.Files(str(root), "/home/ubuntu")


@pytest.mark.parametrize("lies_in, wanted, found", [
    ("/home/ubuntu/ringrift/ai-service", "~/ringrift/ai-service", "/home/ubuntu/ringrift/ai-service"),
    ("/home/ubuntu/ringrift/ai-service", "~/ringrift", "/home/ubuntu/ringrift/ai-service"),
    ("/home/ubuntu/ringrift/ai-service", "~/ringrift/", "/home/ubuntu/ringrift/ai-service"),
    ("/home/ubuntu/ringrift", "~/ringrift/ai-service", "/home/ubuntu/ringrift"),
    ("/home/ubuntu/ringrift", "~/ringrift", "/home/ubuntu/ringrift"),
    ("/workspace/ringrift", "$HOME/ringrift", "/home/ubuntu/ringrift"),
    ("/root/ringrift/ai-service", "/srv/elsewhere", "/srv/elsewhere"),
    ("/workspace/ringrift", None, "/workspace/ringrift"),
    ("/srv/odd", None, None),
])
def test_folder_is_found_in_every_spelling(lies_in: str, wanted: str | None, found: str | None, tmp_path: pathlib.Path) -> None:
    files = tree(tmp_path, {lies_in + "/scripts/p2p_orchestrator.py": ""})
    assert probe.locate(files, wanted) == found


def test_what_runs_tells_the_folder_where_the_file_is_silent(tmp_path: pathlib.Path) -> None:
    files = tree(tmp_path, {"/srv/odd/scripts/p2p_orchestrator.py": "", "/workspace/ringrift/scripts/p2p_orchestrator.py": ""})
    assert probe.locate(files, None, ["/srv/odd"]) == "/srv/odd"
    assert probe.folder_of("scripts/p2p_orchestrator.py", "/srv/odd", {}) == "/srv/odd"
    assert probe.folder_of("/srv/odd/scripts/p2p_orchestrator.py", "/", {}) == "/srv/odd"
    assert probe.folder_of("scripts.p2p_orchestrator", None, {"ringrift_path": "/srv/odd"}) == "/srv/odd"


R1, R2 = "a" * 16, "b" * 16


def deployed(root: pathlib.Path, current: str = R1, kind: str = "source", checkout: bool = True) -> _node_files.Files:
    """A node at /as with two releases, and a checkout of its own."""
    files = {"as/scripts/p2p_orchestrator.py": "old = 1\n"} if checkout else {}
    for release in (R1, R2):
        script = "name = '%s'\n" % release
        told = {"release": release, "kind": kind, "revision": release[0] * 40,
                "files": {"scripts/p2p_orchestrator.py": [hashlib.sha256(script.encode()).hexdigest(), True]}}
        files["as/releases/%s/scripts/p2p_orchestrator.py" % release] = script
        files["as/releases/%s/RELEASE.json" % release] = json.dumps(told)
    found = tree(root, files)
    (root / "as/current").symlink_to("releases/" + current)
    return found


def test_a_release_that_runs_does_not_become_the_orchestrators_folder(tmp_path: pathlib.Path) -> None:
    files = deployed(tmp_path)
    for hint in ("/as/current", "/as/releases/" + R2, "/as"):
        assert probe.locate(files, None, [hint]) == "/as"
        assert probe.locate(files, hint) == "/as"
    # Somebody else's folders of these names are what they are.
    tree(tmp_path, {"other/releases/1/scripts/p2p_orchestrator.py": "x\n", "other/current/scripts/p2p_orchestrator.py": "x\n"})
    assert probe.locate(files, None, ["/other/releases/1"]) == "/other/releases/1"
    assert probe.locate(files, None, ["/other/current"]) == "/other/current"


@pytest.mark.parametrize("started, folder", [
    (["/as/current"], "/as/current"), ([None, "/as/releases/" + R2], "/as/current"), (["/as", "/as/current"], "/as"), (["/elsewhere"], "/as"),
    ([None, None], "/as"),
])
def test_the_folder_in_force_is_that_of_the_start_that_counts(started: list[str | None], folder: str, tmp_path: pathlib.Path) -> None:
    assert probe.folder_in_force(deployed(tmp_path), "/as", started) == folder


def test_without_a_start_the_release_counts_where_there_is_nothing_else(tmp_path: pathlib.Path) -> None:
    assert probe.folder_in_force(deployed(tmp_path / "new", checkout=False), "/as", []) == "/as/current"
    # The embedded orchestrator runs from its path, through its launcher.
    assert probe.folder_in_force(deployed(tmp_path / "ours", kind="embedded"), "/as", ["/as/current"]) == "/as"


def test_files_of_a_release_that_were_changed_on_the_node_are_named(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = deployed(tmp_path)
    assert probe.changed_in_release(files, "/as/current") == []
    script = tmp_path / "as/releases" / R1 / "scripts/p2p_orchestrator.py"
    script.write_text("edited = 1\n", encoding="utf-8")
    (script.parent / "p2p_orchestrator.pyc").write_text("made by running it", encoding="utf-8")
    assert probe.changed_in_release(files, "/as/current") == ["scripts/p2p_orchestrator.py"]
    script.unlink()
    assert probe.changed_in_release(files, "/as/current") == ["scripts/p2p_orchestrator.py"]
    assert probe.changed_in_release(files, "/as") is None
    monkeypatch.setattr(probe, "DIGEST_TIMEOUT", -1.0)
    with pytest.raises(TimeoutError, match="could not be compared"):
        probe.changed_in_release(files, "/as/current")


def test_ours_is_told_from_the_fields_by_its_marker_line(tmp_path: pathlib.Path) -> None:
    files = tree(tmp_path, {"/a/scripts/p2p_orchestrator.py": "# x\n# ringrift.p2p embedded orchestrator\n",
                            "/b/scripts/p2p_orchestrator.py": "print('# ringrift.p2p embedded orchestrator, not')\n"})
    assert [probe.kind(files, path) for path in ("/a", "/b", "/c", None)] == ["embedded", "field", None, None]
    (tmp_path / "a/releases/0123").mkdir(parents=True)
    (tmp_path / "a/current").symlink_to("releases/0123")
    assert probe.release(files, "/a") == "0123" and probe.release(files, "/b") is None


def git(folder: pathlib.Path, *arguments: str) -> str:
    environment = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null", GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@example.com",
                       GIT_COMMITTER_NAME="a", GIT_COMMITTER_EMAIL="a@example.com")
    return subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True, env=environment).stdout.strip()


def test_revision_is_read_from_git_in_each_of_its_forms(tmp_path: pathlib.Path) -> None:
    checkout = tmp_path / "ringrift"
    (checkout / "ai-service").mkdir(parents=True)
    (checkout / "ai-service/x").write_text("1")
    git(checkout, "init", "-q", "-b", "main")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "one")
    commit = git(checkout, "rev-parse", "HEAD")
    files = _node_files.Files("/")
    found = probe.git_folder(files, str(checkout / "ai-service"))
    assert found == (str(checkout), str(checkout / ".git"))
    assert probe.revision(files, found[1]) == commit
    assert probe.changed_in_checkout(str(checkout)) == []
    git(checkout, "pack-refs", "--all")
    assert probe.revision(files, found[1]) == commit
    git(checkout, "worktree", "add", "-q", str(tmp_path / "tree"), "-b", "other")
    linked = probe.git_folder(files, str(tmp_path / "tree"))
    assert linked is not None and probe.revision(files, linked[1]) == commit
    git(checkout, "checkout", "-q", "--detach")
    assert probe.revision(files, found[1]) == commit
    index = (checkout / ".git/index").read_bytes()
    (checkout / "ai-service/x").write_text("2")
    assert probe.changed_in_checkout(str(checkout)) == ["ai-service/x"]
    assert (checkout / ".git/index").read_bytes() == index
    assert probe.git_folder(files, "/proc") is None and probe.changed_in_checkout("/proc") is None


def test_interpreter_is_the_one_that_exists(tmp_path: pathlib.Path) -> None:
    files = tree(tmp_path, {"/as/venv/bin/python": "", "/opt/py/bin/python3.11": "", "/usr/bin/python3": "", "/as/x": ""})
    for path in ("as/venv/bin/python", "opt/py/bin/python3.11", "usr/bin/python3"):
        (tmp_path / path).chmod(0o755)
    assert probe.interpreter(files, "/as", "source venv/bin/activate", ["/opt/py/bin/python3.11"]) == "/as/venv/bin/python"
    assert probe.interpreter(files, "/as", "source gone/bin/activate", ["/opt/py/bin/python3.11"]) == "/opt/py/bin/python3.11"
    assert probe.interpreter(files, "/as", ":", [None, "/as/x"]) == "/as/venv/bin/python"
    assert probe.interpreter(files, "/elsewhere", ":", ["python"]) == "/usr/bin/python3"
    assert probe.interpreter(_node_files.Files(str(tmp_path / "as")), None, None, []) is None


ORCHESTRATOR = """\
from __future__ import annotations
import os, sys, json
from pathlib import Path
from typing import TYPE_CHECKING
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
if TYPE_CHECKING:
    import only_for_types
try:
    import not_here_but_guarded
except ImportError:
    not_here_but_guarded = None
if sys.version_info >= (3, 99):
    import from_the_future
else:
    import email.message
from app.p2p import constants
from app.p2p.inner import thing
open(os.environ["PROOF"], "w").close()


def main():
    import lazily_missing


if __name__ == "__main__":
    sys.exit(0)
"""


def orchestrator(root: pathlib.Path, files: t.Mapping[str, str]) -> _node_files.Files:
    tree(root, dict({"as/scripts/p2p_orchestrator.py": ORCHESTRATOR, "as/app/__init__.py": "", "as/app/p2p/__init__.py": "",
                     "as/app/p2p/constants.py": "import json\n", "as/app/p2p/inner/__init__.py": "", "as/app/p2p/inner/thing.py": "from . import other\n",
                     "as/app/p2p/inner/other.py": "from ..constants import x\n"}, **files))
    return _node_files.Files("/")


def check(root: pathlib.Path, files: t.Mapping[str, str], pythonpath: str | None = None) -> dict[str, t.Any]:
    return probe.imports(orchestrator(root, files), str(root / "as"), sys.executable, pythonpath, None)


def test_a_start_that_would_work_is_told_so_and_nothing_of_it_runs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROOF", str(tmp_path / "ran"))
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    result = check(tmp_path, {})
    assert (result["ok"], result["missing"], result["error"]) == (True, None, None)
    after = sorted(str(path) for path in tmp_path.rglob("*") if path.suffix != ".py" and path.is_file())
    assert after == [] and before == []


@pytest.mark.parametrize("files, missing", [
    ({"as/app/p2p/inner/other.py": "import json\nimport aiohttp_is_missing.client\n"}, "aiohttp_is_missing.client"),
    ({"as/app/p2p/constants.py": "from app.gone import x\n"}, "app.gone"),
    ({"as/app/p2p/constants.py": "try:\n    import gone_one\nexcept ImportError as exc:\n    raise SystemExit('install it') from exc\n"}, "gone_one"),
    ({"as/app/p2p/constants.py": "try:\n    import gone_one\nexcept ImportError:\n    import gone_two\n"}, "gone_two"),
    ({"as/app/p2p/constants.py": "class A:\n    import gone_three\n"}, "gone_three"),
])
def test_the_missing_name_is_told_with_its_place(files: dict[str, str], missing: str, tmp_path: pathlib.Path) -> None:
    result = check(tmp_path, files)
    assert result["ok"] is False and result["missing"] == missing
    assert next(iter(files)) in result["error"] and "line" in result["error"]


def test_a_wrong_pythonpath_is_told(tmp_path: pathlib.Path) -> None:
    script = {"as/scripts/p2p_orchestrator.py": "from app.p2p import constants\n"}
    assert check(tmp_path, script, "/nowhere")["missing"] == "app.p2p"
    assert check(tmp_path, script, "/nowhere")["pythonpath"] == "/nowhere"
    assert check(tmp_path, script, str(tmp_path / "as"))["ok"] is True


def test_what_the_interpreter_cannot_read_is_told(tmp_path: pathlib.Path) -> None:
    result = check(tmp_path, {"as/app/p2p/constants.py": "x = = 1\n"})
    assert result["ok"] is False and "SyntaxError" in result["error"] and "constants.py line 1" in result["error"]


def test_engines_are_read_from_where_the_interpreter_would_take_them(tmp_path: pathlib.Path) -> None:
    packages = check(tmp_path, {"lib/pysyncobj-0.3.12.dist-info/METADATA": "", "lib/swim_p2p-1.2.6.dist-info/METADATA": ""}, str(tmp_path / "lib"))["packages"]
    assert probe.engines(packages, {}) == {"pysyncobj": "0.3.12", "swim": "1.2.6", "swim_transport": "tcp"}
    assert probe.engines(packages, {"RINGRIFT_SWIM_TRANSPORT": "UDP"})["swim_transport"] == "udp"
    assert probe.engines({}, {"RINGRIFT_SWIM_TRANSPORT": "UDP"}) == {"pysyncobj": None, "swim": None, "swim_transport": None}


def test_vendored_engines_of_a_release(tmp_path: pathlib.Path) -> None:
    files = tree(tmp_path, {"/as/current/lib/pysyncobj-0.3.17.dist-info/METADATA": ""})
    assert probe.vendored(files, "/as") == {"pysyncobj": "0.3.17"}


@pytest.mark.parametrize("source, notifies", [
    ("import sdnotify\n", True), ("from systemd.daemon import notify\n", True), ("address = os.environ.get('NOTIFY_SOCKET')\n", True),
    ("# notify the peers\n", False),
])
def test_code_that_tells_systemd_that_it_lives(source: str, notifies: bool, tmp_path: pathlib.Path) -> None:
    assert probe.notifies(tree(tmp_path, {"/as/scripts/p2p/loop.py": source, "/as/scripts/tests/x.py": "import sdnotify\n"}), "/as") is notifies


@pytest.mark.parametrize("status, output, errors, ok, error", [
    (1, "", "Traceback\nModuleNotFoundError: No module named 'encodings'\n", False, "ModuleNotFoundError: No module named 'encodings'"),
    (127, "", "", False, "the interpreter ended with status 127 and said nothing"),
    (0, "site says hello\n{\"ok\": true, \"missing\": [], \"error\": null}\n", "", True, None),
])
def test_an_interpreter_that_fails_is_an_answer(status: int, output: str, errors: str, ok: bool, error: str | None) -> None:
    judged = _import_check.judge(status, output, errors, None)
    assert (judged["ok"], judged["error"]) == (ok, error)


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"])
def test_the_check_runs_on_every_interpreter_that_is_here(version: str, tmp_path: pathlib.Path) -> None:
    folders = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) + ["/usr/bin", "/usr/local/bin"] if folder]
    folders += [str(path) for path in pathlib.Path.home().glob(".pyenv/versions/%s.*/bin" % version)]
    found = [folder + "/python" + version for folder in folders if os.access(folder + "/python" + version, os.X_OK)]
    # A shim of a version manager may exist without its version.
    working = next((path for path in found if subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0), sys.executable)
    result = probe.imports(orchestrator(tmp_path, {"as/app/p2p/constants.py": "import gone\n"}), str(tmp_path / "as"), working, None, None)
    assert (result["ok"], result["missing"]) == (False, "gone")
