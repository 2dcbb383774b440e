# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded orchestrator: membership by gossip, an elected leader, relays for nodes behind NAT."""

from __future__ import annotations

__version__ = "1.0.0"
