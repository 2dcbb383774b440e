# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's generation as filters, for the role orchestrator: data in, data out."""

from __future__ import annotations

import re
import typing as t

from ansible.errors import AnsibleFilterError
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.ringrift.p2p.plugins.plugin_utils import _managed_files


def managed_files(settings: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """One generation, its identity and what it replaces."""
    # Contents hold what stands in the operator's file; they are data and never rendered again.
    return wrap_var(_managed_files.managed_files(settings))


def adopted_start(observation: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What of a node's own start is the operator's."""
    return wrap_var(_managed_files.adopted_start(observation))


def environment_value(value: t.Any) -> str:
    """A value as systemd's EnvironmentFile and a POSIX shell both read it."""
    text = str(value)
    if "\n" in text or "\0" in text:
        raise AnsibleFilterError("a value of the orchestrator's environment has more than one line: %r" % text)
    if re.match(r"^[A-Za-z0-9_./:,@%+=-]*$", text):
        return text
    return '"%s"' % re.sub(r'(["\\$`])', r"\\\1", text)


class FilterModule:
    """Names the filters."""

    def filters(self):
        return {"managed_files": managed_files, "adopted_start": adopted_start, "environment_value": environment_value}
