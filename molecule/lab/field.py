# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that run the stand-in for the field's own orchestrator, in the state of the report and with three leaders at once. Pure, apart from
reading the stand-in.

Every provider starts it in another way of the field; one node has two managers. Nothing of the collection is on them.
"""

from __future__ import annotations

import importlib.util
import os

import broken
from archive import File
from topology import COORDINATOR_BY_ENVIRONMENT, LOCKED, NO_RELAY, OVERLAY_SEEDS, PORT, ROOT

STAND_IN = os.path.join(ROOT, "tests", "fieldlike")
# A twentieth of the durations that were measured in the field; a stop takes as long as there. A scenario that is about something else may hurry.
SCALE = os.environ.get("LAB_FIELD_SCALE", "0.05")
STOP_SECONDS = os.environ.get("LAB_FIELD_STOP_SECONDS", "15")
# Each of them makes itself the leader.
COORDINATORS = ("hetzner-cpu1", "nebius-backbone-1", "vultr-a100-20gb")
TWO_MANAGERS = "hetzner-cpu2"
LIST_IN_EFFECT = "scripts/p2p/managers/initialization_manager.py"


def _load_starts():
    specification = importlib.util.spec_from_file_location("fieldlike_starts", os.path.join(STAND_IN, "starts.py"))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


starts = _load_starts()


def source():
    """{path below ringrift_path: (text, mode)} of the stand-in."""
    found = {}
    top = os.path.join(STAND_IN, "ai_service")
    for folder, names, members in os.walk(top):
        names[:] = sorted(name for name in names if name != "__pycache__")
        for member in sorted(members):
            path = os.path.join(folder, member)
            with open(path, encoding="utf-8") as stream:
                found[os.path.relpath(path, top)] = (stream.read(), os.stat(path).st_mode & 0o755)
    return found


def start_of(node, known):
    """How the node starts, as tests/fieldlike/starts.py takes it."""
    seeds = broken.overlay_seeds(known)
    relays = [] if node.name in NO_RELAY or not node.inbound_blocked else broken.relay_addresses(node, known)
    words = ["--port", str(PORT), "--ringrift-path", node.path]
    if node.overlay:
        words += ["--peers", ",".join([*relays, *(seed for seed in seeds if seed not in relays)])]
    if relays:
        words += ["--relay-peers", ",".join(relays)]
    environment = [("RINGRIFT_FIELDLIKE_SCALE", SCALE), ("RINGRIFT_FIELDLIKE_STOP_SECONDS", STOP_SECONDS)]
    if node.name in COORDINATORS:
        environment.append(("RINGRIFT_IS_COORDINATOR", "true"))
    return starts.Start(node.name, node.user, node.path, tuple(words), tuple(environment))


def files(node, known, hosts_file):
    """All files that the node had before the collection came, apart from its stale lock."""
    start = start_of(node, known)
    result = []
    for path, (text, mode) in source().items():
        if path == LIST_IN_EFFECT:
            text = broken.launcher(text, broken.overlay_seeds(known), OVERLAY_SEEDS)
        result.append(File(f"{node.path}/{path}", text, mode=mode, owner=node.user))
    mechanisms = starts.BY_PROVIDER[node.provider](start)
    if node.name == TWO_MANAGERS:
        mechanisms.update(starts.second_manager(start))
    result += [File(path, item.text, link=item.link, mode=item.mode) for path, item in mechanisms.items()]
    result.append(File(f"{node.path}/config/distributed_hosts.yaml", hosts_file, owner=node.user))
    # The field takes what it may not signal for dead.
    result += broken.bystanders(node, node.user)
    if node.systemd and node.name not in LOCKED:
        result.append(File(starts.WANTED, link=starts.UNIT))
    if node.name == COORDINATOR_BY_ENVIRONMENT:
        result.append(File(f"{node.path}/.env.local", broken.ENV_LOCAL, owner=node.user))
    return result


def folders(node):
    """The folders that the files lie in, as (path, owner, mode)."""
    inner = sorted({os.path.dirname(path)[: end] for path in source() for end in _ends(os.path.dirname(path))})
    known = broken.folders(node)
    return [*known, *((f"{node.path}/{name}", node.user, 0o755) for name in inner if f"{node.path}/{name}" not in {path for path, _owner, _mode in known})]


def _ends(folder):
    return [index for index, letter in enumerate(folder + "/") if letter == "/" and index]
