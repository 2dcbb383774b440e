# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What orchestrator lies on a node: where, which one, which revision, with which interpreter, and whether it would start."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import typing as t

from ansible_collections.ringrift.p2p.plugins.module_utils import _import_check
from ansible_collections.ringrift.p2p.plugins.module_utils import _requirements
from ansible_collections.ringrift.p2p.plugins.module_utils import _seeds_probe
from ansible_collections.ringrift.p2p.plugins.module_utils import _service_probe
from ansible_collections.ringrift.p2p.plugins.module_utils import _start_mechanisms as _text
from ansible_collections.ringrift.p2p.plugins.module_utils._node_files import Files

SCRIPT = "scripts/p2p_orchestrator.py"
MARKER = "# ringrift.p2p embedded orchestrator"
# Tried only where the hosts file names no path and nothing that runs or starts gives one away.
USUAL_FOLDERS = ("~/ringrift/ai-service", "~/ringrift", "/workspace/ringrift/ai-service", "/workspace/ringrift", "/root/ringrift/ai-service")
GIT_TIMEOUT = 5.0
IMPORT_TIMEOUT = 15.0
MANIFEST = "RELEASE.json"
MANIFEST_LIMIT = 32 * 1024 * 1024
DIGEST_TIMEOUT = 5.0
# So many of the changed files are named.
NAMED_CHANGES = 20
_NOTIFIES = re.compile(rb"NOTIFY_SOCKET|\bsd_?notify\b|systemd\.daemon")
_VENV_FOLDERS = ("venv", ".venv", "../venv", "../.venv")
_DISTRIBUTION = re.compile(r"^(pysyncobj|swim[-_]p2p)-([0-9][^-]*?)(?:-py[0-9.]+)?\.(?:dist|egg)-info$", re.IGNORECASE)


def folder_of(script: str, directory: str | None, options: t.Mapping[str, t.Any]) -> str | None:
    """The ``ringrift_path`` behind a start of an orchestrator; None where it can't be told."""
    script = _text.join_path(directory, script)
    if script.endswith("/" + SCRIPT):
        return script[:-len(SCRIPT) - 1]
    path = options.get("ringrift_path")
    return _text.join_path(directory, path) if path else (directory or None)


def locate(files: Files, wanted: str | None, hints: t.Sequence[str | None] = ()) -> str | None:
    """The orchestrator's folder, absolute.

    ``wanted`` is the hosts file's ``ringrift_path``: with ``~``, with or without ``/ai-service``. ``hints`` are folders in which one runs or is
    started from; they count where the hosts file says nothing. A folder that does not exist yet is returned as written.
    """
    for start in [wanted] if wanted else list(hints) + list(USUAL_FOLDERS):
        if not start:
            continue
        path = files.expand(start.rstrip("/") or "/")
        if not path.startswith("/"):
            continue
        path = root_of(files, path)
        variants = [path, path + "/ai-service"]
        if path.endswith("/ai-service"):
            variants.append(path[:-len("/ai-service")])
        for variant in variants:
            if files.is_file(variant + "/" + SCRIPT):
                return variant
        if wanted:
            return path + "/ai-service" if not files.is_directory(path + "/scripts") and files.is_directory(path + "/ai-service") else path
    return None


def manifest(files: Files, folder: str) -> dict[str, t.Any]:
    """What ``RELEASE.json`` says of the release in this folder; empty where it is none."""
    try:
        found = json.loads(files.text(folder + "/" + MANIFEST, MANIFEST_LIMIT) or "")
    except ValueError:
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("release"), str) else {}


def root_of(files: Files, folder: str) -> str:
    """The orchestrator's folder behind one of its releases: ``<path>`` for ``<path>/current`` and ``<path>/releases/ID``; any other as it is."""
    above, _separator, name = folder.rpartition("/")
    if name == "current" and manifest(files, folder):
        return above
    if above.endswith("/releases") and manifest(files, folder):
        return above[:-len("/releases")]
    return folder


def folder_in_force(files: Files, path: str, started: t.Iterable[str | None]) -> str:
    """The folder from which the orchestrator runs: ``<path>/current`` where a release of the operator's own is in force, else ``path``.

    ``started`` are the folders of its starts, the one that counts most first. Without any, the release counts only where ``path`` itself holds none.
    """
    current = path + "/current"
    if manifest(files, current).get("kind") != "source":
        return path
    for folder in started:
        if folder:
            folder = files.expand(folder)
            return current if folder == current or folder.startswith(path + "/releases/") else path
    return path if files.is_file(path + "/" + SCRIPT) else current


def kind(files: Files, path: str | None) -> str | None:
    """``embedded`` (ours, by its marker), ``field`` (the software's own) or None without one."""
    head = files.text("%s/%s" % (path, SCRIPT), 16384) if path else None
    if head is None:
        return None
    return "embedded" if MARKER in head.splitlines() else "field"


def release(files: Files, path: str) -> str | None:
    """The release that ``current`` points at, by the name of its folder; None where there is no such link."""
    target = files.link(path + "/current")
    return target.rstrip("/").rpartition("/")[2] if target else None


def git_folder(files: Files, path: str) -> tuple[str, str] | None:
    """``(work tree, git folder)`` of the checkout that holds the path, at most two folders up; None without one."""
    tree = path
    for _step in range(3):
        if files.is_directory(tree + "/.git"):
            return tree, tree + "/.git"
        pointer = files.text(tree + "/.git", 4096) if files.is_file(tree + "/.git") else None
        if pointer and pointer.startswith("gitdir:"):
            return tree, _text.join_path(tree, pointer[len("gitdir:"):].strip())
        tree = tree.rpartition("/")[0]
        if not tree:
            break
    return None


def revision(files: Files, folder: str) -> str | None:
    """The commit that is checked out, read from git's own files."""
    head = (files.text(folder + "/HEAD", 4096) or "").strip()
    if not head.startswith("ref:"):
        return head if re.match(r"^[0-9a-f]{40,64}$", head) else None
    name = head[len("ref:"):].strip()
    common = (files.text(folder + "/commondir", 4096) or "").strip()
    for base in [folder] + ([_text.join_path(folder, common)] if common else []):
        direct = (files.text("%s/%s" % (base, name), 4096) or "").strip()
        if re.match(r"^[0-9a-f]{40,64}$", direct):
            return direct
        for line in (files.text(base + "/packed-refs", 4 * 1024 * 1024) or "").splitlines():
            if line.endswith(" " + name):
                return line.split(" ", 1)[0]
    return None


def as_owner(path: str, argv: t.Sequence[str]) -> list[str]:
    """The command, run as the owner of the path where this process is root and the owner is not: others' code gets no more rights than theirs."""
    try:
        status = os.stat(path)
    except OSError:
        return list(argv)
    if os.geteuid() != 0 or status.st_uid == 0 or not shutil.which("setpriv"):
        return list(argv)
    return ["setpriv", "--reuid=%d" % status.st_uid, "--regid=%d" % status.st_gid, "--clear-groups", "--"] + list(argv)


def _quiet_environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHON"))}
    # git status would otherwise refresh the index: this module writes nothing.
    environment.update(GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0", LC_ALL="C")
    return environment


def changed_in_checkout(tree: str) -> list[str] | None:
    """The tracked files of the checkout that are changed; None where git can't say. Raises TimeoutError."""
    argv = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=false",
            "-C", tree, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules"]
    try:
        status, output, _errors = _service_probe.run(as_owner(tree, argv), GIT_TIMEOUT, None, _quiet_environment())
    except OSError as exc:
        if isinstance(exc, TimeoutError):
            raise
        return None
    return None if status else [line[3:].strip() for line in output.splitlines() if line.strip()]


def changed_in_release(files: Files, folder: str) -> list[str] | None:
    """The files of a release that are not what its ``RELEASE.json`` says, or are gone; None without one that says so. Raises TimeoutError."""
    told = manifest(files, folder).get("files")
    if not isinstance(told, dict):
        return None
    deadline = time.monotonic() + DIGEST_TIMEOUT
    changed = []
    for name, member in sorted(told.items()):
        if time.monotonic() > deadline:
            raise TimeoutError("the files of %s could not be compared within %g s" % (folder, DIGEST_TIMEOUT))
        if files.describe("%s/%s" % (folder, name))["sha256"] != member[0]:
            changed.append(name)
    return changed


def interpreter(files: Files, path: str | None, venv_activate: str | None, candidates: t.Iterable[str | None]) -> str | None:
    """The interpreter with which the orchestrator is started.

    First what the hosts file's ``venv_activate`` leads to, then ``candidates`` (of the running process, of the start mechanisms), then a
    virtual environment beside it, then the system's. Only what exists counts.
    """
    wanted = list(_text.activation(venv_activate, path)["interpreters"])
    tried = [item for item in list(wanted) + list(candidates) if item]
    if path:
        tried += ["%s/%s/bin/%s" % (path, folder, name) for folder in _VENV_FOLDERS for name in ("python", "python3")]
    for item in tried:
        item = files.expand(item)
        if item.startswith("/") and files.is_executable(item):
            return item
        if "/" not in item:
            found = next((folder + "/" + item for folder in ("/usr/local/bin", "/usr/bin", "/bin") if files.is_executable(folder + "/" + item)), None)
            # `python` alone means whatever a virtual environment put first; that one is looked for further down.
            if found and item not in ("python", "python3"):
                return found
    return next((folder + "/python3" for folder in ("/usr/local/bin", "/usr/bin", "/bin") if files.is_executable(folder + "/python3")), None)


def imports(files: Files, path: str, executable: str, pythonpath: str | None, directory: str | None) -> dict[str, t.Any]:
    """Whether a start would get past its imports; see ``_import_check``. Raises OSError or TimeoutError."""
    environment = _quiet_environment()
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    if pythonpath:
        environment["PYTHONPATH"] = pythonpath
    argv = [executable, "-B", "-c", _import_check.PROGRAM, "%s/%s" % (path, SCRIPT), path]
    where = directory if directory and files.is_directory(directory) else path
    status, output, errors = _service_probe.run(as_owner(path, argv), IMPORT_TIMEOUT, where, environment)
    return _import_check.judge(status, output, errors, pythonpath)


def requirements(files: Files, path: str, executable: str, names: t.Iterable[str]) -> dict[str, list[str]]:
    """What the interpreter lacks of the release's requirements files: ``{checked [files], faults [str], unread [lines]}``; see ``_requirements``.

    Raises OSError, TimeoutError, or ValueError where the interpreter can't tell.
    """
    wanted, checked, unread = _requirements.read(names, lambda name: files.text("%s/%s" % (path, name)))
    if not checked:
        return {"checked": [], "faults": [], "unread": []}
    argv = [executable, "-B", "-c", _requirements.PROGRAM]
    status, output, errors = _service_probe.run(as_owner(path, argv), IMPORT_TIMEOUT, path, _quiet_environment())
    faults, unjudged = _requirements.judge(wanted, *_requirements.answer(status, output, errors))
    return {"checked": checked, "faults": faults, "unread": unread + unjudged}


def vendored(files: Files, path: str) -> dict[str, str]:
    """Versions of the engines that the release of the embedded orchestrator brings along."""
    found = {}
    for name in files.names(path + "/current/lib"):
        match = _DISTRIBUTION.match(name)
        if match:
            found[match.group(1).lower().replace("_", "-")] = match.group(2)
    return found


def engines(packages: t.Mapping[str, str], environment: t.Mapping[str, str]) -> dict[str, str | None]:
    """``{pysyncobj, swim, swim_transport}``: versions, and how SWIM would talk; None where it is not installed."""
    swim = packages.get("swim-p2p")
    said = next((value for name, value in sorted(environment.items()) if "SWIM" in name and name.endswith("TRANSPORT") and value), None)
    return {"pysyncobj": packages.get("pysyncobj"), "swim": swim, "swim_transport": (said or "tcp").lower() if swim else None}


def notifies(files: Files, path: str) -> bool:
    """Whether the orchestrator's code knows how to tell systemd that it lives; a watchdog kills one that does not."""
    folders = ["%s/%s" % (path, name) for name in _seeds_probe.FOLDERS + (_seeds_probe.EMBEDDED_PACKAGE,)]
    return any(_NOTIFIES.search(files.bytes(name, _seeds_probe.SOURCE_LIMIT) or b"") for folder in folders for name in _seeds_probe.python_files(files, folder))
