# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which provider rents a node out, and what follows from it where the hosts file is silent."""

from __future__ import annotations

import re
import typing as t

PROVIDERS = ("lambda", "vast", "hetzner", "nebius", "vultr", "runpod", "aws", "mac", "local", "other")
DEFAULT_USERS = {"lambda": "ubuntu", "nebius": "ubuntu", "aws": "ubuntu", "hetzner": "root", "vultr": "root", "vast": "root", "runpod": "root"}
# What these rent out are containers behind an SSH gateway: the SSH address says nothing about port 8770.
CONTAINER_PROVIDERS = frozenset(("vast", "runpod"))

_ALIASES = {
    "lambda_labs": "lambda", "lambdalabs": "lambda", "vast.ai": "vast", "vastai": "vast", "vast_ai": "vast", "run_pod": "runpod", "amazon": "aws", "ec2": "aws",
    "macos": "mac", "apple": "mac", "localhost": "local",
}
_ID_KEYS = {
    "vast_instance_id": "vast", "runpod_id": "runpod", "nebius_id": "nebius", "hetzner_id": "hetzner", "vultr_id": "vultr", "aws_instance_id": "aws",
}
_PREFIX = re.compile(r"(lambda|vast|hetzner|nebius|vultr|runpod|aws|macbook|mac|localhost|local)(?![a-z])", re.IGNORECASE)
_PREFIX_PROVIDER = {"macbook": "mac", "localhost": "local"}


def of_key(stated: str) -> str:
    """The provider that the value of a key ``provider`` means; ``other`` if it is none of PROVIDERS."""
    lowered = stated.strip().lower()
    lowered = _ALIASES.get(lowered.replace("-", "_").replace(" ", "_"), lowered)
    return lowered if lowered in PROVIDERS else "other"


def of_ids(entry: dict[str, t.Any]) -> dict[str, str]:
    """The id keys that the entry has, each with the provider that it is evidence for."""
    return {key: provider for key, provider in _ID_KEYS.items() if entry.get(key)}


def of_name(name: str) -> str | None:
    """The provider that the beginning of a node's name stands for, None if it stands for none."""
    found = _PREFIX.match(name)
    if not found:
        return None
    prefix = found.group(1).lower()
    return _PREFIX_PROVIDER.get(prefix, prefix)


def decide(name: str, entry: dict[str, t.Any], patterns: t.Iterable[tuple[re.Pattern[str], str]] = ()) -> tuple[str, str]:
    """``(provider, evidence)``: the key ``provider``, else the id keys, else the name patterns given, else the name's beginning."""
    stated = entry.get("provider")
    if stated:
        provider = of_key(stated)
        return provider, "key provider" if provider != "other" else f"key provider: {stated}"
    for key, provider in _ID_KEYS.items():
        if entry.get(key):
            return provider, f"key {key}"
    for pattern, provider in patterns:
        if pattern.match(name):
            return provider, "option providers"
    named = of_name(name)
    return (named, "name") if named else ("other", "none")
