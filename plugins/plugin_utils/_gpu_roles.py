# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which GPU nodes the hosts file keeps from training, and what the file has to say instead."""

from __future__ import annotations

import re
import typing as t

DEFAULT_ROLE = "gpu_training_primary"

_NO_GPU = frozenset(("", "none", "no", "null", "n/a", "na", "-", "cpu", "false", "integrated"))
# Apple's GPUs share the machine's memory and train through MPS: not the discrete ones that the roles speak of.
_APPLE = re.compile(r"\bmps\b|\bapple\b|^m[1-9]\d?\b", re.IGNORECASE)


def is_discrete(gpu: str | None, vram_gb: float | None) -> bool:
    """Whether ``gpu`` names a discrete GPU. Without a name, video memory of its own is the evidence."""
    if gpu is None:
        return bool(vram_gb)
    name = gpu.strip()
    return name.lower() not in _NO_GPU and not _APPLE.search(name)


def role_faults(gpu_role: t.Any) -> list[str]:
    """What is wrong with the option ``p2p_gpu_role``; empty if nothing is."""
    if isinstance(gpu_role, str):
        return [] if gpu_role.strip() and gpu_role != "coordinator" else [f"p2p_gpu_role is {gpu_role!r}; expected a role other than coordinator"]
    if not isinstance(gpu_role, dict) or not gpu_role:
        return [f"p2p_gpu_role is {gpu_role!r}; expected a role, or a mapping of the least video memory in GB to a role"]
    faults = []
    for least, role in gpu_role.items():
        try:
            float(least)
        except (TypeError, ValueError):
            faults.append(f"p2p_gpu_role has the key {least!r}; expected a number, the least video memory in GB")
        if not isinstance(role, str) or not role.strip() or role == "coordinator":
            faults.append(f"p2p_gpu_role[{least!r}] is {role!r}; expected a role other than coordinator")
    return faults


def role_for(vram_gb: float | None, gpu_role: str | dict[t.Any, str] = DEFAULT_ROLE) -> str:
    """The role of a GPU node: ``gpu_role`` itself, or from a mapping (least video memory in GB: role) the one of the highest step reached.

    A node below every step, or without a known size, gets the lowest step's.
    """
    if isinstance(gpu_role, str):
        return gpu_role
    steps = sorted((float(least), role) for least, role in gpu_role.items())
    reached = [role for least, role in steps if vram_gb is not None and least <= vram_gb]
    return reached[-1] if reached else steps[0][1]


def reasons(host: dict[str, t.Any]) -> list[str]:
    """Why the host (an entry of the cluster's ``hosts``) is kept from training by mistake; empty if it is not.

    Declared coordinators, machines without a discrete GPU and hosts outside the cluster are never meant.
    """
    if not host["belongs"] or not host["discrete_gpu"] or host["coordinator"]:
        return []
    found = []
    if host["role"] == "coordinator":
        found.append("role: coordinator")
    if host["training_enabled"] is False and host["selfplay_enabled"] is False:
        found.append("training_enabled: false together with selfplay_enabled: false")
    return found


def edits(hosts: dict[str, dict[str, t.Any]], gpu_role: str | dict[t.Any, str] = DEFAULT_ROLE) -> dict[str, dict[str, t.Any]]:
    """``{host: {role, training_enabled}}`` for each GPU node that is kept from training by mistake. ``selfplay_enabled`` is the operator's."""
    return {
        name: {"role": role_for(host["gpu_vram_gb"], gpu_role), "training_enabled": True}
        for name, host in hosts.items() if reasons(host)
    }
