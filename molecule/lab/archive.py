# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files for nodes, as tar streams: one stream per node is one round trip."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass

# The ids that the image gives its users.
USERS = {"root": 0, "ubuntu": 1000}


@dataclass(frozen=True)
class File:
    """A file of a node: absolute `path`, `content` (text), `link` (a symbolic link's target instead), `mode`, owner, modification time."""

    path: str
    content: str = ""
    link: str = ""
    mode: int = 0o644
    owner: str = "root"
    modified: float = 0.0


def pack(files, now, folders=()):
    """A tar stream of `files`; `folders` are (path, owner, mode). Folders above them that a node has already keep their owner."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path, owner, mode in folders:
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, mode, int(now)
            entry.uid = entry.gid = USERS[owner]
            archive.addfile(entry)
        for item in files:
            entry = tarfile.TarInfo(item.path.lstrip("/"))
            entry.uid = entry.gid = USERS[item.owner]
            entry.mode, entry.mtime = item.mode, int(item.modified or now)
            if item.link:
                entry.type, entry.linkname = tarfile.SYMTYPE, item.link
                archive.addfile(entry)
            else:
                data = item.content.encode()
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()
