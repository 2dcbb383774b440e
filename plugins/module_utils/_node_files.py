# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounded, read-only access to a node's files. Every call sees the tree below one root, so that a test can bring its own."""

from __future__ import annotations

import glob
import grp
import hashlib
import os
import pwd
import stat
import typing as t

TEXT_LIMIT = 1024 * 1024
DIGEST_LIMIT = 512 * 1024 * 1024


class Files:
    """The file tree below ``root``. Paths go in and come out as the node names them; ``home`` is what ``~`` stands for."""

    def __init__(self, root: str = "/", home: str | None = None) -> None:
        self.root = root.rstrip("/")
        self.home = home

    def expand(self, path: str) -> str:
        """The path with ``~``, ``~user`` and ``$HOME`` resolved and ``..`` folded. A user that does not exist stays as written."""
        if self.home and (path == "~" or path.startswith("~/")):
            path = self.home + path[1:]
        elif path.startswith("~"):
            name, separator, rest = path[1:].partition("/")
            path = (self.home_of(name) or path[:len(name) + 1]) + separator + rest
        if self.home:
            path = path.replace("${HOME}", self.home).replace("$HOME", self.home)
        return os.path.normpath(path) if path else path

    def home_of(self, user: str) -> str | None:
        """The home of a user of this tree; None where there is no such user."""
        if not self.root:
            try:
                return pwd.getpwnam(user).pw_dir
            except KeyError:
                return None
        for line in (self.text("/etc/passwd") or "").splitlines():
            fields = line.split(":")
            if fields[0] == user and len(fields) > 5:
                return fields[5]
        return None

    def real(self, path: str) -> str:
        """Where the path lies for the operating system."""
        return self.root + self.expand(path)

    def exists(self, path: str) -> bool:
        """Whether something is there; a broken link is not."""
        return os.path.exists(self.real(path))

    def is_file(self, path: str) -> bool:
        """Whether a regular file is there."""
        return os.path.isfile(self.real(path))

    def is_directory(self, path: str) -> bool:
        """Whether a folder is there."""
        return os.path.isdir(self.real(path))

    def is_executable(self, path: str) -> bool:
        """Whether a file is there that may be executed."""
        return os.path.isfile(self.real(path)) and os.access(self.real(path), os.X_OK)

    def link(self, path: str) -> str | None:
        """Where a symbolic link points to; None where there is none."""
        try:
            return os.readlink(self.real(path))
        except OSError:
            return None

    def bytes(self, path: str, limit: int = TEXT_LIMIT) -> bytes | None:
        """The first ``limit`` bytes of a regular file; None where there is none or it may not be read. Never blocks on a FIFO."""
        try:
            descriptor = os.open(self.real(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError:
            return None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            with open(descriptor, "rb", closefd=False) as stream:
                return stream.read(limit)
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def text(self, path: str, limit: int = TEXT_LIMIT) -> str | None:
        """The same as text; bytes that are not UTF-8 come out as replacement characters."""
        data = self.bytes(path, limit)
        return None if data is None else data.decode("utf-8", "replace")

    def tail(self, path: str, count: int, limit: int = 64 * 1024) -> list[str]:
        """The last ``count`` lines of a file, looked for in its last ``limit`` bytes."""
        if not self.is_file(path):
            return []
        try:
            with open(self.real(path), "rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - limit))
                lines = stream.read(limit).decode("utf-8", "replace").splitlines()
        except OSError:
            return []
        return [line.rstrip() for line in lines if line.strip()][-count:]

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted; none where it is missing or may not be read."""
        try:
            return sorted(os.listdir(self.real(path)))
        except OSError:
            return []

    def glob(self, pattern: str) -> list[str]:
        """The paths that match, as the node names them."""
        return sorted(found[len(self.root):] for found in glob.glob(glob.escape(self.root) + self.expand(pattern)))

    def describe(self, path: str) -> dict[str, t.Any]:
        """``{exists, sha256, mode, owner, group, size}`` of a file; a folder or device has no digest, a link is followed."""
        missing: dict[str, t.Any] = {"exists": False, "sha256": None, "mode": None, "owner": None, "group": None, "size": None}
        try:
            status = os.stat(self.real(path))
        except FileNotFoundError:
            return missing
        except OSError as exc:
            return dict(missing, error=exc.strerror)
        described = {
            "exists": True, "sha256": None, "mode": "%04o" % stat.S_IMODE(status.st_mode),
            "owner": _name(pwd.getpwuid, status.st_uid), "group": _name(grp.getgrgid, status.st_gid), "size": status.st_size,
        }
        if stat.S_ISREG(status.st_mode):
            try:
                described["sha256"] = self.sha256(path)
            except OSError as exc:
                described["error"] = exc.strerror
        return described

    def sha256(self, path: str) -> str:
        """The hexadecimal SHA-256 of a file. Raises OSError."""
        digest = hashlib.sha256()
        left = DIGEST_LIMIT
        with open(self.real(path), "rb") as stream:
            while left > 0:
                block = stream.read(min(1024 * 1024, left))
                if not block:
                    return digest.hexdigest()
                digest.update(block)
                left -= len(block)
        raise OSError(27, "larger than %d bytes: not digested" % DIGEST_LIMIT)


def _name(lookup: t.Callable[[int], t.Any], number: int) -> str:
    try:
        return lookup(number)[0]
    except KeyError:
        return str(number)
