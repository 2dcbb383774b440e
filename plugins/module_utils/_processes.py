# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the processes of orchestrators and of their managers, say which is the service's, and end the others.

What a process is, is told by :func:`classify` (pure) from executable, arguments and cgroup. Signals go through a pidfd that was
opened before the identity was proven, so they cannot reach another process that inherited the PID.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import select
import signal
import time

from ansible_collections.ringrift.p2p.plugins.module_utils import _lock_guard

DEFAULT_SERVICE = _lock_guard.SERVICE_NAME
# A graceful stop of the software in the field was measured at 15 s.
DEFAULT_STOP_TIMEOUT = 30.0
KILL_TIMEOUT = 5.0
_SECRET = re.compile(r"TOKEN|PASSWORD|SECRET|PASSPHRASE|CREDENTIAL|(^|_)KEY($|_)")
_PATH_NAME = re.compile(r"(_FILE|_PATH|_DIR)$")
_SECRET_OPTIONS = ("--auth-token",)
MASK = "********"

classify = _lock_guard.classify


# --- pure --------------------------------------------------------------------------------------------------------------


def shown_environment(content):
    """Give what of a process's environment may be shown.

    :param content: bytes of C(/proc/PID/environ).
    :returns: dict with the names C(RINGRIFT_*), C(P2P_*) and C(PYTHONPATH); values of secrets are masked, paths of their files are not.
    """
    shown = {}
    for name, value in full_environment(content).items():
        if name.startswith(("RINGRIFT_", "P2P_")) or name == "PYTHONPATH":
            hidden = value and _SECRET.search(name.upper()) and not _PATH_NAME.search(name.upper())
            shown[name] = MASK if hidden else value
    return shown


def full_environment(content):
    """Split bytes of C(/proc/PID/environ) into a dict."""
    pairs = (part.decode("utf-8", "surrogateescape").partition("=") for part in content.split(b"\0") if part)
    return {name: value for name, separator, value in pairs if separator}


def shown_arguments(argv):
    """The arguments of a process without the secrets among them."""
    shown = []
    for index, word in enumerate(argv):
        name, separator, value = word.partition("=")
        if index and argv[index - 1] in _SECRET_OPTIONS:
            word = MASK
        elif separator and name in _SECRET_OPTIONS:
            word = "%s=%s" % (name, MASK)
        # Surrogates cannot be written as JSON.
        shown.append(word.encode("utf-8", "replace").decode("utf-8"))
    return shown


def families(processes):
    """Group orchestrator processes: a child of an orchestrator is a part of it.

    :param processes: process dicts as :func:`scan` gives them.
    :returns: list of families, each a list whose first item is its root, oldest root first.
    """
    found = {process["pid"]: process for process in processes if process["kind"] == "orchestrator"}
    members = {}
    for pid, process in found.items():
        root, seen = process, {pid}
        while root["ppid"] in found and root["ppid"] not in seen:
            seen.add(root["ppid"])
            root = found[root["ppid"]]
        members.setdefault(root["pid"], []).append(process)
    ordered = sorted(members, key=lambda pid: (found[pid]["start_ticks"], pid))
    return [sorted(members[pid], key=lambda process: (process["pid"] != pid, process["start_ticks"])) for pid in ordered]


def choose(processes, own_namespace, without_service="keep"):
    """Decide which orchestrator stays.

    :param processes: process dicts as :func:`scan` gives them.
    :param own_namespace: the PID namespace of who asks.
    :param without_service: where no orchestrator is the service's: V(keep) the one that has the lock, else the oldest; V(end) all of them.
    :returns: ``{keep: family or None, end: [families], refused: [{pid, reason, foreign}]}``; C(foreign) is true for those of other containers.
    """
    groups, refused = [], []
    for family in families(processes):
        reasons = [
            {"pid": process["pid"], "reason": reason, "foreign": process["pid_namespace"] not in (None, own_namespace)}
            for process in family for reason in [unproven(process, own_namespace)] if reason]
        refused += reasons
        if not reasons:
            groups.append(family)
    ours = [family for family in groups if any(process["service"] for process in family)]
    if not ours and without_service == "keep":
        ours = [family for family in groups if any(process["holds_lock"] for process in family)] or groups[:1]
    keep = ours[0] if ours else None
    return {"keep": keep, "end": [family for family in groups if family is not keep], "refused": refused}


def unproven(process, own_namespace):
    """Why it is not proven that a process is an orchestrator of this node, or None."""
    if process["executable"] is None:
        return "its executable cannot be read, so what it is is not proven"
    if process["pid_namespace"] != own_namespace:
        return "it runs in another PID namespace (%s), so it belongs to a container of its own" % process["pid_namespace"]
    return None


# --- looking -----------------------------------------------------------------------------------------------------------


def scan(procfs="/proc", service=DEFAULT_SERVICE, pattern=None):
    """Find every process of an orchestrator or of a manager.

    :param procfs: where the process file system is mounted.
    :param service: name of the service's unit or supervisord program.
    :param pattern: regular expression for the file name of the orchestrator's script.
    :returns: list by PID of ``{pid, ppid, started_at (epoch seconds), start_ticks, argv, environment, cgroup, cwd, executable, uid, service,
        kind, holds_lock, pid_namespace}``. What cannot be read is None. Zombies are left out.
    """
    own = set(_lock_guard._own_pids(procfs))
    found = []
    for name in os.listdir(procfs):
        if not name.isdigit():
            continue
        # One read tells nearly every process apart; everything else is read of the few that remain.
        arguments = _lock_guard._bytes(os.path.join(procfs, name, "cmdline"))
        if arguments and int(name) not in own and _might_be_one(arguments, pattern):
            process = look(int(name), procfs, service, pattern)
            if process is not None and process["kind"]:
                found.append(process)
    return sorted(found, key=lambda process: process["pid"])


_MENTION = re.compile(rb"p2p[_-]|master_loop|node_resilience|ringrift")


def _might_be_one(arguments, pattern):
    return pattern is not None or _MENTION.search(arguments) is not None


def look(pid, procfs="/proc", service=DEFAULT_SERVICE, pattern=None):
    """One process as :func:`scan` gives it (C(kind) may be None), or None where there is none that lives."""
    facts = _lock_guard.process_facts(pid, procfs, pattern)
    if not facts["readable"] or facts["thread_of"] or facts["state"] in ("Z", "X", "x"):
        return None
    folder = os.path.join(procfs, str(pid))
    environment = _lock_guard._bytes(os.path.join(folder, "environ"))
    try:
        uid = os.stat(folder).st_uid
    except OSError:
        return None
    process = {
        "pid": pid, "ppid": facts["ppid"], "started_at": facts["started_at"], "start_ticks": facts["start_ticks"],
        "argv": shown_arguments(facts["argv"] or []), "environment": None if environment is None else shown_environment(environment),
        "cgroup": _own_cgroup(facts["cgroup"]), "cwd": _lock_guard._link(os.path.join(folder, "cwd")), "executable": facts["executable"], "uid": uid,
        "kind": facts["kind"], "holds_lock": facts["holds_lock"], "pid_namespace": _lock_guard._link(os.path.join(folder, "ns", "pid")),
    }
    process["service"] = _of_service(process, environment or b"", service, procfs)
    return process


def _own_cgroup(text):
    """The path that tells the unit: that of the unified hierarchy, or of systemd's where there is none."""
    paths = {}
    for line in text.splitlines():
        dummy, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        paths[controllers] = path
    return max((paths.get(""), paths.get("name=systemd")), key=lambda path: len(path or "")) or None


def _of_service(process, environment, service, procfs):
    if process["cgroup"] and ("/%s.service" % service) in process["cgroup"] + "/":
        return re.search(r"/%s\.service(/|$)" % re.escape(service), process["cgroup"]) is not None
    # supervisord names the program in its child's environment; grandchildren inherit that, so the parent is looked at too.
    if full_environment(environment).get("SUPERVISOR_PROCESS_NAME") != service:
        return False
    parent = _lock_guard.process_facts(process["ppid"], procfs)
    dummy, script = _lock_guard.script_of(parent.get("argv"), parent.get("executable"))
    return os.path.basename(script or "") in ("supervisord", "supervisord.py")


def listeners(port, procfs="/proc"):
    """How many sockets of this network namespace listen on a TCP port."""
    wanted = "%04X" % port
    count = 0
    for name in ("tcp", "tcp6"):
        for line in (_lock_guard._bytes(os.path.join(procfs, "self", "net", name)) or b"").decode("ascii", "replace").splitlines()[1:]:
            fields = line.split()
            # 0A is LISTEN.
            if len(fields) > 3 and fields[3] == "0A" and fields[1].rpartition(":")[2] == wanted:
                count += 1
    return count


# --- ending ------------------------------------------------------------------------------------------------------------

_PIDFD_SEND_SIGNAL, _PIDFD_OPEN = 424, 434


def _system_call(number, *arguments):
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    result = call(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def open_pidfd(pid):
    """A descriptor that stands for this very process. Raises OSError: ESRCH where it is gone, ENOSYS before Linux 5.3."""
    if hasattr(os, "pidfd_open"):
        return os.pidfd_open(pid)
    return _system_call(_PIDFD_OPEN, ctypes.c_int(pid), ctypes.c_uint(0))


def send(pidfd, number):
    """Send a signal through a pidfd. Raises OSError."""
    if hasattr(signal, "pidfd_send_signal"):
        signal.pidfd_send_signal(pidfd, number)
    else:
        _system_call(_PIDFD_SEND_SIGNAL, ctypes.c_int(pidfd), ctypes.c_int(number), ctypes.c_void_p(None), ctypes.c_uint(0))


def end(process, stop_timeout=DEFAULT_STOP_TIMEOUT, kill_timeout=KILL_TIMEOUT, procfs="/proc", pattern=None):
    """End one process: SIGTERM, wait, SIGKILL, wait.

    :param process: its dict as :func:`scan` gave it; only a process with the same start and kind is ended.
    :param stop_timeout: seconds to wait for a graceful stop.
    :returns: ``{pid, argv, signal (TERM|KILL|None), seconds, ended (bool), error (str or None)}``; C(signal) is None where it had ended by itself.
    """
    result = {"pid": process["pid"], "argv": process["argv"], "signal": None, "seconds": 0.0, "ended": True, "error": None}
    begin = time.monotonic()
    try:
        pidfd = open_pidfd(process["pid"])
    except OSError as exc:
        if exc.errno != errno.ESRCH:
            result.update(ended=False, error="it cannot be opened: %s" % os.strerror(exc.errno))
        return result
    try:
        now = look(process["pid"], procfs, pattern=pattern)
        if now is None or now["start_ticks"] != process["start_ticks"]:
            return result
        if now["kind"] != process["kind"]:
            result.update(ended=False, error="it has become another program meanwhile")
            return result
        for name, wait in (("TERM", stop_timeout), ("KILL", kill_timeout)):
            send(pidfd, getattr(signal, "SIG" + name))
            result["signal"] = name
            if _exited(pidfd, wait):
                return result
        result.update(ended=False, error="it lives on after SIGKILL, in uninterruptible sleep")
    except OSError as exc:
        if exc.errno != errno.ESRCH:
            result.update(ended=False, error=os.strerror(exc.errno))
    finally:
        result["seconds"] = round(time.monotonic() - begin, 3)
        os.close(pidfd)
    return result


def _exited(pidfd, timeout):
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def wait_for_port(port, timeout, procfs="/proc"):
    """Wait until nothing listens on a TCP port. Returns whether that is so."""
    limit = time.monotonic() + timeout
    while listeners(port, procfs):
        if time.monotonic() >= limit:
            return False
        time.sleep(0.1)
    return True
