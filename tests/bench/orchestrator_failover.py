# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long five voters are without a leader after `kill -9` of it, and how long a cut-off leader believes in itself."""

from __future__ import annotations

import argparse
import signal
import tempfile
import time

from orchestrator_figures import quantile, report
from real_cluster import Cluster

VOTERS = ["v1", "v2", "v3", "v4", "v5"]


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=30, help="leaders to kill")
    options.add_argument("--seconds", type=float, default=0.0, help="stop after this time, whatever --rounds says (0: never)")
    given = options.parse_args()
    start = time.monotonic()
    failovers, stepped_down, terms = [], [], []
    with tempfile.TemporaryDirectory() as folder, Cluster(folder, VOTERS, VOTERS, timing={}) as cluster:
        cluster.start()
        cluster.wait(cluster.joined, 30)
        while len(failovers) < given.rounds and not 0 < given.seconds < time.monotonic() - start:
            old = cluster.leader(*VOTERS)
            rest = [name for name in VOTERS if name != old]
            cluster.kill(old, signal.SIGKILL)
            failovers.append(cluster.wait(lambda: cluster.leader(*rest), 30))
            terms.append(cluster.get(rest[0])["term"])
            cluster.start(old)
            cluster.wait(lambda: cluster.joined(*VOTERS), 30)
        for unused in range(3):
            old = cluster.leader(*VOTERS)
            rest = [name for name in VOTERS if name != old]
            for name in rest:
                cluster.kill(name, signal.SIGSTOP)
            stepped_down.append(cluster.wait(lambda: cluster.get(old, "/health")["role"] != "leader", 10))
            for name in rest:
                cluster.kill(name, signal.SIGCONT)
            cluster.wait(lambda: cluster.leader(*VOTERS), 30)
        history = cluster.get(cluster.leader(*VOTERS))["election"]["history"]
        term = cluster.get("v1")["term"]
        for name in VOTERS:
            cluster.kill(name, signal.SIGKILL)
        cluster.start()
        restart = cluster.wait(lambda: cluster.joined(*VOTERS), 30)
        cluster.wait(lambda: len(cluster.get("v1")["election"]["history"]) > 0, 10)
        after = cluster.get(cluster.leader(*VOTERS))
        kept = all(entry in after["election"]["history"] for entry in history[-4:])
    p50, p95 = quantile(failovers, 0.5), quantile(failovers, 0.95)
    good = p50 <= 2.0 and p95 <= 4.0 and max(stepped_down) <= 2.0 and after["term"] > term and kept and terms == sorted(set(terms))
    report("failover", {
        "leaders_killed": len(failovers), "p50_seconds": round(p50, 2), "p95_seconds": round(p95, 2), "worst_seconds": round(max(failovers), 2),
        "cut_off_leader_stepped_down_seconds": [round(value, 2) for value in stepped_down], "restart_of_all_seconds": round(restart, 2),
        "term_before_restart": term, "term_after_restart": after["term"], "data_kept": kept}, good)


if __name__ == "__main__":
    main()
