# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of seeds that stand as literals in Python source: found by parsing, edited in place, every other byte kept. Pure."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import typing as t

PLACEMENTS = ("first", "exclusive")

_NEWLINE = re.compile(r"\r\n|\r|\n")
_BLANK = " \t\f"
_MUTATORS = frozenset(("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"))
_REASONS = {
    ast.ListComp: "a list comprehension: its entries are computed when the program runs",
    ast.GeneratorExp: "a generator: its entries are computed when the program runs",
    ast.Call: "the result of a call, not a literal",
    ast.BinOp: "computed by an operator, not a literal",
    ast.Name: "the value of another name, not a literal",
    ast.Attribute: "the value of an attribute, not a literal",
    ast.Subscript: "a part of another value, not a literal",
    ast.Set: "a set, which keeps no order",
    ast.Dict: "a mapping, not a list",
    ast.Constant: "a single value, not a list",
    ast.JoinedStr: "a formatted string, not a list",
}


class SeedLiteralsError(ValueError):
    """The source cannot be read as Python; the message says where and why."""


class _Item(t.NamedTuple):
    """One entry of a literal; offsets into the text, ``comma`` is None behind a last entry without one."""

    value: str
    start: int
    end: int
    comma: t.Optional[int]


class _Container(t.NamedTuple):
    """A list or tuple literal; ``start`` and ``end`` enclose what stands between its brackets (all of it, where it has none)."""

    start: int
    end: int
    bracketed: bool
    items: t.List[_Item]
    is_tuple: bool


class Literal(t.NamedTuple):
    """One place that gives the variable its value. Line and column count from 1."""

    line: int
    column: int
    scope: str
    annotated: bool
    entries: t.List[str]
    refusal: t.Optional[str]
    container: t.Optional[_Container]

    def to_dict(self) -> t.Dict[str, t.Any]:
        """``{line, column, scope, annotated, entries, refusal}``."""
        return {name: getattr(self, name) for name in ("line", "column", "scope", "annotated", "entries", "refusal")}


class Edited(t.NamedTuple):
    """The source after an edit, and its literals before and after (the same places, in the same order)."""

    source: bytes
    before: t.List[Literal]
    after: t.List[Literal]


def decode(source: bytes) -> t.Tuple[str, str]:
    """Text and encoding of Python source, newlines untouched. Raises SeedLiteralsError."""
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(source).readline)[0]
        text = source.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as exc:
        raise SeedLiteralsError("it cannot be decoded: %s" % exc) from exc
    if text.encode(encoding) != source:
        raise SeedLiteralsError("it cannot be written back unchanged in its encoding %s" % encoding)
    return text, encoding


class _Text:
    """Offsets for the positions that ast gives: lines from 1, columns in bytes of UTF-8."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0] + [match.end() for match in _NEWLINE.finditer(text)]

    def offset(self, line: int, column: int) -> int:
        start = self.starts[line - 1]
        # Only a line with other than ASCII before the column needs the way through its bytes.
        head = self.text[start:start + column]
        if head.isascii():
            return start + column
        end = self.starts[line] if line < len(self.starts) else len(self.text)
        return start + len(self.text[start:end].encode("utf-8")[:column].decode("utf-8"))

    def span(self, node: ast.expr) -> t.Tuple[int, int]:
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)


def _parse(text: str) -> ast.Module:
    try:
        return ast.parse(text, "source")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        raise SeedLiteralsError("it cannot be parsed: %s" % (str(exc) or type(exc).__name__)) from exc


def _names(target: ast.expr) -> t.Iterator[str]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


class _Finder(ast.NodeVisitor):
    """Collects what gives the variable a value, in the order of the source."""

    def __init__(self, text: _Text, variable: str) -> None:
        self._text = text
        self._variable = variable
        self._scope: t.List[str] = []
        self.found: t.List[Literal] = []

    def _is_it(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id == self._variable

    def _scoped(self, node: t.Any) -> None:
        self._scope.append(node.name)
        self.generic_visit(node)
        self._scope.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _scoped

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(self._is_it(target) for target in node.targets):
            self._value(node.value, False)
        elif any(self._variable in _names(target) for target in node.targets):
            self._refuse(node, "assigned by unpacking")
        elif any(isinstance(target, ast.Subscript) and self._is_it(target.value) for target in node.targets):
            self._refuse(node, "changed in place by an assignment to a part of it")
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None and self._is_it(node.target):
            self._value(node.value, True)
        self.generic_visit(node)

    def visit_NamedExpr(self, node: t.Any) -> None:
        if self._is_it(node.target):
            self._value(node.value, False)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if self._is_it(node.target):
            self._refuse(node, "changed in place by an augmented assignment")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and self._is_it(node.func.value) and node.func.attr in _MUTATORS:
            self._refuse(node, "changed in place by .%s()" % node.func.attr)
        self.generic_visit(node)

    def _refuse(self, node: t.Any, reason: str, annotated: bool = False) -> None:
        self._add(node, annotated, [], reason, None)

    def _add(self, node: t.Any, annotated: bool, entries: t.List[str], refusal: t.Optional[str], container: t.Optional[_Container]) -> None:
        column = self._text.offset(node.lineno, node.col_offset) - self._text.starts[node.lineno - 1] + 1
        self.found.append(Literal(node.lineno, column, ".".join(self._scope), annotated, entries, refusal, container))

    def _value(self, node: ast.expr, annotated: bool) -> None:
        if isinstance(node, ast.IfExp):
            self._value(node.body, annotated)
            self._value(node.orelse, annotated)
        elif isinstance(node, ast.BoolOp):
            for value in node.values:
                self._value(value, annotated)
        elif isinstance(node, (ast.List, ast.Tuple)):
            for number, entry in enumerate(node.elts, 1):
                if not (isinstance(entry, ast.Constant) and isinstance(entry.value, str)):
                    self._refuse(node, "entry %d is not a plain string" % number, annotated)
                    return
            container = _container(self._text, node)
            if container is None:
                self._refuse(node, "its brackets cannot be told apart", annotated)
            else:
                self._add(node, annotated, [item.value for item in container.items], None, container)
        else:
            self._refuse(node, _REASONS.get(type(node), "an expression, not a literal"), annotated)


def _container(text: _Text, node: t.Union[ast.List, ast.Tuple]) -> t.Optional[_Container]:
    """Where entries and commas stand. Between entries only blanks, comments, commas, parentheses and backslashes are possible."""
    start, end = text.span(node)
    spans = [text.span(entry) for entry in node.elts]
    values = [getattr(entry, "value", "") for entry in node.elts]
    bracketed = isinstance(node, ast.List) or _encloses(text.text, start, end, spans)
    if bracketed:
        start, end = start + 1, end - 1
    items: t.List[_Item] = []
    number, depth, position = 0, 0, start
    first: t.Optional[int] = None
    last = start
    while position < end:
        if number < len(spans) and position == spans[number][0]:
            first = position if first is None else first
            position = last = spans[number][1]
            number += 1
            continue
        character = text.text[position]
        if character == "#":
            match = _NEWLINE.search(text.text, position)
            position = match.start() if match else end
            continue
        if character == "(":
            first = position if first is None else first
            depth += 1
        elif character == ")":
            depth -= 1
            last = position + 1
        elif character == "," and depth == 0:
            if first is None or number != len(items) + 1:
                return None
            items.append(_Item(values[number - 1], first, last, position))
            first = None
        position += 1
    if first is not None:
        items.append(_Item(values[number - 1], first, last, None))
    if len(items) != len(spans) or depth != 0:
        return None
    return _Container(start, end, bracketed, items, isinstance(node, ast.Tuple))


def _encloses(text: str, start: int, end: int, spans: t.Sequence[t.Tuple[int, int]]) -> bool:
    """Whether one pair of parentheses encloses a whole tuple: ``("a"), ("b")`` has two."""
    if text[start] != "(":
        return False
    depth, number, position = 0, 0, start
    while position < end:
        if number < len(spans) and position == spans[number][0]:
            position = spans[number][1]
            number += 1
            continue
        if text[position] == "#":
            match = _NEWLINE.search(text, position)
            position = match.start() if match else end
            continue
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        position += 1
        if depth == 0 and position < end:
            return False
    return True


def _find(text: str, variable: str) -> t.List[Literal]:
    finder = _Finder(_Text(text), variable)
    try:
        finder.visit(_parse(text))
    except RecursionError as exc:
        raise SeedLiteralsError("it is nested too deeply") from exc
    return sorted(finder.found, key=lambda literal: (literal.line, literal.column))


def find(source: bytes, variable: str = "BOOTSTRAP_SEEDS") -> t.List[Literal]:
    """Every place of the source that gives ``variable`` a value; those that cannot be edited have a ``refusal``.

    Raises SeedLiteralsError where the source is not Python that this interpreter reads.
    """
    if variable.encode("utf-8", "replace") not in source and b"coding" not in source[:400]:
        return []
    return _find(decode(source)[0], variable)


def wanted(entries: t.Sequence[str], seeds: t.Sequence[str], placement: str) -> t.List[str]:
    """What a list should hold: the seeds, and with placement ``first`` behind them what it held besides."""
    if placement == "exclusive":
        return list(seeds)
    return list(seeds) + [entry for entry in entries if entry not in seeds]


def edit(source: bytes, seeds: t.Sequence[str], variable: str = "BOOTSTRAP_SEEDS", placement: str = "first") -> Edited:
    """The source with ``seeds`` in every literal of ``variable`` that can be edited.

    ``seeds`` are ``host:port``, none twice, at least one. A literal that holds what it should is not touched. Entries keep
    their spelling, comments are never lost: the comment behind an entry moves with it, and stays where the entry goes.
    Raises SeedLiteralsError.
    """
    text, encoding = decode(source)
    before = _find(text, variable)
    changes: t.List[t.Tuple[int, int, str]] = []
    for literal in before:
        if literal.container is not None and literal.entries != wanted(literal.entries, seeds, placement):
            changes.append((literal.container.start, literal.container.end, _rewritten(text, literal.container, seeds, placement)))
    after_text = text
    for start, end, replacement in sorted(changes, reverse=True):
        after_text = after_text[:start] + replacement + after_text[end:]
    after = _find(after_text, variable)
    _verify(before, after, seeds, placement)
    return Edited(after_text.encode(encoding), before, after)


def _verify(before: t.Sequence[Literal], after: t.Sequence[Literal], seeds: t.Sequence[str], placement: str) -> None:
    """What was written must read as what was wanted; otherwise nothing is written."""
    expected = [(literal.refusal, wanted(literal.entries, seeds, placement) if literal.container else []) for literal in before]
    if [(literal.refusal, literal.entries) for literal in after] != expected:
        lines = ", ".join(str(literal.line) for literal in before if literal.container)
        raise SeedLiteralsError("line %s: its layout cannot be edited safely; write the list one entry a line" % lines)


def _rewritten(text: str, container: _Container, seeds: t.Sequence[str], placement: str) -> str:
    """The inner text of a literal after the edit."""
    items = container.items
    goal = wanted([item.value for item in items], seeds, placement)
    kept = _subsequence([item.value for item in items], goal)
    inserted: t.Sequence[str] = ()
    if kept is not None and container.is_tuple and len(goal) == 1 and items[max(kept)].comma is None:
        # A tuple of one needs the comma that its last entry did without.
        kept = None
    if kept is None:
        kept = set() if placement == "exclusive" else {index for index, item in enumerate(items) if item.value not in seeds}
        inserted = seeds
    layout = _Layout(text, container, kept, inserted)
    return layout.render(len(goal))


def _subsequence(values: t.Sequence[str], goal: t.Sequence[str]) -> t.Optional[t.Set[int]]:
    """The indexes to keep where leaving entries out is all there is to do, else None."""
    kept: t.Set[int] = set()
    for index, value in enumerate(values):
        if len(kept) < len(goal) and value == goal[len(kept)]:
            kept.add(index)
    return kept if len(kept) == len(goal) else None


class _Layout:
    """Takes entries out of the text of a literal and puts others in front, in the manner in which it is laid out."""

    def __init__(self, text: str, container: _Container, kept: t.Set[int], inserted: t.Sequence[str]) -> None:
        self._text = text
        self._container = container
        self._items = container.items
        self._kept = kept
        self._inserted = inserted
        self._gone = bytearray(container.end - container.start)
        inner = text[container.start:container.end]
        newline = _NEWLINE.search(inner)
        self._newline = newline.group() if newline else "\n"
        # Without brackets a newline stands behind a backslash, where nothing else may stand.
        self._multiline = newline is not None and container.bracketed
        self._first_line_end = container.start + newline.start() if newline else container.end
        self._quote = text[self._items[0].end - 1] if self._items and text[self._items[0].end - 1] in "'\"" else '"'

    def _drop(self, start: int, end: int) -> None:
        base = self._container.start
        self._gone[start - base:end - base] = b"\1" * (end - start)

    def _skip_blanks(self, position: int) -> int:
        while position < self._container.end and self._text[position] in _BLANK:
            position += 1
        return position

    def _line_end(self, position: int) -> int:
        match = _NEWLINE.search(self._text, position, self._container.end)
        return match.start() if match else self._container.end

    def _comment(self, index: int) -> str:
        """Blanks and comment behind an entry that stands alone on its line, '' without one."""
        item = self._items[index]
        after = item.end if item.comma is None else item.comma + 1
        start = self._skip_blanks(after)
        end = self._line_end(start)
        if start >= self._container.end or self._text[start] != "#":
            return ""
        if index and _NEWLINE.search(self._text, self._items[index - 1].end, item.start) is None:
            return ""
        return self._text[after:end]

    def render(self, total: int) -> str:
        moved: t.Dict[str, str] = {}
        for index, item in enumerate(self._items):
            if index in self._kept:
                continue
            comment = self._comment(index)
            carried = bool(comment) and item.value in self._inserted and not moved.get(item.value)
            if carried:
                moved[item.value] = comment
            self._take_out(index, len(comment) if carried else 0)
        self._tidy_end(total)
        self._tidy_lines()
        position, addition = self._addition(moved, total)
        base = self._container.start
        inner = self._text[base:self._container.end]
        head = "".join(character for offset, character in enumerate(inner[:position - base]) if not self._gone[offset])
        tail = "".join(character for offset, character in enumerate(inner[position - base:], position - base) if not self._gone[offset])
        if addition.endswith(",") and self._kept and tail[:1] not in ("\r", "\n", " ", "\t"):
            return head + addition + " " + tail
        if addition.endswith(tuple(_BLANK)):
            # The comment of an entry that went has the line for itself now.
            return head + addition + tail.lstrip(_BLANK)
        return head + addition + tail

    def _take_out(self, index: int, comment: int) -> None:
        item = self._items[index]
        self._drop(item.start, item.end)
        after = item.end
        if item.comma is not None:
            self._drop(item.comma, item.comma + 1)
            after = item.comma + 1
        if comment:
            self._drop(after, after + comment)
            return
        following = self._skip_blanks(after)
        if index + 1 < len(self._items) and self._items[index + 1].start == following:
            self._drop(after, following)

    def _tidy_end(self, total: int) -> None:
        """No comma or blanks are left behind the last entry on a line where the entries after it went."""
        last = len(self._items) - 1
        if last < 0 or last in self._kept or not self._kept:
            return
        kept = self._items[max(self._kept)]
        between = self._text[kept.end:self._items[last].start]
        if _NEWLINE.search(between) or "#" in between or kept.comma is None:
            return
        keep_comma = self._items[last].comma is not None or (self._container.is_tuple and total == 1)
        self._drop(kept.comma + 1 if keep_comma else kept.comma, self._items[last].start)

    def _tidy_lines(self) -> None:
        """Lines that lost an entry: gone where nothing is left, else without blanks at the end or before a lone comment."""
        if not self._multiline:
            return
        base, position = self._container.start, self._container.start
        while position < self._container.end:
            end = self._line_end(position)
            match = _NEWLINE.match(self._text, end)
            after = min(match.end() if match else end, self._container.end)
            gone = self._gone[position - base:end - base]
            if any(gone):
                left = [offset for offset in range(position, end) if not self._gone[offset - base]]
                visible = [offset for offset in left if self._text[offset] not in _BLANK]
                if position == base or after == end:
                    # The rest of the bracket's own line, or what stands before the closing bracket.
                    self._trim(left, position == base and after != end)
                elif not visible:
                    self._drop(position, after)
                else:
                    if self._text[visible[0]] == "#":
                        indent = len(self._indent_of(position, end))
                        self._drop(position + indent, visible[0])
                    self._trim(left, True)
            position = max(after, end + 1)

    def _trim(self, left: t.Sequence[int], at_end: bool) -> None:
        for offset in reversed(left if at_end else ()):
            if self._text[offset] not in _BLANK:
                return
            self._drop(offset, offset + 1)

    def _indent_of(self, start: int, end: int) -> str:
        line = self._text[start:end]
        return line[:len(line) - len(line.lstrip(_BLANK))]

    def _indent(self) -> str:
        """The indentation of entries: as the first line inside has it, else one step more than the statement."""
        position = self._first_line_end
        while position < self._container.end:
            start = _NEWLINE.match(self._text, position).end()
            position = self._line_end(start)
            if self._text[start:position].strip(_BLANK):
                return self._indent_of(start, position)
        line = max(self._text.rfind("\n", 0, self._container.start), self._text.rfind("\r", 0, self._container.start)) + 1
        outer = self._indent_of(line, self._container.start)
        return outer + ("\t" if outer.endswith("\t") else "    ")

    def _addition(self, moved: t.Mapping[str, str], total: int) -> t.Tuple[int, str]:
        """Where the new entries go, and as what text."""
        quoted = [self._quote + seed + self._quote for seed in self._inserted]
        start = self._items[0].start if self._items else self._container.start
        if not quoted:
            return start, ""
        comments = [moved.get(seed, "") for seed in self._inserted]
        if not self._multiline:
            one = self._container.is_tuple and total == 1
            return start, ", ".join(quoted) + ("," if self._kept or one else "")
        if not self._items or start > self._first_line_end:
            position = self._first_line_end + len(self._newline)
            indent = self._indent()
            return position, "".join(indent + entry + "," + comment + self._newline for entry, comment in zip(quoted, comments))
        line = max(self._text.rfind("\n", 0, start), self._text.rfind("\r", 0, start)) + 1
        align = "".join(character if character in _BLANK else " " for character in self._text[line:start])
        if not any(comments) and self._text[start:self._container.end].count(self._newline) < len(self._items) - 1:
            # Several entries a line: so are the new ones.
            return start, ", ".join(quoted) + ("," if self._kept or total == 1 else "")
        joined = (self._newline + align).join(entry + "," + comment for entry, comment in zip(quoted, comments))
        rest = "".join(self._text[offset] for offset in range(start, self._container.end) if not self._gone[offset - self._container.start])
        if rest[:1] in ("\r", "\n") or (not rest.strip(_BLANK) and not comments[-1]):
            return start, joined
        return start, joined + self._newline + align
