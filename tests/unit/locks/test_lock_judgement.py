# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pure parts of the lock guard: parsers, the identity of processes, and rules that need no real host to be shown."""

from __future__ import annotations

import fcntl
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ringrift.p2p.plugins.module_utils import _lock_guard as guard

NOW = 1_800_000_000.0
VERDICTS = {"free", "held", "stale", "foreign", "unreadable", "not_a_lock"}


def process(pid=100, **facts):
    return {
        "pid": pid, "exists": True, "readable": True, "thread_of": None, "state": "S", "threads": 30, "kernel_thread": False, "ppid": 1, "start_ticks": 5000,
        "started_at": NOW - 1000, "argv": ["python3", "p2p_orchestrator.py"], "executable": "/usr/bin/python3.11", "cgroup": "0::/", "holds_lock": False,
        "kind": "orchestrator", **facts,
    }


def context(*processes, **facts):
    return {
        "hostname": "here", "boot_id": "boot", "pid_namespace": "pid:[1]", "own_pids": [1, 2], "now": NOW, "port": 8770, "port_answers": False,
        "expected_uids": [0], "flocks": {"orchestrator": "absent", "manager": "absent"}, "processes": {item["pid"]: item for item in processes}, **facts,
    }


def observation(content, name=guard.CLAIM, **facts):
    formats = {"lock": "flock", "pid": "pid"}
    return {
        "path": "/c/" + name, "folder": "/c", "name": name, "format": "json" if name == guard.CLAIM else formats.get(name.rpartition(".")[2], "other"),
        "kind": "regular", "protected": False, "size": len(content), "uid": 0, "gid": 0, "mode": 0o644, "links": 1, "mtime": NOW - 500, "device": 1, "inode": 1,
        "version": [1, 1, len(content), 1], "content": content, "flock": None, "flock_error": None, "error": None, "settled": True, "network": False, **facts,
    }


def claim(**keys):
    return json.dumps({"managed_by": "manual", "pid": 100, **keys}).encode()


def verdict(*arguments):
    return guard.judge(*arguments)["verdict"]


@pytest.mark.parametrize(("facts", "expected"), [
    ({}, "held"),
    ({"started_at": NOW - 499}, "held"),
    ({"started_at": NOW - 497}, "stale"),
    ({"state": "Z", "threads": 1}, "stale"),
    ({"state": "Z"}, "held"),
    ({"state": "X", "threads": 1}, "stale"),
    ({"kernel_thread": True, "argv": [], "kind": None}, "stale"),
    ({"argv": [], "kind": None}, "held"),
    ({"argv": None, "kind": None}, "held"),
    ({"argv": ["sleep"], "kind": None}, "stale"),
    ({"kind": "manager"}, "held"),
    ({"thread_of": 99}, "stale"),
    ({"readable": False}, "held"),
    ({"exists": False}, "stale"),
])
def test_a_claim_without_any_flock_is_judged_by_its_owner(facts, expected):
    assert verdict(observation(claim()), context(process(**facts))) == expected


def test_own_pid_and_ancestors_own_nothing_but_a_manager_that_starts_the_guard_does():
    assert verdict(observation(claim(pid=2)), context(process(2))) == "stale"
    assert verdict(observation(claim(pid=2)), context(process(2, kind="manager"))) == "held"


def test_own_process_is_no_owner_for_real(tmp_path):
    (tmp_path / guard.CLAIM).write_bytes(claim(pid=os.getpid()))
    seen = guard.observe(str(tmp_path), paths=[], port=None)
    assert verdict(seen["files"][0], seen["context"]) == "stale"


def test_a_live_owner_that_has_an_unlinked_lock_open_keeps_its_claim():
    # A script has removed the lock file, and another start has made a new one, which nobody holds.
    free = {"orchestrator": "free", "manager": "absent"}
    assert verdict(observation(claim()), context(process(holds_lock=True), flocks=free)) == "held"
    assert verdict(observation(claim()), context(process(holds_lock=False), flocks=free)) == "stale"


def test_on_a_network_file_system_a_dead_pid_proves_nothing_unless_the_claim_names_this_host():
    dead = context({"pid": 100, "exists": False, "readable": False})
    assert verdict(observation(claim(), network=True), dead) == "foreign"
    assert verdict(observation(claim(hostname="here"), network=True), dead) == "stale"
    assert verdict(observation(claim(boot_id="other"), network=True), dead) == "foreign"
    assert verdict(observation(claim(hostname="here", boot_id="other"), network=True), dead) == "stale"


def test_a_free_flock_says_nothing_about_another_host():
    free = {"orchestrator": "free", "manager": "absent"}
    assert verdict(observation(claim(hostname="there")), context(flocks=free)) == "foreign"


def test_an_answer_on_the_port_outweighs_a_free_flock():
    free = {"orchestrator": "free", "manager": "free"}
    gone = {"pid": 100, "exists": False, "readable": False}
    assert verdict(observation(claim()), context(gone, flocks=free, port_answers=True)) == "held"


def test_a_claim_of_a_hidden_manager_is_not_freed_by_the_orchestrators_flock():
    hidden = {"pid": 100, "exists": True, "readable": False}
    free = {"orchestrator": "free", "manager": "absent"}
    assert verdict(observation(claim(managed_by="master_loop")), context(hidden, flocks=free)) == "held"
    assert verdict(observation(claim(managed_by="manual")), context(hidden, flocks=free)) == "stale"
    assert verdict(observation(claim(managed_by="master_loop")), context(hidden, flocks={"orchestrator": "free", "manager": "free"})) == "stale"


def test_the_orchestrators_flock_says_nothing_about_claims_elsewhere():
    held = {"orchestrator": "held", "manager": "absent"}
    gone = {"pid": 100, "exists": False, "readable": False}
    assert verdict(observation(claim(), "p2p_other.json"), context(gone, flocks=held)) == "stale"


@pytest.mark.parametrize(("argv", "executable", "expected"), [
    (["python3", "scripts/p2p_orchestrator.py", "--port", "8770"], "/usr/bin/python3.11", "orchestrator"),
    (["python", "-u", "-X", "dev", "-W", "ignore", "/a/p2p_orchestrator.py"], "/usr/bin/python3.11", "orchestrator"),
    (["python", "-uB", "/a/p2p_orchestrator.py"], None, "orchestrator"),
    (["python", "-m", "scripts.p2p_orchestrator"], None, "orchestrator"),
    (["python", "-um", "scripts.p2p_orchestrator"], None, "orchestrator"),
    (["renamed", "p2p_orchestrator.py"], "/opt/venv/bin/python3 (deleted)", "orchestrator"),
    (["python", "--", "p2p_orchestrator.py"], None, "orchestrator"),
    (["python3", "scripts/master_loop.py"], None, "manager"),
    (["python3", "scripts/p2p/p2p_supervisor.py"], None, "manager"),
    (["/bin/bash", "/root/p2p_keepalive.sh"], "/usr/bin/bash", "manager"),
    (["bash", "-eu", "-o", "pipefail", "/root/p2p-watchdog.sh"], None, "manager"),
    (["/usr/local/bin/ringrift-watchdog"], "/usr/local/bin/ringrift-watchdog", "manager"),
    (["vim", "scripts/p2p_orchestrator.py"], "/usr/bin/vim", None),
    (["python3", "-m", "pdb", "p2p_orchestrator.py"], None, None),
    (["python3", "-c", "import time", "p2p_orchestrator.py"], None, None),
    (["python3", "-um", "pylint", "p2p_orchestrator.py"], None, None),
    (["python3", "/usr/bin/pytest", "test_p2p_orchestrator.py"], None, None),
    (["python3", "old_p2p_orchestrator.py"], None, None),
    (["bash", "-c", "python3 scripts/p2p_orchestrator.py"], "/usr/bin/bash", None),
    (["bash", "-ec", "exec p2p_keepalive.sh"], None, None),
    (["sh", "p2p_orchestrator.py"], "/usr/bin/dash", None),
    (["sudo", "python3", "p2p_orchestrator.py"], "/usr/bin/sudo", None),
    (["python3", "p2p_orchestrator.py"], "/usr/bin/vim", None),
    (["tail", "-f", "p2p_keepalive.sh"], None, None),
    (["python3", "-"], None, None),
    (["python3"], None, None),
    ([], None, None),
    (None, None, None),
])
def test_what_a_process_is_comes_from_what_it_runs(argv, executable, expected):
    assert guard.classify({"argv": argv, "executable": executable, "cgroup": "0::/user.slice"}) == expected


def test_a_process_that_renamed_itself_is_known_by_its_cgroup():
    renamed = {"argv": ["ringrift: hetzner-cpu1"], "executable": "/usr/bin/python3.11", "cgroup": "0::/system.slice/ringrift-p2p.service"}
    assert guard.classify(renamed) == "orchestrator"
    assert guard.classify({**renamed, "cgroup": "0::/system.slice/ringrift-p2p.service.d"}) is None


def test_another_script_name_can_be_given():
    own = {"argv": ["python3", "node.py"], "executable": None, "cgroup": None}
    assert guard.classify(own, r"node\.py") == "orchestrator"
    assert guard.classify(own) is None


def test_a_line_of_proc_stat_is_read_past_any_command_name():
    line = b"7 (a) R 1) S) S 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 31 0 987654 1 2"
    assert guard.parse_stat(line) == {"state": "S", "ppid": 3, "kernel_thread": False, "threads": 31, "start_ticks": 987654}


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_parsers_take_any_bytes(content):
    assert guard.parse_pid(content) is None or guard.parse_pid(content) >= 0
    assert guard.parse_claim(content) is None
    assert guard.parse_stat(content) is None or "state" in guard.parse_stat(content)
    assert all(isinstance(word, str) for word in guard.parse_arguments(content))
    assert guard.classify({"argv": guard.parse_arguments(content), "executable": None, "cgroup": None}) in (None, "orchestrator", "manager")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner), max_leaves=5)
_NAMES = st.sampled_from(["pid", "managed_by", "start_ticks", "boot_id", "pid_namespace", "hostname", "host", "started_at"])


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    st.dictionaries(_NAMES, st.sampled_from(["here", "boot", "pid:[1]", "none", "manual", "master_loop", 0, 100, -1, 5000, 2 ** 64]) | _JSON),
    st.integers(0, 400), st.booleans(), st.sampled_from(["held", "free", "absent", "unknown"]),
    st.sampled_from([guard.CLAIM, "p2p_x.pid", "p2p_x.lock", "p2p_x.json"]),
)
def test_any_claim_gets_a_verdict_with_a_reason_and_a_sign_of_life_outweighs_what_it_says(data, cut, answers, flock, name):
    content = json.dumps(data).encode()
    seen = observation(content[:cut] if cut < 300 else content, name, flock="held" if flock == "held" else "free", flock_error=None)
    facts = context(process(), port_answers=answers, flocks={"orchestrator": flock, "manager": "absent"})
    judged = guard.judge(seen, facts)
    assert judged["verdict"] in VERDICTS
    assert judged["reason"]
    owner = guard.parse_claim(seen["content"])
    supervised = name == guard.CLAIM and owner is not None and owner["managed_by"] != "none"
    if supervised and (answers or flock == "held"):
        assert judged["verdict"] == "held"


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.sampled_from([guard.CLAIM, "p2p.pid", "p2p_x.json", "p2p_x", guard.ORCHESTRATOR_LOCK]))
def test_a_check_and_a_run_take_any_file(tmp_path_factory, content, name):
    folder = tmp_path_factory.mktemp("any")
    (folder / name).write_bytes(content)
    arguments = {"coordination_dir": str(folder), "logs_dir": str(folder), "paths": [str(folder / "p2p_*")], "port": None, "settle": 0,
                 "quarantine_dir": str(folder / "kept")}
    predicted = guard.clean(check=True, **arguments)
    assert (folder / name).read_bytes() == content
    assert guard.clean(**arguments) == predicted


def test_reading_a_field_claim_is_exact():
    content = b'\xef\xbb\xbf{"managed_by": "manual", "pid": 4711, "started_at": "2026-01-25T10:00:00Z", "last_health_check": "2026-01-25T10:00:00Z"}\n'
    assert guard.parse_claim(content) == {
        "pid": 4711, "managed_by": "manual", "start_ticks": None, "boot_id": None, "pid_namespace": None, "hostname": None}
    assert guard.parse_pid(b"4711") == guard.parse_pid(b"4711\n") == 4711


def test_the_free_form_is_free_for_the_field_too():
    free = json.loads(guard.free_claim(NOW))
    assert (free["managed_by"], free["pid"]) == ("none", 0)
    assert free.keys() == {"managed_by", "pid", "started_at", "last_health_check"}
    assert verdict(observation(guard.free_claim(NOW)), context()) == "free"


def test_the_start_up_guard_says_one_line_for_each_verdict(tmp_path, capsys):
    coordination = tmp_path / "coordination"
    coordination.mkdir()
    (coordination / guard.CLAIM).write_bytes(claim(pid=guard.PID_LIMIT))
    (coordination / guard.ORCHESTRATOR_LOCK).write_bytes(b"1")
    arguments = ["--coordination-dir", str(coordination), "--path", str(tmp_path / "none"), "--port", "1", "--quarantine-dir", str(tmp_path / "kept")]
    assert guard.main([*arguments, "--check", "--node", "vast-1"]) == 0
    assert guard.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "lock_guard[vast-1]: stale %s: PID %d does not exist; would be reset" % (coordination / guard.CLAIM, guard.PID_LIMIT)
    assert [line.split(": ", 1)[1].split(" ", 1)[0] for line in lines] == ["stale", "free", "stale", "free"]


def test_being_strict_says_when_a_start_would_be_refused(tmp_path):
    lock = tmp_path / guard.ORCHESTRATOR_LOCK
    arguments = ["--coordination-dir", str(tmp_path), "--path", str(tmp_path / "none"), "--port", "1", "--strict"]
    with lock.open("w") as stream:
        assert guard.main(arguments) == 0
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert guard.main(arguments) == 3
    (tmp_path / guard.CLAIM).write_bytes(claim(pid=guard.PID_LIMIT))
    (tmp_path / "file").touch()
    assert guard.main([*arguments, "--quarantine-dir", str(tmp_path / "file")]) == 1


@pytest.mark.parametrize("wrong", [["--port", "0"], ["--port", "x"], ["--settle", "-1"], ["--settle", "nan"], ["--process-pattern", "("]])
def test_wrong_arguments_are_refused_by_name(tmp_path, capsys, wrong):
    with pytest.raises(SystemExit) as refused:
        guard.main(["--coordination-dir", str(tmp_path), *wrong])
    assert refused.value.code == 2
    assert wrong[0] in capsys.readouterr().err
