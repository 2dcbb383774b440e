# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has the cases of lock_lab.py judged by one surface: C(lock_driver.py guard|module). Its first line of input is the cases, every
further one a mode (check, run or again), answered by a line of verdicts.

Runs under any Python that nodes may have; what the module needs of ansible-core is put on its path by lock_lab.py's caller.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import importlib
import importlib.util
import io
import json
import os
import struct
import subprocess
import sys

COLLECTION = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
NOBODY = 65534
SETTLE = 0.005
CLAIM = "p2p_supervisor.json"
LOCK = "ringrift_p2p_orchestrator.lock"


def load(surface):
    """The lock guard, and how to have a case judged by it."""
    if surface == "guard":
        # As it lies on a node: one file, by its path.
        path = os.path.join(COLLECTION, "plugins", "module_utils", "_lock_guard.py")
        specification = importlib.util.spec_from_file_location("lock_guard", path)
        guard = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(guard)
        return guard, by_guard
    sys.path.insert(0, os.path.join(COLLECTION, "playbooks", "collections"))
    importlib.import_module("ansible_collections.ringrift.p2p.plugins.modules.stale_locks")
    return importlib.import_module("ansible_collections.ringrift.p2p.plugins.module_utils._lock_guard"), by_module


def by_guard(guard, plan, check):
    """As the start script runs it."""
    lines = []
    arguments = ["--coordination-dir", plan["coordination_dir"], "--logs-dir", plan["logs_dir"], "--port", str(plan["port"]), "--settle", str(SETTLE),
                 "--quarantine-dir", plan["quarantine_dir"], "--json", "--path", plan["paths"][0]]
    arguments += ["--check"] if check else []
    arguments += ["--accept-foreign"] if plan["accept_foreign"] else []
    status = guard.main(arguments, lines.append)
    if status:
        raise SystemExit("exit status %d of %s" % (status, plan["name"]))
    return [json.loads(line) for line in lines]


def by_module(guard, plan, check):
    """As Ansible runs it."""
    basic = importlib.import_module("ansible.module_utils.basic")
    module = importlib.import_module("ansible_collections.ringrift.p2p.plugins.modules.stale_locks")
    arguments = {key: plan[key] for key in ("coordination_dir", "logs_dir", "paths", "port", "quarantine_dir", "accept_foreign")}
    arguments.update(settle=SETTLE, _ansible_check_mode=check, _ansible_diff=True)
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        module.main()
    result = json.loads(output.getvalue())
    acted = [lock for lock in result["locks"] if lock["action"] in ("reset", "quarantined")]
    failed = [lock for lock in result["locks"] if lock["action"] == "failed"]
    if result["changed"] != bool(acted) or bool(result.get("failed")) != bool(failed) or result["diff"]["after"].count("\n") != len(acted):
        raise SystemExit("the module contradicts itself about %s: %s" % (plan["name"], result))
    return result["locks"]


def interfere(guard, plan, descriptors):
    """Have something happen to the file between look and act. Gives what puts the guard back as it was."""
    point, how, name, content = plan["interfere"]
    owner = guard._Cleaner if point == "_free" else guard
    original = getattr(owner, point)
    path = os.path.join(plan["coordination_dir"] if name == CLAIM else plan["logs_dir"], name)
    pending = [True]

    def stepping_in(*arguments):
        if pending:
            pending.clear()
            if how == "vanish":
                os.unlink(path)
            elif how == "rewrite":
                with open(path, "w") as stream:
                    stream.write(content)
            else:
                with open(path + ".new", "w") as stream:
                    stream.write(content)
                os.rename(path + ".new", path)
            if how == "lock":
                descriptors.append(os.open(os.path.join(plan["coordination_dir"], LOCK), os.O_RDWR))
                fcntl.flock(descriptors[-1], fcntl.LOCK_EX)
        return original(*arguments)

    setattr(owner, point, stepping_in)
    return lambda: setattr(owner, point, original)


def become(user, library):
    """Turn into what a case wants to be judged as."""
    if user == "hidden":
        subprocess.run(["mount", "-o", "remount,hidepid=2", "/proc"], check=True)
    if user in ("nobody", "hidden"):
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        # A process that has changed its user may not look at itself, unless it says that it may.
        library.prctl(4, 1, 0, 0, 0)
    if user == "no flock":
        number = {"x86_64": 73, "aarch64": 32}[os.uname().machine]
        program = (
            struct.pack("HBBI", 0x20, 0, 0, 0) + struct.pack("HBBI", 0x15, 0, 1, number) +
            struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | errno.ENOLCK) + struct.pack("HBBI", 0x06, 0, 0, 0x7fff0000))
        filters = ctypes.create_string_buffer(program)
        header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(filters)))
        if library.prctl(38, 1, 0, 0, 0) or library.prctl(22, 2, header, 0, 0):
            raise SystemExit("flock cannot be taken away: %s" % os.strerror(ctypes.get_errno()))


def judge(guard, ask, mode, plans, user, write):
    """Judge the cases of one user, in a process of their own."""
    become(user, ctypes.CDLL(None, use_errno=True))
    descriptors = []
    for plan in plans:
        put_back = interfere(guard, plan, descriptors) if plan["interfere"] and mode == "run" else None
        locks = ask(guard, plan, mode == "check")
        if put_back:
            put_back()
        os.write(write, json.dumps([plan["name"], [dict(lock, path=os.path.basename(lock["path"])) for lock in locks]]).encode() + b"\n")


def main():
    surface = sys.argv[1]
    plans = json.loads(sys.stdin.readline())
    guard, ask = load(surface)
    # Whom a child turns into may not be able to read the interpreter's folder; looking once imports all that is imported late.
    ask(guard, plans[0], True)
    for line in sys.stdin:
        results = {}
        for user in ("root", "no flock", "nobody", "hidden"):
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(read)
                judge(guard, ask, line.strip(), [plan for plan in plans if plan["user"] == user], user, write)
                os._exit(0)
            os.close(write)
            with os.fdopen(read, encoding="utf-8") as stream:
                results.update(json.loads(answer) for answer in stream)
            if os.waitpid(child, 0)[1]:
                raise SystemExit("%s as %s ended early" % (surface, user))
        subprocess.run(["mount", "-o", "remount,hidepid=0", "/proc"], check=True)
        sys.stdout.write(json.dumps(results) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
