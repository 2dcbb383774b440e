# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The promise itself, in short: all voters are restarted one after the other while an observer watches from outside."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import shlex
import subprocess
import sys

import pytest
from ansible_collections.ringrift.p2p.plugins.modules import orchestrator_service

HERE = pathlib.Path(__file__).parent
SPECIFICATION = importlib.util.spec_from_file_location("rolling_observer", HERE.parents[1] / "chaos" / "observer.py")
observer = importlib.util.module_from_spec(SPECIFICATION)
sys.modules[SPECIFICATION.name] = observer
SPECIFICATION.loader.exec_module(observer)


@pytest.fixture
def roll(cluster, run_module, monkeypatch):
    """Three voters, each under a service manager of its own; calling it restarts them in turn and tells what was seen meanwhile."""
    three = cluster("abc", start=False)
    tools = three.folder / "tools"
    tools.mkdir()
    (tools / "systemctl").symlink_to(HERE / "systemctl")
    (tools / "journalctl").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")

    def on(name):
        folder = three.folder / f"node-{name}"
        folder.mkdir(exist_ok=True)
        monkeypatch.setenv("STANDIN_FOLDER", str(folder))
        monkeypatch.setenv("STANDIN_COMMAND", shlex.join(three.command(name)))
        return folder

    for name in "abc":
        on(name)
        subprocess.run(["systemctl", "start", "ringrift-p2p.service"], check=True)
        three.wait(name)

    def call(guard_timeout=10):
        watched = observer.Observer({name: where[0] for name, where in three.endpoints.items()}).start()
        answers = {}
        for name in "abc":
            on(name)
            answers[name] = run_module(
                orchestrator_service,
                manager="systemd",
                state="restarted",
                node_id=name,
                port=three.ports[name],
                voters=["a", "b", "c"],
                endpoints=three.endpoints,
                window=1.2,
                interval=0.2,
                guard_timeout=guard_timeout,
                request_timeout=1,
                token_file="/nonexistent",
            )
        return answers, watched.stop()

    call.cluster, call.on = three, on
    yield call
    for name in "abc":
        pid = on(name) / "unit.pid"
        subprocess.run(["kill", "-KILL", pid.read_text().strip()], stderr=subprocess.DEVNULL, check=False)


def take_down(roll, name):
    roll.on(name)
    subprocess.run(["systemctl", "stop", "ringrift-p2p.service"], check=True)


def test_every_voter_is_restarted_and_the_majority_is_never_lost(roll):
    answers, seen = roll()
    assert all(answer["changed"] and answer["joined_after"] is not None for answer in answers.values()), answers
    assert seen["rate"] >= 10
    assert seen["seconds_without_majority"] == 0 and seen["seconds_with_two_leaders"] == 0


def test_with_a_voter_down_nothing_is_stopped(roll):
    take_down(roll, "c")
    answers, seen = roll(guard_timeout=2)
    assert [answers[name].get("failed_at") for name in "ab"] == ["guard", "guard"]
    # The one that is down needs no guard, and is what brings the tolerance back.
    assert answers["c"]["changed"] and not answers["c"].get("failed")
    assert seen["seconds_without_majority"] == 0


def test_the_same_without_the_guard_costs_the_majority(roll, monkeypatch):
    """What shows that the test above can fail: the guard's answer is replaced, for this test only."""
    allowed = {"allowed": True, "reason": None, "evidence": [], "alive": [], "majority": 2, "leader": None}
    monkeypatch.setattr(orchestrator_service, "may_stop", lambda *unused: allowed)
    take_down(roll, "c")
    unused, seen = roll()
    assert seen["seconds_without_majority"] > 0
