# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lease that keeps two runs from restarting nodes at once: who holds it, may another take it. The first part is pure.

A *holder* is {run_id, user, controller (host name), machine_id, boot_id, pid_namespace, pid, pid_start}, its process being that of
the run on the controller. A *lease* is {holder, acquired_at, renewed_at (epoch seconds), renewed_uptime, node_boot_id,
time_to_live (seconds)}. The node's uptime, not its wall clock, ages a lease: a clock that steps must not free it.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import socket
import tempfile
import time

from ansible_collections.ringrift.p2p.plugins.module_utils._services import start_ticks

HOLDER_KEYS = ("run_id", "user", "controller", "machine_id", "boot_id", "pid_namespace", "pid", "pid_start")
_PROCESS_KEYS = ("machine_id", "boot_id", "pid_namespace", "pid", "pid_start")


def holder_faults(holder):
    """What is wrong with a holder's identity, as a list of sentences."""
    faults = [f"holder.{key} is missing" for key in HOLDER_KEYS if key not in holder]
    if not isinstance(holder.get("run_id"), str) or not holder.get("run_id"):
        faults.append("holder.run_id must name the run")
    return list(dict.fromkeys(faults))


def same_process(one, other):
    """Whether two holders are one process of one running system."""
    return all(one.get(key) is not None and one.get(key) == other.get(key) for key in _PROCESS_KEYS)


def expires_in(lease, clock):
    """Seconds until the lease expires, negative once it has. `clock` is {time, uptime, boot_id} of the node."""
    if lease.get("node_boot_id") == clock["boot_id"] and isinstance(lease.get("renewed_uptime"), (int, float)):
        age = clock["uptime"] - lease["renewed_uptime"]
    else:
        age = clock["time"] - float(lease.get("renewed_at") or 0)
    return float(lease.get("time_to_live") or 0) - age


def describe(lease, clock):
    """The lease's holder in words."""
    holder = lease.get("holder") or {}
    return (
        f"run {holder.get('run_id')} of {holder.get('user')} on {holder.get('controller')} (pid {holder.get('pid')}), "
        f"which expires in {max(0, round(expires_in(lease, clock)))} s unless it is renewed"
    )


def decide(current, holder, clock, dead=()):
    """What an acquisition by `holder` comes to: {decision: acquire|renew|take_over|refuse, reason}.

    `current` is the lease on the node or None, `dead` the holders whose process is proven to have ended. The proof is good only
    from the system that the holder ran on: same machine, same boot, same PID namespace as the one that asks.
    """
    if current is None:
        return {"decision": "acquire", "reason": "nobody holds it"}
    other = current.get("holder") or {}
    if other.get("run_id") == holder["run_id"]:
        return {"decision": "renew", "reason": "this run holds it"}
    if expires_in(current, clock) <= 0:
        return {"decision": "take_over", "reason": f"the lease of run {other.get('run_id')} has expired"}
    same_system = all(other.get(key) is not None and other.get(key) == holder.get(key) for key in ("machine_id", "boot_id", "pid_namespace"))
    if same_system and any(same_process(other, proof) for proof in dead):
        return {"decision": "take_over", "reason": f"run {other.get('run_id')} (pid {other.get('pid')}) has ended without releasing it"}
    return {"decision": "refuse", "reason": f"held by {describe(current, clock)}"}


def decide_release(current, run_id):
    """What a release by `run_id` comes to: {decision: release|absent|keep, reason}; another run's lease is kept."""
    if current is None:
        return {"decision": "absent", "reason": "nobody holds it"}
    other = (current.get("holder") or {}).get("run_id")
    if other != run_id:
        return {"decision": "keep", "reason": f"run {other} holds it"}
    return {"decision": "release", "reason": "this run holds it"}


def new_lease(current, decision, holder, clock, time_to_live):
    """The lease to write after `decide` allowed it."""
    acquired = current["acquired_at"] if decision == "renew" and current.get("acquired_at") else clock["time"]
    return {
        "holder": {key: holder.get(key) for key in HOLDER_KEYS},
        "acquired_at": acquired,
        "renewed_at": clock["time"],
        "renewed_uptime": clock["uptime"],
        "node_boot_id": clock["boot_id"],
        "time_to_live": time_to_live,
    }


# From here on the system is read and written.


def _first_line(path):
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            return stream.readline().strip() or None
    except OSError:
        return None


def node_clock():
    """{time, uptime, boot_id} of this system."""
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
    return {"time": time.time(), "uptime": uptime, "boot_id": _first_line("/proc/sys/kernel/random/boot_id")}


def identity(pid, run_id=None):
    """The holder that the run with process `pid` on this system is."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = None
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    start = start_ticks(pid)
    return {
        "run_id": run_id or f"{socket.gethostname()}-{pid}-{start}",
        "user": user,
        "controller": socket.gethostname(),
        "machine_id": _first_line("/etc/machine-id") or socket.gethostname(),
        "boot_id": _first_line("/proc/sys/kernel/random/boot_id"),
        "pid_namespace": namespace,
        "pid": pid,
        "pid_start": start,
    }


def proven_dead(holder, own):
    """Whether the process of `holder` is known to have ended, as seen by `own`, an identity of this system."""
    if any(holder.get(key) is None or holder.get(key) != own.get(key) for key in ("machine_id", "boot_id", "pid_namespace")):
        return False
    if not isinstance(holder.get("pid"), int) or not isinstance(holder.get("pid_start"), int):
        return False
    return start_ticks(holder["pid"]) != holder["pid_start"]


def read_lease(path):
    """The lease in the file, None where there is none. Raises ValueError where the file holds something else, OSError where it can't be read."""
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except FileNotFoundError:
        return None
    lease = json.loads(text)
    if not isinstance(lease, dict) or not isinstance(lease.get("holder"), dict):
        raise ValueError("it holds no lease")
    return lease


def write_lease(path, lease):
    """Puts the lease into the file, whole or not at all."""
    folder = os.path.dirname(path)
    handle, temporary = tempfile.mkstemp(prefix=".restart-lease-", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(lease, stream, indent=1, sort_keys=True)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def exclusive(path, wait):
    """Holds the file beside the lease flock'd, so that two runs decide one after the other. The file stays: it is no lease.

    A restart holds it too, from the guard to the node's return: whoever takes the lease over from a run that was killed comes
    after the last act of that run. Raises BlockingIOError after `wait` seconds.
    """
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    end = time.monotonic() + wait
    with open(f"{path}.flock", "a", encoding="ascii") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as problem:
                if time.monotonic() >= end:
                    raise BlockingIOError(problem.errno, f"an act of another run on this node has not ended within {wait:g} s") from problem
                time.sleep(0.1)
        yield
