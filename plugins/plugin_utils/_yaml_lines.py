# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML with the line of each key, from the parser's events.

The values are those of ``yaml.safe_load``, with these differences, all of them so that the result can be written as JSON:
timestamps, ``.inf`` and ``.nan`` stay the text that they are in the file, and a key that YAML reads as a number, boolean or null stays
text too (``Tree.odd_keys`` tells). Events are cheaper than nodes by a factor of five, and need no memory once they are used.
"""

from __future__ import annotations

import math
import re
import typing as t

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Deeper than any hand-written file; a parser's stack must not be the limit.
MAX_DEPTH = 64
# What aliases may add to a file, besides a fixed part for small ones, for each node that is written out.
MAX_ALIAS_FACTOR = 100
MAX_ALIAS_BASE = 100_000
MAX_BYTES = 512 * 1024 * 1024
MAX_DUPLICATES = 100

# Lines of keys are kept for the document, its sections and the entries of those.
LINED_DEPTH = 3

_TAG = "tag:yaml.org,2002:"
_NUMBER_TAGS = (_TAG + "int", _TAG + "float")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_NO_KEY = object()
_MERGE = object()
_MERGE_EXPECTED = "'<<' must name a mapping, or a list of mappings, with an alias"
_CACHED_LENGTH = 64


class Fault(t.NamedTuple):
    """What is wrong at one place: ``path`` is the key path (empty for the file as a whole), ``line`` and ``column`` count from 1."""

    path: str
    line: int
    column: int
    message: str


class YamlError(Exception):
    """The text is no YAML document that can be read; ``faults`` says where and why."""

    def __init__(self, faults: list[Fault]):
        self.faults = faults
        super().__init__("; ".join(f"line {fault.line}: {fault.message}" for fault in faults))


class Tree:
    """One document. ``root`` is its value, None if ``empty``.

    ``lines`` maps ``id()`` of each mapping or list of the upper three levels to ``(line of its start, lines of its keys or items in their order)``.
    ``duplicates`` holds a fault for each key that stands twice in one mapping (the later value counts, as everywhere).
    ``odd_keys`` maps ``id()`` of a mapping to the keys that YAML does not read as text. ``aliases`` counts ``*name`` in the document.
    """

    __slots__ = ("root", "empty", "lines", "duplicates", "odd_keys", "aliases")

    def __init__(self) -> None:
        self.root: t.Any = None
        self.empty = True
        self.lines: dict[int, tuple[int, list[int]]] = {}
        self.duplicates: list[Fault] = []
        self.odd_keys: dict[int, list[str]] = {}
        self.aliases = 0

    def line_of(self, container: t.Any, key: t.Any = None) -> int:
        """Line of ``key`` (or of the list's item at that index) in ``container``, of its start without a key; 0 if it is not known."""
        start, lines = self.lines.get(id(container), (0, []))
        if key is None:
            return start
        if isinstance(container, dict):
            for index, name in enumerate(container):
                if name == key:
                    return lines[index]
            return start
        return lines[key] if key < len(lines) else start


def plain_text(text: str) -> str:
    """``text`` as a plain ``str``: templates give subclasses of it, which keep their class in most operations, and which the parser refuses."""
    return "".join((text,))


def decode(content: bytes | str) -> tuple[str, bool]:
    """The text of ``content`` without a byte order mark, and whether there was one. Raises YamlError if it is not UTF-8 or far too big."""
    if len(content) > MAX_BYTES:
        raise YamlError([Fault("", 1, 1, f"the file has {len(content)} bytes; more than {MAX_BYTES} are not read")])
    if isinstance(content, bytes):
        try:
            content = content.decode("utf-8")
        except UnicodeDecodeError as exc:
            before = content[:exc.start]
            line = before.count(b"\n") + 1
            column = exc.start - (before.rfind(b"\n") + 1) + 1
            raise YamlError([Fault("", line, column, f"byte 0x{content[exc.start]:02x} is not UTF-8; save the file as UTF-8")]) from exc
    content = plain_text(content)
    if content.startswith("\ufeff"):
        return content[1:], True
    return content, False


def syntax_fault(text: str, exc: yaml.YAMLError) -> Fault:
    """The fault that an error of the YAML parser stands for."""
    if isinstance(exc, yaml.MarkedYAMLError):
        mark = exc.problem_mark or exc.context_mark
        problem = exc.problem or exc.context or "not valid YAML"
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        if exc.context and exc.problem:
            problem += f" ({exc.context})"
        rows = _BREAK.split(text, line)
        row = rows[line - 1] if line <= len(rows) else ""
        if "\t" in row[:max(column, len(row) - len(row.lstrip()))]:
            problem += "; indent with spaces, not with tabs"
        return Fault("", line, column, f"not valid YAML: {problem}")
    found = _UNPRINTABLE.search(text)
    if found:
        before = _BREAK.split(text[:found.start()])
        return Fault("", len(before), len(before[-1]) + 1, f"the control character U+{ord(found.group()):04X} is not allowed in YAML; remove it")
    return Fault("", 1, 1, f"not valid YAML: {exc}")


_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_RESOLVERS = yaml.SafeLoader.yaml_implicit_resolvers


def _constructed(tag: str, text: str) -> t.Any:
    """The value of ``text`` under a tag of YAML itself. Raises ValueError if it is none, or the tag is not one of them."""
    if tag == _TAG + "str" or tag == _TAG + "timestamp":
        return text
    if tag == _TAG + "null":
        return None
    if tag == _TAG + "bool":
        try:
            return _CONSTRUCTOR.bool_values[text.lower()]
        except KeyError:
            raise ValueError(text) from None
    if tag in _NUMBER_TAGS:
        node = yaml.ScalarNode(tag, text)
        try:
            value = _CONSTRUCTOR.construct_yaml_int(node) if tag == _NUMBER_TAGS[0] else _CONSTRUCTOR.construct_yaml_float(node)
        except IndexError:
            raise ValueError(text) from None
        return value if isinstance(value, int) or math.isfinite(value) else text
    raise ValueError(tag)


def resolve_plain(text: str) -> t.Any:
    """The value of a plain (unquoted) scalar."""
    for tag, pattern in _RESOLVERS.get(text[:1], ()):
        if pattern.match(text):
            if tag in (_TAG + "merge", _TAG + "value"):
                return text
            try:
                return _constructed(tag, text)
            except ValueError:
                return text
    return text


def is_plain_text(text: str) -> bool:
    """Whether every YAML reader takes the plain scalar for text, those that know timestamps included."""
    return not any(pattern.match(text) for _tag, pattern in _RESOLVERS.get(text[:1], ()))


def load(text: str) -> Tree:
    """Read one YAML document. Raises YamlError."""
    try:
        loader = Loader(text)
        try:
            return _build(loader)
        finally:
            loader.dispose()
    except yaml.YAMLError as exc:
        raise YamlError([syntax_fault(text, exc)]) from exc


def _stop(frames: list[tuple], key: t.Any, event: t.Any, message: str) -> t.NoReturn:
    mark = event.start_mark
    raise YamlError([Fault(_path(frames, key), mark.line + 1, mark.column + 1, message)])


def _path(frames: list[tuple], key: t.Any) -> str:
    keys = [frame[2] for frame in frames] + [key]
    parts = []
    for part in keys:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        elif isinstance(part, str):
            parts.append(f".{part}" if parts else part)
    return "".join(parts)


def _mergeable(value: t.Any) -> bool:
    return isinstance(value, dict) or isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _merge(mapping: dict, lines: list[int] | None, merged: list, tree: Tree) -> None:
    """Put the ``<<`` values under the mapping's own keys."""
    own = list(mapping.items())
    own_lines = dict(zip(mapping, lines or []))
    mapping.clear()
    found: dict[str, int] = {}
    for value in merged:
        for source in reversed(value) if isinstance(value, list) else [value]:
            mapping.update(source)
            found.update(zip(source, tree.lines.get(id(source), (0, []))[1]))
    mapping.update(own)
    if lines is not None:
        found.update(own_lines)
        lines[:] = [found.get(key, 0) for key in mapping]


def _build(loader: t.Any) -> Tree:
    # One flat loop: this is what ten thousand hosts are read with.
    tree = Tree()
    get_event = loader.get_event
    plain: dict[str, t.Any] = {}
    anchors: dict[str, tuple[t.Any, int]] = {}
    # Frame of an open collection: (container, kept line list, key, merged values, anchor, count at its start).
    frames: list[tuple] = []
    container: t.Any = None
    is_mapping = False
    lines: list[int] | None = None
    key: t.Any = _NO_KEY
    merged: list | None = None
    anchor: str | None = None
    start = 0
    count = 0
    added_by_aliases = 0

    while True:
        event = get_event()
        kind = type(event)
        count += 1
        if kind is ScalarEvent:
            text = event.value
            tag = event.tag
            if tag is None or tag == "!":
                if event.implicit[0]:
                    try:
                        value = plain[text]
                    except KeyError:
                        value = resolve_plain(text)
                        if len(text) <= _CACHED_LENGTH:
                            plain[text] = value
                else:
                    value = text
            else:
                try:
                    value = _constructed(tag, text)
                except ValueError:
                    _stop(frames, key, event, f"{text[:40]!r} cannot be read under the tag {tag.replace(_TAG, '!!')}; remove the tag")
            if event.anchor is not None:
                anchors[event.anchor] = (value, 1)
            if is_mapping and key is _NO_KEY:
                if text == "<<" and event.implicit[0]:
                    key = _MERGE
                    continue
                key = text
                if value is not text and value.__class__ is not str:
                    tree.odd_keys.setdefault(id(container), []).append(text)
                if key in container:
                    if len(tree.duplicates) < MAX_DUPLICATES:
                        mark = event.start_mark
                        first = f", first in line {lines[list(container).index(key)]}" if lines is not None else ""
                        tree.duplicates.append(Fault(
                            _path(frames, key), mark.line + 1, mark.column + 1, f"the key {key!r} stands twice in one mapping{first}; keep one of them"))
                    if lines is not None:
                        lines[list(container).index(key)] = event.start_mark.line + 1
                elif lines is not None:
                    lines.append(event.start_mark.line + 1)
                    # Reserves the key's place, so that keys and lines stay in step.
                    container[key] = None
                continue
        elif kind is MappingStartEvent or kind is SequenceStartEvent:
            if is_mapping and key is _NO_KEY:
                _stop(frames, None, event, "a mapping or a list cannot be a key; write the key as text")
            if event.tag not in (None, "!", _TAG + "map", _TAG + "seq"):
                _stop(frames, key, event, f"the tag {event.tag.replace(_TAG, '!!')} is not known here; remove it")
            if len(frames) >= MAX_DEPTH:
                _stop(frames, key, event, f"nested deeper than {MAX_DEPTH} levels")
            frames.append((container, lines, key, merged, anchor, start, is_mapping))
            if lines is not None and not is_mapping:
                lines.append(event.start_mark.line + 1)
            is_mapping = kind is MappingStartEvent
            container = {} if is_mapping else []
            if len(frames) <= LINED_DEPTH:
                lines = []
                tree.lines[id(container)] = (event.start_mark.line + 1, lines)
            else:
                lines = None
            anchor = event.anchor
            if anchor is not None:
                anchors.pop(anchor, None)
            start = count + added_by_aliases
            key = _NO_KEY
            merged = None
            continue
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            if merged is not None:
                _merge(container, lines, merged, tree)
            value = container
            if anchor is not None:
                anchors[anchor] = (value, count + added_by_aliases - start)
            container, lines, key, merged, anchor, start, is_mapping = frames.pop()
            if container is None:
                tree.root = value
                continue
            if is_mapping:
                if key is _MERGE:
                    if not _mergeable(value):
                        _stop(frames, None, event, _MERGE_EXPECTED)
                    merged = [*(merged or ()), value]
                else:
                    container[key] = value
                key = _NO_KEY
            else:
                container.append(value)
            continue
        elif kind is AliasEvent:
            tree.aliases += 1
            try:
                value, size = anchors[event.anchor]
            except KeyError:
                _stop(frames, key, event, f"the alias *{event.anchor} stands before its anchor &{event.anchor} is complete")
            added_by_aliases += size
            if added_by_aliases > MAX_ALIAS_BASE + MAX_ALIAS_FACTOR * count:
                _stop(frames, key, event, "aliases blow the file up beyond measure; write the values out")
            if is_mapping and key is _NO_KEY:
                _stop(frames, None, event, "an alias cannot be a key; write the key as text")
        elif kind is DocumentStartEvent:
            if not tree.empty:
                _stop(frames, None, event, "a second document starts here; the file must hold one document only")
            tree.empty = False
            continue
        elif kind is StreamEndEvent:
            return tree
        else:
            continue

        # A scalar or an alias as a value.
        if container is None:
            tree.root = value
        elif is_mapping:
            if key is _MERGE:
                if not _mergeable(value):
                    _stop(frames, None, event, _MERGE_EXPECTED)
                merged = [*(merged or ()), value]
            else:
                container[key] = value
            key = _NO_KEY
        else:
            container.append(value)
            if lines is not None:
                lines.append(event.start_mark.line + 1)
