# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the operator's file on the controller."""

from __future__ import annotations

import errno
import os
import stat


def read(path: str) -> bytes:
    """The content of the regular file at ``path``. Raises OSError.

    A pipe or a device is refused: a run reads the file several times, and waiting for one of those may never end.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "a pipe or a device, not a file", path)
    with open(path, "rb") as stream:
        return stream.read()
