# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the lock files of a p2p orchestrator, and free those whose owner is proven dead.

One file, standard library only, Python 3.8 and up. It is imported by the modules of the collection and by the
embedded orchestrator, and deployed as it stands to run before every start of the service, so that all of them judge alike.

Looking and judging are separate. :func:`observe` gathers facts, :func:`judge` is a pure function from one file's facts and the
facts of the host to a verdict, :func:`clean` joins them and acts on what is stale.

Verdicts: C(free) nobody owns it; C(held) a live owner, or none that is proven dead; C(stale) the owner is proven dead;
C(foreign) the owner belongs to another host or PID namespace; C(unreadable) no owner can be read from it; C(not_a_lock) left alone.

Actions: C(none), C(reset) (a claim put into its free form), C(quarantined) (a PID file moved away), C(failed).
"""

from __future__ import annotations

import argparse
import base64
import ctypes
import errno
import fcntl
import fnmatch
import glob
import http.client
import json
import os
import re
import socket
import stat
import sys
import time

CLAIM = "p2p_supervisor.json"
ORCHESTRATOR_LOCK = "ringrift_p2p_orchestrator.lock"
MANAGER_LOCK = "ringrift_master_loop.lock"
MANAGER_PID = "master_loop.pid"
COORDINATION_NAMES = (CLAIM, ORCHESTRATOR_LOCK, MANAGER_LOCK, MANAGER_PID)
LOG_NAMES = ("p2p.pid", "p2p_keepalive.lock")
DEFAULT_PATHS = (
    "/tmp/p2p_*",
    "/tmp/ringrift_locks/*.lock",
    "/tmp/ringrift_node_resilience_*.lock",
    "/run/ringrift-p2p.pid",
    "/var/run/ringrift-p2p.pid",
)
DEFAULT_PORT = 8770
DEFAULT_SETTLE = 2.0
DEFAULT_QUARANTINE = "/var/lib/ringrift-p2p/quarantine"
SERVICE_NAME = "ringrift-p2p"

# State, logs and operators' switches that lie beside locks or match their globs. No content makes one of them a lock.
NEVER_LOCKS = (
    "*.log", "*.log.*", "*.txt", "*.db", "*.db-*", "*.sqlite*", "*.heartbeat", "*.sock", "p2p_status.json", "p2p_tunnel*",
    "voter_config.json", "EMERGENCY_HALT",
)
NEVER_BELOW = ("/tmp/ringrift_coordination*", "/dev/shm/ringrift", "*/p2p_state")
_NEVER_LOCK = re.compile("|".join(fnmatch.translate(pattern) for pattern in NEVER_LOCKS))
_NEVER_BELOW = re.compile("|".join(fnmatch.translate(pattern) for pattern in NEVER_BELOW))

# The largest PID that a Linux kernel can give out (PID_MAX_LIMIT).
PID_LIMIT = 4194304
CONTENT_LIMIT = 65536
# A file's time stamp and a process's start are read from one clock, but the second is rounded and shifts with clock adjustments.
START_MARGIN = 2.0
# The software claims the supervisor role first and takes its flock after that, within seconds.
CLAIM_GRACE = 30.0
NETWORK_FILE_SYSTEMS = frozenset((
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre", "glusterfs", "fuse.glusterfs", "fuse.sshfs", "fuse.s3fs", "beegfs",
    "gpfs", "afs", "orangefs",
))
_KERNEL_THREAD = 0x00200000
_ATTEMPTS = 5
_ACT_ATTEMPTS = 15

ORCHESTRATOR_SCRIPTS = r"p2p_orchestrator(\.py)?"
MANAGER_SCRIPTS = r"(master_loop|p2p_supervisor|node_resilience|p2p_watchdog)(\.py)?|(p2p[_-]keepalive|p2p[_-]watchdog|ringrift-watchdog)(\.sh|\.py)?"
_PYTHON = re.compile(r"(python|pypy)[0-9.]*[a-z]?\Z")
_SHELL = re.compile(r"-?(ba|da|a|z|k|mk)?sh\Z|busybox\Z")
# Interpreter options that swallow the next word.
_PYTHON_VALUED = ("--check-hash-based-pycs",)
_SHELL_VALUED = ("+o", "+O", "--rcfile", "--init-file")


# --- what files and processes say: pure --------------------------------------------------------------------------------


def parse_pid(content):
    """Give the PID that a PID or flock file holds.

    :param content: the file's bytes.
    :returns: the PID (an int, 0 and impossible ones included), or None where the bytes are anything but ASCII digits.
    """
    text = content.strip(b" \t\r\n")
    if not text or len(text) > 20 or not re.match(rb"[0-9]+\Z", text):
        return None
    return int(text)


def parse_claim(content):
    """Give the owner that a JSON claim names.

    :param content: the file's bytes.
    :returns: ``{pid, managed_by, start_ticks, boot_id, pid_namespace, hostname}`` with None for what it does not say, or None
        where the bytes are no JSON object with a whole number under C(pid).
    """
    try:
        data = json.loads(content.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or "pid" not in data:
        return None
    pid = data["pid"]
    if isinstance(pid, str) and re.match(r"[0-9]{1,20}\Z", pid, re.ASCII):
        pid = int(pid)
    if pid is None and data.get("managed_by") == "none":
        pid = 0
    if isinstance(pid, bool) or not isinstance(pid, int):
        return None
    ticks = data.get("start_ticks")
    return {
        "pid": pid,
        "managed_by": _text(data.get("managed_by")),
        "start_ticks": ticks if isinstance(ticks, int) and not isinstance(ticks, bool) and ticks >= 0 else None,
        "boot_id": _text(data.get("boot_id")),
        "pid_namespace": _text(data.get("pid_namespace")),
        "hostname": _text(data.get("hostname")) or _text(data.get("host")),
    }


def _refuse_constant(name):
    raise ValueError(name)


def _text(value):
    return value if isinstance(value, str) and value else None


def parse_stat(content):
    """Read C(/proc/PID/stat).

    :param content: its bytes; the command name in it may hold spaces, brackets and newlines.
    :returns: ``{state, ppid, kernel_thread, threads, start_ticks}``, or None where the bytes are no such line.
    """
    fields = content[content.rfind(b")") + 1:].split()
    if b")" not in content or len(fields) < 20:
        return None
    try:
        return {
            "state": fields[0].decode("ascii"),
            "ppid": int(fields[1]),
            "kernel_thread": bool(int(fields[6]) & _KERNEL_THREAD),
            "threads": int(fields[17]),
            "start_ticks": int(fields[19]),
        }
    except ValueError:
        return None


def parse_arguments(content):
    """Split C(/proc/PID/cmdline) into its arguments (a list of str; undecodable bytes become surrogates)."""
    if not content:
        return []
    return [part.decode("utf-8", "surrogateescape") for part in content.rstrip(b"\0").split(b"\0")]


def script_of(argv, executable=None):
    """Tell what script an interpreter runs.

    :param argv: the arguments of a process.
    :param executable: the path of its executable, or None where that is unknown.
    :returns: ``(interpreter, script)``: C(python) or C(shell) and the script's path or module name; ``(None, argv[0])`` for a program that
        is no interpreter; ``(interpreter, None)`` where it runs no script (a C(-c) text, or an interactive session).
    """
    if not argv:
        return None, None
    program = os.path.basename((executable or argv[0]).replace(" (deleted)", ""))
    if _PYTHON.match(program):
        return "python", _python_script(argv)
    if _SHELL.match(program):
        return "shell", _shell_script(argv)
    return None, argv[0]


def _python_script(argv):
    words = iter(argv[1:])
    for word in words:
        if word in _PYTHON_VALUED:
            next(words, None)
        elif word == "--":
            return next(words, None)
        elif word == "-":
            return None
        elif not word.startswith("-"):
            return word or None
        elif not word.startswith("--"):
            # Short options may be joined (-uB, -um module); c and m end them and take the rest.
            match = re.match(r"-[bBdEhiIOPqRsSuvVx?]*([cmWX])(.*)\Z", word, re.DOTALL)
            if match and match.group(1) == "c":
                return None
            if match and match.group(1) == "m":
                module = match.group(2) or next(words, None)
                return module.rpartition(".")[2] if module else None
            if match and not match.group(2):
                next(words, None)
    return None


def _shell_script(argv):
    words = iter(argv[1:])
    if argv[0].endswith("busybox"):
        next(words, None)
    for word in words:
        if word in _SHELL_VALUED:
            next(words, None)
        elif word == "--":
            return next(words, None)
        elif word == "-":
            return next(words, None)
        elif not word.startswith(("-", "+")):
            return word or None
        elif not word.startswith("--"):
            if "c" in word:
                return None
            if word.endswith(("o", "O")):
                next(words, None)
    return None


def in_service(cgroup):
    """Tell whether a cgroup path (or the text of C(/proc/PID/cgroup)) is that of the orchestrator's service."""
    return bool(cgroup) and re.search(r"/%s\.service(/|$)" % re.escape(SERVICE_NAME), cgroup, re.MULTILINE) is not None


def classify(process, pattern=None):
    """Tell what a process is, by executable, arguments and cgroup; never by a word that merely occurs in its command line.

    :param process: a dict with C(argv), C(executable) and C(cgroup), each possibly None.
    :param pattern: a regular expression that the name of the orchestrator's script has to match in full.
    :returns: C(orchestrator), C(manager) or None.
    """
    argv = process.get("argv")
    if not argv:
        return None
    interpreter, script = script_of(argv, process.get("executable"))
    name = os.path.basename(script) if script else ""
    if interpreter == "python" and re.fullmatch(pattern or ORCHESTRATOR_SCRIPTS, name):
        return "orchestrator"
    if re.fullmatch(MANAGER_SCRIPTS, name) and (interpreter or name.startswith("ringrift-")):
        return "manager"
    # A process that has renamed itself keeps its executable and its cgroup.
    if interpreter == "python" and script is None and len(argv) == 1 and in_service(process.get("cgroup")):
        return "orchestrator"
    return None


# --- the judgement: pure -----------------------------------------------------------------------------------------------


def judge(observation, context):
    """Judge one file.

    :param observation: one item of C(files) as :func:`observe` gives it.
    :param context: the C(context) that :func:`observe` gives.
    :returns: ``{verdict, reason, owner_pid, format}``, and C(owner) (what is known of the owner's process) where there is one.
    """
    result = {"format": observation["format"], "owner_pid": None, "owner": None}
    verdict, reason = _judge(observation, context, result)
    result["verdict"] = verdict
    result["reason"] = reason
    return result


def _judge(observation, context, result):
    kind = observation["kind"]
    if kind == "absent":
        return "free", "it is gone"
    if observation["protected"]:
        result["format"] = "other"
        return "not_a_lock", "it is state or a log, not a lock"
    if kind != "regular":
        result["format"] = "other"
        return "not_a_lock", "it is a %s, which no lock writer makes" % kind
    lock_shaped = observation["format"] in ("json", "pid", "flock")
    if observation["error"]:
        return ("unreadable" if lock_shaped else "not_a_lock"), "it cannot be read: %s" % observation["error"]
    content = observation["content"]
    if observation["format"] == "flock":
        return _judge_flock(observation, context, result, parse_pid(content))
    if observation["size"] > CONTENT_LIMIT:
        return ("unreadable" if lock_shaped else "not_a_lock"), "%d bytes are more than any lock holds" % observation["size"]
    claim = parse_claim(content) if observation["format"] != "pid" else None
    if observation["format"] == "other":
        if claim is None:
            return "not_a_lock", "it is neither a .lock nor a .pid file nor JSON with a pid"
        result["format"] = "json"
    if observation["format"] == "pid":
        pid = parse_pid(content)
        claim = None if pid is None else {"pid": pid, "managed_by": None}
    if claim is None:
        state = "is empty" if not content else "holds no owner"
        if not observation["settled"]:
            return "unreadable", "it %s and is still being written" % state
        return "unreadable", "it %s; age alone proves nothing" % state
    if observation["links"] != 1:
        return "unreadable", "it has %d hard links, which no lock writer makes" % observation["links"]
    if observation["uid"] not in context["expected_uids"]:
        return "unreadable", "its owner is uid %d, expected %s" % (observation["uid"], " or ".join(str(uid) for uid in context["expected_uids"]))
    result["owner_pid"] = claim["pid"] if 0 < claim["pid"] else None
    if result["format"] == "pid":
        return _judge_owner(claim, observation, context, result)
    return _judge_claim(claim, observation, context, result)


def _judge_flock(observation, context, result, pid):
    result["owner_pid"] = pid or None
    if observation["flock"] == "held":
        return "held", "it is flock'd"
    if observation["flock"] == "free":
        if pid and _bars_by_existence(observation) and observation["links"] == 1 and observation["uid"] in context["expected_uids"]:
            result["format"] = "pid"
            verdict, reason = _judge_owner({"pid": pid, "managed_by": None}, observation, context, result)
            return verdict, "nobody has it flock'd, but its mere presence bars a start; %s" % reason
        return "free", "nobody has it flock'd, so it blocks nothing"
    if pid is None:
        return "unreadable", "it cannot be asked for a flock (%s) and names no owner" % observation["flock_error"]
    verdict, reason = _judge_owner({"pid": pid, "managed_by": None}, observation, context, result)
    if verdict == "stale":
        verdict = "free"
    return verdict, "it cannot be asked for a flock (%s); %s" % (observation["flock_error"], reason)


def _bars_by_existence(observation):
    """Whether a .lock file may be one that scripts test for with ``-e``: known flock files and their folders are not."""
    return observation["name"].startswith("p2p_") and observation["name"] not in LOG_NAMES


def _judge_claim(claim, observation, context, result):
    managed_by = claim["managed_by"]
    if managed_by == "none" and claim["pid"] == 0:
        return "free", "managed_by is none"
    if context["port_answers"]:
        return "held", "an orchestrator answers on port %s" % context["port"]
    supervises = observation["name"] == CLAIM
    flock = context["flocks"]["orchestrator"] if supervises else "absent"
    if flock == "held":
        return "held", "an orchestrator holds %s" % ORCHESTRATOR_LOCK
    if supervises and managed_by == "master_loop" and context["flocks"]["manager"] == "held":
        return "held", "the manager holds %s" % MANAGER_LOCK
    verdict, reason = _judge_owner(claim, observation, context, result)
    if flock != "free" or observation["network"] or verdict == "stale":
        return verdict, reason
    # The flock is asked of the kernel, across PID namespaces; what a claim says is hearsay beside it.
    if verdict == "foreign" and not (claim["boot_id"] == context["boot_id"] and claim["hostname"] in (None, context["hostname"])):
        return verdict, reason
    owner = result["owner"] or {}
    if verdict == "held":
        if owner.get("kind") == "manager":
            return verdict, reason
        if managed_by == "master_loop" and owner.get("kind") is None and context["flocks"]["manager"] != "free":
            return verdict, reason
        if owner.get("holds_lock"):
            return "held", "%s, and has %s open" % (reason, ORCHESTRATOR_LOCK)
    age = context["now"] - observation["mtime"]
    if age < CLAIM_GRACE:
        return verdict, "%s; %s is free, but the claim is only %.0f s old" % (reason, ORCHESTRATOR_LOCK, max(age, 0.0))
    return "stale", "nobody holds %s %.0f s after the claim, so no orchestrator runs (%s)" % (ORCHESTRATOR_LOCK, age, reason)


def _judge_owner(claim, observation, context, result):
    """Judge by identity: PID, start, boot, PID namespace, and what the process is. Only proof of death makes stale."""
    pid = claim["pid"]
    if not 0 < pid <= PID_LIMIT:
        return "stale", "no process can have the PID %d" % pid
    hostname, boot, namespace = claim.get("hostname"), claim.get("boot_id"), claim.get("pid_namespace")
    if hostname and hostname != context["hostname"]:
        return "foreign", "PID %d belongs to the host %s" % (pid, hostname)
    if boot and context["boot_id"] and boot != context["boot_id"]:
        if observation["network"] and not hostname:
            return "foreign", "PID %d belongs to another boot, maybe of another host of this network file system" % pid
        return "stale", "PID %d was given before the last boot" % pid
    if namespace and context["pid_namespace"] and namespace != context["pid_namespace"]:
        return "foreign", "PID %d belongs to the PID namespace %s" % (pid, namespace)
    owner = context["processes"].get(pid) or {"exists": True, "readable": False}
    result["owner"] = owner
    verdict, reason = _judge_process(pid, owner, claim.get("start_ticks"), observation, context)
    if verdict == "stale" and observation["network"] and not hostname:
        return "foreign", "%s, but the file lies on a network file system and does not name its host" % reason
    return verdict, reason


def _judge_process(pid, owner, start_ticks, observation, context):
    if not owner["exists"]:
        return "stale", "PID %d does not exist" % pid
    if owner.get("thread_of"):
        return "stale", "PID %d is given to a thread of process %d" % (pid, owner["thread_of"])
    if not owner["readable"]:
        return "held", "PID %d exists and cannot be looked at" % pid
    # A process whose first thread has ended shows as a zombie while its other threads go on.
    if owner["state"] in ("X", "x") or (owner["state"] == "Z" and owner["threads"] <= 1):
        return "stale", "PID %d is a zombie" % pid
    if owner["kernel_thread"]:
        return "stale", "PID %d is recycled: it is a thread of the kernel" % pid
    if start_ticks is not None and start_ticks != owner["start_ticks"]:
        return "stale", "PID %d is recycled: it started at tick %d, the owner at tick %d" % (pid, owner["start_ticks"], start_ticks)
    late = owner["started_at"] - observation["mtime"]
    if start_ticks is None and late > START_MARGIN:
        return "stale", "PID %d is recycled: it started %.1f s after the lock was written" % (pid, late)
    if pid in context["own_pids"] and owner["kind"] != "manager":
        return "stale", "PID %d is recycled: it is this very process or an ancestor of it" % pid
    if owner["kind"]:
        return "held", "PID %d is a live %s" % (pid, owner["kind"])
    if not owner["argv"]:
        return "held", "PID %d lives and shows no command line" % pid
    return "stale", "PID %d is recycled: it runs %s, which is no orchestrator or manager" % (pid, _shorten(" ".join(owner["argv"])))


def _shorten(text, limit=80):
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= limit else text[:limit - 3] + "..."


# --- looking: reads, never changes -------------------------------------------------------------------------------------


def observe(coordination_dir=None, logs_dir=None, paths=None, port=DEFAULT_PORT, settle=0.0, process_pattern=None, procfs="/proc"):
    """Look at every lock-like file and at all that is needed to judge it. Changes nothing.

    :param coordination_dir: folder of the orchestrator's own locks, or None.
    :param logs_dir: folder of the keepalive scripts' files, or None.
    :param paths: list of globs in place of :data:`DEFAULT_PATHS`.
    :param port: the orchestrator's HTTP port, asked on loopback only where a claim is in question; None asks nothing.
    :param settle: seconds over which an empty or half-written file has to stay unchanged.
    :param process_pattern: regular expression for the name of the orchestrator's script.
    :param procfs: where the process file system is mounted.
    :returns: ``{files: [observation], context: {...}}``. A missing file or folder is no error.
    """
    with _Directories() as directories:
        return _observe(directories, _targets(directories, coordination_dir, logs_dir, paths), coordination_dir, port, settle, process_pattern, procfs)


def _observe(directories, targets, coordination_dir, port, settle, process_pattern, procfs, mine=()):
    context = _host_facts(procfs, port)
    context["expected_uids"] = _expected_uids(coordination_dir)
    files = []
    for folder, name, directory in targets:
        observation = _look(directory, folder, name)
        if observation["kind"] != "absent":
            files.append(observation)
    if settle > 0:
        _settle(files, directories, settle)
    context["flocks"] = _flocks(directories, coordination_dir, mine)
    pids = set()
    claimed = False
    for observation in files:
        claim = _owner_in(observation)
        if claim is not None:
            pids.add(claim["pid"])
            observation["network"] = claim["pid"] > 0 and directories.network(directories.open(observation["folder"]))
            claimed = claimed or (observation["format"] in ("json", "other") and claim["pid"] != 0)
    context["processes"] = {pid: process_facts(pid, procfs, process_pattern) for pid in sorted(pids) if 0 < pid <= PID_LIMIT}
    context["port_answers"] = port_answers(port) if claimed and port else False
    return {"files": files, "context": context}


def _owner_in(observation):
    """Who a file names, without judging it; None where it names nobody."""
    if observation["content"] is None or observation["protected"]:
        return None
    if observation["format"] in ("pid", "flock"):
        pid = parse_pid(observation["content"])
        return None if pid is None else {"pid": pid}
    return parse_claim(observation["content"])


def _host_facts(procfs, port):
    return {
        "hostname": socket.gethostname(),
        "boot_id": _boot_id(procfs),
        "pid_namespace": _link(os.path.join(procfs, "self", "ns", "pid")),
        "own_pids": _own_pids(procfs),
        "now": time.time(),
        "port": port,
    }


def _boot_id(procfs):
    content = _bytes(os.path.join(procfs, "sys", "kernel", "random", "boot_id"))
    return content.decode("ascii", "replace").strip() if content else None


def _own_pids(procfs):
    pids = []
    pid = os.getpid()
    while pid > 0 and pid not in pids:
        pids.append(pid)
        facts = parse_stat(_bytes(os.path.join(procfs, str(pid), "stat")) or b"")
        pid = facts["ppid"] if facts else 0
    return pids


def _expected_uids(coordination_dir):
    uids = {0, os.geteuid()}
    # Orchestrators run as the owner of their folder, while the cleaner may run as root.
    if coordination_dir and os.path.isdir(coordination_dir):
        uids.add(os.stat(coordination_dir).st_uid)
    return sorted(uids)


def _bytes(path):
    try:
        with open(path, "rb", 0) as stream:
            return stream.read()
    except OSError:
        return None


def _link(path):
    try:
        return os.readlink(path)
    except OSError:
        return None


def identity(pid=None, procfs="/proc"):
    """Give what tells a process from every other one, for a claim to record.

    :param pid: a PID, by default one's own.
    :returns: ``{pid, start_ticks, boot_id, pid_namespace, hostname}``.
    """
    pid = os.getpid() if pid is None else pid
    facts = parse_stat(_bytes(os.path.join(procfs, str(pid), "stat")) or b"") or {}
    return {
        "pid": pid,
        "start_ticks": facts.get("start_ticks"),
        "boot_id": _boot_id(procfs),
        "pid_namespace": _link(os.path.join(procfs, str(pid), "ns", "pid")),
        "hostname": socket.gethostname(),
    }


def process_facts(pid, procfs="/proc", pattern=None):
    """Gather what is known of one PID.

    :returns: ``{pid, exists, readable, thread_of, state, threads, kernel_thread, ppid, start_ticks, started_at (epoch seconds), argv, executable,
        cgroup, holds_lock, kind}``; only the first three where it does not exist or cannot be looked at.
    """
    folder = os.path.join(procfs, str(pid))
    for dummy in range(_ATTEMPTS):
        before = parse_stat(_bytes(os.path.join(folder, "stat")) or b"")
        if before is None:
            # hidepid hides the folder of a live process; kill(2) tells.
            return {"pid": pid, "exists": _signalable(pid), "readable": False}
        status = re.search(rb"^Tgid:\s*([0-9]+)", _bytes(os.path.join(folder, "status")) or b"", re.MULTILINE)
        leader = int(status.group(1)) if status else pid
        arguments = _bytes(os.path.join(folder, "cmdline"))
        facts = {
            "pid": pid, "exists": True, "readable": True,
            "thread_of": leader if leader != pid else None,
            "started_at": started_at(before["start_ticks"]),
            "argv": None if arguments is None else parse_arguments(arguments),
            "executable": _link(os.path.join(folder, "exe")),
            "cgroup": (_bytes(os.path.join(folder, "cgroup")) or b"").decode("utf-8", "replace"),
            "holds_lock": _has_open(folder, ORCHESTRATOR_LOCK),
        }
        facts.update(before)
        facts["kind"] = classify(facts, pattern)
        after = parse_stat(_bytes(os.path.join(folder, "stat")) or b"")
        # The PID may pass to another process, or the process to another program, while it is being read.
        if after is not None and after["start_ticks"] == before["start_ticks"] and _bytes(os.path.join(folder, "cmdline")) == arguments:
            return facts
    return {"pid": pid, "exists": True, "readable": False}


def _signalable(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def started_at(start_ticks):
    """Turn a start time in clock ticks since boot into epoch seconds."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + start_ticks / os.sysconf("SC_CLK_TCK")


def _has_open(folder, name):
    """Whether a process has a file of that name open, also one that was unlinked under it (False where that cannot be seen)."""
    descriptors = os.path.join(folder, "fd")
    try:
        numbers = os.listdir(descriptors)
    except OSError:
        return False
    names = (_link(os.path.join(descriptors, number)) or "" for number in numbers)
    return any(os.path.basename(target.replace(" (deleted)", "")) == name for target in names)


def port_answers(port, host="127.0.0.1", timeout=2.0):
    """Ask an orchestrator's C(/health) on loopback. True where something answers in its form, healthy or not."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/health")
        body = connection.getresponse().read(CONTENT_LIMIT)
        data = json.loads(body.decode("utf-8"))
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return False
    finally:
        connection.close()
    return isinstance(data, dict) and "healthy" in data


class _Directories:
    """Folders, each opened once by descriptor, so that nothing planted into a path later changes what a name means."""

    def __init__(self):
        self._descriptors = {}
        self._networks = {}
        self._mounts = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for descriptor in self._descriptors.values():
            if descriptor is not None:
                os.close(descriptor)

    def open(self, path):
        """The descriptor of a folder, or None where there is none that can be trusted."""
        if path not in self._descriptors:
            try:
                self._descriptors[path] = _open_directory(path)
            except OSError:
                self._descriptors[path] = None
        return self._descriptors[path]

    def network(self, descriptor):
        """Whether a folder lies on a file system that other hosts write to as well."""
        if descriptor not in self._networks:
            device = os.fstat(descriptor).st_dev
            # A file system with a block device of its own is no network's, and the table of mounts takes long to read.
            if os.major(device) == 0 and self._mounts is None:
                self._mounts = _mounts()
            self._networks[descriptor] = os.major(device) == 0 and self._mounts.get("0:%d" % os.minor(device)) in NETWORK_FILE_SYSTEMS
        return self._networks[descriptor]


def _mounts():
    types = {}
    for line in (_bytes("/proc/self/mountinfo") or b"").decode("utf-8", "replace").splitlines():
        left, dummy, right = line.partition(" - ")
        if len(left.split()) > 2 and right:
            types[left.split()[2]] = right.split()[0]
    return types


def _open_directory(path, depth=0):
    """Open a folder, following a symbolic link on the way only where nobody else could have planted it."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open("/", flags)
    try:
        walked = "/"
        parts = [part for part in os.path.abspath(path).split("/") if part]
        for index, part in enumerate(parts):
            try:
                inner = os.open(part, flags, dir_fd=descriptor)
            except OSError as exc:
                if exc.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                link = os.stat(part, dir_fd=descriptor, follow_symlinks=False)
                shared = os.fstat(descriptor).st_mode & stat.S_IWOTH
                if not stat.S_ISLNK(link.st_mode) or depth > 8 or (shared and link.st_uid not in (0, os.geteuid())):
                    raise
                target = os.path.join(walked, os.readlink(part, dir_fd=descriptor), *parts[index + 1:])
                return _open_directory(target, depth + 1)
            os.close(descriptor)
            descriptor = inner
            walked = os.path.join(walked, part)
        result, descriptor = descriptor, None
        return result
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _targets(directories, coordination_dir, logs_dir, paths):
    """List ``(folder, name, descriptor)`` of everything to look at, each file once."""
    found = {}
    wanted = [(coordination_dir, name) for name in COORDINATION_NAMES] if coordination_dir else []
    wanted += [(logs_dir, name) for name in LOG_NAMES] if logs_dir else []
    for pattern in DEFAULT_PATHS if paths is None else paths:
        folder, name = os.path.split(os.path.abspath(os.path.expanduser(pattern)))
        for parent in sorted(glob.glob(folder)) if glob.has_magic(folder) else [folder]:
            wanted.append((parent, name))
    listings = {}
    for folder, pattern in wanted:
        folder = os.path.abspath(os.path.expanduser(folder))
        descriptor = directories.open(folder)
        if descriptor is None:
            continue
        if glob.has_magic(pattern):
            if descriptor not in listings:
                with os.scandir(descriptor) as entries:
                    listings[descriptor] = sorted(entry.name for entry in entries)
            match = re.compile(fnmatch.translate(pattern)).match
            names = [name for name in listings[descriptor] if match(name) and not (name.startswith(".") and not pattern.startswith("."))]
        else:
            names = [pattern]
        information = os.fstat(descriptor)
        for name in names:
            found.setdefault((information.st_dev, information.st_ino, name), (folder, name, descriptor))
    return list(found.values())


def _format(name):
    if name.endswith(".lock"):
        return "flock"
    if name.endswith(".pid"):
        return "pid"
    return "json" if name == CLAIM else "other"


_KINDS = (
    (stat.S_ISREG, "regular"), (stat.S_ISLNK, "symbolic link"), (stat.S_ISDIR, "directory"), (stat.S_ISFIFO, "FIFO"), (stat.S_ISSOCK, "socket"),
    (stat.S_ISBLK, "block device"), (stat.S_ISCHR, "character device"),
)


def _look(directory, folder, name):
    """One file's facts, without following links, blocking on a FIFO or reading more than a lock can hold."""
    observation = {
        "path": os.path.join(folder, name), "folder": folder, "name": name, "format": _format(name), "kind": "absent", "protected": False,
        "size": 0, "uid": None, "gid": None, "mode": None, "links": 0, "mtime": 0.0, "device": None, "inode": None, "version": None,
        "content": None, "flock": None, "flock_error": None, "error": None, "settled": True, "network": False,
    }
    try:
        before = os.stat(name, dir_fd=directory, follow_symlinks=False)
        observation["kind"] = next((kind for test, kind in _KINDS if test(before.st_mode)), "special file")
        observation["protected"] = bool(_NEVER_LOCK.match(name) or _NEVER_BELOW.match(folder))
        _describe(observation, before)
        if observation["kind"] != "regular" or observation["protected"]:
            return observation
        if observation["format"] == "other" and before.st_size > CONTENT_LIMIT:
            return observation
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        observation["kind"] = "absent"
        return observation
    except OSError as exc:
        observation["error"] = os.strerror(exc.errno)
        return observation
    try:
        after = os.fstat(descriptor)
        _describe(observation, after)
        if not stat.S_ISREG(after.st_mode):
            observation["kind"] = "special file"
            return observation
        if observation["format"] == "flock":
            observation["flock"], observation["flock_error"] = _ask_flock(directory, name, descriptor)
        observation["content"] = os.read(descriptor, CONTENT_LIMIT)
        last = os.fstat(descriptor)
        observation["settled"] = _version(last) == observation["version"]
        _describe(observation, last)
    except OSError as exc:
        observation["error"] = os.strerror(exc.errno)
    finally:
        os.close(descriptor)
    return observation


def _describe(observation, information):
    observation.update(
        size=information.st_size, uid=information.st_uid, gid=information.st_gid, mode=stat.S_IMODE(information.st_mode),
        links=information.st_nlink, mtime=information.st_mtime, device=information.st_dev, inode=information.st_ino, version=_version(information),
    )


def _version(information):
    return [information.st_dev, information.st_ino, information.st_size, information.st_mtime_ns]


def _ask_flock(directory, name, descriptor):
    """Ask whether a file is flock'd: ``(held|free|unknown, error)``. Asking takes it for microseconds, so contention is asked again."""
    for pause in (0.0, 0.001, 0.004):
        if pause:
            time.sleep(pause)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            return "free", None
        except OSError as exc:
            if exc.errno == errno.EBADF:
                return _ask_flock_for_writing(directory, name, descriptor)
            if exc.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return "unknown", os.strerror(exc.errno)
    return "held", None


def _ask_flock_for_writing(directory, name, descriptor):
    # NFS turns an exclusive flock into a byte-range lock, which needs a file that is open for writing.
    try:
        writable = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=directory)
    except OSError as exc:
        return "unknown", os.strerror(exc.errno)
    try:
        if not os.path.sameopenfile(writable, descriptor):
            return "unknown", "it was replaced meanwhile"
        fcntl.flock(writable, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return "free", None
    except OSError as exc:
        return ("held", None) if exc.errno in (errno.EWOULDBLOCK, errno.EACCES) else ("unknown", os.strerror(exc.errno))
    finally:
        os.close(writable)


def _flocks(directories, coordination_dir, mine):
    """State of the two flocks that stand beside claims: held, free, absent or unknown. Those that this process took count as free."""
    states = {}
    directory = directories.open(os.path.abspath(os.path.expanduser(coordination_dir))) if coordination_dir else None
    for role, name in (("orchestrator", ORCHESTRATOR_LOCK), ("manager", MANAGER_LOCK)):
        if name in mine:
            states[role] = "free"
            continue
        observation = _look(directory, coordination_dir, name) if directory is not None else {"kind": "absent"}
        states[role] = "absent" if observation["kind"] == "absent" else (observation["flock"] or "unknown")
    return states


def _settle(files, directories, settle):
    """Wait for files that name no owner until they have not changed for the whole time (or will not stop changing)."""
    pending = [index for index, observation in enumerate(files) if _is_unsettled(observation)]
    for dummy in range(_ATTEMPTS):
        if not pending:
            return
        time.sleep(settle)
        again = []
        for index in pending:
            before = files[index]
            directory = directories.open(before["folder"])
            after = _look(directory, before["folder"], before["name"])
            after["settled"] = after["version"] == before["version"] and after["content"] == before["content"]
            files[index] = after
            if not after["settled"] and _is_unsettled(after):
                again.append(index)
        pending = again


def _is_unsettled(observation):
    return (observation["kind"] == "regular" and not observation["protected"] and observation["format"] in ("pid", "json")
            and observation["content"] is not None and observation["size"] <= CONTENT_LIMIT and _owner_in(observation) is None)


# --- acting ------------------------------------------------------------------------------------------------------------


def clean(coordination_dir=None, logs_dir=None, paths=None, port=DEFAULT_PORT, settle=DEFAULT_SETTLE, quarantine_dir=None, check=False,
          accept_foreign=False, process_pattern=None, procfs="/proc", log=None):
    """Judge every lock and free the stale ones: claims are put into their free form, PID files moved into the quarantine.

    :param coordination_dir: as for :func:`observe`, like C(logs_dir), C(paths), C(port), C(settle), C(process_pattern) and C(procfs).
    :param quarantine_dir: where what is replaced or moved is kept; by default :data:`DEFAULT_QUARANTINE`, or C(quarantine) in the
        coordination folder where that cannot be written.
    :param check: change nothing, and give the actions that a run would take.
    :param accept_foreign: treat what belongs to another host or PID namespace as stale too.
    :param log: called with every item of the result as soon as it is final.
    :returns: ``[{path, format, owner_pid, verdict, reason, action, error}]``; C(error) is None unless C(action) is C(failed). The verdict of
        something that was freed is the one it was freed for. Nothing raises for what a file or folder is like.
    """
    with _Directories() as directories:
        coordination_dir = os.path.abspath(os.path.expanduser(coordination_dir)) if coordination_dir else None
        look = _Looker(directories, coordination_dir, port, settle, process_pattern, procfs)
        seen = look.all(_targets(directories, coordination_dir, logs_dir, paths))
        cleaner = _Cleaner(look, quarantine_dir, check, accept_foreign)
        entries = []
        for observation in seen["files"]:
            entries.append(cleaner.treat(observation, seen["context"]))
            if log:
                log(entries[-1])
        return entries


class _Looker:
    """The arguments of one run's observations."""

    def __init__(self, directories, coordination_dir, port, settle, process_pattern, procfs):
        self.directories = directories
        self.coordination_dir = coordination_dir
        self._rest = (port, settle, process_pattern, procfs)

    def all(self, targets, mine=()):
        return _observe(self.directories, targets, self.coordination_dir, *self._rest, mine=mine)

    def one(self, observation, mine=()):
        """Look again at one file: ``(observation or None, context)``."""
        directory = self.directories.open(observation["folder"])
        seen = self.all([(observation["folder"], observation["name"], directory)], mine)
        return (seen["files"] or [None])[0], seen["context"]


class _Cleaner:
    """Frees what is judged stale, and makes sure that what it takes away is what was judged."""

    def __init__(self, look, quarantine_dir, check, accept_foreign):
        self._look = look
        self._check = check
        self._actionable = ("stale", "foreign") if accept_foreign else ("stale",)
        self._quarantine = _Quarantine(quarantine_dir, look.coordination_dir)

    def treat(self, observation, context):
        """Judge one file and free it where that is due; gives its item of the result."""
        judged = judge(observation, context)
        if judged["verdict"] not in self._actionable or judged["format"] not in ("json", "pid"):
            return _entry(observation, judged, "none")
        error = self._obstacle(observation)
        if error:
            return _entry(observation, judged, "failed", error)
        if self._check:
            return _entry(observation, judged, _action(observation))
        try:
            return self._free(observation, judged)
        except OSError as exc:
            return _entry(observation, judged, "failed", "%s: %s" % (exc.filename or observation["path"], os.strerror(exc.errno)))

    def _obstacle(self, observation):
        """Why this file could not be replaced or moved, known without trying; None where nothing speaks against it."""
        directory = self._look.directories.open(observation["folder"])
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True):
            return "%s cannot be written" % observation["folder"]
        information = os.fstat(directory)
        if information.st_mode & stat.S_ISVTX and os.geteuid() not in (0, observation["uid"], information.st_uid):
            return "%s is sticky and the file belongs to uid %d" % (observation["folder"], observation["uid"])
        return self._quarantine.obstacle()

    def _free(self, observation, judged):
        directory = self._look.directories.open(observation["folder"])
        self._quarantine.open()
        for attempt in range(_ACT_ATTEMPTS):
            time.sleep(attempt * 0.002)
            # Orchestrators that take their flock before they claim cannot come in between while it is held here.
            with _Flocks(self._look.directories, self._look.coordination_dir, observation) as flocks:
                again, context = self._look.one(observation, flocks.taken)
                if again is None:
                    return _entry(observation, dict(judged, verdict="free", reason="it is gone"), "none")
                observation, judged = again, judge(again, context)
                if judged["verdict"] not in self._actionable:
                    return _entry(observation, judged, "none")
                if flocks.contended:
                    continue
                action = _action(observation)
                aside = _reset(directory, observation) if action == "reset" else _take(directory, observation)
            if aside is not None:
                self._quarantine.keep(directory, aside, observation, judged, action)
                return _entry(observation, judged, action)
        if flocks.contended:
            return _entry(observation, dict(judged, verdict="held", reason="somebody has its flock now, so it is about to be claimed"), "none")
        return _entry(observation, judged, "failed", "it changed each time it was about to be freed")


def _entry(observation, judged, action, error=None):
    return {
        "path": observation["path"], "format": judged["format"], "owner_pid": judged["owner_pid"], "verdict": judged["verdict"],
        "reason": judged["reason"], "action": action, "error": error,
    }


def _action(observation):
    claim = _owner_in(observation) if observation["format"] in ("json", "other") else None
    return "reset" if claim is not None and claim["managed_by"] is not None else "quarantined"


class _Flocks:
    """Hold the flock that stands beside a claim, where it is there and free. None is created.

    C(taken) names what is held; with C(contended), somebody else has what the file depends on, so nothing must be done to it now.
    """

    def __init__(self, directories, coordination_dir, observation):
        self._directory = directories.open(coordination_dir) if coordination_dir else None
        claim = _owner_in(observation) if observation["name"] == CLAIM else None
        self._depends = observation["name"] == CLAIM
        self._names = [MANAGER_LOCK] if observation["name"] == MANAGER_PID else [ORCHESTRATOR_LOCK]
        if claim and claim["managed_by"] == "master_loop":
            self._names.append(MANAGER_LOCK)
        self._descriptors = []
        self.taken = []
        self.contended = False

    def __enter__(self):
        for name in self._names if self._directory is not None else ():
            descriptor = None
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=self._directory)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                # Absent, no file, or without flocks: what that means is for the judgement that follows.
                self.contended = self.contended or (self._depends and exc.errno in (errno.EWOULDBLOCK, errno.EACCES) and descriptor is not None)
                if descriptor is not None:
                    os.close(descriptor)
                continue
            self._descriptors.append(descriptor)
            self.taken.append(name)
        return self

    def __exit__(self, *exception):
        for descriptor in self._descriptors:
            os.close(descriptor)


def free_claim(now):
    """The free form of a claim, as bytes.

    :param now: epoch seconds.
    """
    text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    return json.dumps({"managed_by": "none", "pid": 0, "started_at": text, "last_health_check": text}, indent=2).encode("ascii")


def _hidden(name):
    return ".%s.%s" % (name, os.urandom(6).hex())


def _reset(directory, observation):
    """Exchange a claim for its free form. Gives the name that the old file has now, or None where it was no longer the judged one."""
    name, spare = observation["name"], _hidden(observation["name"])
    content = free_claim(time.time())
    _write(directory, spare, content, observation["mode"], observation["uid"], observation["gid"])
    kept = False
    try:
        free = _fingerprint(directory, spare)
        if not _exchange(directory, spare, name):
            kept = _replace_in_steps(directory, observation, spare)
            return kept
        if _is_judged(directory, spare, observation):
            kept = spare
            return spare
        _exchange(directory, spare, name)
        if _fingerprint(directory, spare) != free:
            # Somebody claimed while the wrong file was out: theirs is the newest.
            _exchange(directory, spare, name)
        return None
    finally:
        if kept != spare:
            _unlink(directory, spare)


def _replace_in_steps(directory, observation, spare):
    """For file systems that cannot exchange names: an absent claim counts as free, so the gap between the two steps is harmless."""
    aside = _take(directory, observation)
    if aside is not None:
        _rename_to_free_name(directory, spare, observation["name"])
    return aside


def _take(directory, observation):
    """Move a file aside within its folder. Gives its new name, or None where it was no longer the judged one (and is back in place)."""
    aside = _hidden(observation["name"])
    try:
        os.rename(observation["name"], aside, src_dir_fd=directory, dst_dir_fd=directory)
    except FileNotFoundError:
        return None
    if _is_judged(directory, aside, observation) and not _is_flocked(directory, aside):
        return aside
    _rename_to_free_name(directory, aside, observation["name"])
    return None


def _is_flocked(directory, name):
    """Whether somebody has taken the file's flock since it was judged."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        return exc.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(descriptor)
    return False


def _is_judged(directory, name, observation):
    """Whether the file of that name now is the very one, unchanged, that was judged."""
    return _fingerprint(directory, name) == (observation["version"], observation["content"])


def _fingerprint(directory, name):
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    try:
        return _version(os.fstat(descriptor)), os.read(descriptor, CONTENT_LIMIT)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _write(directory, name, content, mode, uid=None, gid=None):
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        if uid is not None and os.geteuid() == 0:
            os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
        while content:
            content = content[os.write(descriptor, content):]
        os.fsync(descriptor)
    except OSError:
        _unlink(directory, name)
        raise
    finally:
        os.close(descriptor)


def _unlink(directory, name):
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return


_RENAMEAT2 = {"x86_64": 316, "aarch64": 276, "riscv64": 276, "ppc64le": 357, "s390x": 347}
_NO_REPLACE, _EXCHANGE = 1, 2


def _renameat2(directory, source, target, flags):
    """renameat2(2) within one folder. False where kernel or file system do not know it; raises OSError otherwise."""
    number = _RENAMEAT2.get(os.uname().machine)
    if number is None:
        return False
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    arguments = (ctypes.c_long(number), ctypes.c_int(directory), ctypes.c_char_p(os.fsencode(source)), ctypes.c_int(directory),
                 ctypes.c_char_p(os.fsencode(target)), ctypes.c_uint(flags))
    if call(*arguments) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EPERM):
        return False
    raise OSError(number, os.strerror(number), target)


def _exchange(directory, source, target):
    """Exchange two names at once. False where that is not possible here, and the target may be gone."""
    try:
        return _renameat2(directory, source, target, _EXCHANGE)
    except FileNotFoundError:
        return False


def _rename_to_free_name(directory, source, target):
    """Give a file a name that nobody has; where somebody took it meanwhile, theirs stays and this one keeps its name."""
    try:
        if not _renameat2(directory, source, target, _NO_REPLACE):
            os.link(source, target, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
            os.unlink(source, dir_fd=directory)
    except FileExistsError:
        return


class _Quarantine:
    """The folder that keeps what was replaced or moved, by day, each with a record of content, verdict and proof."""

    def __init__(self, path, coordination_dir):
        self._candidates = [path or DEFAULT_QUARANTINE]
        if path is None and coordination_dir:
            self._candidates.append(os.path.join(coordination_dir, "quarantine"))
        self._descriptor = None
        self._path = None

    def obstacle(self):
        """Why nothing can be kept, or None."""
        errors = []
        for path in self._candidates:
            error = _quarantine_error(path)
            if error is None:
                self._path = path
                return None
            errors.append(error)
        return "nothing can be kept: %s" % "; ".join(errors)

    def open(self):
        if self._descriptor is None:
            path = os.path.join(self._path, time.strftime("%Y-%m-%d", time.gmtime()))
            os.makedirs(self._path, mode=0o700, exist_ok=True)
            os.makedirs(path, mode=0o700, exist_ok=True)
            self._descriptor = _open_directory(path)

    def keep(self, directory, aside, observation, judged, action):
        """Move a file out of its folder, next to a record of why."""
        name = "%s-%s-%s" % (time.strftime("%H%M%S", time.gmtime()), os.urandom(3).hex(), observation["name"])
        owner = judged.get("owner") or {}
        record = {
            "path": observation["path"], "format": judged["format"], "verdict": judged["verdict"], "reason": judged["reason"], "action": action,
            "owner_pid": judged["owner_pid"], "owner": {key: owner[key] for key in sorted(owner) if key != "environment"}, "time": time.time(),
            "content": observation["content"].decode("utf-8", "replace"), "content_base64": base64.b64encode(observation["content"]).decode("ascii"),
            "mode": "%04o" % observation["mode"], "uid": observation["uid"], "gid": observation["gid"], "mtime": observation["mtime"],
            "inode": observation["inode"], "device": observation["device"],
        }
        _write(self._descriptor, name + ".record.json", json.dumps(record, indent=2, sort_keys=True).encode("ascii", "backslashreplace"), 0o600)
        try:
            os.rename(aside, name, src_dir_fd=directory, dst_dir_fd=self._descriptor)
        except OSError as exc:
            if exc.errno != errno.EXDEV:
                raise
            _write(self._descriptor, name, observation["content"], 0o600)
            os.unlink(aside, dir_fd=directory)


def _quarantine_error(path):
    existing = path
    while not os.path.lexists(existing) and existing != "/":
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        return "%s is no folder" % existing
    information = os.stat(existing)
    if existing == path and (information.st_mode & stat.S_IWOTH or information.st_uid not in (0, os.geteuid())):
        return "%s belongs to somebody else or everybody may write to it" % path
    if not os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
        return "%s cannot be written" % existing
    return None


# --- command line ------------------------------------------------------------------------------------------------------


def main(arguments=None, write=None):
    """Run as a program: one line per verdict. Returns the exit status.

    Status 0, unless C(--strict) is given: then 1 where a stale lock could not be freed, 3 where a live owner's claim would have a start refused.
    """
    parser = argparse.ArgumentParser(prog="lock_guard.py", description="Judge the lock files of a p2p orchestrator and free the stale ones.")
    parser.add_argument("--coordination-dir", required=True, help="folder of p2p_supervisor.json and the flock files")
    parser.add_argument("--logs-dir", help="folder of p2p.pid and p2p_keepalive.lock")
    parser.add_argument("--path", action="append", metavar="GLOB", help="in place of the default globs; may be repeated")
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help="HTTP port asked on loopback")
    parser.add_argument("--settle", type=_seconds, default=DEFAULT_SETTLE, help="seconds that a half-written file has to stay unchanged")
    parser.add_argument("--quarantine-dir", help="where what is replaced or moved is kept")
    parser.add_argument("--process-pattern", type=_pattern, help="regular expression for the name of the orchestrator's script")
    parser.add_argument("--accept-foreign", action="store_true", help="free what belongs to another host or PID namespace too")
    parser.add_argument("--check", action="store_true", help="change nothing, say what a run would do")
    parser.add_argument("--strict", action="store_true", help="exit 1 where something could not be freed, 3 where a start would be refused")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--node", help="name of the node, for the log")
    options = parser.parse_args(arguments)
    write = write or _print

    def log(entry):
        if options.json:
            write(json.dumps(dict(entry, node=options.node), sort_keys=True))
        else:
            write(line_of(entry, options.node, options.check))

    entries = clean(
        options.coordination_dir, options.logs_dir, options.path, options.port, options.settle, options.quarantine_dir, options.check,
        options.accept_foreign, options.process_pattern, log=log,
    )
    if options.strict and any(entry["action"] == "failed" for entry in entries):
        return 1
    if options.strict and any(entry["verdict"] == "held" and os.path.basename(entry["path"]) in (CLAIM, ORCHESTRATOR_LOCK) for entry in entries):
        return 3
    return 0


def line_of(entry, node=None, check=False):
    """One log line for one item of the result of :func:`clean`."""
    action = entry["action"] if entry["action"] in ("none", "failed") or not check else "would be " + entry["action"]
    error = " (%s)" % entry["error"] if entry["error"] else ""
    place = "".join(character if character.isprintable() else "?" for character in entry["path"])
    return "lock_guard%s: %s %s: %s; %s%s" % ("[%s]" % node if node else "", entry["verdict"], place, entry["reason"], action, error)


def _print(line):
    sys.stdout.write(line.encode("utf-8", "backslashreplace").decode("utf-8") + "\n")
    sys.stdout.flush()


def _port(text):
    if not re.match(r"[0-9]{1,5}\Z", text) or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError("%r is no port between 1 and 65535" % text)
    return int(text)


def _seconds(text):
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 60:
        raise argparse.ArgumentTypeError("%r is no number of seconds between 0 and 60" % text)
    return value


def _pattern(text):
    try:
        re.compile(text)
    except re.error as exc:
        raise argparse.ArgumentTypeError("%r is no regular expression: %s" % (text, exc)) from exc
    return text


if __name__ == "__main__":
    raise SystemExit(main())
