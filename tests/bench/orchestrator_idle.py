# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What 22 idle nodes cost: memory, processor, and bytes per second with little and with much state."""

from __future__ import annotations

import argparse
import tempfile
import time

from orchestrator_figures import NODES, VOTERS, metric, processor_seconds, report, resident_megabytes
from real_cluster import Cluster


def measure(cluster, seconds):
    """({node: % of a core}, {node: bytes sent per second}) over `seconds`."""
    before = {name: (processor_seconds(cluster.processes[name]), cluster.counter(name, "bytes_sent")) for name in NODES}
    start = time.monotonic()
    time.sleep(seconds)
    spent = time.monotonic() - start
    after = {name: (processor_seconds(cluster.processes[name]), cluster.counter(name, "bytes_sent")) for name in NODES}
    return ({name: (after[name][0] - before[name][0]) / spent * 100 for name in NODES}, {name: (after[name][1] - before[name][1]) / spent for name in NODES})


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0, help="length of each of the two measurements")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, Cluster(folder, NODES, VOTERS, timing={}) as cluster:
        cluster.start()
        cluster.wait(cluster.joined, 60)
        time.sleep(3)
        cores, little = measure(cluster, given.seconds)
        memory = {name: resident_megabytes(cluster.processes[name]) for name in NODES}
        for name in NODES:
            cluster.post(name, "/state", {"section": "load", "value": "x" * 60000})
        cluster.wait(lambda: all(metric(cluster, name, "state_bytes") > 60000 * len(NODES) for name in NODES), 60)
        time.sleep(2)
        unused_cores, much = measure(cluster, given.seconds)
    average = [sum(rates.values()) / len(rates) for rates in (little, much)]
    good = max(memory.values()) <= 60 and sum(cores.values()) / len(cores) <= 1.0 and average[1] <= 1.2 * average[0]
    report("idle cost", {
        "nodes": len(NODES), "seconds": given.seconds, "memory_mb_worst": round(max(memory.values()), 1),
        "core_percent_mean": round(sum(cores.values()) / len(cores), 2),
        "core_percent_voters_mean": round(sum(cores[name] for name in VOTERS) / len(VOTERS), 2), "core_percent_worst": round(max(cores.values()), 2),
        "bytes_sent_per_second_little_state": round(average[0]), "bytes_sent_per_second_much_state": round(average[1])}, good)


if __name__ == "__main__":
    main()
