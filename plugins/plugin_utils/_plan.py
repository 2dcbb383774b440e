# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cluster should be: seeds, relays, edits of the hosts file and the order of restarts. Pure; shapes as in ``docs/architecture.md``."""

from __future__ import annotations

import hashlib
import json
import typing as t

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _plan_reach as reach_util
from ansible_collections.ringrift.p2p.plugins.plugin_utils import _plan_relays, _plan_restarts, _plan_seeds

DEFAULT_GPU_ROLE = "gpu_training_primary"
DEFAULT_SEEDS_MINIMUM = 2
# Addresses that a node tries in one call of node_info: all at once, so that the call stays within its two seconds.
CANDIDATES_LIMIT = 64
RELAYS_CHECKED = 16

Host = t.Mapping[str, t.Any]


class PlanError(ValueError):
    """The settings cannot be planned with; ``faults`` has one sentence per fault."""

    def __init__(self, faults: t.Sequence[str]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(self.faults))


class Settings(t.NamedTuple):
    """The settings after checking."""

    pinned: list[dict[str, t.Any]]
    seeds_count: int
    seeds_minimum: int
    batch_percent: int
    gpu_role: t.Union[str, t.List[t.Tuple[float, str]]]
    add_relays: bool
    relay_capacity: int | None
    touch: frozenset[str] | None


def _number(settings: t.Mapping[str, t.Any], key: str, default: int | None, low: int, high: int, faults: list[str]) -> int | None:
    value = settings.get(key)
    if value is None or value == "":
        return default
    try:
        number = None if isinstance(value, bool) else int(str(value))
    except ValueError:
        number = None
    if number is None or not low <= number <= high:
        faults.append("%s: a whole number from %d to %d is needed, not %r" % (key, low, high, value))
        return default
    return number


def _pinned(settings: t.Mapping[str, t.Any], faults: list[str]) -> list[dict[str, t.Any]]:
    pinned = []
    value = settings.get("pinned_seeds") or []
    if not isinstance(value, (list, tuple)):
        faults.append("pinned_seeds: a list of {address: host:port, node: name} is needed")
        return []
    for index, item in enumerate(value):
        entry = item if isinstance(item, t.Mapping) else {"address": item}
        try:
            address = reach_util.join_address(*reach_util.split_address(entry.get("address")))
        except ValueError as exc:
            faults.append("pinned_seeds[%d].address: %s" % (index, exc))
            continue
        pinned.append({"address": address, "node": entry.get("node")})
    return pinned


def _gpu_role(settings: t.Mapping[str, t.Any], faults: list[str]) -> str | list[tuple[float, str]]:
    value = settings.get("gpu_role") or DEFAULT_GPU_ROLE
    if isinstance(value, str):
        return value
    if not isinstance(value, t.Mapping):
        faults.append("gpu_role: a role, or a mapping of the least VRAM in GB to a role, is needed, not %r" % (value,))
        return DEFAULT_GPU_ROLE
    steps = []
    for least, role in value.items():
        try:
            steps.append((float(least), str(role)))
        except (TypeError, ValueError):
            faults.append("gpu_role[%r]: the least VRAM in GB is needed as a number" % (least,))
    return sorted(steps)


def check_settings(settings: t.Mapping[str, t.Any]) -> Settings:
    """The settings with defaults filled in; PlanError names every fault."""
    faults: list[str] = []
    touch = settings.get("touch")
    if touch is not None and (isinstance(touch, str) or not isinstance(touch, t.Collection)):
        faults.append("touch: a list of node names is needed, not %r" % (touch,))
        touch = None
    count = _number(settings, "seeds_count", _plan_seeds.SEEDS_TRIED, 1, _plan_seeds.SEEDS_TRIED, faults)
    checked = Settings(
        pinned=_pinned(settings, faults),
        seeds_count=count,
        seeds_minimum=_number(settings, "seeds_minimum", min(DEFAULT_SEEDS_MINIMUM, count), 1, count, faults),
        batch_percent=_number(settings, "batch_percent", _plan_restarts.DEFAULT_BATCH_PERCENT, 1, 100, faults),
        gpu_role=_gpu_role(settings, faults),
        add_relays=settings.get("add_relays") in (True, "true", "True", "yes", "1", 1),
        relay_capacity=_number(settings, "relay_capacity", None, 1, 1000000, faults),
        touch=None if touch is None else frozenset(touch))
    if faults:
        raise PlanError(faults)
    return checked


def _gpu_edits(cluster: t.Mapping[str, t.Any], settings: Settings) -> dict[str, dict[str, t.Any]]:
    edits = {}
    for name, wanted in (cluster.get("gpu_edits") or {}).items():
        if settings.touch is not None and name not in settings.touch:
            continue
        host = cluster["hosts"][name]
        role = settings.gpu_role
        if not isinstance(role, str):
            vram = float(host.get("gpu_vram_gb") or 0)
            fitting = [step for step in role if step[0] <= vram]
            role = fitting[-1][1] if fitting else DEFAULT_GPU_ROLE
        entry = host.get("entry") or {}
        changed = {key: role if key == "role" else value for key, value in wanted.items()}
        changed = {key: value for key, value in changed.items() if entry.get(key) != value}
        if changed:
            edits[name] = changed
    return edits


def _coordinator(cluster: t.Mapping[str, t.Any], members: t.Mapping[str, Host], blocked: t.Container[str]) -> str | None:
    """The one node that may start elections: with two of them the cluster gets two leaders, with none it gets none."""
    voters = [members[name] for name in cluster.get("voters") or () if name in members]
    declared = list(cluster.get("coordinators") or ())
    best = min(voters, default=None, key=lambda host: (
        host["name"] in blocked or bool(host.get("gateway_only")), host["name"] not in declared, not host.get("coordinator"),
        bool(host.get("discrete_gpu")), reach_util.weight("coordinator", host["name"])))
    return best["name"] if best else None


def _advertised(host: Host, relayed: bool) -> tuple[str | None, bool]:
    """The host to advertise, and whether it is a public one that goes before an overlay address."""
    public = host.get("public_address")
    overlay = host.get("tailscale_address") if host.get("overlay") else None
    if public and not relayed:
        return public, True
    return overlay or public, overlay is None


def _candidates(pinned: t.Sequence[t.Mapping[str, t.Any]], ranked: t.Sequence[Host], relays: _plan_relays.RelayPlan,
                members: t.Mapping[str, Host]) -> list[str]:
    """What every node tries: seeds, relays, then nodes whose NAT state is to be checked, as many as fit."""
    addresses = _plan_seeds.checked(ranked, pinned)
    serving = sorted({name for pair in relays.assignments.values() for name in pair}, key=lambda name: reach_util.weight("checked", name))
    for name in serving[:RELAYS_CHECKED] + relays.unused_candidates()[:RELAYS_CHECKED]:
        if name in members and reach_util.public(members[name]):
            addresses.append(reach_util.public(members[name]))
    # Where one machine of a provider is behind NAT, its others are the likeliest to be too.
    suspect = {host.get("provider") for host in members.values() if host.get("nat_blocked")}
    clients = set(relays.clients)
    for host in sorted((host for host in members.values() if host["name"] not in clients),
                       key=lambda host: (host.get("provider") not in suspect, reach_util.weight("nat", host["name"]))):
        if len(addresses) >= 2 * CANDIDATES_LIMIT:
            break
        addresses += [address for address in (reach_util.public(host), reach_util.overlay(host)) if address]
    return list(dict.fromkeys(addresses))[:CANDIDATES_LIMIT]


def _state(observations: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """As much of the cluster's state as the plain order of restarts needs."""
    leaders: dict[str, int] = {}
    for item in observations.values():
        leader = (item.get("view") or {}).get("leader_id") or (item.get("health") or {}).get("leader_id")
        if leader:
            leaders[leader] = leaders.get(leader, 0) + 1
    return {
        "leader": min(leaders, key=lambda name: (-leaders[name], name)) if leaders else None,
        "nodes": {name: {"answers": reach_util.is_up(item)} for name, item in observations.items()},
    }


def _digest(shared: t.Mapping[str, t.Any], entry: t.Mapping[str, t.Any]) -> str:
    text = json.dumps({"entry": entry, **shared}, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def plan(cluster: t.Mapping[str, t.Any], observations: t.Mapping[str, t.Any] | None = None, settings: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
    """The plan for a cluster; the same input gives the same plan. Raises PlanError for settings that make no sense.

    ``settings`` (all optional): ``pinned_seeds`` [{address, node}], ``seeds_count`` (6), ``seeds_minimum`` (2),
    ``batch_percent`` (30), ``gpu_role`` (a role, or {least VRAM in GB: role}), ``add_relays`` (bool),
    ``relay_capacity`` (clients a relay serves at a time), ``touch`` ([names that this run may change] or null for all).
    """
    checked = check_settings(settings or {})
    members = {name: host for name, host in cluster["hosts"].items() if host["belongs"]}
    observations = {name: item for name, item in (observations or {}).items() if name in members and item}
    reach = reach_util.Reach(members, observations)

    nat = {name: reach.nat(name) for name in members}
    blocked = {name for name, item in nat.items() if item["declared"] or item["observed"]}
    ranked = _plan_seeds.ranked_hosts(members, blocked)
    seeds = {
        kind: _plan_seeds.SeedPlan(kind, members, cluster["hosts"], reach, blocked, ranked, checked.pinned, checked.seeds_count, checked.seeds_minimum)
        for kind in reach_util.CLASSES}
    relays = _plan_relays.RelayPlan(members, reach, blocked, checked.relay_capacity, checked.add_relays, checked.touch)

    edits = _gpu_edits(cluster, checked)
    for name, changed in relays.edits().items():
        edits.setdefault(name, {}).update(changed)
    for name in sorted(blocked):
        if not nat[name]["declared"] and (checked.touch is None or name in checked.touch):
            edits.setdefault(name, {})["nat_blocked"] = True
    for name in relays.added:
        if checked.touch is None or name in checked.touch:
            edits.setdefault(name, {})["relay_capable"] = True

    coordinator = _coordinator(cluster, members, blocked)
    shared = {"voters": cluster.get("voters") or [], "elo_sync": cluster.get("coordinators") or [], "protocols": cluster.get("protocols") or {}}
    lists = {kind: [seed.address for seed in item.seeds] for kind, item in seeds.items()}
    owners = {kind: {seed.node for seed in item.seeds} for kind, item in seeds.items()}
    clients = set(relays.clients)
    nodes = {}
    for name, host in members.items():
        kind = reach_util.node_class(host)
        assigned = relays.assignments.get(name, [])
        relay_peers = relays.addresses(name)
        own = {reach_util.public(host), reach_util.overlay(host)}
        peers = lists[kind]
        if name in owners[kind] or not own.isdisjoint(peers):
            peers = [seed.address for seed in seeds[kind].without(name) if seed.address not in own]
        if relay_peers:
            # Relays first: the first peer that answers ends the round, and only through these the node comes in.
            rest = [address for address in peers if address not in relay_peers and reach.owner(address) not in assigned]
            peers = (relay_peers + rest)[:checked.seeds_count]
        advertised, prefer_public = _advertised(host, name in clients)
        entry = dict(host.get("entry") or {})
        entry.update(edits.get(name, {}))
        nodes[name] = {
            "class": kind,
            "peers": list(peers),
            "relay_peers": relay_peers,
            "relays": list(assigned),
            "force_relay": bool(name in clients and assigned),
            "nat_blocked": name in blocked or bool(host.get("gateway_only")),
            "prefer_public": prefer_public,
            "advertise_host": advertised,
            "coordinator": name == coordinator,
            "seeds_refused": seeds[kind].refused,
            "hosts_digest": _digest(shared, {key: value for key, value in entry.items() if value is not None}),
        }

    planned = {
        "seeds": {kind: item.to_dict() for kind, item in seeds.items()},
        "relays": relays.to_dict(),
        "nat": {name: item for name, item in nat.items() if item["declared"] or item["observed"] is not None or item["moved"]},
        "candidates": _candidates(checked.pinned, ranked, relays, members),
        "nodes": nodes,
        "edits": edits,
        "coordinator": coordinator,
    }
    waves = _plan_restarts.waves(members, cluster, planned, _state(observations), {"batch_percent": checked.batch_percent})
    planned["restarts"] = {
        "waves": waves,
        "order": [name for wave in waves for name in wave],
        "voters": [name for wave in waves for name in wave if name in set(shared["voters"])],
    }
    return planned
