# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks of the embedded orchestrator share: clusters of real processes on loopback, and their figures."""

from __future__ import annotations

import json
import os
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(_ROOT, "tests", "unit", "orchestrator"), os.path.join(_ROOT, "roles", "orchestrator", "files", "embedded")]

NODES = ["node%02d" % number for number in range(22)]
VOTERS = NODES[:5]


def metric(cluster, name, key):
    """One gauge of a node's /metrics."""
    for line in cluster.request(name, "/metrics")[1].decode().splitlines():
        if line.startswith("ringrift_p2p_%s " % key):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


def quantile(values, part):
    """The value below which `part` of the sorted values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def processor_seconds(process):
    """Processor time that a process has used."""
    with open("/proc/%d/stat" % process.pid, encoding="ascii") as stream:
        fields = stream.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_megabytes(process):
    """Resident memory of a process."""
    with open("/proc/%d/statm" % process.pid, encoding="ascii") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def report(name, figures, good):
    """Print the figures as JSON and end with exit code 1 if a goal is missed."""
    print(json.dumps({"benchmark": name, "met": bool(good), **figures}, indent=1))
    sys.exit(0 if good else 1)
