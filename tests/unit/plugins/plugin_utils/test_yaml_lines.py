# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _yaml_lines

LOADERS = [pytest.param(yaml.SafeLoader, id="python"), pytest.param(getattr(yaml, "CSafeLoader", yaml.SafeLoader), id="c")]


@pytest.fixture(params=LOADERS, autouse=True)
def loader(request, monkeypatch):
    monkeypatch.setattr(_yaml_lines, "Loader", request.param)


def faults(text: str) -> list[_yaml_lines.Fault]:
    with pytest.raises(_yaml_lines.YamlError) as caught:
        _yaml_lines.load(text)
    return caught.value.faults


@pytest.mark.parametrize("text", [
    "a: 1\nb: [x, 'y', \"z\", {c: d}]\n",
    "a: ~\nb:\nc: null\nd: ''\n",
    "a: yes\nb: Off\nc: 'yes'\nd: true\n",
    "a: 0x10\nb: 010\nc: 1_000\nd: 1:30\ne: -5\nf: 0b11\n",
    "a: 1.5\nb: 1e3\nc: 1.5e+3\nd: .5\n",
    "base: &base\n  role: x\n  port: 1\nother:\n  <<: *base\n  port: 2\nthird: *base\n",
    "one: &one {a: 1, b: 1}\ntwo: &two {b: 2, c: 2}\nboth:\n  <<: [*one, *two]\n  d: 3\n",
    "a: |\n  two\n  lines\nb: >-\n  folded\n  text\nc: |+\n  kept\n\n",
    "a: !!str 12\nb: !!int '12'\nc: ! plain\nd: !!float 1\n",
    "- 1\n- - 2\n  - 3\n",
    "just text\n",
])
def test_reads_what_safe_load_reads(text):
    assert _yaml_lines.load(text).root == yaml.safe_load(text)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc~ :#'", min_size=1, max_size=4), inner, max_size=3), max_leaves=12))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_reads_back_what_was_written(value):
    assert _yaml_lines.load(yaml.safe_dump(value, allow_unicode=True)).root == value


@pytest.mark.parametrize("text", ["=", "<<", "2026-01-25", ".inf", ".nan", "2026-13-99", "0x", "2026-01-25T10:00:00Z"])
def test_what_json_has_no_type_for_stays_text(text):
    assert _yaml_lines.load(f"a: {text}\n").root == {"a": text}


def test_keys_are_text_and_odd_ones_are_told():
    tree = _yaml_lines.load("123: a\nyes: b\n'7': c\nplain: d\n")
    assert tree.root == {"123": "a", "yes": "b", "7": "c", "plain": "d"}
    assert tree.odd_keys[id(tree.root)] == ["123", "yes"]


def test_every_key_and_item_of_the_upper_levels_has_its_line():
    tree = _yaml_lines.load("# c\nhosts:\n  a:\n    k: 1\n\n    l: 2\nvoters:\n- a\n\n- b\n")
    assert tree.line_of(tree.root, "hosts") == 2
    assert tree.line_of(tree.root["hosts"], "a") == 3
    assert tree.line_of(tree.root["hosts"]["a"], "l") == 6
    assert tree.line_of(tree.root["voters"], 1) == 10


def test_a_merged_key_has_the_line_where_it_is_written():
    tree = _yaml_lines.load("base: &base\n  role: x\nhosts:\n  a:\n    port: 1\n    <<: *base\n")
    entry = tree.root["hosts"]["a"]
    assert entry == {"role": "x", "port": 1}
    assert (tree.line_of(entry, "role"), tree.line_of(entry, "port")) == (2, 5)


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_lines_are_counted_for_every_kind_of_line_break(line_break):
    tree = _yaml_lines.load(line_break.join(["hosts:", "  a:", "    k: 1", "    l: 2", ""]))
    assert tree.line_of(tree.root["hosts"]["a"], "l") == 4


def test_keys_that_stand_twice_are_told_with_both_lines_and_the_later_counts():
    tree = _yaml_lines.load("hosts:\n  a:\n    role: x\n    port: 1\n    role: y\n    last: 2\n")
    assert tree.root["hosts"]["a"] == {"role": "y", "port": 1, "last": 2}
    (duplicate,) = tree.duplicates
    assert (duplicate.path, duplicate.line) == ("hosts.a.role", 5)
    assert "line 3" in duplicate.message
    assert tree.line_of(tree.root["hosts"]["a"], "last") == 6


@pytest.mark.parametrize("text, line, expected", [
    ("a: [1,\n", 2, "not valid YAML"),
    ("a:\n\tb: 1\n", 2, "not with tabs"),
    ("a: 1\nb: \x01\n", 2, "U+0001"),
    ("a: 1\nb: *missing\n", 2, "before its anchor"),
    ("a: &a [*a]\n", 1, "before its anchor &a is complete"),
    ("a: !!python/object:os.system x\n", 1, "!!python/object:os.system"),
    ("a: !thing {}\n", 1, "!thing"),
    ("a: !!int x\n", 1, "!!int"),
    ("? [a]\n: b\n", 1, "cannot be a key"),
    ("a: &x 1\n*x : 2\n", 2, "cannot be a key"),
    ("a: 1\n---\nb: 1\n", 2, "one document only"),
    ("x: 1\na:\n  <<: 5\n", 3, "<<"),
    ("x: 1\na:\n  <<: [5]\n", 3, "<<"),
])
def test_what_cannot_be_read_is_named_with_its_line(text, line, expected):
    (fault,) = faults(text)
    assert expected in fault.message
    assert fault.line == line and fault.column >= 1


def test_a_file_that_grows_by_aliases_is_refused_at_once():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 30))
    started = time.monotonic()
    (fault,) = faults(bomb)
    assert "aliases" in fault.message
    assert time.monotonic() - started < 1


def test_many_hosts_may_share_one_anchor():
    text = "base: &base {a: 1, b: 2, c: 3}\nhosts:\n" + "".join(f"  h{number}:\n    <<: *base\n    d: {number}\n" for number in range(500))
    assert _yaml_lines.load(text).root["hosts"]["h499"] == {"a": 1, "b": 2, "c": 3, "d": 499}


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_endless_nesting_is_refused(opening):
    (fault,) = faults(opening * 10_000)
    assert "nested deeper" in fault.message


def test_bytes_that_are_not_utf8_are_named_with_their_place():
    with pytest.raises(_yaml_lines.YamlError) as caught:
        _yaml_lines.decode(b"hosts:\n  caf\xe9: 1\n")
    (fault,) = caught.value.faults
    assert (fault.line, fault.column) == (2, 6)
    assert "0xe9" in fault.message


def test_a_byte_order_mark_is_taken_off_and_told():
    assert _yaml_lines.decode(b"\xef\xbb\xbfa: 1") == ("a: 1", True)
    assert _yaml_lines.decode("a: 1") == ("a: 1", False)


def test_a_file_far_too_big_is_not_read(monkeypatch):
    monkeypatch.setattr(_yaml_lines, "MAX_BYTES", 10)
    with pytest.raises(_yaml_lines.YamlError, match="more than 10 are not read"):
        _yaml_lines.decode(b"x" * 11)
