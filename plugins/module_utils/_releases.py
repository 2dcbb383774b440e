# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases of an orchestrator beside each other, with a link C(current) to the one in force.

C(root/releases/ID) is complete once it holds C(RELEASE.json): it is unpacked beside its place and renamed as a whole.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import posixpath
import re
import shutil
import tarfile
import time

LAUNCHER = "scripts/p2p_orchestrator.py"
LAUNCHER_MARKER = "# ringrift.p2p embedded orchestrator"
SEEDS_VARIABLE = "BOOTSTRAP_SEEDS"
LARGEST_RELEASE = 512 * 1024 * 1024
MOST_MEMBERS = 50000


class ReleaseError(Exception):
    """A release can't be installed; the message names the place and the way out. What was in force still is."""


# ---------------------------------------------------------------------------------------------------------------- pure


def shared_fault(path):
    """Why a path can't be shared by the releases, or C(None)."""
    parts = path.split("/")
    if posixpath.isabs(path) or path != posixpath.normpath(path) or ".." in parts or parts[0] in (".", "releases", "current", "scripts"):
        return "%r is not a path below the orchestrator's folder that releases could share" % path
    return None


def member_fault(name, kind, size):
    """Why a member of an archive is not unpacked, or C(None). C(kind) is V(file), V(folder) or V(other)."""
    if kind == "other":
        return "%s is neither a file nor a folder" % name
    if not name or posixpath.isabs(name) or "\\" in name or "\0" in name or ".." in name.split("/"):
        return "%s leads out of the release" % (name or "(empty name)")
    if size > LARGEST_RELEASE:
        return "%s has %d bytes, more than a release may have" % (name, size)
    return None


def is_ours(text):
    """Whether a launcher was written by this collection."""
    return any(line.strip() == LAUNCHER_MARKER for line in text.splitlines())


def _without_seeds(text):
    tree = ast.parse(text)
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == SEEDS_VARIABLE for target in targets):
            node.value = ast.List(elts=[], ctx=ast.Load())
    return ast.dump(tree)


def launcher_action(present, wanted):
    """What to do about the launcher: V(write), V(replace), V(keep) or V(refuse).

    C(present) is its text or C(None). Seeds that were put into it don't make it different.
    """
    if present is None:
        return "write"
    if not is_ours(present):
        return "refuse"
    try:
        return "keep" if _without_seeds(present) == _without_seeds(wanted) else "replace"
    except (SyntaxError, ValueError):
        return "replace"


def removable(releases, keep, in_use):
    """Which releases may go: beyond the newest C(keep), never one of C(in_use). C(releases) is a list of C((name, time))."""
    newest = [name for name, _when in sorted(releases, key=lambda item: (-item[1], item[0]))]
    return sorted(name for name in newest[max(1, keep):] if name not in in_use)


# ----------------------------------------------------------------------------------------------------------------- I/O


def installed(root, release):
    """Whether C(release) is there as a whole."""
    try:
        with open(os.path.join(root, "releases", release, "RELEASE.json"), encoding="utf-8") as handle:
            return json.load(handle).get("release") == release
    except (OSError, ValueError, AttributeError):
        return False


def in_force(root):
    """The release that C(current) leads to, or C(None)."""
    try:
        return os.path.basename(os.path.normpath(os.readlink(os.path.join(root, "current"))))
    except OSError:
        return None


def launcher_text(path):
    """The text of a launcher, or C(None) where there is none. Raises ReleaseError where it can't be read as text."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise ReleaseError("%s can't be read: %s; move it away, or use orchestrator_source: present" % (path, exc)) from exc


def refuse_foreign_launcher(path):
    """The error for a launcher that is somebody else's."""
    return ReleaseError("%s is not this collection's launcher and is left alone; use orchestrator_source: present to run what is there" % path)


def _own(path, owner):
    if owner is not None and owner != (os.geteuid(), os.getegid()):
        os.chown(path, owner[0], owner[1], follow_symlinks=False)


def _folders(path, owner):
    """Creates missing folders; they belong to C(owner)."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        os.mkdir(folder, 0o755)
        _own(folder, owner)


def checked_digest(archive, sha256):
    """Raises ReleaseError unless the archive's digest is this one."""
    found = hashlib.sha256()
    with open(archive, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            found.update(block)
    if found.hexdigest() != sha256:
        raise ReleaseError("the archive has sha256 %s, not %s; it was damaged on its way: repeat the run" % (found.hexdigest(), sha256))


def unpack(archive, sha256, root, release, owner=None, shared=()):
    """Installs C(release) from C(archive) under C(root). Everything is checked before the first byte is written.

    C(shared) are paths below the release that become links to the same paths below C(root).
    """
    checked_digest(archive, sha256)
    staging = os.path.join(root, "releases", ".unpacking-%s-%d" % (release, os.getpid()))
    try:
        with tarfile.open(archive, "r:*") as tar:
            members = tar.getmembers()
            faults = [member_fault(item.name, "file" if item.isreg() else "folder" if item.isdir() else "other", item.size) for item in members]
            faults = [fault for fault in faults if fault]
            if len(members) > MOST_MEMBERS or sum(item.size for item in members) > LARGEST_RELEASE:
                faults.append("it unpacks to more than a release may have")
            if faults:
                raise ReleaseError("the archive is not unpacked: %s" % "; ".join(faults[:10]))
            _folders(staging, owner)
            for item in members:
                _extract(tar, item, staging, owner)
            _link_shared(root, staging, shared, owner)
    except (tarfile.TarError, EOFError) as exc:
        shutil.rmtree(staging, ignore_errors=True)
        raise ReleaseError("the archive can't be read: %s; remove it from the controller's cache and repeat the run" % exc) from exc
    except OSError as exc:
        shutil.rmtree(staging, ignore_errors=True)
        raise ReleaseError("%s can't be written: %s" % (exc.filename or staging, exc.strerror or exc)) from exc
    try:
        with open(os.path.join(staging, "RELEASE.json"), encoding="utf-8") as handle:
            named = json.load(handle).get("release")
    except (OSError, ValueError, AttributeError):
        named = None
    if named != release:
        shutil.rmtree(staging, ignore_errors=True)
        found = named or "without a name"
        raise ReleaseError("the archive holds release %s, not %s; remove it from the controller's cache and repeat the run" % (found, release))
    place = os.path.join(root, "releases", release)
    if os.path.lexists(place):
        # Half of a release, of a run that died: kept aside, out of the way.
        os.rename(place, "%s.incomplete-%d" % (place, int(time.time())))
    os.rename(staging, place)


def _extract(tar, item, staging, owner):
    place = os.path.join(staging, item.name)
    if item.isdir():
        _folders(place, owner)
        return
    _folders(os.path.dirname(place), owner)
    executable = bool(item.mode & 0o111)
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o755 if executable else 0o644)
    with os.fdopen(descriptor, "wb") as target:
        shutil.copyfileobj(tar.extractfile(item), target, 1 << 20)
        os.fchmod(target.fileno(), 0o755 if executable else 0o644)
    _own(place, owner)


def _link_shared(root, staging, shared, owner):
    """Links what all releases share. A folder (its name has no dot) that is not there yet is made."""
    for path in shared:
        if "." not in posixpath.basename(path):
            _folders(os.path.join(root, path), owner)
        place = os.path.join(staging, path)
        _folders(os.path.dirname(place), owner)
        os.symlink("../" * (2 + path.count("/")) + path, place)
        _own(place, owner)


def _write_beside(path, owner):
    _folders(os.path.dirname(path), owner)
    return "%s.ringrift-p2p-%d" % (path, os.getpid())


def write_launcher(root, release, path, owner=None):
    """Puts the release's launcher at C(path), atomically."""
    spare = _write_beside(path, owner)
    shutil.copyfile(os.path.join(root, "releases", release, LAUNCHER), spare)
    os.chmod(spare, 0o755)
    _own(spare, owner)
    os.replace(spare, path)


def switch(root, release, owner=None):
    """Makes C(current) lead to this release, atomically. Raises ReleaseError where C(current) is no link."""
    link = os.path.join(root, "current")
    if os.path.lexists(link) and not os.path.islink(link):
        raise ReleaseError("%s is not a link; move it away, then repeat the run" % link)
    spare = _write_beside(link, owner)
    os.symlink("releases/" + release, spare)
    _own(spare, owner)
    os.replace(spare, link)


def releases_of(root):
    """The installed releases as C([(name, time)])."""
    folder = os.path.join(root, "releases")
    try:
        names = [name for name in os.listdir(folder) if re.match(r"^[0-9a-f]{8,64}$", name)]
    except FileNotFoundError:
        return []
    return [(name, os.stat(os.path.join(folder, name)).st_mtime) for name in names]


def remove(root, names):
    """Removes releases that nothing uses any more."""
    for name in names:
        shutil.rmtree(os.path.join(root, "releases", name))
