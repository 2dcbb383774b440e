# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of host entries that leave every other byte of the file as it is.

The text is never written anew: the parser says at which characters a value stands, and only those are exchanged. What comes out is read again,
and must differ from what went in by exactly the wanted keys; otherwise there is no result.
"""

from __future__ import annotations

import copy
import math
import re
import typing as t

from yaml.events import AliasEvent, MappingEndEvent, MappingStartEvent, ScalarEvent, SequenceEndEvent, SequenceStartEvent, StreamEndEvent

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _yaml_lines

# Above this size only the entries that were touched are read again, not the whole file: reading is what an edit costs.
WHOLE_CHECK_CHARACTERS = 256 * 1024

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_NO_BREAK = re.compile("[^\r\n\x85\u2028\u2029]*")
_PLAIN = re.compile(r"[A-Za-z0-9_/~.][A-Za-z0-9_/~.@+-]*(?: [A-Za-z0-9_/~.@+-]+)*\Z")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}
_COLLECTION_START = (MappingStartEvent, SequenceStartEvent)
_COLLECTION_END = (MappingEndEvent, SequenceEndEvent)


# Characters from, up to, and what stands there instead.
Splice = t.Tuple[int, int, str]


class HostsEditError(Exception):
    """The edits cannot be made. ``problems``: all reasons, each with the host, the key and the line where there is one."""

    def __init__(self, source: str, problems: t.Sequence[str]):
        self.problems = list(problems)
        super().__init__("\n".join([f"{source} was left as it is:", *(f"  {problem}" for problem in self.problems)]))


class Edited(t.NamedTuple):
    """``content`` of the file with the edits; ``changes``: ``[{host, key, line, before, after}]``, empty if there is nothing to do.

    ``before`` and ``after`` are the values, None for a key that is not there.
    """

    content: bytes
    changes: list[dict[str, t.Any]]


class _Member(t.NamedTuple):
    """A key of an entry and where its value stands, in characters of the text."""

    name: str
    key_start: int
    line_start: int
    line: int
    value_start: int
    value_end: int  # the end of the last piece of content
    scalar: bool
    style: str  # of a scalar: '' plain, quotes or the block indicator; 'alias'; '' for collections
    anchored: bool  # an anchor stands at the value, or within it


class _Entry:
    """Where a host's entry stands."""

    def __init__(self, key: t.Any):
        self.name: str = key.value
        self.line: int = key.start_mark.line + 1
        self.key_start: int = key.start_mark.index
        self.line_start = _line_start(key)
        self.end: int | None = None  # where the line of the next entry's key starts, None if none follows
        self.shape = "scalar"  # block | flow | alias | scalar
        self.members: list[_Member] = []


def edit(content: bytes, edits: dict[str, dict[str, t.Any]], source: str, whole_check: int = WHOLE_CHECK_CHARACTERS) -> Edited:
    """``content`` with ``edits`` (``{host: {key: value}}``; None removes the key) applied.

    Values are text, numbers and booleans. Raises HostsEditError with every reason why that cannot be done.
    """
    problems = _edit_faults(edits)
    if problems:
        raise HostsEditError(source, problems)
    try:
        text, marked = _yaml_lines.decode(content)
        tree = _yaml_lines.load(text)
    except _yaml_lines.YamlError as exc:
        raise HostsEditError(source, [f"line {fault.line}, column {fault.column}: {fault.message}" for fault in exc.faults]) from exc
    hosts = tree.root.get("hosts") if isinstance(tree.root, dict) else None
    if not isinstance(hosts, dict):
        raise HostsEditError(source, ["it has no mapping `hosts`"])
    problems = [f"hosts.{name}: there is no such host" for name in edits if name not in hosts]
    problems += [f"hosts.{name}: its entry is not a mapping" for name in edits if name in hosts and not isinstance(hosts[name], dict)]
    problems += [
        f"line {fault.line}: {fault.path}: {fault.message}" for fault in tree.duplicates
        if "." not in fault.path or any(fault.path == f"hosts.{name}" or fault.path.startswith(f"hosts.{name}.") for name in edits)
    ]
    wanted = _differences(hosts, {name: values for name, values in edits.items() if isinstance(hosts.get(name), dict)})
    if not wanted and not problems:
        return Edited(content, [])
    entries = _locate(text, frozenset(wanted))
    splices: dict[str, list[Splice]] = {}
    changes: list[dict[str, t.Any]] = []
    for name, values in wanted.items():
        if name not in entries:
            problems.append(f"hosts.{name}: the entry comes from an anchor; write it out first")
            continue
        splices[name], done, refused = _plan_entry(text, entries[name], hosts[name], values)
        changes += done
        problems += refused
    if problems:
        raise HostsEditError(source, problems)
    result = _spliced(text, [splice for found in splices.values() for splice in found])
    problem = _check(text, result, splices, tree, wanted, entries, whole_check)
    if problem:
        raise HostsEditError(source, [problem])
    return Edited((b"\xef\xbb\xbf" if marked else b"") + result.encode("utf-8"), sorted(changes, key=lambda change: change["line"]))


def _edit_faults(edits: t.Any) -> list[str]:
    if not isinstance(edits, dict):
        return ["edits: expected a mapping of hosts to keys and values"]
    faults = []
    for name, values in edits.items():
        if not isinstance(values, dict):
            faults.append(f"edits.{name}: expected a mapping of keys to values")
            continue
        for key, value in values.items():
            if not isinstance(key, str) or not _PLAIN_KEY.match(key) or not _yaml_lines.is_plain_text(key):
                faults.append(f"edits.{name}.{key}: a key consists of letters, digits, - and _, and is no number or boolean")
            elif isinstance(value, (dict, list)) or not isinstance(value, (str, int, float, bool, type(None))):
                faults.append(f"edits.{name}.{key}: only text, numbers, booleans and null (which removes the key) can be written")
            elif isinstance(value, float) and not math.isfinite(value):
                faults.append(f"edits.{name}.{key}: {value} cannot be written")
            elif isinstance(value, str) and re.search("[\ud800-\udfff]", value):
                faults.append(f"edits.{name}.{key}: the text is not valid Unicode")
    return faults


def same(left: t.Any, right: t.Any) -> bool:
    """Equality that tells true from 1 and 1 from 1.0. The order of keys does not count."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right))
    return _kind(left) is _kind(right) and left == right


def _kind(value: t.Any) -> type:
    """The type of a scalar; Ansible hands over subclasses that carry where a value comes from."""
    return next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), value.__class__)


def _differences(hosts: dict, edits: dict[str, dict[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
    """The edits that the file does not fulfil yet."""
    wanted = {}
    for name, values in edits.items():
        entry = hosts[name]
        missing = {
            key: value for key, value in values.items()
            if (key in entry if value is None else key not in entry or not same(entry[key], value))
        }
        if missing:
            wanted[name] = missing
    return wanted


def _locate(text: str, names: frozenset[str]) -> dict[str, _Entry]:
    """Where the entries of ``names`` stand, all of which are in the text, as keys of the mapping ``hosts``."""
    loader = _yaml_lines.Loader(text)
    try:
        return _walk(loader, text, names)
    finally:
        loader.dispose()


def _walk(loader: t.Any, text: str, names: frozenset[str]) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    get_event = loader.get_event
    depth = 0
    in_hosts = False
    key: t.Any = None  # the pending key at depth 1 to 3
    entry: _Entry | None = None  # the wanted entry that is open
    waiting: _Entry | None = None  # the wanted entry whose successor is still to come
    first: t.Any = None  # first event of the member's value
    anchored = False
    last_end = 0
    while True:
        event = get_event()
        kind = type(event)
        if kind is ScalarEvent or kind is AliasEvent:
            opening = False
        elif kind in _COLLECTION_START:
            opening = True
        elif kind in _COLLECTION_END:
            if text[event.start_mark.index:event.end_mark.index] in ("]", "}"):
                # A flow collection ends with its bracket, a block one with its last piece of content.
                last_end = event.end_mark.index
            if depth == 4 and entry is not None:
                entry.members.append(_member(key, first, last_end, anchored))
                key = None
            elif depth == 3:
                entry = None
                key = None
            elif depth == 2:
                in_hosts = False
                waiting = None
                key = None
            depth -= 1
            continue
        elif kind is StreamEndEvent:
            return entries
        else:
            continue

        if depth == 0:
            depth += opening
        elif depth == 1 or (depth == 2 and not in_hosts) or (depth == 3 and entry is None) or depth > 3:
            # Outside the wanted entries, only the keys at the top count; within a member's value, only its extent.
            if depth == 1:
                if key is None and not opening:
                    key = event
                else:
                    in_hosts = kind is MappingStartEvent and key is not None and key.value == "hosts"
                    key = None
            elif depth > 3 and entry is not None:
                anchored = anchored or event.anchor is not None and kind is not AliasEvent
                if not opening:
                    last_end = event.end_mark.index
            depth += opening
        elif depth == 2:
            if key is None:
                key = event
                if waiting is not None:
                    waiting.end = _line_start(event)
                    waiting = None
                continue
            if key.value in names:
                entry = waiting = _Entry(key)
                entries[key.value] = entry
                if kind is MappingStartEvent:
                    entry.shape = "flow" if event.flow_style else "block"
                else:
                    entry.shape = "alias" if kind is AliasEvent else "scalar"
                if not opening:
                    entry = None
            key = None
            depth += opening
        elif key is None:
            key = event
        else:
            first = event
            anchored = event.anchor is not None and kind is not AliasEvent
            last_end = event.end_mark.index
            if opening:
                depth += 1
            else:
                entry.members.append(_member(key, event, last_end, anchored))
                key = None


def _member(key: t.Any, first: t.Any, end: int, anchored: bool) -> _Member:
    kind = type(first)
    style = "alias" if kind is AliasEvent else (first.style or "") if kind is ScalarEvent else ""
    return _Member(
        key.value, key.start_mark.index, _line_start(key), key.start_mark.line + 1, first.start_mark.index, end,
        kind in (ScalarEvent, AliasEvent), style, anchored)


def _line_start(event: t.Any) -> int:
    return event.start_mark.index - event.start_mark.column


def _content_end(text: str, member: _Member) -> int:
    """Where the member's content ends, without the blank lines that a block scalar takes along."""
    span = text[member.value_start:member.value_end]
    return member.value_start + len(span.rstrip(" \t\r\n\x85\u2028\u2029"))


def _line_end(text: str, index: int) -> tuple[int, str]:
    """``(index after the line's break, the break)`` for the line at ``index``; the break is empty at the end of the text."""
    end = _NO_BREAK.match(text, index).end()
    found = _BREAK.match(text, end)
    return (found.end(), found.group()) if found else (end, "")


def _plan_entry(text: str, entry: _Entry, before: dict, values: dict[str, t.Any]) -> tuple[list[Splice], list[dict], list[str]]:
    """``(splices, changes, problems)`` for one host."""
    splices: list[Splice] = []
    changes: list[dict] = []
    problems: list[str] = []
    members = {member.name: member for member in entry.members if member.name != "<<"}

    def refuse(key: str, reason: str, line: int | None = None) -> None:
        problems.append(f"line {line or entry.line}: hosts.{entry.name}.{key}: {reason}")

    if entry.shape not in ("block", "flow"):
        refuse(next(iter(values)), "the entry is an alias of another one; write it out first")
        return [], [], problems
    if set(members) <= {key for key, value in values.items() if value is None} and all(value is None for value in values.values()):
        refuse(next(iter(values)), "the entry would be left without any key; remove the host by hand")
        return [], [], problems

    added = []
    for key, value in values.items():
        member = members.get(key)
        changes.append({"host": entry.name, "key": key, "line": member.line if member else entry.line, "before": before.get(key), "after": value})
        if member is None:
            if value is None:
                refuse(key, "the key comes from an anchor (<<); remove it there")
            elif entry.shape == "flow":
                refuse(key, "the entry is written in braces; new keys are only put into entries with one key a line")
            else:
                added.append(f"{key}: {render(value)}")
        elif member.anchored:
            refuse(key, "an anchor (&) stands at this value, so that other places would change with it; write it out first", member.line)
        elif value is None:
            splice = None if entry.shape == "flow" else _removal(text, member)
            if splice is None:
                refuse(key, "the key does not stand on lines of its own; remove it by hand", member.line)
            else:
                splices.append(splice)
        elif not member.scalar:
            refuse(key, "the value is a mapping or a list; change it by hand", member.line)
        else:
            splices.append(_replacement(text, member, value))
    if added:
        splice = _insertion(text, entry.members[-1], added)
        if splice is None:
            refuse(added[0].partition(":")[0], "the entry's last key does not stand on lines of its own; add the key by hand")
        else:
            splices.append(splice)
    return splices, changes, problems


def _replacement(text: str, member: _Member, value: t.Any) -> Splice:
    rendered = render(value, member.style)
    if member.value_start == member.value_end:
        # An empty value stands right after the colon.
        return member.value_start, member.value_start, " " + rendered
    return member.value_start, max(_content_end(text, member), member.value_start), rendered


def _stands_alone(text: str, member: _Member) -> bool:
    """Whether nothing stands before the member's key in its line."""
    return not text[member.line_start:member.key_start].strip(" ")


def _removal(text: str, member: _Member) -> Splice | None:
    if not _stands_alone(text, member):
        return None
    return member.line_start, _line_end(text, _content_end(text, member))[0], ""


def _insertion(text: str, last: _Member, lines: list[str]) -> Splice | None:
    if not _stands_alone(text, last):
        return None
    indent = text[last.line_start:last.key_start]
    # Blank lines at the end of a block scalar that keeps them belong to it.
    keeps = last.style in ("|", ">") and "+" in _NO_BREAK.match(text, last.value_start).group().partition("#")[0]
    if keeps and _BREAK.match(text, last.value_end - 1):
        end, line_break = last.value_end, text[last.value_end - 1]
        line_break = "\r\n" if text[last.value_end - 2:last.value_end] == "\r\n" else line_break
    else:
        end, line_break = _line_end(text, _content_end(text, last))
    if line_break:
        return end, end, "".join(indent + line + line_break for line in lines)
    # The file ends without a line break, and shall do so afterwards.
    found = _BREAK.search(text)
    line_break = found.group() if found else "\n"
    return end, end, "".join(line_break + indent + line for line in lines)


def render(value: t.Any, style: str = "") -> str:
    """``value`` as a YAML scalar on one line. Text keeps the quotes of ``style`` where it can; plain text is used where it stays text."""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        number = repr(value)
        return number if "." in number else number.replace("e", ".0e")
    if not value.isprintable() or style == '"':
        return '"' + "".join(_escaped(character) for character in value) + '"'
    if style != "'" and _PLAIN.match(value) and _yaml_lines.is_plain_text(value):
        return value
    return "'" + value.replace("'", "''") + "'"


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _spliced(text: str, splices: t.Iterable[Splice]) -> str:
    parts = []
    position = 0
    for start, end, replacement in sorted(splices):
        parts += [text[position:start], replacement]
        position = end
    return "".join([*parts, text[position:]])


def _applied(entry: dict, values: dict[str, t.Any]) -> dict:
    result = copy.deepcopy(entry)
    for key, value in values.items():
        if value is None:
            result.pop(key)
        else:
            result[key] = value
    return result


def _check(text: str, result: str, splices: dict[str, list[Splice]], tree: _yaml_lines.Tree, wanted: dict[str, dict[str, t.Any]],
           entries: dict[str, _Entry], whole_check: int) -> str | None:
    """What is wrong with the result, None if it reads as it should."""
    hosts = tree.root["hosts"]
    windows = tree.aliases == 0 and len(text) > whole_check and all(entry.end is not None and entry.shape == "block" for entry in entries.values())
    try:
        if not windows:
            expected = {**tree.root, "hosts": {name: _applied(entry, wanted[name]) if name in wanted else entry for name, entry in hosts.items()}}
            where = _difference(_yaml_lines.load(result).root, expected)
            return None if where is None else f"{where}: the edits would have changed this too; if an anchor (&) is the reason, write its values out first"
        for name, values in wanted.items():
            entry = entries[name]
            start = entry.line_start
            inside = [(first - start, end - start, new) for first, end, new in splices[name]]
            before = text[start:entry.end]
            # A key behind the entry shows that the entry ends where the next one starts.
            for window, reading in ((before, hosts[name]), (_spliced(before, inside), _applied(hosts[name], values))):
                follower = text[start:entry.key_start] + "follows: true\n"
                where = _difference(_yaml_lines.load(window + follower).root, {name: reading, "follows": True})
                if where is not None:
                    return f"line {entry.line}: hosts.{where}: the edit would have changed this too; make it by hand"
    except _yaml_lines.YamlError as exc:
        return f"the edits would have made it unreadable: {exc}"
    return None


def _difference(left: t.Any, right: t.Any) -> str | None:
    """The key path of the first difference, None if there is none."""
    if same(left, right):
        return None
    if isinstance(left, dict) and isinstance(right, dict):
        for key in [*left, *right]:
            if key not in left or key not in right:
                return key
            where = _difference(left[key], right[key])
            if where is not None:
                return f"{key}.{where}" if where else key
    return ""
