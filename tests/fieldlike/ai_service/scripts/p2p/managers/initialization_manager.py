# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a node of the stand-in finds the cluster: the list built in, in the shape of the field, and the order in which it is tried."""

from __future__ import annotations

import random

# Overlay addresses, all of them: the list that is in effect.
BOOTSTRAP_SEEDS: list[str] = [
    "100.64.0.40:8770",  # hetzner-cpu1
    "100.64.0.53:8770",  # nebius-backbone-1
    "100.64.0.60:8770",  # vultr-a100-20gb
    "100.64.0.51:8770",  # nebius-h100-3
]
MOST_TRIED = 6


def candidates(cached: list[str], peers: list[str], own: set[str], shuffled: random.Random) -> list[str]:
    """The addresses that one round tries: cached peers, then --peers, then the built-in ones in any order; six at most."""
    built_in = list(BOOTSTRAP_SEEDS)
    shuffled.shuffle(built_in)
    return [address for address in dict.fromkeys([*cached, *peers, *built_in]) if address not in own][:MOST_TRIED]
