# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded orchestrator's release as the role's own bundle has it, laid out in a node's file system."""

from __future__ import annotations

import io
import platform
import tarfile
from dataclasses import dataclass

from archive import USERS
from containers import LabError
from image import PYTHON

CACHE = "~/.cache/ringrift-p2p"


@dataclass(frozen=True)
class Release:
    """A built release: its `digest`, the `archive` it lies in, and the source of the launcher that starts it."""

    digest: str
    archive: str
    launcher: str


def release(say):
    """The release for the lab's nodes, built where the cache has none."""
    from ansible_collections.ringrift.p2p.plugins.plugin_utils import _bundle

    try:
        planned = _bundle.plan("embedded", PYTHON, platform.machine())
        say(f"embedded orchestrator, release {planned.release}")
        built = _bundle.build(planned, CACHE)
    except _bundle.BundleError as error:
        raise LabError(str(error)) from error
    return Release(planned.release, built.path, planned.files["scripts/p2p_orchestrator.py"].decode())


def tree(built, path, user):
    """A tar stream that holds the release below `path`, owned by `user`, with `current` pointing at it."""
    stream = io.BytesIO()
    root = path.lstrip("/")
    with tarfile.open(built.archive) as source, tarfile.open(fileobj=stream, mode="w") as target:
        folders = [root, f"{root}/releases", f"{root}/releases/{built.digest}"]
        members = [member for member in source.getmembers() if member.isfile()]
        below = sorted({"/".join(member.name.split("/")[:depth]) for member in members for depth in range(1, member.name.count("/") + 1)})
        for name in [*folders, *(f"{folders[-1]}/{name}" for name in below)]:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            entry.uid = entry.gid = USERS[user]
            target.addfile(entry)
        for member in members:
            entry = tarfile.TarInfo(f"{folders[-1]}/{member.name}")
            entry.size, entry.mode, entry.mtime = member.size, member.mode, member.mtime
            entry.uid = entry.gid = USERS[user]
            target.addfile(entry, source.extractfile(member))
        entry = tarfile.TarInfo(f"{root}/current")
        entry.type, entry.linkname = tarfile.SYMTYPE, f"releases/{built.digest}"
        entry.uid = entry.gid = USERS[user]
        target.addfile(entry)
    return stream.getvalue()
