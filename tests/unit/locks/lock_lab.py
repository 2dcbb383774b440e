# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds a host full of odd locks, with real processes, flocks, users, namespaces and mounts, and has them judged.

To be run as root of PID and mount namespaces of its own: C(lock_lab.py WORK INTERPRETER...). Prints one JSON object, by interpreter, surface (guard or
module) and case: what was expected, what check mode said and changed, what the run did, and what a second run did.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOBODY = 65534
CLAIM = "p2p_supervisor.json"
LOCK = "ringrift_p2p_orchestrator.lock"
FREE = ("free", "none", None, None)


class Processes:
    """The processes that the locks name. All of them live until the lab ends, except those that are dead on purpose."""

    def __init__(self, work: Path) -> None:
        self.work = work
        (work / "bin").mkdir()
        for name in ("p2p_orchestrator.py", "master_loop.py", "selfplay.py"):
            (work / "bin" / name).write_text((HERE / "owner.py").read_text())
        self.orchestrator = self.start("p2p_orchestrator.py")
        self.manager = self.start("master_loop.py")
        self.other = self.start("selfplay.py")
        self.editor = subprocess.Popen(["sleep", "600"], executable="/bin/sleep")
        self.mentions = subprocess.Popen(["/bin/sh", "-c", "sleep 600; : p2p_orchestrator.py"])
        self.zombie = subprocess.Popen(["/bin/true"])
        self.dead = subprocess.Popen(["/bin/true"])
        self.dead.wait()
        # Lives in a PID namespace of its own, whose numbers mean nothing here.
        self.stranger = self.start("p2p_orchestrator.py", ["unshare", "--pid", "--fork"])

    def start(self, name: str, prefix: list[str] | None = None, seconds: str = "600") -> dict:
        process = subprocess.Popen([*(prefix or []), sys.executable, str(self.work / "bin" / name), seconds], stdout=subprocess.PIPE)
        return json.loads(process.stdout.readline())


class Case:
    """One host as the lock's judge meets it: its folders, and by file name what is expected of check mode and of a run."""

    def __init__(self, folder: Path, name: str, **how) -> None:
        self.name = name
        self.folder = folder / name
        self.coordination = self.folder / "coordination"
        self.logs = self.folder / "logs"
        self.temporary = self.folder / "tmp"
        for path in (self.coordination, self.logs, self.temporary):
            path.mkdir(parents=True)
        self.how = how
        self.expected: dict[str, list] = {}
        self.descriptors: list[int] = []

    def expect(self, name: str, verdict: str, action: str = "none", run: tuple = ()) -> None:
        """What check mode says of a file, and where a run differs on purpose, what it says."""
        self.expected[name] = [[verdict, action], list(run or (verdict, action))]

    def claim(self, age: float = 0.0, **keys) -> Path:
        stamp = "2026-01-25T10:00:00.000000Z"
        data = {"managed_by": "manual", "pid": 0, "started_at": stamp, "last_health_check": stamp}
        return self.write(self.coordination / CLAIM, json.dumps({**data, **keys}).encode(), age)

    def write(self, path: Path, content: bytes, age: float = 0.0) -> Path:
        path.write_bytes(content)
        self.age(path, age)
        return path

    @staticmethod
    def age(path: Path, age: float) -> None:
        moment = time.time() - age
        os.utime(path, (moment, moment))

    def lock(self, held: bool, name: str = LOCK, content: bytes = b"") -> None:
        path = self.write(self.coordination / name, content)
        if held:
            descriptor = os.open(path, os.O_RDWR)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self.descriptors.append(descriptor)
        self.expect(name, "held" if held else "free")

    def plan(self) -> dict:
        return {
            "name": self.name, "coordination_dir": str(self.coordination), "logs_dir": str(self.logs), "paths": [str(self.temporary / "p2p_*")],
            "quarantine_dir": self.how.get("quarantine"), "port": self.how.get("port", 1), "user": self.how.get("user", "root"),
            "accept_foreign": self.how.get("accept_foreign", False), "interfere": self.how.get("interfere"), "root": str(self.folder),
        }


def build(folder: Path, there: Processes) -> list[Case]:
    """Every case, fresh."""
    cases: list[Case] = []
    quarantine = str(folder / "quarantine")
    # A file system of its own, so that moving into the quarantine cannot be a mere rename.
    os.mkdir(quarantine, 0o700)
    mount("-t", "tmpfs", "-o", "mode=700", "none", quarantine)
    own = str(folder / "own quarantine")
    os.mkdir(own, 0o700)
    os.chown(own, NOBODY, NOBODY)
    sealed = str(folder / "sealed")
    os.mkdir(sealed, 0o700)
    mount("-t", "tmpfs", "-o", "ro", "none", sealed)

    def case(name: str, **how) -> Case:
        cases.append(Case(folder, name, quarantine=how.pop("quarantine", own if how.get("user") else quarantine), **how))
        return cases[-1]

    def claimed(name: str, verdict: str, action: str = "none", age: float = 0.0, how: dict | None = None, **keys) -> Case:
        new = case(name, **(how or {}))
        new.claim(age, **keys)
        new.expect(CLAIM, verdict, action)
        return new

    live, dead, long_ago = there.orchestrator["pid"], there.dead.pid, 3600.0

    claimed("claim of a live orchestrator", "held", pid=live)
    claimed("claim of a live manager", "held", pid=there.manager["pid"], managed_by="master_loop")
    claimed("claim by recorded start", "held", age=long_ago, **there.orchestrator)
    claimed("free claim", "free", managed_by="none")
    claimed("claim without supervisor but with a live PID", "held", pid=live, managed_by="none")
    claimed("dead owner", "stale", "reset", pid=dead)
    claimed("dead owner, checked a second ago", "stale", "reset", pid=dead, last_health_check=time.strftime("%Y-%m-%dT%H:%M:%S.0Z", time.gmtime()))
    claimed("PID 0 with a manager", "stale", "reset", pid=0)
    claimed("negative PID", "stale", "reset", pid=-1)
    claimed("impossible PID", "stale", "reset", pid=2 ** 70)
    claimed("PID as text", "stale", "reset", pid=str(dead))
    claimed("zombie", "stale", "reset", pid=there.zombie.pid)
    claimed("thread of a process", "stale", "reset", pid=there.orchestrator["thread"])
    claimed("recycled by start", "stale", "reset", age=long_ago, pid=live)
    claimed("recycled by recorded start", "stale", "reset", **{**there.orchestrator, "start_ticks": there.orchestrator["start_ticks"] - 1})
    claimed("recycled by another Python script", "stale", "reset", pid=there.other["pid"])
    claimed("recycled by another program", "stale", "reset", pid=there.editor.pid)
    claimed("recycled by a shell that mentions it", "stale", "reset", pid=there.mentions.pid)
    claimed("ancestor", "stale", "reset", pid=1)
    claimed("other user's process", "held", how={"user": "nobody"}, pid=live)
    claimed("hidden process", "held", how={"user": "hidden"}, pid=live)
    claimed("other user's process, recycled", "stale", "reset", how={"user": "nobody"}, age=long_ago, pid=live)
    claimed("another host", "foreign", **{**there.orchestrator, "hostname": "somewhere-else"})
    claimed("another PID namespace", "foreign", **there.stranger)
    claimed("another PID namespace, accepted", "foreign", "reset", how={"accept_foreign": True}, **there.stranger)
    claimed("another boot", "stale", "reset", **{**there.orchestrator, "boot_id": "00000000-0000-0000-0000-000000000000"})

    new = claimed("flock held beside a dead claim", "held", pid=dead)
    new.lock(held=True)
    new = claimed("flock held beside another PID namespace", "held", **there.stranger)
    new.lock(held=True, content=b"1")
    new = claimed("flock free beside a live claim that is old", "stale", "reset", age=long_ago, **there.orchestrator)
    new.lock(held=False)
    new = claimed("flock free beside a live claim that is young", "held", pid=live)
    new.lock(held=False)
    new = claimed("flock free beside another PID namespace", "stale", "reset", age=long_ago, **there.stranger)
    new.lock(held=False)
    new = claimed("flock free beside a live manager", "held", pid=there.manager["pid"], managed_by="master_loop")
    new.lock(held=False)
    new = claimed("manager's flock held beside a dead claim", "held", pid=dead, managed_by="master_loop")
    new.lock(held=True, name="ringrift_master_loop.lock")
    new = claimed("answer on the port", "held", how={"port": there.orchestrator["port"]}, pid=dead)
    new.lock(held=False)
    new = claimed("no answer of its form on the port", "stale", "reset", how={"port": there.orchestrator["silent_port"]}, pid=dead)

    for title, content in {
        "empty": b"", "half-written": b'{"managed_by": "manual", "pi', "binary": bytes(range(256)), "list": b"[1]", "no PID": b'{"managed_by": "manual"}',
        "PID is no number": b'{"pid": true, "managed_by": "manual"}', "nested deeply": b"[" * 60000, "not a number": b'{"pid": NaN, "managed_by": "manual"}',
        "PID is a fraction": b'{"pid": 1.5, "managed_by": "manual"}',
    }.items():
        new = case(title + " claim")
        new.write(new.coordination / CLAIM, content, long_ago)
        new.expect(CLAIM, "unreadable")
    new = case("huge claim")
    os.truncate(new.write(new.coordination / CLAIM, b'{"pid": 1'), 100 * 2 ** 20)
    new.expect(CLAIM, "unreadable")
    new = claimed("claim without permission", "unreadable", how={"user": "nobody"}, pid=dead)
    (new.coordination / CLAIM).chmod(0o600)
    new = claimed("claim of an unexpected owner", "unreadable", pid=dead)
    os.chown(new.coordination / CLAIM, 12345, 12345)
    new = claimed("claim with two names", "unreadable", pid=dead)
    os.link(new.coordination / CLAIM, new.folder / "second")
    new = case("claim as symbolic link")
    (new.folder / "target").write_bytes(json.dumps({"managed_by": "manual", "pid": dead}).encode())
    (new.coordination / CLAIM).symlink_to(new.folder / "target")
    new.expect(CLAIM, "not_a_lock")
    new = case("claim as directory")
    (new.coordination / CLAIM).mkdir()
    new.expect(CLAIM, "not_a_lock")
    new = claimed("read-only file system", "stale", "failed", pid=dead)
    remount_read_only(new.coordination)
    new = claimed("quarantine cannot be written", "stale", "failed", how={"quarantine": sealed + "/quarantine"}, pid=dead)
    new = claimed("folder of somebody else", "stale", "failed", how={"user": "nobody"}, pid=dead)
    new.coordination.chmod(0o755)

    for title, how, result in (
        ("vanished between look and act", ["_free", "vanish"], ("free", "none")),
        ("replaced between look and act", ["_free", "replace"], ("held", "none")),
        ("replaced in the last moment", ["_reset", "replace"], ("held", "none")),
        ("rewritten in the last moment", ["_reset", "rewrite"], ("held", "none")),
        ("vanished in the last moment", ["_reset", "vanish"], ("free", "none")),
        ("owner started between look and act", ["_free", "lock"], ("held", "none")),
    ):
        new = case(title, interfere=[*how, CLAIM, json.dumps({"managed_by": "manual", "pid": live})])
        if how[1] == "lock":
            new.lock(held=False)
            new.expect(LOCK, "free")
        new.claim(pid=dead)
        new.expect(CLAIM, "stale", "reset", run=result)
    for title, how, result in (
        ("PID file vanished in the last moment", "vanish", ("free", "none")),
        ("PID file replaced in the last moment", "replace", ("held", "none")),
        ("PID file rewritten in the last moment", "rewrite", ("held", "none")),
    ):
        new = case(title, interfere=["_take", how, "p2p.pid", "%d\n" % live])
        new.write(new.logs / "p2p.pid", b"%d\n" % dead)
        new.expect("p2p.pid", "stale", "quarantined", run=result)

    new = case("flock files")
    new.lock(held=False, content=b"%d" % live)
    new.lock(held=True, name="ringrift_master_loop.lock", content=b"%d" % dead)
    descriptor = os.open(new.write(new.logs / "p2p_keepalive.lock", b""), os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    new.descriptors.append(descriptor)
    new.expect("p2p_keepalive.lock", "held")
    new.write(new.temporary / "p2p_empty.lock", b"")
    new.expect("p2p_empty.lock", "free")
    new.write(new.temporary / "p2p_binary.lock", bytes(range(256)))
    new.expect("p2p_binary.lock", "free")
    os.truncate(new.write(new.temporary / "p2p_huge.lock", b""), 100 * 2 ** 20)
    new.expect("p2p_huge.lock", "free")
    os.mkfifo(new.temporary / "p2p_fifo.lock")
    new.expect("p2p_fifo.lock", "not_a_lock")
    for name, content, verdict in (("p2p_dead.lock", dead, "stale"), ("p2p_alive.lock", live, "held")):
        new.write(new.temporary / name, b"%d\n" % content)
        new.expect(name, verdict, "quarantined" if verdict == "stale" else "none")
    descriptor = os.open(new.write(new.temporary / "p2p_taken.lock", b"%d\n" % dead), os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    new.descriptors.append(descriptor)
    new.expect("p2p_taken.lock", "held")
    new = case("flock files that cannot be asked", user="no flock")
    for name, content, verdict in (("p2p_live.lock", live, "held"), ("p2p_dead.lock", dead, "free"), ("p2p_nobody.lock", None, "unreadable")):
        new.write(new.temporary / name, b"" if content is None else b"%d" % content)
        new.expect(name, verdict)
    new = case("claim beside a flock that cannot be asked", user="no flock")
    new.claim(pid=live)
    new.write(new.coordination / LOCK, b"%d" % live)
    new.expect(CLAIM, "held")
    new.expect(LOCK, "held")

    new = case("PID files")
    for name, content, age, verdict in (
        ("live", live, 0.0, "held"), ("manager", there.manager["pid"], 0.0, "held"), ("dead", dead, 0.0, "stale"), ("recycled", live, long_ago, "stale"),
        ("zombie", there.zombie.pid, 0.0, "stale"), ("program", there.editor.pid, 0.0, "stale"), ("zero", 0, 0.0, "stale"), ("kernel", 2 ** 23, 0.0, "stale"),
    ):
        new.write(new.temporary / ("p2p_%s.pid" % name), b"%d\n" % content, age)
        new.expect("p2p_%s.pid" % name, verdict, "quarantined" if verdict == "stale" else "none")
    for name, content in (("empty", b""), ("text", b"pid\n"), ("negative", b"-5"), ("two", b"12 34"), ("binary", bytes(range(256))), ("digits", b"9" * 5000)):
        new.write(new.temporary / ("p2p_%s.pid" % name), content, long_ago)
        new.expect("p2p_%s.pid" % name, "unreadable")
    os.truncate(new.write(new.temporary / "p2p_huge.pid", b""), 100 * 2 ** 20)
    new.expect("p2p_huge.pid", "unreadable")
    os.mkfifo(new.temporary / "p2p_fifo.pid")
    new.expect("p2p_fifo.pid", "not_a_lock")
    (new.temporary / "p2p_link.pid").symlink_to("/etc/passwd")
    new.expect("p2p_link.pid", "not_a_lock")
    new.write(new.temporary / "p2p_hard.pid", b"%d\n" % dead)
    os.link(new.temporary / "p2p_hard.pid", new.folder / "second")
    new.expect("p2p_hard.pid", "unreadable")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(new.temporary / "p2p_socket.pid"))
    new.expect("p2p_socket.pid", "not_a_lock")
    new.write(new.logs / "p2p.pid", b"%d\n" % dead)
    new.expect("p2p.pid", "stale", "quarantined")
    new.write(new.coordination / "master_loop.pid", b"%d" % there.manager["pid"])
    new.expect("master_loop.pid", "held")

    new = case("what lies in the temporary folder")
    owned = json.dumps({"pid": dead}).encode()
    for name in ("p2p.log", "p2p_supervisor.log", "p2p_watchdog.log", "p2p_recovery.log", "p2p_status.json", "p2p_tunnel_info.json", "p2p_status_report_1.txt"):
        new.write(new.temporary / name, owned)
        # The glob of the case begins with p2p_, as the field's does.
        if name != "p2p.log":
            new.expect(name, "not_a_lock")
    new.write(new.temporary / "p2p_notes.json", b'{"peers": []}')
    new.expect("p2p_notes.json", "not_a_lock")
    new.write(new.temporary / "p2p_node.json", owned)
    new.expect("p2p_node.json", "stale", "quarantined")
    new.write(new.temporary / "p2p_claim.json", json.dumps({"pid": dead, "managed_by": "manual"}).encode())
    new.expect("p2p_claim.json", "stale", "reset")
    new.write(new.temporary / "p2p_alive", json.dumps({"pid": live}).encode())
    new.expect("p2p_alive", "held")
    (new.temporary / "p2p_state").mkdir()
    new.expect("p2p_state", "not_a_lock")
    os.truncate(new.write(new.temporary / "p2p_dump", b""), 100 * 2 ** 20)
    new.expect("p2p_dump", "not_a_lock")

    new = case("planted in a folder that everybody may write to", user="nobody")
    new.temporary.chmod(0o1777)
    new.write(new.temporary / "p2p_planted.pid", b"%d\n" % dead)
    new.expect("p2p_planted.pid", "stale", "failed")
    new = case("folders that are missing")
    for path in (new.coordination, new.logs, new.temporary):
        path.rmdir()
    for new in cases:
        if new.how.get("user", "root") != "root" and "somebody else" not in new.name and "planted" not in new.name:
            new.coordination.chmod(0o777)
    return cases


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def remount_read_only(path: Path) -> None:
    """Put a folder's files on a file system of their own that cannot be written."""
    kept = {item.name: (item.read_bytes(), item.stat().st_mtime) for item in path.iterdir()}
    mount("-t", "tmpfs", "none", str(path))
    for name, (content, changed) in kept.items():
        (path / name).write_bytes(content)
        os.utime(path / name, (changed, changed))
    mount("-o", "remount,ro", str(path))


def snapshot(case: Case) -> dict:
    """Every file below a case, with what would tell that it was touched."""
    found = {}
    for folder, names, files in os.walk(case.folder):
        for name in names + files:
            path = os.path.join(folder, name)
            information = os.lstat(path)
            found[os.path.relpath(path, case.folder)] = [
                information.st_ino, information.st_size, information.st_mtime_ns, information.st_mode, information.st_uid]
    return found


class Driver:
    """One surface under one Python, for the cases of one build."""

    def __init__(self, interpreter: str, surface: str, cases: list[Case]) -> None:
        self._process = subprocess.Popen(
            [interpreter, str(HERE / "lock_driver.py"), surface], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
        self._process.stdin.write(json.dumps([case.plan() for case in cases]) + "\n")

    def drive(self, mode: str) -> dict:
        self._process.stdin.write(mode + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate()


def main() -> None:
    work = Path(sys.argv[1])
    work.chmod(0o755)
    os.umask(0o022)
    there = Processes(work)
    results: dict[str, dict] = {}
    for interpreter in sys.argv[2:]:
        for surface in ("guard", "module"):
            folder = work / str(random.getrandbits(40))
            folder.mkdir()
            os.chdir(folder)
            cases = build(folder, there)
            before = {case.name: snapshot(case) for case in cases}
            driver = Driver(interpreter, surface, cases)
            checked = driver.drive("check")
            unchanged = {case.name: snapshot(case) == before[case.name] for case in cases}
            ran = driver.drive("run")
            after = {case.name: snapshot(case) for case in cases}
            again = driver.drive("again")
            driver.end()
            results.setdefault(interpreter, {})[surface] = {
                case.name: {
                    "expected": case.expected, "check": checked[case.name], "unchanged": unchanged[case.name], "run": ran[case.name], "again": again[case.name],
                    "before": before[case.name], "after": after[case.name], "idle": snapshot(case) == after[case.name],
                    "user": case.how.get("user", "root"), "accept_foreign": case.how.get("accept_foreign", False),
                } for case in cases
            }
            results[interpreter][surface]["quarantine"] = sorted(
                str(path.relative_to(folder)) for path in (folder / "quarantine").rglob("*") if path.is_file())
            for case in cases:
                for descriptor in case.descriptors:
                    os.close(descriptor)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
