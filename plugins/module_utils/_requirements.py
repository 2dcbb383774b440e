# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an interpreter has the packages that a release's requirements files ask for, told without pip and without installing anything.

C(PROGRAM) is run by the interpreter in question and prints what it has installed; reading and judging are pure. Names, versions and markers
are compared as the packaging standards have it. What only an installer could tell (links, paths, constraint files, the dependencies of
extras) is named as unread and is no fault.
"""

from __future__ import annotations

import json
import posixpath
import re
import typing as t

# Interpreters on nodes can be older than the one that runs the module.
PROGRAM = r'''
import json, os, platform, sys
try:
    from importlib import metadata
except ImportError:
    metadata = None
found = {}
for item in metadata.distributions() if metadata else ():
    try:
        name, version = item.metadata["Name"], item.version
    except Exception:
        continue
    if name and version:
        found.setdefault(name, version)
print(json.dumps({"packages": found if metadata else None, "environment": {
    "os_name": os.name, "sys_platform": sys.platform, "platform_machine": platform.machine(), "platform_system": platform.system(),
    "platform_release": platform.release(), "platform_version": platform.version(), "implementation_name": sys.implementation.name,
    "platform_python_implementation": platform.python_implementation(), "implementation_version": platform.python_version(),
    "python_version": "%d.%d" % sys.version_info[:2], "python_full_version": platform.python_version()}}))
'''

_NAMED = re.compile(r"^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(@\s*\S+|[^@]*)$")
_SPECIFIER = re.compile(r"^(===|~=|==|!=|<=|>=|<|>)\s*(\S+)$")
_INCLUDE = re.compile(r"^(?:-r\s*|--requirement[\s=]\s*)(.+)$")
# Options of an installer that need no package of their own.
_OPTION = re.compile(r"^(-i|--index-url|--extra-index-url|--no-index|-f|--find-links|--no-binary|--only-binary|--prefer-binary|--pre|--trusted-host"
                     r"|--require-hashes|--use-feature)\b")
_VERSION = re.compile(r"^v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
                      r"(?:[-_.]?(?P<phase>alpha|a|beta|b|preview|pre|rc|c)[-_.]?(?P<pre>\d*))?"
                      r"(?:-(?P<post_only>\d+)|[-_.]?(?P<post_word>post|rev|r)[-_.]?(?P<post>\d*))?"
                      r"(?:[-_.]?(?P<dev_word>dev)[-_.]?(?P<dev>\d*))?(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?$")
_PHASES = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
_TOKEN = re.compile(r"\s*(\(|\)|===|~=|==|!=|<=|>=|<|>|'[^']*'|\"[^\"]*\"|not\s+in\b|[A-Za-z_]+)")
_VERSION_VARIABLES = frozenset(("python_version", "python_full_version", "implementation_version"))


class Requirement(t.NamedTuple):
    """One line: the package as it is written, what its version must satisfy as C((operator, version)), its marker, the line and its place."""

    name: str
    specifiers: tuple[tuple[str, str], ...]
    marker: str
    text: str
    place: str


class Version(t.NamedTuple):
    """A version in an order that compares; the local part (behind C(+)) is kept aside."""

    epoch: int
    release: tuple[int, ...]
    pre: tuple[int, int]
    post: int
    dev: tuple[int, int]
    local: str


def version(text: str) -> Version | None:
    """A version; None where it is not one."""
    match = _VERSION.match(text.strip().lower())
    if not match:
        return None
    release = tuple(int(part) for part in match.group("release").split("."))
    while len(release) > 1 and not release[-1]:
        release = release[:-1]
    posted, development = match.group("post_only") or match.group("post_word"), match.group("dev_word")
    pre = (3, 0)
    if match.group("phase"):
        pre = (_PHASES[match.group("phase")], int(match.group("pre") or 0))
    elif development and not posted:
        pre = (-1, 0)
    post = int(match.group("post_only") or match.group("post") or 0) if posted else -1
    return Version(int(match.group("epoch") or 0), release, pre, post, (0, int(match.group("dev") or 0)) if development else (1, 0), match.group("local") or "")


def _starts_with(found: Version, text: str) -> bool:
    """Whether a version is one of those that C(text) with C(.*) behind it means. Raises ValueError."""
    wanted = version(text)
    if wanted is None:
        raise ValueError(text)
    parts = [int(part) for part in text.lower().lstrip("v").rpartition("!")[2].split(".")]
    return found.epoch == wanted.epoch and list(found.release + (0,) * len(parts))[:len(parts)] == parts


def satisfies(found: str, operator: str, wanted: str) -> bool:
    """Whether a version satisfies one specifier. Raises ValueError where either is no version."""
    if operator == "===":
        return found.strip().lower() == wanted.strip().lower()
    has = version(found)
    if has is None:
        raise ValueError(found)
    if wanted.endswith(".*") and operator in ("==", "!="):
        return _starts_with(has, wanted[:-2]) == (operator == "==")
    needs = version(wanted)
    if needs is None:
        raise ValueError(wanted)
    left, right = has[:5], needs[:5]
    if operator in ("==", "!="):
        same = left == right and (not needs.local or needs.local == has.local)
        return same == (operator == "==")
    if operator == "~=":
        prefix = re.match(r"^v?((?:\d+!)?\d+(?:\.\d+)*)\.\d+", wanted.lower())
        if not prefix:
            raise ValueError(wanted)
        return left >= right and _starts_with(has, prefix.group(1))
    if operator == "<":
        # 2.0rc1 is no version below 2.0 in this sense.
        return left < right and not (has[:2] == needs[:2] and has.pre < (3, 0) and needs.pre == (3, 0))
    if operator == ">":
        return left > right and not (has[:2] == needs[:2] and has.post >= 0 and needs.post < 0)
    return left <= right if operator == "<=" else left >= right


def holds(marker: str, environment: t.Mapping[str, str]) -> bool:
    """Whether a marker (what stands behind C(;)) holds in an environment. Raises ValueError where it can't be read."""
    tokens: list[str] = []
    rest = marker.strip()
    while rest:
        match = _TOKEN.match(rest)
        if not match:
            raise ValueError(marker)
        tokens.append(re.sub(r"\s+", " ", match.group(1)))
        rest = rest[match.end():].lstrip()
    result = _any(tokens, environment)
    if tokens:
        raise ValueError(marker)
    return result


def _any(tokens: list[str], environment: t.Mapping[str, str]) -> bool:
    result = _all(tokens, environment)
    while tokens[:1] == ["or"]:
        tokens.pop(0)
        # Both sides are read whatever the first one says.
        other = _all(tokens, environment)
        result = result or other
    return result


def _all(tokens: list[str], environment: t.Mapping[str, str]) -> bool:
    result = _one(tokens, environment)
    while tokens[:1] == ["and"]:
        tokens.pop(0)
        other = _one(tokens, environment)
        result = result and other
    return result


def _one(tokens: list[str], environment: t.Mapping[str, str]) -> bool:
    if tokens[:1] == ["("]:
        tokens.pop(0)
        result = _any(tokens, environment)
        if tokens[:1] != [")"]:
            raise ValueError("a closing parenthesis is missing")
        tokens.pop(0)
        return result
    if len(tokens) < 3:
        raise ValueError("a comparison is not complete")
    left, operator, right = tokens[0], tokens[1], tokens[2]
    del tokens[:3]
    values = []
    for word in (left, right):
        if word[0] in "'\"":
            values.append(word[1:-1])
        elif word == "extra":
            values.append("")
        elif word in environment:
            values.append(environment[word])
        else:
            raise ValueError(word)
    if operator in ("in", "not in"):
        return (values[0] in values[1]) == (operator == "in")
    if left in _VERSION_VARIABLES:
        return satisfies(values[0], operator, values[1])
    if operator not in ("==", "!="):
        raise ValueError(operator)
    return (values[0] == values[1]) == (operator == "==")


def _lines(text: str) -> t.Iterator[tuple[int, str]]:
    """The lines of a requirements file without comments, continued ones joined, with the number of their first."""
    held, start = "", 0
    for number, line in enumerate(text.splitlines() + [""], 1):
        start = start if held else number
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        line = re.sub(r"(^|\s)#.*$", "", held + line).strip()
        held = ""
        if line:
            yield start, line


def read(names: t.Iterable[str], texts: t.Callable[[str], str | None]) -> tuple[list[Requirement], list[str], list[str]]:
    """C((requirements, files read, lines that were not understood)) of requirements files and those that they include.

    C(texts) gives the text of a file by its name below the release, or None without one; a file of C(names) that is not there asks for nothing.
    """
    found: list[Requirement] = []
    unread: list[str] = []
    seen: list[str] = []
    waiting = [(posixpath.normpath(name), "") for name in names]
    while waiting:
        name, included = waiting.pop(0)
        if name in seen:
            continue
        text = None if name.startswith(("/", "..")) else texts(name)
        if text is None:
            if included:
                unread.append(included)
            continue
        seen.append(name)
        for number, line in _lines(text):
            place = "%s:%d" % (name, number)
            include = _INCLUDE.match(line)
            if include:
                waiting.append((posixpath.normpath(posixpath.join(posixpath.dirname(name), include.group(1).strip("'\" "))), "%s: %s" % (place, line)))
            elif not _OPTION.match(line):
                requirement = parse(line, place)
                if requirement:
                    found.append(requirement)
                else:
                    unread.append("%s: %s" % (place, _without_password(line)))
    return found, seen, unread


def parse(line: str, place: str) -> Requirement | None:
    """One requirement; None where the line is something else, such as a path."""
    line = re.split(r"\s--", line, maxsplit=1)[0].strip()
    body, _separator, marker = line.partition(" ;") if "@" in line else line.partition(";")
    match = _NAMED.match(body.strip())
    if not match:
        return None
    rest = match.group(2).strip()
    specifiers: list[tuple[str, str]] = []
    if rest and not rest.startswith("@"):
        if rest.startswith("(") and rest.endswith(")"):
            rest = rest[1:-1]
        for part in filter(None, (item.strip() for item in rest.split(","))):
            specifier = _SPECIFIER.match(part)
            if not specifier:
                return None
            specifiers.append((specifier.group(1), specifier.group(2)))
    return Requirement(match.group(1), tuple(specifiers), marker.strip(), _without_password(line), place)


def _without_password(text: str) -> str:
    return re.sub(r"(\w+://)[^/@\s]+@", r"\1", text)


def normal(name: str) -> str:
    """A package's name as all its spellings have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def judge(requirements: t.Iterable[Requirement], packages: t.Mapping[str, str], environment: t.Mapping[str, str]) -> tuple[list[str], list[str]]:
    """C((faults, unread)): what is missing or has another version than asked for, and lines whose marker or version can't be read."""
    faults: list[str] = []
    unread: list[str] = []
    installed = {normal(name): value for name, value in packages.items()}
    for requirement in requirements:
        has = installed.get(normal(requirement.name))
        try:
            if requirement.marker and not holds(requirement.marker, environment):
                continue
            if has is None:
                faults.append("%s is missing (%s: %s)" % (requirement.name, requirement.place, requirement.text))
            elif not all(satisfies(has, operator, wanted) for operator, wanted in requirement.specifiers):
                faults.append("%s is %s (%s: %s)" % (requirement.name, has, requirement.place, requirement.text))
        except ValueError:
            unread.append("%s: %s" % (requirement.place, requirement.text))
    return faults, unread


def answer(status: int, output: str, errors: str) -> tuple[dict[str, str], dict[str, str]]:
    """C((packages, environment)) from what the program left behind. Raises ValueError with the reason where it told nothing."""
    try:
        told = json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError) as exc:
        last = [line for line in errors.splitlines() if line.strip()][-1:]
        raise ValueError((last or ["the interpreter ended with status %d and said nothing" % status])[0][:500]) from exc
    if told.get("packages") is None:
        raise ValueError("the interpreter has no importlib.metadata; Python 3.8 or later is needed")
    return dict(told["packages"]), dict(told["environment"])
