# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from ansible_collections.ringrift.p2p.plugins.module_utils import _lease

CLOCK = {"time": 1000.0, "uptime": 500.0, "boot_id": "boot"}


def holder(run_id="one", **changes):
    made = {
        "run_id": run_id,
        "user": "ops",
        "controller": "desk",
        "machine_id": "m1",
        "boot_id": "b1",
        "pid_namespace": "pid:[1]",
        "pid": 4711,
        "pid_start": 99,
    }
    made.update(changes)
    return made


def lease(owner=None, **changes):
    made = _lease.new_lease(None, "acquire", owner or holder(), CLOCK, 60)
    made.update(changes)
    return made


def later(seconds, **changes):
    return dict({"time": 1000.0 + seconds, "uptime": 500.0 + seconds, "boot_id": "boot"}, **changes)


@pytest.mark.parametrize(
    ("current", "asks", "clock", "dead", "decision"),
    [
        (None, holder("two"), CLOCK, [], "acquire"),
        (lease(), holder("one"), later(10), [], "renew"),
        (lease(), holder("two", pid=4712), later(10), [], "refuse"),
        (lease(), holder("two", pid=4712), later(61), [], "take_over"),
        # A clock that steps frees nothing, the node's own restart is told by its wall clock.
        (lease(), holder("two"), later(10, time=99999.0), [], "refuse"),
        (lease(), holder("two"), later(10, boot_id="next"), [], "refuse"),
        (lease(), holder("two"), later(70, boot_id="next"), [], "take_over"),
        # Proof of death counts from the very system the holder ran on, and for the very process.
        (lease(), holder("two", pid=4712), later(10), [holder()], "take_over"),
        (lease(), holder("two", pid=4712), later(10), [holder(pid_start=98)], "refuse"),
        (lease(), holder("two", machine_id="m2"), later(10), [holder()], "refuse"),
        (lease(), holder("two", boot_id="b2"), later(10), [holder()], "refuse"),
        (lease(), holder("two", pid_namespace="pid:[2]"), later(10), [holder()], "refuse"),
        (lease(holder(pid_start=None)), holder("two"), later(10), [holder(pid_start=None)], "refuse"),
    ],
)
def test_who_gets_the_lease(current, asks, clock, dead, decision):
    assert _lease.decide(current, asks, clock, dead)["decision"] == decision


def test_a_refusal_names_the_run_that_is_at_work():
    reason = _lease.decide(lease(), holder("two", pid=1), later(10))["reason"]
    assert "run one of ops on desk (pid 4711)" in reason and "expires in 50 s" in reason


def test_release_leaves_the_lease_of_another_run():
    assert _lease.decide_release(lease(), "one")["decision"] == "release"
    assert _lease.decide_release(lease(), "two")["decision"] == "keep"
    assert _lease.decide_release(None, "one")["decision"] == "absent"


def test_a_renewal_keeps_the_day_of_the_acquisition():
    renewed = _lease.new_lease(lease(), "renew", holder(), later(30), 60)
    assert renewed["acquired_at"] == 1000.0 and renewed["renewed_at"] == 1030.0 and _lease.expires_in(renewed, later(30)) == 60


def test_all_faults_of_a_holder_come_at_once():
    assert len(_lease.holder_faults({"user": "ops", "run_id": ""})) == 7


def test_the_process_of_a_run_is_told_from_one_that_ended():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        other, own = _lease.identity(child.pid), _lease.identity(os.getpid())
        assert other["run_id"] != own["run_id"] and not _lease.proven_dead(other, own)
        # The same pid with another start is another process.
        assert _lease.proven_dead(dict(other, pid_start=other["pid_start"] - 1), own)
        child.kill()
        time.sleep(0.1)
        # It is a zombie now, and as dead as after that.
        assert _lease.proven_dead(other, own)
        child.wait()
        assert _lease.proven_dead(other, own)
        assert not _lease.proven_dead(dict(other, boot_id="another"), own)
    finally:
        child.kill()
        child.wait()


def test_lease_files(tmp_path):
    path = str(tmp_path / "folder" / "restart.lease")
    with _lease.exclusive(path, 1):
        assert _lease.read_lease(path) is None
        _lease.write_lease(path, lease())
        with pytest.raises(BlockingIOError, match="has not ended within 0.1 s"), _lease.exclusive(path, 0.1):
            raise AssertionError("two at once")
    assert _lease.read_lease(path) == lease()
    assert sorted(os.listdir(tmp_path / "folder")) == ["restart.lease", "restart.lease.flock"]
    (tmp_path / "folder" / "restart.lease").write_text("[]")
    with pytest.raises(ValueError, match="holds no lease"):
        _lease.read_lease(path)
