# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SOURCE = 'import os\n\nBOOTSTRAP_SEEDS: list[str] = [\n    "100.64.0.40:8770",  # hetzner-cpu1\n]\n'
WANTED = SOURCE.replace("[\n", '[\n    "203.0.113.60:8770",\n    "203.0.113.40:8770",\n')
SEEDS = ["203.0.113.60:8770", "203.0.113.40:8770"]
COLLECTIONS = os.path.abspath(__file__).partition(os.path.join("ringrift", "p2p", "tests"))[0]
if not COLLECTIONS.endswith("ansible_collections" + os.sep):
    COLLECTIONS = os.path.join(os.path.abspath(__file__).partition(os.sep + "tests" + os.sep)[0], "playbooks", "collections", "ansible_collections")


def run(check=False, diff=False, **arguments):
    """The module in a process of its own, as on a node; its result."""
    arguments.setdefault("seeds", SEEDS)
    arguments.update(_ansible_check_mode=check, _ansible_diff=diff)
    done = subprocess.run(
        [sys.executable, "-m", "ansible_collections.ringrift.p2p.plugins.modules.bootstrap_seeds"], input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True, text=True, check=False, env=dict(os.environ, PYTHONPATH=os.path.dirname(COLLECTIONS.rstrip(os.sep))))
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "p2p_orchestrator.py"
    path.write_text(SOURCE)
    path.chmod(0o754)
    return path


def test_seeds_are_written_once_and_the_file_as_it_was_is_kept(source):
    result = run(path=str(source))
    assert result["changed"] is True
    assert source.read_text() == WANTED
    assert source.stat().st_mode & 0o777 == 0o754
    with open(result["backup_file"], encoding="utf-8") as stream:
        assert stream.read() == SOURCE
    (literal,) = result["literals"]
    assert (literal["line"], literal["before"], literal["entries"], literal["changed"]) == (3, ["100.64.0.40:8770"], SEEDS + ["100.64.0.40:8770"], True)
    again = run(path=str(source))
    assert again["changed"] is False
    assert "backup_file" not in again
    assert len(list(source.parent.iterdir())) == 2


def test_check_mode_shows_the_difference_and_writes_nothing(source):
    result = run(path=str(source), check=True, diff=True)
    assert result["changed"] is True
    assert result["diff"]["before"] == SOURCE
    assert result["diff"]["after"] == WANTED
    assert source.read_text() == SOURCE
    assert list(source.parent.iterdir()) == [source]
    assert run(path=str(source), diff=True, backup=False)["diff"] == result["diff"]
    assert source.read_text() == WANTED


def test_a_link_is_followed_and_stays_a_link(source):
    link = source.parent / "link.py"
    link.symlink_to(source)
    assert run(path=str(link), backup=False)["path"] == str(source)
    assert link.is_symlink()
    assert source.read_text() == WANTED


@pytest.mark.parametrize("text, message", [
    ("x = 1\n", "nothing there gives BOOTSTRAP_SEEDS a value"),
    ("BOOTSTRAP_SEEDS = [s for s in env]\n", "line 1: a list comprehension"),
    ("BOOTSTRAP_SEEDS = [\n", "line 1"),
])
def test_a_file_that_cannot_be_edited_is_named_with_the_reason_and_the_way_out(source, text, message):
    source.write_text(text)
    result = run(path=str(source))
    assert result["failed"] is True
    assert str(source) in result["msg"]
    assert message in result["msg"]
    assert source.read_text() == text


def test_all_faults_of_the_parameters_are_named_at_once(source):
    result = run(path=str(source), seeds=["203.0.113.60", "203.0.113.60:0", "a:1", "a:1", 'x":1'], variable="no name")
    assert result["failed"] is True
    for place in ("seeds[0]", "seeds[1]", "seeds[3]: a:1 stands there twice", "seeds[4]", "variable"):
        assert place in result["msg"]
    assert run(path=str(source), seeds=[])["failed"] is True
    assert "cannot be read" in run(path=str(source.parent / "missing.py"))["msg"]
    assert source.read_text() == SOURCE
