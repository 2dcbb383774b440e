# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Worst event-loop lag of 22 nodes that carry 10 MB of state, 5 of them changing each second; beside it a bare json.dumps of that state.

All nodes share this host's processors, which no cluster does. So two of them, a voter and another, run ahead of the rest: their lag is that
of a node on a host of its own. For all nodes the processor time of their longest turn is given, which does not depend on who else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time

from orchestrator_figures import NODES, VOTERS, metric, report
from real_cluster import Cluster

SECTIONS = 8
OBSERVED = (NODES[0], NODES[-1])


def value(draw, size):
    """A piece of state such as nodes really carry: records of short texts and numbers, about `size` bytes of JSON."""
    return [{"job": "selfplay-%06d" % draw.randrange(10 ** 6), "games": draw.randrange(10 ** 5), "elo": round(draw.random() * 2000, 2)}
            for unused in range(size // 56)]


def worst_of(cluster, key, names):
    """The largest value of a gauge, in milliseconds."""
    return max(metric(cluster, name, key) for name in names) * 1000


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=300.0)
    options.add_argument("--megabytes", type=float, default=10.0)
    given = options.parse_args()
    draw = random.Random(7)
    size = int(given.megabytes * 1e6 / len(NODES) / SECTIONS)
    with tempfile.TemporaryDirectory() as folder, Cluster(folder, NODES, VOTERS, timing={}) as cluster:
        cluster.start()
        cluster.wait(cluster.joined, 60)
        state = {name: [value(draw, size) for unused in range(SECTIONS)] for name in NODES}
        for name, sections in state.items():
            for number, section in enumerate(sections):
                cluster.post(name, "/state", {"section": "part%d" % number, "value": section})
        complete = sum(len(json.dumps(section, separators=(",", ":"))) for sections in state.values() for section in sections)
        cluster.wait(lambda: all(metric(cluster, name, "state_bytes") >= complete for name in NODES), 120, "the state to be everywhere")
        ahead = True
        for name in OBSERVED:
            try:
                os.setpriority(os.PRIO_PROCESS, cluster.processes[name].pid, -20)
            except PermissionError:
                ahead = False
        # /metrics tells of the last minute; the catching-up shall not count.
        time.sleep(61)
        worst, p99, processor, changes = 0.0, 0.0, 0.0, 0
        end = time.monotonic() + given.seconds
        next_look = time.monotonic() + min(30.0, given.seconds)
        while time.monotonic() < end:
            turn = time.monotonic()
            for name in draw.sample(NODES, 5):
                cluster.post(name, "/state", {"section": "part%d" % draw.randrange(SECTIONS), "value": value(draw, size)})
                changes += 1
            time.sleep(max(0.0, 1.0 - (time.monotonic() - turn)))
            if time.monotonic() >= min(next_look, end):
                next_look += 30.0
                worst = max(worst, worst_of(cluster, "event_loop_lag_max_seconds", OBSERVED))
                p99 = max(p99, worst_of(cluster, "event_loop_lag_p99_seconds", OBSERVED))
                processor = max(processor, worst_of(cluster, "event_loop_processor_max_seconds", NODES))
        start = time.perf_counter()
        json.dumps(state)
        bare = (time.perf_counter() - start) * 1000
    report("event-loop lag", {
        "nodes": len(NODES), "state_bytes": complete, "seconds": given.seconds, "changes": changes, "section_bytes": size, "observed_ran_ahead": ahead,
        "observed_worst_ms": round(worst, 2), "observed_p99_ms": round(p99, 2), "all_nodes_longest_turn_processor_ms": round(processor, 2),
        "bare_json_dumps_ms": round(bare, 1)}, worst <= 5.0 and processor <= 5.0)


if __name__ == "__main__":
    main()
