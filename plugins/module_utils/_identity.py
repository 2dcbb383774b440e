# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Under which name a node takes part, and what contradicts it. Pure."""

from __future__ import annotations

import typing as t

# How an orchestrator chooses its name, first one first. What it answers itself stands above all of them.
ORDER = ("health", "command_line", "node_id_file", "environment", "default_file", "hostname")


def identify(sources: t.Iterable[tuple[str, str, str | None]]) -> dict[str, t.Any]:
    """The name in effect.

    ``sources``: ``(kind, place, value)``, ``kind`` one of ORDER, ``place`` how to name it to a person, ``value`` None or empty
    where it says nothing. Of one kind the first that says something counts.

    Returns ``{effective, source, conflicts [{source, value}]}``. A host name is nobody's decision, so it never contradicts.
    """
    said = [(kind, place, value.strip()) for kind, place, value in sources if value and value.strip()]
    said.sort(key=lambda item: ORDER.index(item[0]))
    if not said:
        return {"effective": None, "source": None, "conflicts": []}
    _kind, source, effective = said[0]
    conflicts: list[dict[str, str]] = []
    for kind, place, value in said[1:]:
        conflict = {"source": place, "value": value}
        if kind != "hostname" and value != effective and conflict not in conflicts:
            conflicts.append(conflict)
    return {"effective": effective, "source": source, "conflicts": conflicts}
