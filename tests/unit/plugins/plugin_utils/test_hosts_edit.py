# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _hosts_edit, _yaml_lines

FILE = """\
# The cluster
hosts:
  alpha:   # first
    ssh_host: 203.0.113.1   # public
    role: 'coordinator'\x20\x20
    note: |
      two
      lines

    empty:  # nothing
    storage_paths:
      data: /mnt
    # about beta
  beta:
        ssh_host: "203.0.113.2"
        tags:
        - x
        - y
  gamma: {ssh_host: 203.0.113.3, role: "old"}
p2p_voters: [alpha]
"""


def edit(text, edits, **options):
    content = text if isinstance(text, bytes) else text.encode()
    return _hosts_edit.edit(content, edits, "hosts.yaml", **options)


def edited(text, edits, **options):
    return edit(text, edits, **options).content.decode()


def refused(text, edits):
    with pytest.raises(_hosts_edit.HostsEditError) as caught:
        edit(text, edits)
    return caught.value.problems


@pytest.mark.parametrize("edits, old, new", [
    ({"alpha": {"ssh_host": "203.0.113.9"}}, "ssh_host: 203.0.113.1   # public", "ssh_host: 203.0.113.9   # public"),
    ({"alpha": {"role": "gpu_training_primary"}}, "role: 'coordinator'  \n", "role: 'gpu_training_primary'  \n"),
    ({"alpha": {"role": True}}, "'coordinator'", "true"),
    ({"alpha": {"note": "short"}}, "|\n      two\n      lines\n", "short\n"),
    ({"alpha": {"empty": 5}}, "empty:  # nothing", "empty: 5  # nothing"),
    ({"alpha": {"empty": None}}, "    empty:  # nothing\n", ""),
    ({"alpha": {"note": None}}, "    note: |\n      two\n      lines\n", ""),
    ({"alpha": {"storage_paths": None}}, "    storage_paths:\n      data: /mnt\n", ""),
    ({"alpha": {"training_enabled": True}}, "      data: /mnt\n", "      data: /mnt\n    training_enabled: true\n"),
    ({"beta": {"p2p_port": 8771, "nat": False}}, "        - y\n", "        - y\n        p2p_port: 8771\n        nat: false\n"),
    ({"beta": {"ssh_host": "a\"b"}}, '"203.0.113.2"', '"a\\"b"'),
    ({"beta": {"tags": None}}, "        tags:\n        - x\n        - y\n", ""),
    ({"gamma": {"role": "new role"}}, '"old"', '"new role"'),
    ({"gamma": {"ssh_host": "a, b"}}, "{ssh_host: 203.0.113.3,", "{ssh_host: 'a, b',"),
])
def test_only_the_wanted_span_differs(edits, old, new):
    assert FILE.count(old) == 1
    assert edited(FILE, edits) == FILE.replace(old, new)


def test_many_hosts_in_one_go():
    result = edit(FILE, {"gamma": {"role": "x"}, "alpha": {"role": "y", "new": 1, "note": None}, "beta": {"tags": None}})
    assert yaml.safe_load(result.content)["hosts"] == {
        "alpha": {"ssh_host": "203.0.113.1", "role": "y", "empty": None, "storage_paths": {"data": "/mnt"}, "new": 1},
        "beta": {"ssh_host": "203.0.113.2"}, "gamma": {"ssh_host": "203.0.113.3", "role": "x"}}
    assert [(change["host"], change["key"], change["line"], change["before"], change["after"]) for change in result.changes] == [
        ("alpha", "new", 3, None, 1), ("alpha", "role", 5, "coordinator", "y"), ("alpha", "note", 6, "two\nlines\n", None),
        ("beta", "tags", 16, ["x", "y"], None), ("gamma", "role", 19, "old", "x")]


@pytest.mark.parametrize("edits", [{}, {"alpha": {}}, {"alpha": {"role": "coordinator", "missing": None}}, {"gamma": {"role": "old"}}])
def test_what_is_already_so_changes_nothing(edits):
    result = edit(FILE, edits)
    assert result.content == FILE.encode() and result.changes == []


def test_the_type_counts():
    text = "hosts:\n  a:\n    port: '22'\n    flag: 1\n"
    assert edited(text, {"a": {"port": 22, "flag": True}}) == "hosts:\n  a:\n    port: 22\n    flag: true\n"


@pytest.mark.parametrize("line_break", ["\r\n", "\r", "\n"])
def test_line_breaks_and_the_byte_order_mark_stay(line_break):
    content = b"\xef\xbb\xbf" + FILE.replace("\n", line_break).encode()
    expected = FILE.replace("role: 'coordinator'", "role: 'x'").replace("data: /mnt\n", "data: /mnt\n    new: 1\n").replace("\n", line_break)
    assert edit(content, {"alpha": {"role": "x", "new": 1}}).content == b"\xef\xbb\xbf" + expected.encode()


@pytest.mark.parametrize("text, edits, expected", [
    ("hosts:\n  a:\n    k: v", {"a": {"n": 1}}, "hosts:\n  a:\n    k: v\n    n: 1"),
    ("hosts:\r\n  a:\r\n    k: v", {"a": {"n": 1}}, "hosts:\r\n  a:\r\n    k: v\r\n    n: 1"),
    ("hosts:\n  a:\n    k: v # c", {"a": {"k": "w"}}, "hosts:\n  a:\n    k: w # c"),
    ("hosts:\n  a:\n    k: v\n\n\n# end\n", {"a": {"n": 1}}, "hosts:\n  a:\n    k: v\n    n: 1\n\n\n# end\n"),
    ("hosts:\n  a:\n    k: |+\n      x\n\n  b:\n    k: v\n", {"a": {"n": 1}}, "hosts:\n  a:\n    k: |+\n      x\n\n    n: 1\n  b:\n    k: v\n"),
    ("hosts:\n  a:\n    k: |\n      x\n\n  b:\n    k: v\n", {"a": {"n": 1}}, "hosts:\n  a:\n    k: |\n      x\n    n: 1\n\n  b:\n    k: v\n"),
    ("hosts:\n  a:\n    k:\n      v # c\n    l: [1,\n      2] # d\n", {"a": {"k": "w", "n": 1}},
     "hosts:\n  a:\n    k:\n      w # c\n    l: [1,\n      2] # d\n    n: 1\n"),
    ("hosts:\n  a:\n    k: plain\n      folded\n    l: 1\n", {"a": {"k": "w"}}, "hosts:\n  a:\n    k: w\n    l: 1\n"),
    ("b: &b x\nhosts:\n  a:\n    k: *b\n    l: 1\n", {"a": {"k": "w"}}, "b: &b x\nhosts:\n  a:\n    k: w\n    l: 1\n"),
    ("b: &b {k: x}\nhosts:\n  a:\n    <<: *b\n    l: 1\n", {"a": {"k": "w"}}, "b: &b {k: x}\nhosts:\n  a:\n    <<: *b\n    l: 1\n    k: w\n"),
    ("hosts:\n  a:\n    'k': v\n", {"a": {"k": "w"}}, "hosts:\n  a:\n    'k': w\n"),
    ("hosts:\n  a:\n    k: !!str 5\n", {"a": {"k": 6}}, "hosts:\n  a:\n    k: 6\n"),
    ("hosts:\n  a:\n    k: v\n    l: 1\n  b: 5\n", {"a": {"l": None}}, "hosts:\n  a:\n    k: v\n  b: 5\n"),
    ("hosts: {a: {k: v, l: 1}}\n", {"a": {"k": "w"}}, "hosts: {a: {k: w, l: 1}}\n"),
    ("{hosts: {a: {k: v}}}\n", {"a": {"k": "w"}}, "{hosts: {a: {k: w}}}\n"),
    ("other:\n  hosts:\n    a: {k: v}\nhosts:\n  b:\n    hosts: {a: 1}\n    k: v\n  a:\n    k: v\n", {"a": {"k": "w"}},
     "other:\n  hosts:\n    a: {k: v}\nhosts:\n  b:\n    hosts: {a: 1}\n    k: v\n  a:\n    k: w\n"),
])
def test_odd_layouts(text, edits, expected):
    assert edited(text, edits) == expected
    assert edit(expected, edits).changes == []


@pytest.mark.parametrize("text, edits, expected", [
    (FILE, {"delta": {"k": 1}}, "hosts.delta: there is no such host"),
    (FILE, {"alpha": {"storage_paths": "x"}}, "line 11: hosts.alpha.storage_paths: the value is a mapping or a list"),
    (FILE, {"gamma": {"new": 1}}, "line 19: hosts.gamma.new: the entry is written in braces"),
    (FILE, {"gamma": {"role": None}}, "line 19: hosts.gamma.role: the key does not stand on lines of its own"),
    (FILE, {"gamma": {"role": None, "ssh_host": None}}, "left without any key"),
    (FILE, {"alpha": {"note": [1]}}, "edits.alpha.note: only text"),
    (FILE, {"alpha": {"a b": 1}}, "edits.alpha.a b: a key consists of"),
    (FILE, {"alpha": {"yes": 1}}, "edits.alpha.yes: a key"),
    (FILE, {"alpha": {"note": float("inf")}}, "inf cannot be written"),
    (FILE, {"alpha": {"note": "\udc80"}}, "not valid Unicode"),
    (FILE, {"alpha": "x"}, "edits.alpha: expected a mapping"),
    (FILE, "x", "edits: expected a mapping"),
    ("hosts: {}\n---\nhosts: {}\n", {"a": {"k": 1}}, "line 2, column 1: a second document"),
    ("a: 1\n", {"a": {"k": 1}}, "no mapping `hosts`"),
    ("- 1\n", {"a": {"k": 1}}, "no mapping `hosts`"),
    ("hosts:\n  a: 5\n", {"a": {"k": 1}}, "hosts.a: its entry is not a mapping"),
    ("hosts:\n  a:\n    k: 1\n    k: 2\n", {"a": {"l": 1}}, "line 4: hosts.a.k: the key 'k' stands twice"),
    ("hosts:\n  a:\n    k: 1\n  a:\n    k: 2\n", {"a": {"l": 1}}, "line 4: hosts.a: the key 'a' stands twice"),
    ("hosts:\n  a:\n    k: &k 1\n  b:\n    l: *k\n", {"a": {"k": 2}}, "line 3: hosts.a.k: an anchor"),
    ("hosts:\n  a:\n    k: {l: &k 1}\n  b:\n    l: *k\n", {"a": {"k": None, "n": 1}}, "line 3: hosts.a.k: an anchor"),
    ("hosts:\n  a: &a\n    k: 1\n  b: *a\n", {"b": {"k": 2}}, "line 4: hosts.b.k: the entry is an alias"),
    ("hosts:\n  a: &a\n    k: 1\n  b: *a\n", {"a": {"k": 2}}, "hosts.b.k: the edits would have changed this too"),
    ("b: &b {k: 1}\nhosts:\n  a:\n    <<: *b\n    l: 1\n", {"a": {"k": None}}, "line 3: hosts.a.k: the key comes from an anchor"),
    ("b: &b\n  a: {k: 1}\nhosts: *b\n", {"a": {"k": 2}}, "hosts.a: the entry comes from an anchor"),
    ("b: &b\n  a: {k: 1}\nhosts:\n  <<: *b\n", {"a": {"k": 2}}, "hosts.a: the entry comes from an anchor"),
    ("hosts:\n  a:\n    ? k\n    : v\n", {"a": {"n": 1}}, "line 2: hosts.a.n: the entry's last key does not stand on lines of its own"),
    ("hosts:\n  a:\n    k: |\n      x", {"a": {"n": 1}}, "hosts.a.k: the edits would have changed this too"),
])
def test_refused_with_the_reason_and_the_place(text, edits, expected):
    (problem,) = refused(text, edits)
    assert expected in problem


def test_all_reasons_come_at_once():
    assert len(refused(FILE, {"delta": {"k": 1}, "alpha": {"storage_paths": 1, "note": "x"}, "gamma": {"new": 1}})) == 3


@pytest.mark.parametrize("value", [
    "plain", "two words", "203.0.113.1", "~/path", "yes", "null", "~", "5", "1e3", "2026-01-25", "",
    " x", "x ", "a: b", "a #b", "#", "- a", "it's", '"', "[a]", "{a}",
    "*a", "&a", "!a", "%a", "@a", "`a", "|", ">", "?", ":", "-", "a\nb", "a\tb", "\x00\x07", "\x85", "\u2028",
    "\ufeff", "é", "😀", "\xa0", "<<", "=", "a,b", "\\", "\\n",
    5, -1, 0, 10**30, 1.5, -0.0, 1e300, 1e-7, True, False])
@pytest.mark.parametrize("style", ["", "'", '"', "|"])
def test_what_is_written_is_read_as_the_same(value, style):
    text = _hosts_edit.render(value, style)
    for document in (f"a: {text}\n", f"{{a: {text}, b: 1}}\n"):
        assert _hosts_edit.same(_yaml_lines.load(document).root["a"], value)
        assert _hosts_edit.same(yaml.safe_load(document)["a"], value)


# Files as people write them: every line of an entry drawn for itself.

KEYS = ["role", "status", "ssh_port", "note", "gpu", "training_enabled", "relay_primary", "extra"]
SCALARS = ["ready", "coordinator", "22", "'22'", '"q"', "true", "", "~", "null", "a b", "'it''s'", "5.5", "!!str 7", "2026-01-25", '"{{ x }}"']
BLOCKS = ["|\n{i}  one\n{i}  two", ">-\n{i}  folded\n{i}  text\n", "|+\n{i}  kept\n\n", "\n{i}  x: 1\n{i}  y: [a, b]",
          "\n{i}- 1\n{i}- 2", "\n{i}  - 1", "[1,\n{i}  2]", "{{a: b}}",
          "plain\n{i}  folded", "\n{i}  below"]
TRAILERS = ["", "", "  ", "   # comment", " \t"]
BETWEEN = ["", "", "\n", "{i}# comment\n", "# at the margin\n", "\n\n"]
NEW_VALUES = st.sampled_from(["gpu_training_primary", "x: y", "", "5", "two\nlines", "é", True, False, 0, 8770, 2.5, None]) | st.text(
    st.characters(exclude_categories=("Cs",)), max_size=6)


@st.composite
def documents(draw):
    indent = draw(st.sampled_from(["  ", "    ", " ", "   "]))
    lines = [draw(st.sampled_from(["", "# head\n", "---\n", "p2p_voters:\n- h0\n"])), "hosts:" + draw(st.sampled_from(["", "  # all"])) + "\n"]
    count = draw(st.integers(1, 4))
    for number in range(count):
        inner = indent + draw(st.sampled_from(["  ", "    ", "   "]))
        name = draw(st.sampled_from([f"h{number}", f"'h{number}'", f'"h{number}"']))
        lines.append(f"{indent}{name}:{draw(st.sampled_from(['', ' # host', '  ']))}\n")
        for key in draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=5, unique=True)):
            if draw(st.booleans()):
                value = draw(st.sampled_from(SCALARS))
                lines.append(f"{inner}{key}:{' ' if value else ''}{value}{draw(st.sampled_from(TRAILERS))}\n")
            else:
                value = draw(st.sampled_from(BLOCKS)).format(i=inner)
                lines.append(f"{inner}{key}:{'' if value.startswith(chr(10)) else ' '}{value}\n")
            lines.append(draw(st.sampled_from(BETWEEN)).format(i=inner))
    lines.append(draw(st.sampled_from(["", "protocols: {swim: true}\n", "# end\n", "\n\n"])))
    text = "".join(lines)
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return text.rstrip("\r\n") if draw(st.booleans()) else text


@given(documents(), st.dictionaries(
    st.sampled_from(["h0", "h1", "h2"]), st.dictionaries(st.sampled_from(KEYS + ["brand_new"]), NEW_VALUES, min_size=1, max_size=4), min_size=1, max_size=3),
    st.sampled_from([0, _hosts_edit.WHOLE_CHECK_CHARACTERS]))
@settings(derandomize=True, max_examples=250, deadline=None)
def test_the_tree_differs_in_exactly_the_wanted_paths_and_every_other_byte_is_the_same(text, edits, whole_check):
    try:
        before = _yaml_lines.load(text).root
    except _yaml_lines.YamlError:
        assume(False)
    edits = {name: values for name, values in edits.items() if name in before["hosts"]}
    assume(edits)
    try:
        result = edit(text, edits, whole_check=whole_check)
    except _hosts_edit.HostsEditError:
        return
    after = _yaml_lines.load(result.content.decode()).root
    expected = {name: dict(entry) for name, entry in before["hosts"].items()}
    for name, values in edits.items():
        for key, value in values.items():
            if value is None:
                expected[name].pop(key, None)
            else:
                expected[name][key] = value
    assert _hosts_edit.same(after, {**before, "hosts": expected})
    assert edit(result.content, edits).changes == []

    # Lines that no edit is about are there afterwards, in their order, byte for byte.
    touched = set()
    for change in result.changes:
        start = change["line"] if change["key"] in before["hosts"][change["host"]] else None
        if start:
            touched.update(range(start, start + 5))
    untouched = [line for number, line in enumerate(text.encode().splitlines(keepends=True), 1) if number not in touched]
    remaining = iter(result.content.splitlines(keepends=True))
    if not text.endswith("\n"):
        untouched = untouched[:-1]
    assert all(line in remaining for line in untouched)


@given(documents(), st.dictionaries(st.sampled_from(["role", "status", "brand_new"]), st.sampled_from(["x", "y z", True, 7]), min_size=1))
@settings(derandomize=True, max_examples=80, deadline=None)
def test_plain_edits_are_hardly_ever_refused(text, values):
    try:
        before = _yaml_lines.load(text).root
    except _yaml_lines.YamlError:
        assume(False)
    # A list or mapping cannot be replaced by a word, and text that ends with the file cannot get a line below it.
    assume(not any(isinstance(before["hosts"]["h0"].get(key), (dict, list)) for key in values))
    assume(text.endswith("\n"))
    assert edit(text, {"h0": values}).changes or all(before["hosts"]["h0"].get(key) == value for key, value in values.items())


def test_checking_only_what_was_touched_finds_what_checking_all_finds(monkeypatch):
    """A splice at the wrong place must be noticed in either way."""
    genuine = _hosts_edit._replacement

    def misplaced(text, member, value):
        start, end, replacement = genuine(text, member, value)
        return start - 2, end, replacement

    monkeypatch.setattr(_hosts_edit, "_replacement", misplaced)
    for whole_check in (0, _hosts_edit.WHOLE_CHECK_CHARACTERS):
        with pytest.raises(_hosts_edit.HostsEditError):
            edit(FILE, {"alpha": {"ssh_host": "203.0.113.9"}}, whole_check=whole_check)


@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
def test_both_parsers_say_the_same(loader, monkeypatch):
    monkeypatch.setattr(_yaml_lines, "Loader", loader)
    result = edited(FILE, {"alpha": {"role": "x", "note": None, "new": 1}, "beta": {"tags": None, "n": 2}, "gamma": {"role": "y"}})
    assert result == FILE.replace("'coordinator'", "'x'").replace("    note: |\n      two\n      lines\n", "").replace(
        "      data: /mnt\n", "      data: /mnt\n    new: 1\n").replace("        tags:\n        - x\n        - y\n", "        n: 2\n").replace('"old"', '"y"')
