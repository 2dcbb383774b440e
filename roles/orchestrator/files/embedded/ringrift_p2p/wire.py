# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frame in which nodes talk: one line of JSON, then the bytes of state sections, as they are.

Sections are large and are handed on unread, so they stand behind the header instead of in it. What a peer sends is
believed only after `decode`: every field has its type and bound here.
"""

from __future__ import annotations

import re

import orjson

MAX_MESSAGE = 1 << 20
MAX_SECTION = 64 << 10
MAX_SECTIONS = 256
MAX_ENTRIES = 256
MAX_INTEGER = 1 << 53
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class WireError(ValueError):
    """A message that is not to be believed; `reason` is one of malformed, huge."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_INTEGER


def is_name(value) -> bool:
    """Whether `value` may name a node or a section."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def encode(header: dict, sections: list) -> bytes:
    """One message. `sections` is a list of (node, incarnation, name, version, bytes)."""
    if sections:
        header = dict(header, sections=[[node, incarnation, name, version, len(body)] for node, incarnation, name, version, body in sections])
    return b"".join([orjson.dumps(header), b"\n", *(section[4] for section in sections)])


def _numbers(header: dict, field: str, count: int) -> dict:
    """{node: [`count` whole numbers]}, an empty one if `field` is not there."""
    value = header.get(field, {})
    good = isinstance(value, dict) and len(value) <= MAX_ENTRIES and all(
        is_name(node) and isinstance(numbers, list) and len(numbers) == count and all(map(is_whole, numbers)) for node, numbers in value.items())
    if not good:
        raise WireError("malformed", "%s: want at most %d nodes, each with %d whole numbers" % (field, MAX_ENTRIES, count))
    return value


_FIELDS = {
    "from": is_name, "inc": is_whole, "seq": is_whole, "admitted": lambda value: isinstance(value, bool),
    "reason": lambda value: isinstance(value, str) and len(value) <= 200, "page": lambda value: value == "" or is_name(value),
    "card": lambda value: isinstance(value, dict), "next": lambda value: value is None or is_name(value),
    "mail": lambda value: isinstance(value, list) and len(value) <= MAX_ENTRIES and all(isinstance(item, dict) for item in value),
}


def decode(body: bytes) -> tuple:
    """Take a message apart: (header, sections) with `entries` and `want` always in the header. Raises WireError.

    Known fields are checked, unknown ones are dropped. The sections' own JSON is not looked at here.
    """
    if len(body) > MAX_MESSAGE:
        raise WireError("huge", "%d bytes, at most %d" % (len(body), MAX_MESSAGE))
    end = body.find(b"\n")
    try:
        raw = orjson.loads(body if end < 0 else memoryview(body)[:end])
    except orjson.JSONDecodeError as problem:
        raise WireError("malformed", "header: %s" % problem) from None
    if not isinstance(raw, dict):
        raise WireError("malformed", "header: want an object")
    header = {}
    for field, good in _FIELDS.items():
        if field in raw:
            if not good(raw[field]):
                raise WireError("malformed", "%s: wrong type or out of bounds" % field)
            header[field] = raw[field]
    if "from" not in header or "inc" not in header:
        raise WireError("malformed", "from, inc: missing")
    header["entries"], header["want"] = _numbers(raw, "entries", 3), _numbers(raw, "want", 2)
    listed = raw.get("sections", [])
    if not isinstance(listed, list) or len(listed) > MAX_SECTIONS:
        raise WireError("malformed", "sections: want a list of at most %d" % MAX_SECTIONS)
    sections, start = [], end + 1 if end >= 0 else len(body)
    for item in listed:
        well_formed = isinstance(item, list) and len(item) == 5 and is_name(item[0]) and is_name(item[2])
        if not well_formed or not all(map(is_whole, (item[1], item[3], item[4]))):
            raise WireError("malformed", "sections: want [node, incarnation, name, version, length]")
        node, incarnation, name, version, length = item
        if length > MAX_SECTION:
            raise WireError("huge", "section %s of %s: %d bytes, at most %d" % (name, node, length, MAX_SECTION))
        if start + length > len(body):
            raise WireError("malformed", "sections: longer than the message")
        sections.append((node, incarnation, name, version, body[start:start + length]))
        start += length
    if start != len(body):
        raise WireError("malformed", "bytes behind the last section")
    return header, sections
