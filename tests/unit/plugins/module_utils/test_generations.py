# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.ringrift.p2p.plugins.module_utils import _generations
from ansible_collections.ringrift.p2p.plugins.module_utils._generations import GenerationError, Store
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture
def etc(tmp_path):
    folder = tmp_path / "etc"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "state"))


def tree(folder):
    """Everything below a folder: path to (kind, content or target, mode)."""
    found = {}
    for root, folders, names in os.walk(str(folder)):
        for name in folders + names:
            path = os.path.join(root, name)
            if os.path.islink(path):
                found[path] = ("link", os.readlink(path))
            elif os.path.isfile(path):
                with open(path, "rb") as handle:
                    found[path] = ("file", handle.read(), os.stat(path).st_mode & 0o7777)
    return found


def entry(path, content, **more):
    return dict(path=str(path), content=content, **more)


def actions(result):
    return {os.path.basename(item["path"]): item["action"] for item in result["files"]}


def test_a_generation_writes_changes_and_removes_and_says_so(etc, store):
    (etc / "kept").write_text("same\n")
    (etc / "kept").chmod(0o644)
    (etc / "old").write_text("before\n")
    (etc / "drop-in.conf").write_text("[Service]\n")
    files = [entry(etc / "new", "one\n", mode="0640"), entry(etc / "old", "after\n"), entry(etc / "kept", "same\n")]
    result = store.present(files, [str(etc / "drop-in.conf")], "g1")
    assert result["changed"] and result["generation"] == "g1" and result["previous"] is None
    assert actions(result) == {"new": "created", "old": "changed", "kept": "unchanged", "drop-in.conf": "removed"}
    assert (etc / "new").read_text() == "one\n" and (etc / "new").stat().st_mode & 0o777 == 0o640
    assert (etc / "old").read_text() == "after\n"
    assert sorted(os.listdir(str(etc))) == ["kept", "new", "old"]


def test_a_second_run_changes_nothing_and_keeps_no_second_record(etc, store):
    files = [entry(etc / "a", "1\n")]
    store.present(files, (), "g1")
    before = tree(store.folder)
    again = store.present(files, (), "g1")
    assert not again["changed"] and again["generation"] == "g1" and again["diff"] == []
    assert tree(store.folder) == before


def test_check_mode_predicts_what_the_run_does_and_leaves_no_trace(tmp_path, etc, store):
    (etc / "old").write_text("before\n")
    files = [entry(etc / "deep" / "er" / "new", "x\n"), entry(etc / "old", "after\n"), {"path": str(etc / "current"), "link": "not-yet-there"}]
    before = tree(tmp_path)
    predicted = store.present(files, (), "g1", check=True)
    assert tree(tmp_path) == before and not os.path.exists(store.folder)
    (etc / "not-yet-there").mkdir()
    assert store.present(files, (), "g1") == predicted


def test_back_and_back_again_restores_contents_modes_links_and_absence(etc, store):
    (etc / "old").write_bytes(b"\x00binary\xff")
    (etc / "old").chmod(0o604)
    os.symlink("r1", str(etc / "link"))
    (etc / "r1").mkdir()
    (etc / "r2").mkdir()
    start = tree(etc)
    store.present([entry(etc / "old", "1\n"), entry(etc / "link", "file now\n"), {"path": str(etc / "current"), "link": "r1"}], (), "g1")
    middle = tree(etc)
    store.present([entry(etc / "old", "2\n"), entry(etc / "link", "file now\n"), {"path": str(etc / "current"), "link": "r2"}], (), "g2")
    assert tree(etc) != middle
    back = store.rolled_back()
    assert back["changed"] and back["generation"] == "g1" and tree(etc) == middle
    back = store.rolled_back()
    assert back["changed"] and back["generation"] is None and tree(etc) == start
    assert not store.rolled_back()["changed"]


def test_a_way_back_through_a_link_that_leads_nowhere_is_refused_by_name(etc, store):
    (etc / "r1").mkdir()
    os.symlink("r1", str(etc / "current"))
    store.present([entry(etc / "current", "x\n"), entry(etc / "other", "y\n")], (), "g1")
    (etc / "r1").rmdir()
    before = tree(etc)
    with pytest.raises(GenerationError, match="led to r1, which is gone"):
        store.rolled_back()
    assert tree(etc) == before


def test_rolling_back_a_named_generation_twice_goes_back_once(etc, store):
    store.present([entry(etc / "a", "1\n")], (), "g1")
    store.present([entry(etc / "a", "2\n")], (), "g2")
    assert store.rolled_back("g2", check=True)["changed"] and (etc / "a").read_text() == "2\n"
    assert store.rolled_back("g2")["changed"]
    assert not store.rolled_back("g2")["changed"]
    assert (etc / "a").read_text() == "1\n"


def test_going_back_tells_how_things_stood_then(etc, store):
    path = str(etc / "node.conf")
    store.present([{"path": path, "content": "one\n"}], generation="first", situation={"connected": False})
    store.present([{"path": path, "content": "two\n"}], generation="second", situation={"connected": True})
    assert store.rolled_back(check=True)["situation"] == {"connected": True}
    assert store.rolled_back()["situation"] == {"connected": True}
    assert store.rolled_back()["situation"] == {"connected": False}


def test_a_hand_edit_made_since_is_kept_when_going_back(etc, store):
    (etc / "a").write_text("origin\n")
    store.present([entry(etc / "a", "1\n")], (), "g1")
    (etc / "a").write_text("edited by hand\n")
    store.rolled_back()
    assert (etc / "a").read_text() == "origin\n"
    kept = [value[1] for path, value in tree(store.folder).items() if "/blobs/" in path]
    assert b"edited by hand\n" in kept


def test_absent_goes_back_to_before_the_first_even_when_that_record_is_forgotten(etc, store):
    (etc / "a").write_text("origin\n")
    for number in range(6):
        store.present([entry(etc / "a", "%d\n" % number), entry(etc / ("only-%d" % number), "x\n")], (), "g%d" % number, keep=2)
    assert len(os.listdir(os.path.join(store.folder, "records"))) == 2
    assert store.absent(check=True)["changed"] and (etc / "a").read_text() == "5\n"
    result = store.absent()
    assert result["changed"] and result["generation"] is None
    assert {os.path.basename(path): value[1] for path, value in tree(etc).items()} == {"a": b"origin\n"}
    assert not store.absent()["changed"]
    assert store.present([entry(etc / "a", "again\n")], (), "g9")["previous"] is None


def test_contents_nobody_refers_to_are_forgotten_with_their_record(etc, store):
    for number in range(9):
        store.present([entry(etc / "a", "%d\n" % number)], (), "g%d" % number, keep=3)
    kept = sorted(value[1] for path, value in tree(store.folder).items() if "/blobs/" in path)
    assert kept == [b"5\n", b"6\n", b"7\n", b"8\n"]


def test_all_faults_are_told_at_once_with_place_and_nothing_is_written(etc, store):
    (etc / "folder").mkdir()
    with pytest.raises(GenerationError) as caught:
        store.present(
            [entry("relative", "x"), entry(etc / "twice", "x"), entry(etc / "twice", "y"), {"path": str(etc / "nothing")}, entry(etc / "m", "x", mode="rw")],
            ["%s/../a" % etc],
        )
    assert len(caught.value.faults) == 5
    with pytest.raises(GenerationError) as caught:
        store.present([entry(etc / "folder", "x"), entry(etc / "o", "x", owner="nobody-of-that-name"), {"path": str(etc / "l"), "link": "gone"},
                       entry(etc / "b", "x")])
    assert [fault.split(" ")[0].rstrip(":") for fault in caught.value.faults] == [str(etc / name) for name in ("folder", "o", "l")]
    assert os.listdir(str(etc)) == ["folder"]


@pytest.mark.parametrize("failing", range(7))
def test_whatever_step_fails_everything_is_as_it_was(etc, store, monkeypatch, failing):
    (etc / "a").write_text("a before\n")
    (etc / "c").write_text("c before\n")
    before = tree(etc)
    steps = []
    for name in ("_stage", "_land"):

        def step(*given, real=getattr(store, name)):
            steps.append(given)
            if len(steps) == failing + 1:
                raise OSError(28, "No space left on device")
            return real(*given)

        monkeypatch.setattr(store, name, step)
    files = [entry(etc / "a", "a after\n"), entry(etc / "b", "b after\n")]
    if failing == 6:
        store.present(files, [str(etc / "c")], "g1")
        assert len(steps) == 6
    else:
        with pytest.raises(GenerationError, match="No space left on device; nothing was changed"):
            store.present(files, [str(etc / "c")], "g1")
        assert tree(etc) == before
        assert not os.path.exists(os.path.join(store.folder, "journal.json"))


def test_a_run_that_died_half_way_is_undone_by_the_next(etc, store):
    (etc / "a").write_text("a before\n")
    child = os.fork()
    if child == 0:
        store.finish = lambda paths: os._exit(9)
        store.present([entry(etc / "a", "half\n"), entry(etc / "b", "half\n")], (), "g1")
        os._exit(0)
    assert os.waitpid(child, 0)[1] >> 8 == 9
    assert (etc / "a").read_text() == "half\n"
    fresh = Store(store.folder)
    with pytest.raises(GenerationError, match="died while it changed files"):
        fresh.present([], check=True)
    result = fresh.present([entry(etc / "c", "new\n")], (), "g2")
    assert result["previous"] is None
    assert {os.path.basename(path): value[1] for path, value in tree(etc).items()} == {"a": b"a before\n", "c": b"new\n"}


def test_a_refused_finish_undoes_the_files(etc, store):
    def refuse(paths):
        raise GenerationError("systemctl daemon-reload ended with 1")

    store.finish = refuse
    with pytest.raises(GenerationError, match="daemon-reload"):
        store.present([entry(etc / "a", "x\n")], (), "g1")
    assert os.listdir(str(etc)) == []


def test_a_second_writer_is_refused(etc, store):
    with store._held(False):
        with pytest.raises(GenerationError, match="another run is changing"):
            Store(store.folder).present([entry(etc / "a", "x\n")])


def test_folders_made_on_the_way_belong_to_the_owner_of_their_parent(tmp_path, store):
    home = tmp_path / "home"
    home.mkdir()
    os.chown(str(home), 1234, 1235)
    store.present([entry(home / "x" / "config" / "hosts.yaml", "hosts: {}\n", owner="1234")])
    for path in (home / "x", home / "x" / "config"):
        assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777) == (1234, 1235, 0o755)
    assert (home / "x" / "config" / "hosts.yaml").stat().st_uid == 1234


def test_secrets_are_private_and_never_shown(etc, store):
    (etc / "token").write_text("the old one\n")
    (etc / "node.conf").write_text("RINGRIFT_CLUSTER_AUTH_TOKEN=abcdef\nRINGRIFT_CLUSTER_AUTH_TOKEN_FILE=/etc/x\nA=1\n")
    result = store.present([{"path": str(etc / "token"), "secret": "the new one\n"}, entry(etc / "node.conf", "A=2\n")], (), "g1")
    assert (etc / "token").stat().st_mode & 0o777 == 0o600
    for shown in (result, store.rolled_back()):
        text = json.dumps(shown["diff"])
        assert "the old one" not in text and "the new one" not in text and "abcdef" not in text
        assert "/etc/x" in text and "A=2" in text
    modes = {value[2] if len(value) > 2 else None for path, value in tree(store.folder).items()}
    assert modes == {0o600} and os.stat(store.folder).st_mode & 0o777 == 0o700


def test_a_long_file_is_shown_by_digest_where_that_is_asked_for(etc, store):
    (difference,) = store.present([entry(etc / "tool.py", "line\n" * 1000, brief=True)])["diff"]
    assert difference["before"] == "" and difference["after"] == "(sha256 %s)\n" % _generations.digest(b"line\n" * 1000)


def test_links_are_compared_by_where_they_lead(etc, store):
    (etc / "wants").mkdir()
    (etc / "x.service").write_text("")
    os.symlink("../x.service", str(etc / "wants" / "x.service"))
    assert not store.present([{"path": str(etc / "wants" / "x.service"), "link": str(etc / "x.service")}])["changed"]


def test_a_link_may_lead_to_a_file_of_its_own_generation(etc, store):
    store.present([{"path": str(etc / "wants" / "x.service"), "link": "../x.service"}, entry(etc / "x.service", "[Unit]\n")])
    assert (etc / "wants" / "x.service").read_text() == "[Unit]\n"


def test_units_make_systemd_read_again():
    assert _generations.needs_daemon_reload(["/etc/a", "/etc/systemd/system/x.service.d/y.conf"])
    assert not _generations.needs_daemon_reload(["/etc/systemd/journald.conf", "/etc/ringrift/node.conf"])


ON_START = """#!/bin/bash
env >> /etc/environment
if [ -d /workspace ]; then
    nohup python scripts/p2p_orchestrator.py \\
        --node-id x > /tmp/p2p.log 2>&1 &
fi
# p2p_orchestrator.py is started above
touch /root/ready
"""


def test_an_edit_leaves_a_script_valid_and_everything_else_in_it(etc, store, tmp_path):
    script = etc / "onstart.sh"
    script.write_text(ON_START)
    script.chmod(0o700)
    edit = {"path": str(script), "block": "/etc/ringrift/on-start", "disable_lines": [r"p2p_orchestrator\.py"], "disable_as": "command", "mode": "0755"}
    result = store.present([edit], (), "g1")
    text = script.read_text()
    assert result["changed"] and script.stat().st_mode & 0o777 == 0o700
    assert text.count(": # ringrift.p2p disabled: ") == 2
    assert "# p2p_orchestrator.py is started above\n" in text and "touch /root/ready\n" in text
    assert text.startswith("#!/bin/bash\n# BEGIN ringrift.p2p\n/etc/ringrift/on-start\n# END ringrift.p2p\nenv >>")
    assert os.system("sh -n %s" % script) == 0
    assert not store.present([edit], (), "g1")["changed"]
    store.rolled_back()
    assert script.read_text() == ON_START


def test_an_edit_of_a_missing_file_makes_a_script_or_nothing(etc, store):
    disable = {"path": str(etc / ".env.local"), "disable_lines": ["^RINGRIFT_IS_COORDINATOR="]}
    assert not store.present([disable])["changed"]
    store.present([{"path": str(etc / "hook"), "block": "x"}])
    assert (etc / "hook").read_text() == "#!/bin/sh\n# BEGIN ringrift.p2p\nx\n# END ringrift.p2p\n"
    assert os.access(str(etc / "hook"), os.X_OK)


LINES = st.lists(st.sampled_from(["", "a", "b \\", "# c", "  run me", "run me &", ": # ringrift.p2p disabled: run me", "\ttail"]), max_size=12)


def without_our_marks(text, block=None):
    lines = text.splitlines()
    if block:
        added = ["# BEGIN ringrift.p2p"] + block.splitlines() + ["# END ringrift.p2p"]
        assert lines[: len(added)] == added
        lines = lines[len(added):]
    return [line.replace(": # ringrift.p2p disabled: ", "").replace("# ringrift.p2p disabled: ", "") for line in lines]


@settings(derandomize=True, max_examples=200)
@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.sampled_from(["comment", "command"]), st.sampled_from([None, "", "hook", "two\nlines"]))
def test_edits_are_stable_and_keep_every_line_that_is_not_theirs(lines, newline, ended, style, block):
    text = newline.join(lines) + (newline if ended and lines else "")
    edited = _generations.edit_text(text, block, ["run me"], style)
    assert _generations.edit_text(edited, block, ["run me"], style) == edited
    assert without_our_marks(edited, block) == without_our_marks(text)


CONTENTS = st.dictionaries(st.sampled_from(["a", "b", "c", "d/e"]), st.sampled_from(["1\n", "2\n", ""]), max_size=4)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.lists(CONTENTS, min_size=1, max_size=4))
def test_any_way_forward_leads_back_step_by_step(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("any")
    etc, store = folder / "etc", Store(str(folder / "state"))
    etc.mkdir()
    stages = []
    for number, contents in enumerate(steps):
        before = tree(etc)
        remove = [str(etc / name) for name in ("a", "b") if name not in contents]
        if store.present([entry(etc / name, text) for name, text in contents.items()], remove, "g%d" % number)["changed"]:
            stages.append(before)
    for before in reversed(stages):
        store.rolled_back()
        assert tree(etc) == before
