# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which nodes may restart together, and in which order. Pure; shapes as in ``docs/architecture.md``."""

from __future__ import annotations

import typing as t

DEFAULT_BATCH_PERCENT = 30


def _is_down(state: t.Mapping[str, t.Any], name: str) -> bool:
    """Only a node that was asked and did not answer is down; one that nobody asked may be serving."""
    return ((state.get("nodes") or {}).get(name) or {}).get("answers") is False


def _is_isolated(state: t.Mapping[str, t.Any], name: str) -> bool:
    return ((state.get("nodes") or {}).get(name) or {}).get("connected") is False


def _partners(plan: t.Mapping[str, t.Any]) -> dict[str, set[str]]:
    """For each relay the relays that may not be away with it: together they are all that some node has."""
    partners: dict[str, set[str]] = {}
    relays = plan.get("relays") or {}
    for assigned in (relays.get("previous") or {}, relays.get("assignments") or {}):
        for pair in assigned.values():
            for name in pair[:2]:
                partners.setdefault(name, set()).update(other for other in pair[:2] if other != name)
    return partners


def _seed_nodes(plan: t.Mapping[str, t.Any], down: t.Container[str]) -> list[set[str]]:
    """Per class the nodes behind its seeds that are up."""
    found = []
    for seeds in (plan.get("seeds") or {}).values():
        nodes = {node for node in (seeds.get("owners") or seeds.get("sources") or {}).values() if node and node != "pinned" and node not in down}
        if nodes:
            found.append(nodes)
    return found


def waves(names: t.Iterable[str], cluster: t.Mapping[str, t.Any], plan: t.Mapping[str, t.Any], state: t.Mapping[str, t.Any] | None = None,
          settings: t.Mapping[str, t.Any] | None = None) -> list[list[str]]:
    """The nodes of ``names`` in waves: a wave starts when the one before it is back.

    First the nodes that are down, all at once: nothing is lost by starting them. Then workers in batches
    (``settings.batch_percent`` of them, at least one), nodes that are cut off first; never both relays of a node in one
    batch, never all seeds of a class. Then the voters one by one, and whoever leads at that moment last of all.
    ``state`` is what ``_cluster_view.judge`` returns; without it no node counts as down and no leader is known.
    """
    state = state or {}
    hosts = cluster["hosts"]
    wanted = sorted({name for name in names if name in hosts})
    voters = set(cluster.get("voters") or ())
    leader = state.get("leader")
    down = [name for name in wanted if _is_down(state, name) and name != leader]
    up = [name for name in wanted if name not in set(down)]
    workers = [name for name in up if name not in voters and name != leader]
    workers.sort(key=lambda name: not _is_isolated(state, name))
    percent = (settings or {}).get("batch_percent") or DEFAULT_BATCH_PERCENT
    size = max(1, len(workers) * int(percent) // 100)
    partners = _partners(plan)
    seeds = _seed_nodes(plan, set(down))

    batches: list[set[str]] = []
    ordered: list[list[str]] = []
    open_from = 0
    for name in workers:
        place = next((index for index in range(open_from, len(batches)) if _may_join(name, batches[index], size, partners, seeds)), None)
        if place is None:
            batches.append(set())
            ordered.append([])
            place = len(batches) - 1
        batches[place].add(name)
        ordered[place].append(name)
        while open_from < len(batches) and len(batches[open_from]) >= size:
            open_from += 1
    voting = [[name] for name in up if name in voters and name != leader]
    last = [[leader]] if leader in up else []
    return ([down] if down else []) + ordered + voting + last


def next_wave(planned: t.Sequence[t.Sequence[str]], done: t.Container[str], leader: str | None) -> list[str]:
    """The next of the ``planned`` waves (as :func:`waves` gives them) none of whose nodes is ``done``; empty when there is none.

    A plan holds for the leader of its time. Here ``leader`` is whoever leads at this moment (None where that is not known): a node that
    restarts alone and leads is passed over for as long as another wave is left. So each wave comes exactly once, whatever the leaders do.
    """
    left = [list(wave) for wave in planned if not any(name in done for name in wave)]
    return next((wave for wave in left if wave != [leader]), left[0] if left else [])


def _may_join(name: str, batch: set[str], size: int, partners: t.Mapping[str, set[str]], seeds: t.Sequence[set[str]]) -> bool:
    if not batch:
        return True
    if len(batch) >= size or not batch.isdisjoint(partners.get(name, ())):
        return False
    return not any(name in nodes and nodes <= batch | {name} for nodes in seeds)
