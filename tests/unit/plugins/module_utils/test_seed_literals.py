# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ast
import io
import random
import tokenize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ringrift.p2p.plugins.module_utils import _seed_literals

A, B = "203.0.113.60:8770", "203.0.113.40:8770"


def edited(text, seeds=(A, B), placement="first", encoding="utf-8"):
    return _seed_literals.edit(text.encode(encoding), list(seeds), "SEEDS", placement).source.decode(encoding)


# Each: source, result with placement first, result with placement exclusive.
CASES = {
    "annotated, as in the field": (
        'SEEDS: list[str] = [\n    # overlay\n    "100.64.0.1:8770",  # hetzner-cpu1\n    "203.0.113.60:8770",  # vultr\n]\n',
        'SEEDS: list[str] = [\n    "203.0.113.60:8770",  # vultr\n    "203.0.113.40:8770",\n    # overlay\n    "100.64.0.1:8770",  # hetzner-cpu1\n]\n',
        'SEEDS: list[str] = [\n    "203.0.113.60:8770",  # vultr\n    "203.0.113.40:8770",\n    # overlay\n    # hetzner-cpu1\n]\n'),
    "plain, one line, single quotes": (
        "SEEDS = ['100.64.0.1:8770', '203.0.113.40:8770']  # all\n",
        "SEEDS = ['203.0.113.60:8770', '203.0.113.40:8770', '100.64.0.1:8770']  # all\n",
        "SEEDS = ['203.0.113.60:8770', '203.0.113.40:8770']  # all\n"),
    "tuple of one": (
        'SEEDS = ("100.64.0.1:8770",)\n',
        'SEEDS = ("203.0.113.60:8770", "203.0.113.40:8770", "100.64.0.1:8770",)\n',
        'SEEDS = ("203.0.113.60:8770", "203.0.113.40:8770")\n'),
    "tuple without brackets": (
        'SEEDS = "100.64.0.1:8770", "100.64.0.2:8770"\n',
        'SEEDS = "203.0.113.60:8770", "203.0.113.40:8770", "100.64.0.1:8770", "100.64.0.2:8770"\n',
        'SEEDS = "203.0.113.60:8770", "203.0.113.40:8770"\n'),
    "entries in parentheses": (
        'SEEDS = [("100.64.0.1:8770"), ("203.0.113.40:8770")]\n',
        'SEEDS = ["203.0.113.60:8770", "203.0.113.40:8770", ("100.64.0.1:8770")]\n',
        'SEEDS = ["203.0.113.60:8770", "203.0.113.40:8770"]\n'),
    "list in parentheses": (
        'SEEDS = (["100.64.0.1:8770"])\n',
        'SEEDS = (["203.0.113.60:8770", "203.0.113.40:8770", "100.64.0.1:8770"])\n',
        'SEEDS = (["203.0.113.60:8770", "203.0.113.40:8770"])\n'),
    "empty": ("SEEDS = []\n", 'SEEDS = ["203.0.113.60:8770", "203.0.113.40:8770"]\n', 'SEEDS = ["203.0.113.60:8770", "203.0.113.40:8770"]\n'),
    "empty over lines, indented by a tab": (
        "if x:\n\tSEEDS = [\n\t]\n",
        'if x:\n\tSEEDS = [\n\t\t"203.0.113.60:8770",\n\t\t"203.0.113.40:8770",\n\t]\n',
        'if x:\n\tSEEDS = [\n\t\t"203.0.113.60:8770",\n\t\t"203.0.113.40:8770",\n\t]\n'),
    "if and else, the first branch computed": (
        'if env:\n    SEEDS: list[str] = [s for s in env.split(",")]\nelse:\n    SEEDS: list[str] = [\n        "100.64.0.1:8770",\n    ]\n',
        'if env:\n    SEEDS: list[str] = [s for s in env.split(",")]\nelse:\n    SEEDS: list[str] = [\n'
        '        "203.0.113.60:8770",\n        "203.0.113.40:8770",\n        "100.64.0.1:8770",\n    ]\n',
        'if env:\n    SEEDS: list[str] = [s for s in env.split(",")]\nelse:\n    SEEDS: list[str] = [\n'
        '        "203.0.113.60:8770",\n        "203.0.113.40:8770",\n    ]\n'),
    "conditional expression on one line": (
        'SEEDS = os.environ["S"].split(",") if "S" in os.environ else ["100.64.0.1:8770"]\n',
        'SEEDS = os.environ["S"].split(",") if "S" in os.environ else ["203.0.113.60:8770", "203.0.113.40:8770", "100.64.0.1:8770"]\n',
        'SEEDS = os.environ["S"].split(",") if "S" in os.environ else ["203.0.113.60:8770", "203.0.113.40:8770"]\n'),
    "CRLF, comment in another script before the list on the same line": (
        'x = "ä€😀"; SEEDS = [\r\n    "100.64.0.1:8770",  # größe\r\n]\r\n',
        'x = "ä€😀"; SEEDS = [\r\n    "203.0.113.60:8770",\r\n    "203.0.113.40:8770",\r\n    "100.64.0.1:8770",  # größe\r\n]\r\n',
        'x = "ä€😀"; SEEDS = [\r\n    "203.0.113.60:8770",\r\n    "203.0.113.40:8770",\r\n    # größe\r\n]\r\n'),
    "first entry beside the bracket, comments behind": (
        'SEEDS = ["100.64.0.1:8770",  # one\n         "203.0.113.60:8770",  # two\n         "100.64.0.3:8770"]\n',
        'SEEDS = ["203.0.113.60:8770",  # two\n         "203.0.113.40:8770",\n         "100.64.0.1:8770",  # one\n         "100.64.0.3:8770"]\n',
        'SEEDS = ["203.0.113.60:8770",  # two\n         "203.0.113.40:8770",\n         # one\n         ]\n'),
    "several entries a line": (
        'SEEDS = [\n    "100.64.0.1:8770", "203.0.113.40:8770",\n    "100.64.0.3:8770", "100.64.0.4:8770"\n]\n',
        'SEEDS = [\n    "203.0.113.60:8770",\n    "203.0.113.40:8770",\n    "100.64.0.1:8770",\n    "100.64.0.3:8770", "100.64.0.4:8770"\n]\n',
        'SEEDS = [\n    "203.0.113.60:8770",\n    "203.0.113.40:8770",\n]\n'),
    "comma before the entry": (
        'SEEDS = (\n  "100.64.0.1:8770"  # x, (y\n  , "100.64.0.2:8770"  # z\n)\n',
        'SEEDS = (\n  "203.0.113.60:8770",\n  "203.0.113.40:8770",\n  "100.64.0.1:8770"  # x, (y\n  , "100.64.0.2:8770"  # z\n)\n',
        'SEEDS = (\n  "203.0.113.60:8770",\n  "203.0.113.40:8770",\n  # x, (y\n  # z\n)\n'),
    "comment behind the bracket, bracket behind the entry": (
        'SEEDS = [  # see the wiki\n  "100.64.0.1:8770"]\n',
        'SEEDS = [  # see the wiki\n  "203.0.113.60:8770",\n  "203.0.113.40:8770",\n  "100.64.0.1:8770"]\n',
        'SEEDS = [  # see the wiki\n  "203.0.113.60:8770",\n  "203.0.113.40:8770",\n  ]\n'),
    "lines joined by a backslash": (
        'SEEDS = "100.64.0.1:8770", \\\n    "100.64.0.2:8770"\n',
        'SEEDS = "203.0.113.60:8770", "203.0.113.40:8770", "100.64.0.1:8770", \\\n    "100.64.0.2:8770"\n',
        None),
    "entry of two strings": (
        'SEEDS = ["100.64.0.1" ":8770"]\n',
        'SEEDS = ["203.0.113.60:8770", "203.0.113.40:8770", "100.64.0.1" ":8770"]\n',
        'SEEDS = ["203.0.113.60:8770", "203.0.113.40:8770"]\n'),
    "in place already, and more": (
        'SEEDS = ["203.0.113.60:8770", "203.0.113.40:8770", "100.64.0.1:8770"]\n',
        'SEEDS = ["203.0.113.60:8770", "203.0.113.40:8770", "100.64.0.1:8770"]\n',
        'SEEDS = ["203.0.113.60:8770", "203.0.113.40:8770"]\n'),
    "no newline at the end of the file": (
        'def f():\n    SEEDS = ["100.64.0.1:8770"]',
        'def f():\n    SEEDS = ["203.0.113.60:8770", "203.0.113.40:8770", "100.64.0.1:8770"]',
        'def f():\n    SEEDS = ["203.0.113.60:8770", "203.0.113.40:8770"]'),
}


@pytest.mark.parametrize("name", CASES)
def test_lists_are_edited_in_their_own_layout(name):
    source, first, exclusive = CASES[name]
    assert edited(source) == first
    assert edited(first) == first
    if exclusive is not None:
        assert edited(source, placement="exclusive") == exclusive
        assert edited(exclusive, placement="exclusive") == exclusive


@pytest.mark.parametrize("value, reason", [
    ('[s.strip() for s in env.split(",")]', "list comprehension"),
    ('env.split(",")', "result of a call"),
    ('["100.64.0.1:8770"] + MORE', "operator"),
    ('[*MORE, "100.64.0.1:8770"]', "entry 1 is not a plain string"),
    ('["100.64.0.1:8770", f"{host}:8770"]', "entry 2 is not a plain string"),
    ('[["100.64.0.1:8770"]]', "entry 1 is not a plain string"),
    ('[b"100.64.0.1:8770"]', "entry 1 is not a plain string"),
    ('{"100.64.0.1:8770"}', "a set"),
    ('"100.64.0.1:8770,100.64.0.2:8770"', "single value"),
    ("OTHER", "another name"),
    ("settings.seeds", "attribute"),
])
def test_what_is_not_a_literal_is_refused_with_the_reason_and_left_alone(value, reason):
    source = "SEEDS = %s\n" % value
    assert edited(source) == source
    (literal,) = _seed_literals.find(source.encode(), "SEEDS")
    assert reason in literal.refusal
    assert literal.entries == []


@pytest.mark.parametrize("statement, reason", [
    ('SEEDS += ["100.64.0.9:8770"]', "augmented"),
    ('SEEDS.append("100.64.0.9:8770")', ".append()"),
    ('SEEDS, y = ["100.64.0.9:8770"], 1', "unpacking"),
    ('SEEDS[0] = "100.64.0.9:8770"', "part of it"),
])
def test_later_changes_in_place_are_named(statement, reason):
    source = 'SEEDS = ["100.64.0.1:8770"]\n%s\n' % statement
    literals = _seed_literals.find(source.encode(), "SEEDS")
    assert [literal.refusal is None for literal in literals] == [True, False]
    assert reason in literals[1].refusal


def test_every_assignment_is_found_with_its_place():
    source = (
        'OTHER_SEEDS = ["100.64.0.8:8770"]\nSEEDS: list[str]\nif a:\n    SEEDS: list[str] = ["100.64.0.1:8770"]\n'
        'else:\n    SEEDS = env or ["100.64.0.2:8770"]\n'
        'class C:\n    SEEDS = ("100.64.0.3:8770",)\n    def f(self):\n        SEEDS = ["100.64.0.4:8770"]\n        self.SEEDS = ["100.64.0.5:8770"]\n')
    found = [(literal.line, literal.scope, literal.annotated, literal.entries, bool(literal.refusal))
             for literal in _seed_literals.find(source.encode(), "SEEDS")]
    assert found == [
        (4, "", True, ["100.64.0.1:8770"], False), (6, "", False, [], True), (6, "", False, ["100.64.0.2:8770"], False),
        (8, "C", False, ["100.64.0.3:8770"], False), (10, "C.f", False, ["100.64.0.4:8770"], False)]


@pytest.mark.parametrize("source, message", [
    (b"SEEDS = [\n", "line"),
    (b"# coding: utf-8\nSEEDS = ['\xff']\n", "decoded"),
    (b"# coding: no-such-thing\nSEEDS = []\n", "decoded"),
    (b"SEEDS = [] \0\n", "pars"),
])
def test_unreadable_source_is_one_error_without_a_traceback(source, message):
    with pytest.raises(_seed_literals.SeedLiteralsError) as caught:
        _seed_literals.edit(source, [A], "SEEDS")
    assert message in str(caught.value)


def test_byte_order_mark_and_declared_encoding_survive():
    marked = b"\xef\xbb\xbf" + 'SEEDS = ["100.64.0.1:8770"]  # é\n'.encode()
    assert _seed_literals.edit(marked, [A], "SEEDS").source == b"\xef\xbb\xbf" + ('SEEDS = ["%s", "100.64.0.1:8770"]  # é\n' % A).encode()
    latin = "# -*- coding: latin-1 -*-\nSEEDS = [  # é\n]\n"
    assert edited(latin, [A], encoding="latin-1") == '# -*- coding: latin-1 -*-\nSEEDS = [  # é\n    "%s",\n]\n' % A


def _comments(text):
    return sorted(token.string for token in tokenize.generate_tokens(io.StringIO(text, newline="").readline) if token.type == tokenize.COMMENT)


def _literal(chance, entries):
    """One literal in a random layout, newlines as ``\\n``."""
    is_tuple, multiline, quote = chance.random() < 0.4, chance.random() < 0.7, chance.choice("'\"")
    opening, closing = ("(", ")") if is_tuple else ("[", "]")
    lines = []

    def gap():
        return chance.choice(["", "", " ", "\t"])
    for index, entry in enumerate(entries):
        text = quote + entry + quote
        if chance.random() < 0.15:
            text = "(" + gap() + text + gap() + ")"
        last = index == len(entries) - 1
        comma = "" if last and chance.random() < 0.5 and not (is_tuple and index == 0) else ","
        lines.append(text + gap() + comma)
    if not multiline:
        return opening + gap() + " ".join(lines) + gap() + closing
    result = opening + chance.choice(["", "  # (opening, [", " "]) + "\n" if chance.random() < 0.7 else opening
    for text in lines:
        ending = chance.choice(["\n", "\n", "  # tail é, ]\n", " ", "\n\n", "\n    # own line \"\n"])
        result += chance.choice(["    ", "\t", "", "        "]) + text + ending
    return result + chance.choice(["", "    ", "\n"]) + closing


@settings(derandomize=True, max_examples=300, deadline=None)
@given(seed=st.integers(0, 2 ** 32), placement=st.sampled_from(_seed_literals.PLACEMENTS))
def test_any_layout_reads_as_wanted_afterwards_and_nothing_else_changes(seed, placement):
    chance = random.Random(seed)
    pool = ["203.0.113.%d:8770" % number for number in range(6)] + ["100.64.0.%d:8770" % number for number in range(6)]
    lists = [chance.sample(pool, chance.randint(0, 7)) for _each in range(chance.randint(1, 3))]
    seeds = chance.sample(pool, chance.randint(1, 6))
    newline = chance.choice(["\n", "\r\n"])
    parts, names = [], []
    for number, entries in enumerate(lists):
        parts.append("# before %d, ä [\nother = ['x', (1, 2)]\n%sSEEDS%s = " % (
            number, "" if number % 2 else "if True:\n  ", chance.choice(["", ": list"])))
        names.append(_literal(chance, entries))
    text = "".join(part + name + "  # behind\n" for part, name in zip(parts, names))
    text = text.replace("\n", newline)
    source = text.encode()

    result = _seed_literals.edit(source, seeds, "SEEDS", placement)
    after = result.source.decode()
    assert [literal.entries for literal in result.before] == lists
    assert [literal.entries for literal in result.after] == [_seed_literals.wanted(entries, seeds, placement) for entries in lists]
    assert _comments(after) == _comments(text)
    # What stands between the literals is there byte for byte, in order.
    position = 0
    for part in parts:
        position = after.index(part.replace("\n", newline), position) + len(part.replace("\n", newline))
    assert after.count("\n") == after.count(newline)
    values = [node.value for node in ast.walk(ast.parse(after)) if isinstance(node, (ast.Assign, ast.AnnAssign))
              and (node.targets[0] if isinstance(node, ast.Assign) else node.target).id == "SEEDS"]
    assert sorted(list(ast.literal_eval(value)) for value in values) == sorted(_seed_literals.wanted(entries, seeds, placement) for entries in lists)
    assert _seed_literals.edit(result.source, seeds, "SEEDS", placement).source == result.source


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_an_answer_or_one_error(noise):
    try:
        _seed_literals.edit(b"SEEDS = [" + noise, [A], "SEEDS")
    except _seed_literals.SeedLiteralsError as exc:
        assert str(exc)
