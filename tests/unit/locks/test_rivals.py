# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rival managers: what counts as one, where it is found, and that disabling is undone byte by byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ringrift.p2p.plugins.module_utils import _processes, _rivals

CRONTAB = """# keepalives
SHELL=/bin/bash
*/5 * * * * root /usr/bin/find /tmp -name 'p2p_*' -mtime +9
* * * * * root /root/ringrift/scripts/p2p_keepalive.sh >> /tmp/p2p.log 2>&1
# * * * * * root /root/ringrift/scripts/p2p_keepalive.sh
@reboot root cd /root/ringrift && nohup python3 scripts/p2p_orchestrator.py &
"""
UNIT = "[Unit]\nDescription=Keep nodes alive\n\n[Service]\nExecStartPre=-/bin/true\nExecStart=/usr/bin/python3 \\\n  /root/node_resilience.py --node x\n"


@pytest.mark.parametrize(("command", "name"), [
    ("/root/p2p_keepalive.sh >/dev/null", "p2p_keepalive.sh"),
    ("flock -n /tmp/x.lock bash -c '/root/p2p_keepalive.sh'", "p2p_keepalive.sh"),
    ("pgrep -f p2p_orchestrator.py || (cd /x && nohup python3 scripts/p2p_orchestrator.py &)", "p2p_orchestrator.py"),
    ("cd /x; venv/bin/python -u -m scripts.master_loop", "master_loop"),
    ("/usr/local/bin/ringrift-watchdog --fast", "ringrift-watchdog"),
    ("/opt/p2p-watchdog.sh", "p2p-watchdog.sh"),
    ("python3 /a/node_resilience.py", "node_resilience.py"),
    ("pkill -9 -f p2p_orchestrator", "p2p_orchestrator"),
    ("systemctl restart ringrift-p2p.service", "restart of ringrift-p2p"),
    ("supervisorctl restart ringrift-p2p", "restart of ringrift-p2p"),
    ("tail -5 /root/p2p_keepalive.sh", None),
    ("grep -c p2p_orchestrator.py /x", None),
    ("chmod +x p2p_keepalive.sh", None),
    ("systemctl status ringrift-p2p", None),
    ("pgrep -f p2p_orchestrator.py > /tmp/count", None),
    ("python3 selfplay.py --log p2p_keepalive.log", None),
    ("find / -name 'p2p_*'", None),
    ("", None),
])
def test_what_a_command_line_does_to_the_orchestrator(command, name):
    assert _rivals.rival_in(command) == name


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_read_without_complaint(text):
    assert _rivals.rival_in(text) is None or _rivals.rival_in(text)
    assert all(rival["line"] >= 1 for rival in _rivals.rival_lines(text))
    for rival in _rivals.rival_lines(text, cron=False):
        changed = _rivals.comment_out(text, rival["line"], rival["text"])
        assert _rivals.rival_lines(changed, cron=False) == [item for item in _rivals.rival_lines(text, cron=False) if item["line"] != rival["line"]]
        assert _rivals.uncomment(changed, rival["text"]) == text


def test_a_loop_given_to_a_shell_is_told_from_one_that_only_watches():
    assert _rivals.loop_in(["bash", "-c", "while true; do pgrep -f p2p_orchestrator.py || python3 p2p_orchestrator.py & sleep 60; done"])
    assert _rivals.loop_in(["bash", "-c", "while true; do tail p2p_keepalive.sh; sleep 1; done"]) is None
    assert _rivals.loop_in(["bash", "-c", "python3 p2p_orchestrator.py"]) is None
    assert _rivals.loop_in(["vim", "-c", "while sleep; python3 p2p_orchestrator.py"]) is None


@pytest.fixture
def host(tmp_path):
    """A node's file system with every kind of rival that has a file."""
    root = tmp_path / "root"
    for path, text in {
        "etc/crontab": CRONTAB, "etc/cron.d/ringrift": "* * * * * root /usr/local/bin/ringrift-watchdog\n", "etc/cron.d/old.dpkg-new": CRONTAB,
        "var/spool/cron/crontabs/ubuntu": "*/2 * * * * python3 ~/node_resilience.py\r\n\xa0last",
        "root/onstart.sh": "#!/bin/sh\nbash /root/p2p_keepalive.sh &\n",
        "etc/rc.local": "#!/bin/sh\n/etc/ringrift/on-start\npython3 master_loop.py\n", "etc/cron.hourly/watch": "#!/bin/sh\nexec /opt/p2p-watchdog.sh\n",
        "etc/systemd/system/ringrift-resilience.service": UNIT, "etc/systemd/system/odd-name.service": UNIT,
        "lib/systemd/system/ringrift-supervisor.service": "[Service]\nExecStart=/bin/true\n",
        "lib/systemd/system/cron.service": "[Service]\nExecStart=/usr/sbin/cron\n",
        "etc/systemd/system/ringrift-p2p.service": "[Service]\nExecStart=/usr/bin/python3 scripts/p2p_orchestrator.py\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text.encode("latin-1"))
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    for name in ("ringrift-resilience.service", "ringrift-supervisor.service"):
        (wants / name).symlink_to("../" + name)
    (root / "etc/systemd/system/ringrift-p2p-orchestrator.service").symlink_to("/dev/null")
    return root


def contents(root):
    return {
        str(path.relative_to(root)): (os.readlink(path) if path.is_symlink() else path.read_bytes(), path.lstat().st_mode, path.lstat().st_uid)
        for path in sorted(root.rglob("*")) if path.is_symlink() or path.is_file()}


def where(rivals):
    return sorted((rival["kind"], rival["location"], rival["line"], rival["name"], rival["active"]) for rival in rivals)


def test_every_rival_is_found_with_the_place_that_defines_it(host):
    assert where(_rivals.detect(str(host))) == [
        ("cron", "/etc/cron.d/ringrift", 1, "ringrift-watchdog", True),
        ("cron", "/etc/crontab", 4, "p2p_keepalive.sh", True),
        ("cron", "/etc/crontab", 6, "p2p_orchestrator.py", True),
        ("cron", "/var/spool/cron/crontabs/ubuntu", 1, "node_resilience.py", True),
        ("file", "/etc/cron.hourly/watch", 2, "p2p-watchdog.sh", True),
        ("file", "/root/onstart.sh", 2, "p2p_keepalive.sh", True),
        ("unit", "/etc/systemd/system/odd-name.service", None, "odd-name.service", False),
        ("unit", "/etc/systemd/system/ringrift-resilience.service", None, "ringrift-resilience.service", True),
        ("unit", "/lib/systemd/system/ringrift-supervisor.service", None, "ringrift-supervisor.service", True),
    ]


def test_disabling_and_restoring_leave_every_byte_as_it_was(host, tmp_path):
    commands = []

    def run(arguments):
        commands.append(arguments[1:])
        return 0

    before = contents(host)
    rivals = _rivals.Rivals(str(tmp_path / "records"), str(host), run=run)
    for rival in _rivals.detect(str(host)):
        if rival["active"]:
            rivals.disable(rival)
    assert where(rival for rival in _rivals.detect(str(host)) if rival["active"]) == []
    disabled = contents(host)
    assert disabled["etc/crontab"][0].decode().splitlines()[3].startswith(_rivals.MARKER)
    assert disabled["etc/systemd/system/ringrift-resilience.service"][0] == "/dev/null"
    assert disabled["etc/systemd/system/ringrift-supervisor.service"][0] == "/dev/null"
    assert {name for name in before if before[name] != disabled.get(name)} == {
        "etc/cron.d/ringrift", "etc/crontab", "var/spool/cron/crontabs/ubuntu", "etc/cron.hourly/watch", "root/onstart.sh",
        "etc/systemd/system/ringrift-resilience.service"}
    assert ["stop", "ringrift-resilience.service"] in commands
    assert len(list((tmp_path / "records").iterdir())) == 8
    for record in rivals.recorded():
        rivals.restore(record)
    assert contents(host) == before
    assert ["start", "ringrift-resilience.service"] in commands
    assert rivals.recorded() == []


def act_on(host, tmp_path):
    return _rivals.Rivals(str(tmp_path / "records"), str(host), run=lambda arguments: 0)


def test_what_is_held_off_for_a_run_is_told_from_what_is_disabled_for_good(host, tmp_path):
    rivals = act_on(host, tmp_path)
    active = [rival for rival in _rivals.detect(str(host)) if rival["active"]]
    good, held = active[0], active[1:]
    rivals.disable(good)
    for rival in held:
        rivals.disable(rival, "run 1")
    assert where(_rivals.held_off(str(tmp_path / "records"))) == where(dict(rival, active=False) for rival in held)
    assert {record["run"] for record in rivals.recorded() if record["held"]} == {"run 1"}
    assert [record["location"] for record in rivals.recorded() if not record["held"]] == [good["location"]]


def test_what_is_held_off_becomes_disabled_for_good_and_can_still_be_put_back(host, tmp_path):
    before = contents(host)
    rivals = act_on(host, tmp_path)
    for rival in _rivals.detect(str(host)):
        if rival["active"]:
            rivals.disable(rival, "run 1")
    held = contents(host)
    for record in rivals.recorded():
        rivals.keep_disabled(record)
    assert _rivals.held_off(str(tmp_path / "records")) == [] and contents(host) == held
    for record in rivals.recorded():
        rivals.restore(record)
    assert contents(host) == before


def test_a_run_that_is_killed_before_it_touched_anything_has_left_a_record_that_does_no_harm(host, tmp_path):
    before = contents(host)
    rival = next(item for item in _rivals.detect(str(host)) if item["location"] == "/etc/cron.d/ringrift")
    child = os.fork()
    if child == 0:
        _rivals.comment_out = lambda *unused: os.kill(os.getpid(), signal.SIGKILL)
        act_on(host, tmp_path).disable(rival, "run 1")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert contents(host) == before and len(_rivals.held_off(str(tmp_path / "records"))) == 1
    rivals = act_on(host, tmp_path)
    rivals.restore(rivals.recorded()[0])
    assert contents(host) == before and rivals.recorded() == []


def test_records_of_older_shape_and_broken_ones_count_as_held_by_no_run(tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text("[]")
    (tmp_path / "c.json").write_text(json.dumps({"kind": "unit", "name": "n", "location": "/l", "line": None}))
    assert _rivals.held_off(str(tmp_path)) == [] and _rivals.held_off(str(tmp_path / "nothing")) == []


def test_a_rival_stands_in_its_file_and_a_unit_in_its_mask_too():
    unit = {"kind": "unit", "name": "odd.service", "location": "/lib/systemd/system/odd.service"}
    assert _rivals.stands_in(unit, {"/etc/systemd/system/odd.service"}) and _rivals.stands_in(unit, {"/lib/systemd/system/odd.service"})
    line = {"kind": "cron", "name": "odd.service", "location": "/etc/cron.d/x"}
    assert _rivals.stands_in(line, {"/etc/cron.d/x"}) and not _rivals.stands_in(line, {"/etc/systemd/system/odd.service"})


def test_a_line_that_its_owner_has_taken_out_meanwhile_stays_out(host, tmp_path):
    rivals = _rivals.Rivals(str(tmp_path / "records"), str(host), run=lambda arguments: 0)
    rival = next(item for item in _rivals.detect(str(host)) if item["location"] == "/etc/cron.d/ringrift")
    rivals.disable(rival)
    (host / "etc/cron.d/ringrift").write_text("# nothing\n")
    for record in rivals.recorded():
        rivals.restore(record)
    assert (host / "etc/cron.d/ringrift").read_text() == "# nothing\n"


def test_a_line_that_has_moved_is_still_the_one_that_is_disabled(host, tmp_path):
    rival = next(item for item in _rivals.detect(str(host)) if item["line"] == 4)
    (host / "etc/crontab").write_text("# one line more\n" + CRONTAB)
    _rivals.Rivals(str(tmp_path / "records"), str(host), run=lambda arguments: 0).disable(rival)
    assert (host / "etc/crontab").read_text().splitlines()[4] == _rivals.MARKER + rival["text"]


def test_a_broken_record_is_named(host, tmp_path):
    records = tmp_path / "records"
    records.mkdir()
    (records / "x.json").write_text("{")
    with pytest.raises(_rivals.RivalError, match="x.json"):
        _rivals.Rivals(str(records), str(host)).recorded()
    (records / "x.json").write_text(json.dumps({"kind": "unit", "name": "n", "location": "/l"}))
    rivals = _rivals.Rivals(str(records), str(host), run=lambda arguments: 0)
    with pytest.raises(_rivals.RivalError, match="lacks"):
        rivals.restore(rivals.recorded()[0])


def test_a_manager_process_is_ended_and_comes_back_as_it_was(tmp_path):
    script = tmp_path / "master_loop.py"
    script.write_text((Path(__file__).resolve().parent / "owner.py").read_text())

    def mine():
        return [rival for rival in _rivals.detect("/nonexistent", procfs="/proc") if rival["location"] == str(script)]

    environment = {"PATH": os.environ["PATH"], "RINGRIFT_NODE_ID": "here"}
    with subprocess.Popen([sys.executable, "master_loop.py", "60"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        rival, = mine()
        assert (rival["kind"], rival["name"], rival["active"]) == ("process", "master_loop.py", True)
        rivals = _rivals.Rivals(str(tmp_path / "records"), procfs="/proc")
        rivals.disable(rival)
    assert mine() == []
    assert (next((tmp_path / "records").iterdir()).stat().st_mode & 0o777) == 0o600
    rivals.restore(rivals.recorded()[0])
    back = mine()
    while not back:
        back = mine()
    started = _processes.look(back[0]["pid"])
    assert started["argv"][1:] == ["master_loop.py", "60"]
    assert (started["cwd"], started["environment"]) == (str(tmp_path), {"RINGRIFT_NODE_ID": "here"})
    _processes.end({**back[0], "kind": "manager"}, 5)
    assert mine() == []


def test_the_module_disables_and_restores_and_says_so_in_check_mode(isolation, tmp_path):
    done = subprocess.run(
        [*isolation, sys.executable, str(Path(__file__).resolve().parent / "rival_lab.py"), str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)
    found = {title: (answer.get("changed"), sorted(rival["kind"] + " " + rival["action"] for rival in answer.get("rivals", [])), line, process)
             for title, answer, line, process in steps}
    assert found == {
        "check disabled": (True, ["cron disabled", "process disabled"], True, True),
        "only processes": (True, ["process disabled"], True, False),
        "disabled": (True, ["cron disabled"], False, False),
        "disabled again": (False, [], False, False),
        "check restored": (True, ["cron restored", "process restored"], False, False),
        "restored": (True, ["cron restored", "process restored"], True, True),
        "restored again": (False, [], True, True),
        "check held": (True, ["cron held", "process held"], True, True),
        "left alone": (True, ["process held"], True, False),
        "held": (True, ["cron held"], False, False),
        "held again": (False, [], False, False),
        "of another run": (False, [], False, False),
        "check released": (True, ["cron released", "process released"], False, False),
        "released": (True, ["cron released", "process released"], True, True),
        "only the line": (True, ["cron disabled"], False, True),
        "the rest": (True, ["process held"], False, False),
        "released but for good": (True, ["process released"], False, True),
        "held once more": (True, ["process held"], False, False),
        "check for good": (True, ["process disabled"], False, False),
        "for good": (True, ["process disabled"], False, False),
        "nothing held": (False, [], False, False),
        "all back": (True, ["cron restored", "process restored"], True, True),
        "wrong": (None, [], True, True),
        "no run": (None, [], True, True),
    }
    answers = {title: answer for title, answer, dummy, dummy in steps}
    assert answers["disabled"]["diff"]["before"] == "cron p2p_keepalive.sh /etc/cron.d/ringrift:1: active\n"
    assert answers["released"]["diff"]["before"].count(": held\n") == 2 and answers["released"]["diff"]["after"].count(": released\n") == 2
    assert answers["for good"]["diff"]["before"].endswith(": held\n") and answers["for good"]["diff"]["after"].endswith(": disabled\n")
    assert "run" in answers["no run"]["msg"]
    assert answers["wrong"]["failed"]
    assert "kinds" in answers["wrong"]["msg"]
    assert "stop_timeout" in answers["wrong"]["msg"]
