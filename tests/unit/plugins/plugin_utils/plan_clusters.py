# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters and observations for the tests of the plans, in the shapes of docs/architecture.md."""

from __future__ import annotations

import random

PORT = 8770


def host(name, provider=None, public=None, overlay=None, **changes):
    """One host of a cluster; ``public`` and ``overlay`` are addresses without a port."""
    provider = provider or name.split("-")[0].rstrip("0123456789")
    made = {
        "name": name, "line": 1, "provider": provider, "provider_evidence": "name", "role": "gpu_selfplay", "status": "ready",
        "belongs": True, "excluded_reason": None, "port": PORT, "public_address": public, "public_port": PORT,
        "tailscale_address": overlay, "overlay": bool(overlay), "ssh_host": public or overlay or "gateway.example", "ssh_user": "root", "ssh_port": 22,
        "ssh_key": None, "ssh_proxy": None, "voter": False, "nat_blocked": False, "gateway_only": not public and not overlay,
        "force_relay": False, "relays": [], "relay_capable": None, "ephemeral": provider == "vast", "container": provider in ("vast", "runpod"),
        "gpu": "H100", "gpu_vram_gb": 80, "discrete_gpu": True, "training_enabled": None, "selfplay_enabled": None, "coordinator": False,
        "path": "~/ringrift/ai-service", "venv_activate": None, "userspace_tailscale": False, "lines": {},
    }
    made.update(changes)
    entry = {"role": made["role"], "status": made["status"]}
    if made["nat_blocked"]:
        entry["nat_blocked"] = True
    if made["force_relay"]:
        entry["force_relay_mode"] = True
    for key, relay in zip(("relay_primary", "relay_secondary", "relay_tertiary", "relay_quaternary"), made["relays"]):
        entry[key] = relay
    if made["relay_capable"] is not None:
        entry["relay_capable"] = made["relay_capable"]
    made.setdefault("entry", entry)
    return made


def cluster(hosts, gpu_edits=None, coordinators=()):
    """A cluster of hosts."""
    return {
        "source": "distributed_hosts.yaml", "digest": "0" * 64, "hosts": {item["name"]: item for item in hosts},
        "voters": [item["name"] for item in hosts if item["voter"]], "coordinators": list(coordinators), "protocols": {},
        "gpu_edits": gpu_edits or {}, "findings": [],
    }


def lab():
    """The 22 nodes of the report: lambda behind CGNAT, Vast behind gateways, the others dialable."""
    hosts = []
    for number, index in enumerate((1, 2, 3, 5, 8, 9, 10, 11)):
        relayed = index not in (8, 9)
        hosts.append(host(
            "lambda-gh200-%d" % index, public="203.0.113.%d" % (10 + number), overlay="100.64.0.%d" % (10 + number),
            nat_blocked=index != 9, force_relay=relayed, relays=["nebius-backbone-1", "hetzner-cpu3"] if relayed else []))
    for number, name in enumerate(("vast-30274241", "vast-30274242", "vast-29128352", "vast-29129151")):
        hosts.append(host(name, ssh_port=10000 + number))
    hosts.append(host("runpod-a100-1", public="203.0.113.30", overlay="100.64.0.30"))
    always_on = {"gpu": "none", "gpu_vram_gb": 0, "discrete_gpu": False}
    hosts += [
        host("hetzner-cpu1", public="203.0.113.40", overlay="100.64.0.40", voter=True, coordinator=True, **always_on),
        host("hetzner-cpu2", public="203.0.113.41", overlay="100.64.0.41", voter=True, **always_on),
        host("hetzner-cpu3", public="203.0.113.42", overlay="100.64.0.42", relay_capable=True, **always_on),
        host("nebius-h100-1", public="203.0.113.50", overlay="100.64.0.50"),
        host("nebius-h100-3", public="203.0.113.51", overlay="100.64.0.51", voter=True),
        host("nebius-l40s-1", public="203.0.113.52", overlay="100.64.0.52", role="coordinator"),
        host("nebius-backbone-1", public="203.0.113.53", overlay="100.64.0.53", voter=True, relay_capable=True, role="backbone", **always_on),
        host("vultr-a100-20gb", public="203.0.113.60", overlay="100.64.0.60", voter=True),
        host("vultr-a100-40gb", public="203.0.113.61", overlay="100.64.0.61"),
    ]
    return cluster(hosts, {"nebius-l40s-1": {"role": "gpu_training_primary", "training_enabled": True}}, ["hetzner-cpu1"])


LAB_PINNED = [
    {"address": "203.0.113.60:8770", "node": "vultr-a100-20gb"},
    {"address": "203.0.113.40:8770", "node": "hetzner-cpu1"},
    {"address": "203.0.113.51:8770", "node": "nebius-h100-3"},
]


def observe(made, candidates, down=(), blocked=(), only=None, dead=()):
    """What the nodes would say: ``down`` nodes run nothing, ``blocked`` ones are dialled in vain, ``dead`` addresses too.

    ``only`` limits who is observed.
    """
    owners = {}
    for item in made["hosts"].values():
        for address in (item["public_address"], item["tailscale_address"]):
            if address:
                owners["%s:%d" % (address, item["port"])] = item["name"]
    observations = {}
    for name, item in made["hosts"].items():
        if not item["belongs"] or (only is not None and name not in only):
            continue
        tried = {}
        for address in candidates:
            owner = owners.get(address)
            overlay = address.startswith("100.")
            open_for_me = owner == name or not (
                owner is None or owner in blocked or address in dead or (overlay and (not item["overlay"] or item["userspace_tailscale"])))
            answers = open_for_me and owner not in down
            tried[address] = {"tcp": answers, "health": answers, "node_id": owner if answers else None, "milliseconds": 3 if answers else None,
                              "error": None if answers else "connection refused" if open_for_me else "timed out"}
        up = name not in down
        observations[name] = {
            "node_id": name, "time": 0.0, "candidates": tried, "health": {"node_id": name, "healthy": True, "leader_id": "hetzner-cpu1"} if up else None,
            "view": {"answers": up, "leader_id": "hetzner-cpu1" if up else None},
        }
    return observations


PROVIDERS = ("vast", "lambda", "runpod", "nebius", "hetzner", "vultr", "aws", "other")


def generated(seed, size):
    """A cluster of ``size`` hosts that depends on ``seed`` alone, with the mix and the odd shapes of real files."""
    chance = random.Random(seed)
    providers = chance.sample(PROVIDERS, chance.randint(1, len(PROVIDERS)))
    hosts = []
    for number in range(size):
        provider = chance.choice(providers)
        name = "%s-%d" % (provider, number)
        octets = "%d.%d.%d" % (number // 65536 % 256, number // 256 % 256, number % 256)
        public = None if provider == "vast" or chance.random() < 0.1 else "11." + octets
        overlay = None if provider == "vast" or chance.random() < 0.2 else "100.64.%d.%d" % (number // 256 % 256, number % 256)
        discrete = provider != "hetzner" and chance.random() < 0.8
        hosts.append(host(
            name, provider=provider, public=public, overlay=overlay, belongs=chance.random() < 0.9,
            nat_blocked=chance.random() < (0.8 if provider == "lambda" else 0.03), voter=chance.random() < min(0.5, 5.0 / size),
            relay_capable=chance.choice((None, None, None, True, False)), discrete_gpu=discrete, gpu="H100" if discrete else "none",
            userspace_tailscale=bool(overlay) and chance.random() < 0.05))
    names = [item["name"] for item in hosts]
    for item in hosts:
        if (item["nat_blocked"] or item["gateway_only"]) and chance.random() < 0.5:
            item["relays"] = chance.sample(names, min(len(names), chance.choice((1, 2, 2, 2, 3))))
            for key, relay in zip(("relay_primary", "relay_secondary", "relay_tertiary"), item["relays"]):
                item["entry"][key] = relay
    return cluster(hosts)


def edited(made, edits):
    """The cluster as it reads after the edits of a plan."""
    hosts = []
    for name, item in made["hosts"].items():
        changes = edits.get(name, {})
        entry = {key: value for key, value in dict(item["entry"], **changes).items() if value is not None}
        item = dict(item, entry=entry, nat_blocked=bool(entry.get("nat_blocked", item["nat_blocked"])), role=entry.get("role"),
                    force_relay=bool(entry.get("force_relay_mode")), relay_capable=entry.get("relay_capable"),
                    relays=[entry[key] for key in ("relay_primary", "relay_secondary", "relay_tertiary", "relay_quaternary") if entry.get(key)])
        hosts.append(item)
    after = cluster(hosts, {name: wanted for name, wanted in made["gpu_edits"].items() if name not in edits}, made["coordinators"])
    return after


def without(made, *names):
    """The cluster without some of its hosts."""
    return cluster([item for name, item in made["hosts"].items() if name not in names], {}, made["coordinators"])
