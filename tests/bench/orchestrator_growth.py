# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real membership code in clusters of up to 1,000 nodes, without the network: rounds until a change is everywhere, bytes per node.

Messages are lost and delayed at random (5 % lost, 20 % answered a round late). A round is one heartbeat period.
"""

from __future__ import annotations

import argparse
import math
import random
import time

from orchestrator_figures import quantile, report
from ringrift_p2p import membership, wire

FAN_OUT, LOSS, DELAY = 3, 0.05, 0.2
CARD = {"host": "127.0.0.1", "port": 8770, "capabilities": ["selfplay"]}


class Simulation:
    """`count` nodes that know each other already; `round` lets each heartbeat to a few."""

    def __init__(self, count, seed):
        self.random = random.Random(seed)
        self.nodes = [membership.Membership("n%04d" % number, 1, draw=random.Random(seed + number)) for number in range(count)]
        for node in self.nodes:
            node.set_section(membership.CARD, CARD)
        section = self.nodes[0].me.sections[membership.CARD]
        for node in self.nodes:
            # A million members: made by hand, so that they share their cards.
            for other in self.nodes:
                if other is not node:
                    member = membership.Member(other.name, 1, 0.0, 0.0)
                    member.sections, member.card, member.version, member.size = {membership.CARD: section}, CARD, 1, len(section[1])
                    node.members[other.name] = member
            node.me.rumour = 0
        self.sent = [0] * count
        self.late, self.now = [], 0.0

    def send(self, sender, header, sections):
        self.sent[sender] += len(wire.encode(header, sections))

    def answer(self, asker, answerer, entries):
        """The rest of a heartbeat: answer, and what both lack."""
        left, right = self.nodes[asker], self.nodes[answerer]
        want, owed = right.compare(entries, self.now, self.now)
        answer = right.entries()
        deltas = right.deltas(owed)
        self.send(answerer, {"from": right.name, "inc": 1, "entries": answer, "want": want}, deltas)
        for section in deltas:
            left.apply(section, self.now, self.now)
        wanted, unused_owed = left.compare(answer, self.now, self.now)
        given = left.deltas(want)
        if wanted or given:
            self.send(asker, {"from": left.name, "inc": 1, "want": wanted}, given)
            for section in given:
                right.apply(section, self.now, self.now)
            more = right.deltas(wanted)
            self.send(answerer, {"from": right.name, "inc": 1}, more)
            for section in more:
                left.apply(section, self.now, self.now)

    def round(self):
        self.now += 1.0
        due, self.late = self.late, []
        for exchange in due:
            self.answer(*exchange)
        for asker, node in enumerate(self.nodes):
            node.beat(self.now, self.now)
            for answerer in self.random.sample(range(len(self.nodes)), min(FAN_OUT, len(self.nodes) - 1)):
                if answerer == asker:
                    continue
                entries = node.entries()
                self.send(asker, {"from": node.name, "inc": 1, "seq": 1, "entries": entries}, [])
                chance = self.random.random()
                if chance < LOSS:
                    continue
                if chance < LOSS + DELAY:
                    self.late.append((asker, answerer, entries))
                else:
                    self.answer(asker, answerer, entries)


def run(count, seed):
    """Figures of one cluster size."""
    simulation = Simulation(count, seed)
    for unused in range(3):
        simulation.round()
    simulation.sent = [0] * count
    quiet = 4
    for unused in range(quiet):
        simulation.round()
    traffic = [sent / quiet for sent in simulation.sent]
    source = simulation.nodes[count // 2]
    source.set_section("jobs", {"running": 1})
    rounds = 0
    while rounds < 60 and any(node.members[source.name].version < 2 for node in simulation.nodes):
        simulation.round()
        rounds += 1
    silences = [simulation.now - member.heard for node in simulation.nodes for member in node.members.values()]
    return {"nodes": count, "rounds_to_everywhere": rounds, "log2_of_nodes": round(math.log2(count), 1),
            "bytes_per_node_and_round": round(sum(traffic) / count), "worst_bytes_per_node_and_round": round(max(traffic)),
            "silence_p50_rounds": quantile(silences, 0.5), "silence_p999_rounds": quantile(silences, 0.999),
            "suspected_after_rounds": round(source.patience(), 1), "wrongly_suspected": sum(silence > source.patience() for silence in silences)}


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=600.0, help="begin no larger size after this time")
    options.add_argument("--sizes", default="8,22,64,250,1000")
    given = options.parse_args()
    start, table = time.monotonic(), []
    for count in map(int, given.sizes.split(",")):
        if time.monotonic() - start > given.seconds:
            break
        table.append(run(count, 11))
    good = all(row["rounds_to_everywhere"] <= 2.0 * row["log2_of_nodes"] + 2 and row["wrongly_suspected"] == 0 for row in table)
    bounded = table[-1]["bytes_per_node_and_round"] <= 2 * max(row["bytes_per_node_and_round"] for row in table if row["nodes"] <= 64)
    report("growth", {"table": table}, good and bounded)


if __name__ == "__main__":
    main()
