# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases of somebody's own orchestrator: out of a git repository, or of a folder or an archive on the controller.

A *release* is named by what it holds, so the same content is the same release wherever it comes from. It is packed on the controller,
with git and its keys there, so nodes need neither.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
import subprocess
import tarfile
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.ringrift.p2p.plugins.module_utils import _releases

SCRIPT = "scripts/p2p_orchestrator.py"
# Where the orchestrator's folder lies in what is given.
PREFIXES = ("", "ai-service/")
SKIPPED = frozenset((".git", "__pycache__", ".venv", "venv", "node_modules", ".pytest_cache"))
LARGEST = 512 * 1024 * 1024
GIT_TIMEOUT = 300.0
FULL_REVISION = re.compile(r"^[0-9a-f]{40}([0-9a-f]{24})?$")


class SourceError(Exception):
    """A release can't be made; the message names the place and the way out."""


class Member(t.NamedTuple):
    """A file of a release: its digest, whether it may be executed, and its size."""

    sha256: str
    executable: bool
    size: int


def below(names: t.Iterable[str]) -> str:
    """The prefix under which the orchestrator's folder lies: none, C(ai-service/), or one of these in the only top folder. Raises SourceError."""
    names = list(names)
    tops = sorted({name.partition("/")[0] for name in names})
    prefixes = list(PREFIXES) + ([tops[0] + "/" + prefix for prefix in PREFIXES] if len(tops) == 1 else [])
    for prefix in prefixes:
        if prefix + SCRIPT in names:
            return prefix
    raise SourceError("it holds no %s, neither at its top nor under ai-service/" % SCRIPT)


def is_shared(name: str, shared: t.Iterable[str]) -> bool:
    """Whether a file lies at or below a path that all releases of a node share."""
    return any(name == path or name.startswith(path + "/") for path in shared)


def describe(members: t.Mapping[str, Member], origin: t.Mapping[str, str], shared: t.Sequence[str]) -> tuple[str, str]:
    """C((release, text of RELEASE.json)). The release follows from the content alone, not from where it comes from."""
    files = {name: [member.sha256, member.executable] for name, member in sorted(members.items())}
    content = {"files": files, "shared": sorted(shared)}
    release = hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8")).hexdigest()[:16]
    requirements = {name: member.sha256 for name, member in sorted(members.items()) if re.match(r"^requirements[^/]*\.txt$|^pyproject\.toml$", name)}
    manifest = dict(content, release=release, kind="source", requirements=requirements)
    if origin.get("revision"):
        manifest["revision"] = origin["revision"]
    return release, json.dumps(manifest, indent=1, sort_keys=True) + "\n"


# ------------------------------------------------------------------------------------------------------------------ I/O


def release(source: str, settings: t.Mapping[str, t.Any], cache: str) -> dict[str, t.Any]:
    """Makes a release in C(cache), or finds it there.

    C(source) is V(git) (C(settings): C(repository), C(revision), C(key_file)) or V(local) (C(path)); both take C(shared), the paths that the
    releases of a node share. Returns C({release, revision (str|None), manifest, path, sha256, left_out [names]}). Raises SourceError.
    """
    shared = [str(path) for path in settings.get("shared") or []]
    faults = [fault for fault in map(_releases.shared_fault, shared) if fault]
    if source == "git" and not settings.get("repository"):
        faults.append("orchestrator_source is git, but orchestrator_repository names no repository")
    if source == "git" and (not settings.get("revision") or str(settings["revision"]).startswith("-")):
        faults.append("orchestrator_revision %r is not a branch, a tag or a commit" % (settings.get("revision") or ""))
    if source == "local" and not settings.get("path"):
        faults.append("orchestrator_source is local, but orchestrator_local_path names no folder or archive on the controller")
    if faults:
        raise SourceError("; ".join(faults))
    folder = Path(os.path.expanduser(cache)) / "sources"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _exclusively(folder / ".lock"):
            if source == "git":
                return _from_git(str(settings["repository"]), str(settings["revision"]), settings.get("key_file") or "", shared, folder)
            return _from_path(Path(os.path.expanduser(str(settings["path"]))), shared, folder)
    except OSError as exc:
        raise SourceError("%s: %s" % (exc.filename or folder, exc.strerror or exc)) from exc


@contextlib.contextmanager
def _exclusively(path: Path) -> t.Iterator[None]:
    with open(path, "a", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _run_key() -> str:
    """Names the run: its processes share their parent. A branch is resolved once in a run, so that all nodes get the same."""
    parent = os.getppid()
    try:
        started = Path("/proc/%d/stat" % parent).read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        started = "0"
    return "%d-%s" % (parent, started)


def _git(arguments: t.Sequence[str], key_file: str = "", output: t.Any = subprocess.PIPE) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment.update(GIT_TERMINAL_PROMPT="0", LC_ALL="C")
    ssh = "ssh -o BatchMode=yes"
    if key_file:
        ssh += " -o IdentitiesOnly=yes -i '%s'" % os.path.expanduser(key_file).replace("'", "'\\''")
    environment["GIT_SSH_COMMAND"] = ssh
    try:
        done = subprocess.run(["git", "-c", "protocol.ext.allow=never", *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=output,
                              stderr=subprocess.PIPE, timeout=GIT_TIMEOUT, check=False)
    except FileNotFoundError as exc:
        raise SourceError("there is no git on the controller; install it, or use orchestrator_source: local") from exc
    except subprocess.TimeoutExpired as exc:
        raise SourceError("git took longer than %d s; is the repository reachable from the controller?" % GIT_TIMEOUT) from exc
    if done.returncode != 0:
        message = done.stderr.decode(errors="replace").strip().splitlines()
        command = arguments[1] if arguments[0].startswith("--git-dir") else arguments[0]
        raise SourceError("git %s: %s" % (command, _without_password(" | ".join(message[-2:]))))
    return (done.stdout or b"").decode(errors="replace").strip()


def _without_password(text: str) -> str:
    return re.sub(r"(\w+://)[^/@\s]+@", r"\1", text)


def _from_git(repository: str, revision: str, key_file: str, shared: list[str], folder: Path) -> dict[str, t.Any]:
    mirror = folder / (hashlib.sha256(repository.encode("utf-8")).hexdigest()[:16] + ".git")
    inside = "--git-dir=%s" % mirror
    fetched = mirror / ("ringrift-fetched-" + _run_key())
    if not (mirror / "HEAD").exists():
        _git(["init", "--quiet", "--bare", str(mirror)])
    known = bool(FULL_REVISION.match(revision)) and _has(inside, revision)
    if not known and not fetched.exists():
        everything = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        _git([inside, "fetch", "--quiet", "--prune", "--force", "--no-recurse-submodules", "--", repository, *everything], key_file)
        for old in mirror.glob("ringrift-fetched-*"):
            old.unlink()
        fetched.touch()
    commit = next((found for name in (revision, "refs/heads/" + revision, "refs/tags/" + revision) for found in [_commit(inside, name)] if found), None)
    if not commit:
        raise SourceError("%s has no branch, tag or commit %r; give one as orchestrator_revision" % (_without_password(repository), revision))
    recorded = folder / ("git-%s-%s.json" % (commit, hashlib.sha256(json.dumps(shared).encode("utf-8")).hexdigest()[:8]))
    found = _recorded(recorded)
    if found:
        return found
    with tempfile.NamedTemporaryFile(dir=str(folder), prefix=".archive-") as stream:
        _git([inside, "archive", "--format=tar", commit], output=stream)
        stream.flush()
        return _pack(_TarSource(stream.name, "%s at %s" % (_without_password(repository), commit)), {"revision": commit}, shared, folder, recorded)


def _has(inside: str, revision: str) -> bool:
    return _commit(inside, revision) is not None


def _commit(inside: str, name: str) -> str | None:
    try:
        return _git([inside, "rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}"])
    except SourceError:
        return None


def _from_path(path: Path, shared: list[str], folder: Path) -> dict[str, t.Any]:
    if not path.exists():
        raise SourceError("%s does not exist on the controller; give orchestrator_local_path a folder or a tar archive" % path)
    source: _FolderSource | _TarSource = _FolderSource(path) if path.is_dir() else _TarSource(str(path), str(path))
    signature = hashlib.sha256(json.dumps([str(path.resolve()), shared, source.signature()]).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    recorded = folder / ("local-%s.json" % signature)
    return _recorded(recorded) or _pack(source, {}, shared, folder, recorded)


def _recorded(path: Path) -> dict[str, t.Any] | None:
    """A release that was made before and whose archive is still whole."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        with open(found["path"], "rb") as handle:
            whole = _digest(handle) == found["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if whole else None


def _digest(handle: t.BinaryIO) -> str:
    total = hashlib.sha256()
    for block in iter(lambda: handle.read(1 << 20), b""):
        total.update(block)
    return total.hexdigest()


class _FolderSource:
    """The files of a folder. Links are followed where they stay inside."""

    def __init__(self, path: Path) -> None:
        self.place = str(path)
        self._path = path.resolve()
        self._files: dict[str, Path] = {}
        self.left_out: list[str] = []
        for where, folders, names in os.walk(self._path):
            folders[:] = sorted(name for name in folders if name not in SKIPPED)
            for name in sorted(names + [item for item in folders if os.path.islink(os.path.join(where, item))]):
                inner = (Path(where) / name).relative_to(self._path).as_posix()
                real = (Path(where) / name).resolve()
                if real.is_file() and (self._path in real.parents) and not name.endswith(".pyc"):
                    self._files[inner] = real
                elif not name.endswith(".pyc"):
                    self.left_out.append(inner)

    def signature(self) -> list[t.Any]:
        """What tells whether anything changed, without reading the files."""
        return [[name, status.st_size, status.st_mtime_ns, status.st_mode] for name, path in sorted(self._files.items()) for status in [path.stat()]]

    def names(self) -> list[str]:
        """All files."""
        return list(self._files)

    def open(self, name: str) -> t.BinaryIO:
        """A file's content."""
        return open(self._files[name], "rb")

    def facts(self, name: str) -> tuple[int, bool]:
        """A file's size, and whether it may be executed."""
        status = self._files[name].stat()
        return status.st_size, bool(status.st_mode & stat.S_IXUSR)


class _TarSource:
    """The files of a tar archive, compressed or not. Links are left out, but for those to files inside."""

    def __init__(self, path: str, place: str) -> None:
        self.place = place
        self._path = path
        self.left_out: list[str] = []
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            self._tar = tarfile.open(path, "r:*")
            members = {os.path.normpath(item.name): item for item in self._tar.getmembers()}
        except (tarfile.TarError, EOFError) as exc:
            raise SourceError("%s is neither a folder nor a tar archive: %s" % (place, exc)) from exc
        for name, item in members.items():
            if set(name.split("/")) & SKIPPED or name.endswith(".pyc") or item.isdir():
                continue
            target = item
            if item.issym():
                target = members.get(os.path.normpath(os.path.join(os.path.dirname(name), item.linkname)), item)
            elif item.islnk():
                target = members.get(os.path.normpath(item.linkname), item)
            if target.isreg() and not name.startswith(("/", "..")):
                self._members[name] = target
            else:
                self.left_out.append(name)

    def signature(self) -> list[t.Any]:
        """What tells whether anything changed, without reading the files."""
        status = os.stat(self._path)
        return [status.st_size, status.st_mtime_ns]

    def names(self) -> list[str]:
        """All files."""
        return list(self._members)

    def open(self, name: str) -> t.BinaryIO:
        """A file's content."""
        return t.cast(t.BinaryIO, self._tar.extractfile(self._members[name]))

    def facts(self, name: str) -> tuple[int, bool]:
        """A file's size, and whether it may be executed."""
        return self._members[name].size, bool(self._members[name].mode & 0o100)


def _pack(source: _FolderSource | _TarSource, origin: t.Mapping[str, str], shared: list[str], folder: Path, recorded: Path) -> dict[str, t.Any]:
    try:
        prefix = below(source.names())
    except SourceError as exc:
        raise SourceError("%s: %s" % (source.place, exc)) from exc
    members: dict[str, Member] = {}
    total = 0
    for name in sorted(source.names()):
        inner = name[len(prefix):]
        if not name.startswith(prefix) or is_shared(inner, shared) or inner == "RELEASE.json":
            continue
        size, executable = source.facts(name)
        total += size
        if total > LARGEST:
            raise SourceError("%s holds more than %d MiB; a release is source, not data: give a smaller one" % (source.place, LARGEST // 1024 // 1024))
        with source.open(name) as handle:
            members[inner] = Member(_digest(handle), executable, size)
    release_id, manifest = describe(members, origin, shared)
    path = folder / ("source-%s.tar.gz" % release_id)
    spare = folder / (".%s.%d" % (path.name, os.getpid()))
    with tarfile.open(spare, "w:gz", compresslevel=6) as tar:
        for name, member in sorted(members.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = member.size, 0o755 if member.executable else 0o644
            with source.open(prefix + name) as handle:
                tar.addfile(entry, handle)
        entry = tarfile.TarInfo("RELEASE.json")
        entry.size = len(manifest.encode("utf-8"))
        with tempfile.TemporaryFile() as text:
            text.write(manifest.encode("utf-8"))
            text.seek(0)
            tar.addfile(entry, text)
    os.replace(spare, path)
    with open(path, "rb") as handle:
        sha256 = _digest(handle)
    result = {
        "release": release_id, "revision": origin.get("revision"), "manifest": manifest, "path": str(path), "sha256": sha256,
        "left_out": sorted(name[len(prefix):] for name in source.left_out if name.startswith(prefix)),
    }
    spare.write_text(json.dumps(result), encoding="utf-8")
    os.replace(spare, recorded)
    return result
