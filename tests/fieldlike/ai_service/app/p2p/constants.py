# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Constants of the stand-in. Nothing imports the list any more: dead code, as in the field."""

from __future__ import annotations

import os

_ENV_SEEDS = os.environ.get("RINGRIFT_P2P_BOOTSTRAP_SEEDS", "").strip()

if _ENV_SEEDS:
    BOOTSTRAP_SEEDS: list[str] = [seed.strip() for seed in _ENV_SEEDS.split(",") if seed.strip()]
else:
    BOOTSTRAP_SEEDS: list[str] = [
        # Voters first
        "100.64.0.40:8770",
        # Backbone
        "100.64.0.53:8770",
        # GPU nodes that stay up
        "100.64.0.60:8770",
    ]
