# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ringrift.p2p embedded orchestrator
"""Starts the embedded orchestrator of the release that `current` points at."""

from __future__ import annotations

import os
import sys

# Addresses tried after the cached peers and --peers. The role edits this list in place; an address is "host:port".
BOOTSTRAP_SEEDS: list[str] = [
]


def main() -> int:
    """Put the release's folders ahead of everything else on the import path, then run it. Returns the exit code."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    releases = [os.path.join(root, "current"), root]
    release = next((path for path in releases if os.path.isdir(os.path.join(path, "ringrift_p2p"))), None)
    if release is None:
        sys.stderr.write("p2p_orchestrator: no release of the embedded orchestrator in %s; deploy it again\n" % " or ".join(releases))
        return 2
    sys.path[:0] = [release, os.path.join(release, "lib")]
    from ringrift_p2p.main import main as run
    return run(sys.argv[1:], BOOTSTRAP_SEEDS, root)


if __name__ == "__main__":
    sys.exit(main())
