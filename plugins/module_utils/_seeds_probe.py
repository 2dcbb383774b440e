# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seed lists built into an orchestrator's source: which file has one, what it holds, and which of them is in effect."""

from __future__ import annotations

import ast
import os
import platform
import typing as t

from ansible_collections.ringrift.p2p.plugins.module_utils import _seed_literals
from ansible_collections.ringrift.p2p.plugins.module_utils import _start_mechanisms as _text
from ansible_collections.ringrift.p2p.plugins.module_utils._node_files import Files

VARIABLE = "BOOTSTRAP_SEEDS"
FOLDERS = ("scripts", "app")
EMBEDDED_PACKAGE = "current/ringrift_p2p"
_SKIPPED = frozenset(("__pycache__", "tests", "test", "node_modules", "venv", ".venv", ".git", "site-packages"))
MAXIMUM_FILES = 6000
SOURCE_LIMIT = 4 * 1024 * 1024


class Source(t.NamedTuple):
    """One Python file that speaks of the variable.

    ``taken``: (line, column) of each value that it gives the variable → whether that one is left at the end; ``uses``: it uses the value itself;
    ``imports``: modules from which it takes it; ``names``: variables of the environment that it mentions.
    """

    literals: list[_seed_literals.Literal]
    taken: dict[tuple[int, int], bool]
    uses: bool
    imports: list[str]
    names: set[str]


def sources(texts: t.Mapping[str, bytes], environment: t.Mapping[str, str]) -> tuple[list[dict[str, t.Any]], set[str]]:
    """``([{file, line, variable, entries, in_effect, refusal}], environment variables that the files in effect read)``. Pure.

    ``texts``: path → source of every file that names the variable. A list is in effect if the branch that sets it is taken under
    ``environment``, no later assignment replaces it, and the file itself or one that imports it from there uses the value.
    """
    read_sources: dict[str, Source] = {}
    found: list[dict[str, t.Any]] = []
    for path, text in sorted(texts.items()):
        try:
            read_sources[path] = _analyse(_seed_literals.find(text, VARIABLE), ast.parse(text), environment)
        except (SyntaxError, ValueError, RecursionError) as exc:
            found.append({"file": path, "line": getattr(exc, "lineno", None) or 0, "variable": VARIABLE, "entries": [], "in_effect": False,
                          "refusal": "not Python that %s reads: %s" % (platform.python_version(), exc)})
    used = _used(read_sources)
    for path, source in read_sources.items():
        for literal in source.literals:
            found.append({"file": path, "line": literal.line, "variable": VARIABLE, "entries": list(literal.entries), "refusal": literal.refusal,
                          "in_effect": path in used and source.taken.get((literal.line, literal.column), False)})
    names = {name for path in used for name in read_sources[path].names}
    return sorted(found, key=lambda item: (item["file"], item["line"])), names


def _analyse(literals: list[_seed_literals.Literal], tree: ast.Module, environment: t.Mapping[str, str]) -> Source:
    taken: dict[tuple[int, int], bool] = {}
    _assignments(tree.body, True, _read_from(tree.body), environment, taken)
    uses, imports, local_names, modules = False, [], {VARIABLE}, {}
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name == VARIABLE:
                    imports.append((node.module or "").rpartition(".")[2])
                    local_names.add(alias.asname or alias.name)
                modules[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                modules[alias.asname or alias.name.partition(".")[0]] = alias.name.rpartition(".")[2]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in _text.SEED_VARIABLES:
            names.add(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in local_names:
            uses = True
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr == VARIABLE and isinstance(node.value, ast.Name):
            uses = True
            imports.append(modules.get(node.value.id, node.value.id))
    return Source(literals, taken, uses, imports, names)


def _read_from(body: t.Sequence[ast.stmt]) -> dict[str, str]:
    """Module-level names that hold the value of one of the seed variables of the environment."""
    found = {}
    for node in body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = _environment_name(node.value, {})
            if name:
                found[node.targets[0].id] = name
    return found


def _environment_name(node: ast.AST, known: t.Mapping[str, str]) -> str | None:
    for item in ast.walk(node):
        if isinstance(item, ast.Constant) and isinstance(item.value, str) and item.value in _text.SEED_VARIABLES:
            return item.value
        if isinstance(item, ast.Name) and item.id in known:
            return known[item.id]
    return None


def _assignments(body: t.Sequence[ast.stmt], taken: bool, known: t.Mapping[str, str], environment: t.Mapping[str, str],
                 found: dict[tuple[int, int], bool]) -> None:
    for node in body:
        if isinstance(node, ast.If):
            name = _environment_name(node.test, known)
            negated = isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not)
            is_set = bool(environment.get(name, "").strip()) != negated if name else False
            _assignments(node.body, taken and (is_set or name is None), known, environment, found)
            _assignments(node.orelse, taken and (not is_set if name else not node.body), known, environment, found)
            continue
        if isinstance(node, ast.Try):
            _assignments(list(node.body) + [item for handler in node.handlers for item in handler.body] + list(node.orelse), taken, known, environment, found)
            continue
        if isinstance(node, ast.Assign) and any(isinstance(item, ast.Name) and item.id == VARIABLE for item in node.targets):
            value: ast.expr | None = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == VARIABLE:
            value = node.value
        else:
            continue
        if value is None:
            continue
        if taken:
            found.update(dict.fromkeys(found, False))
        _values(value, taken, known, environment, found)


def _values(value: ast.expr, taken: bool, known: t.Mapping[str, str], environment: t.Mapping[str, str], found: dict[tuple[int, int], bool]) -> None:
    if isinstance(value, ast.IfExp):
        name = _environment_name(value.test, known)
        is_set = bool(environment.get(name, "").strip()) if name else False
        _values(value.body, taken and (is_set or name is None), known, environment, found)
        _values(value.orelse, taken and not is_set, known, environment, found)
    elif isinstance(value, ast.BoolOp):
        for item in value.values:
            _values(item, taken, known, environment, found)
    else:
        found[(value.lineno, value.col_offset + 1)] = taken


def _used(read_sources: t.Mapping[str, Source]) -> set[str]:
    """The files whose value is used: by themselves, or by a file that imports it from them, directly or through others."""
    stems: dict[str, list[str]] = {}
    for path in read_sources:
        name = path.rpartition("/")[2][:-3]
        stems.setdefault(path.rpartition("/")[0].rpartition("/")[2] if name == "__init__" else name, []).append(path)
    used: set[str] = set()
    waiting = [path for path, source in read_sources.items() if source.uses]
    while waiting:
        path = waiting.pop()
        if path in used:
            continue
        used.add(path)
        for module in read_sources[path].imports:
            waiting += [item for item in stems.get(module, []) if item != path]
    return used


def read(files: Files, path: str, environment: t.Mapping[str, str]) -> tuple[list[dict[str, t.Any]], set[str]]:
    """Reads every file below an orchestrator's folder that names the variable; returns what :func:`sources` returns."""
    texts: dict[str, bytes] = {}
    names: set[str] = set()
    for folder in FOLDERS:
        for name in python_files(files, "%s/%s" % (path, folder)):
            data = files.bytes(name, SOURCE_LIMIT)
            if data and VARIABLE.encode() in data:
                texts[name] = data
    for name in files.glob("%s/%s/*.py" % (path, EMBEDDED_PACKAGE)):
        text = files.text(name) or ""
        names |= {variable for variable in _text.SEED_VARIABLES if '"%s"' % variable in text or "'%s'" % variable in text}
    literals, read_names = sources(texts, environment)
    return literals, read_names | names


def python_files(files: Files, folder: str) -> t.Iterator[str]:
    """The Python files below a folder, without tests and other people's packages; at most MAXIMUM_FILES."""
    count = 0
    for where, folders, names in os.walk(files.real(folder)):
        folders[:] = sorted(item for item in folders if item not in _SKIPPED)
        for name in sorted(names):
            if name.endswith(".py") and count < MAXIMUM_FILES:
                count += 1
                yield os.path.join(where, name)[len(files.root):]
