# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long planning takes: generated clusters, from the file alone and with an observation of every node.

Run from the checkout: ``python tests/bench/plan_bench.py [--nodes 10000] [--runs 3]``. Prints one JSON line a case.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pathlib
import sys
import time

COLLECTION = "ansible_collections.ringrift.p2p."


def best(runs, call):
    """The shortest of several runs, in seconds of CPU (others may use the machine as well), and what the call returned."""
    times = []
    for _run in range(runs):
        started = time.process_time()
        result = call()
        times.append(time.process_time() - started)
    return min(times), result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[22, 500, 10000])
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "playbooks" / "collections"))
    plan = importlib.import_module(COLLECTION + "plugins.plugin_utils._plan").plan
    plan_clusters = importlib.import_module(COLLECTION + "tests.unit.plugins.plugin_utils.plan_clusters")
    for nodes in options.nodes:
        cluster = plan_clusters.generated(1, nodes)
        seconds, planned = best(options.runs, lambda: plan(cluster, {}, {}))
        clients = len(planned["relays"]["assignments"])
        print(json.dumps({"nodes": nodes, "observed": 0, "clients": clients, "cpu_seconds": round(seconds, 4)}), flush=True)
        observations = plan_clusters.observe(cluster, planned["candidates"])
        seconds, planned = best(options.runs, lambda: plan(cluster, observations, {}))
        print(json.dumps({"nodes": nodes, "observed": len(observations), "clients": clients, "cpu_seconds": round(seconds, 4)}), flush=True)


if __name__ == "__main__":
    main()
