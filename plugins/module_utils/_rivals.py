# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what else on a node starts, restarts or kills the orchestrator, disable it reversibly, and put it back.

Rivals are lines of cron tables and start scripts, units, and running processes. A disabled line stays where it was, as a marked
comment; a unit is masked, its own file kept; a process is ended. For each, a record is written before anything is touched.

A rival is disabled for good, or held off for one run. The record says which, so that the next run can put back what a run that died had held off.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
import subprocess
import time

from ansible_collections.ringrift.p2p.plugins.module_utils import _lock_guard, _processes

RECORDS = "/var/lib/ringrift-p2p/rivals"
MARKER = "# ringrift.p2p disabled: "
UNIT_FOLDERS = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
UNIT_NAMES = re.compile(r"(ringrift-p2p-orchestrator|ringrift-resilience|ringrift-supervisor)\.(service|timer)\Z")
# Where Vast and others run what the user wants at start.
START_SCRIPTS = ("etc/rc.local", "root/onstart.sh", "workspace/onstart.sh", "root/.onstart.sh")
CRON_SCRIPT_FOLDERS = ("etc/cron.hourly", "etc/cron.daily", "etc/cron.weekly", "etc/cron.monthly")
TEXT_LIMIT = 1048576

_SPLIT = re.compile(r"[\s;|&()'\"`<>{}]+")
_SCRIPT = re.compile(_lock_guard.MANAGER_SCRIPTS)
_ORCHESTRATOR = re.compile(_lock_guard.ORCHESTRATOR_SCRIPTS)
_PYTHON = re.compile(r"(python|pypy)[0-9.]*\Z")
_KILLER = ("pkill", "killall", "kill")
# Commands that only read, move or mark the files that they name, with all of their words.
_READER = re.compile(
    r"(^|[;|&(]\s*|\b(?:do|then|else|while|until|if)\s+)(?:!\s+)?\s*"
    r"(cat|tail|head|less|grep|rm|chmod|chown|cp|mv|ls|logrotate|touch|vim?|nano)\s[^;|&]*")


# --- pure --------------------------------------------------------------------------------------------------------------


def rival_in(command, service=_processes.DEFAULT_SERVICE):
    """Tell whether a command line (of a shell) runs, restarts or kills an orchestrator or one of its managers.

    :param command: the text of the command.
    :param service: name of the collection's own service; a command that restarts it is a rival as well.
    :returns: the name of what it runs or acts on, or None.
    """
    words = [word for word in _SPLIT.split(_READER.sub(r"\1", command)) if word]
    names = [os.path.basename(word) for word in words]
    for index, name in enumerate(names):
        before = names[max(0, index - 4):index]
        if _SCRIPT.fullmatch(name) and ("." in name or name.startswith("ringrift-") or "-m" in before):
            return name
        module = words[index].rpartition(".")[2] if "-m" in before[-1:] else ""
        if module and _SCRIPT.fullmatch(module):
            return module
        if _ORCHESTRATOR.fullmatch(name) or _ORCHESTRATOR.fullmatch(module):
            if any(_PYTHON.match(word) for word in before) or any(word in _KILLER for word in before):
                return name
        if name in (service, service + ".service") and ("restart" in before or "kill" in before or "stop" in before or "start" in before):
            if any(word in ("systemctl", "supervisorctl", "service") for word in before):
                return "restart of " + service
    return None


def rival_lines(text, cron=True, with_user=False, service=_processes.DEFAULT_SERVICE):
    """Find the rivals among the lines of a cron table or of a start script.

    :param text: the file's text.
    :param cron: whether it is a cron table; a start script's lines are commands as they stand.
    :param with_user: whether the table names a user before the command, as those of the system do.
    :returns: list of ``{name, line (1-based), text}``. Comments are none.
    """
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        command = _cron_command(stripped, with_user) if cron else stripped
        name = rival_in(command, service) if command else None
        if name:
            found.append({"name": name, "line": number, "text": line})
    return found


def _cron_command(line, with_user):
    if re.match(r"[A-Za-z_][A-Za-z0-9_]*\s*=", line):
        return None
    count = (1 if line.startswith("@") else 5) + (1 if with_user else 0)
    fields = line.split(None, count)
    return fields[count] if len(fields) > count else None


def unit_commands(text):
    """The commands of a unit file: the values of its C(Exec*=) lines, continued ones joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [match.group(1) for match in re.finditer(r"^\s*Exec(?:Start|StartPre|StartPost|Stop|Reload)\s*=\s*[-@:+!]*(.*)$", joined, re.MULTILINE)]


def loop_in(argv):
    """Whether a shell runs a keepalive loop that was given to it as text; the name of what it keeps alive, or None."""
    interpreter, script = _lock_guard.script_of(argv)
    if interpreter != "shell" or script is not None or len(argv) < 3:
        return None
    text = argv[-1]
    if not re.search(r"\b(while|until|for)\b", text) or not re.search(r"\bsleep\b", text):
        return None
    return rival_in(text)


def comment_out(text, number, expected):
    """Put the marker before one line. Gives the new text, or None where that line is not the expected one (any more)."""
    lines = text.split("\n")
    if number > len(lines) or lines[number - 1] != expected:
        return None
    lines[number - 1] = MARKER + expected
    return "\n".join(lines)


def uncomment(text, expected):
    """Take the marker away from the line that reads so. Gives the new text, or None where there is no such line."""
    lines = text.split("\n")
    if MARKER + expected not in lines:
        return None
    lines[lines.index(MARKER + expected)] = expected
    return "\n".join(lines)


def key_of(rival):
    """The name of a rival's record: the same for the same rival."""
    parts = (rival["kind"], rival["location"], rival["name"], rival.get("text") or " ".join(rival.get("argv") or []))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def stands_in(rival, paths):
    """Whether a rival is defined by one of these files: the one that it was found in, or the one that masks its unit."""
    return rival["location"] in paths or (rival["kind"] == "unit" and "/etc/systemd/system/" + rival["name"] in paths)


# --- looking -----------------------------------------------------------------------------------------------------------


def detect(root="/", procfs=None, service=_processes.DEFAULT_SERVICE):
    """Find every rival. Changes nothing; what cannot be read is left out.

    :param root: where the file system to look at begins.
    :param procfs: where its process file system is mounted, by default C(proc) below it.
    :param service: the collection's own service.
    :returns: list of ``{kind (cron|unit|process|file), name, location, line (int or None), active}`` and what disabling needs: C(text), C(pid), C(argv),
        C(start_ticks). C(location) is a path below C(root), written from C(/).
    """
    procfs = procfs or os.path.join(root, "proc")
    processes = []
    if os.path.isdir(procfs):
        processes = _rival_processes(procfs, service)
    units = _units(root, service, processes)
    masked = {unit["name"] for unit in units if unit["active"]}
    # A process of a unit goes with its unit.
    alone = [process for process in processes if process.pop("unit") not in masked]
    return _cron(root, service) + _files(root, service) + units + alone


def held_off(records=RECORDS):
    """What is held off for a run, by the records: ``{kind, name, location, line, active (False)}`` each. A record that cannot be read is left out."""
    found = []
    for name in _names(records):
        try:
            record = json.loads(_lock_guard._bytes(os.path.join(records, name)) or b"")
            if record["held"]:
                found.append({"kind": record["kind"], "name": record["name"], "location": record["location"], "line": record["line"], "active": False})
        except (ValueError, TypeError, KeyError):
            continue
    return found


def _read_text(path):
    try:
        if not stat.S_ISREG(os.stat(path).st_mode) or os.path.getsize(path) > TEXT_LIMIT:
            return None
    except OSError:
        return None
    content = _lock_guard._bytes(path)
    return None if content is None else content.decode("utf-8", "surrogateescape")


def _names(folder):
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _cron(root, service):
    tables = [("etc/crontab", True)]
    # cron itself skips names with a dot in cron.d, such as those that a package manager leaves behind.
    tables += [(os.path.join("etc/cron.d", name), True) for name in _names(os.path.join(root, "etc/cron.d")) if re.match(r"[A-Za-z0-9_-]+\Z", name)]
    for folder in ("var/spool/cron/crontabs", "var/spool/cron"):
        tables += [(os.path.join(folder, name), False) for name in _names(os.path.join(root, folder)) if not name.startswith(("tmp.", "."))]
    return [rival for path, with_user in tables for rival in _lines(root, path, "cron", True, with_user, service)]


def _lines(root, path, kind, cron, with_user, service):
    text = _read_text(os.path.join(root, path))
    found = rival_lines(text, cron, with_user, service) if text else []
    return [dict(rival, kind=kind, location="/" + path, active=True) for rival in found]


def _files(root, service):
    found = []
    paths = list(START_SCRIPTS)
    for folder in CRON_SCRIPT_FOLDERS:
        paths += [os.path.join(folder, name) for name in _names(os.path.join(root, folder))]
    for path in paths:
        text = _read_text(os.path.join(root, path))
        # The collection's own start script for containers is no rival of the collection.
        if text and "/etc/ringrift/" not in text:
            found += _lines(root, path, "file", False, False, service)
    return found


def _units(root, service, processes):
    found, seen = [], set()
    for folder in UNIT_FOLDERS:
        for name in _names(os.path.join(root, folder)):
            if not name.endswith((".service", ".timer")) or name in (service + ".service", service + ".timer") or name in seen:
                continue
            path = os.path.join(root, folder, name)
            if os.path.islink(path) and os.readlink(path) == "/dev/null":
                seen.add(name)
                continue
            text = _read_text(path)
            if text is None:
                continue
            seen.add(name)
            runs = next((command for command in (rival_in(command, service) for command in unit_commands(text)) if command), None)
            if runs or UNIT_NAMES.match(name):
                active = _enabled(root, name) or any(process["unit"] == name for process in processes)
                found.append({"kind": "unit", "name": name, "location": "/" + os.path.join(folder, name), "line": None, "active": active})
    timers = {unit["name"] for unit in found}
    for unit in found:
        # A service that only its timer starts is as active as the timer.
        if unit["name"].endswith(".service") and unit["name"][:-8] + ".timer" in timers:
            unit["active"] = unit["active"] or _enabled(root, unit["name"][:-8] + ".timer")
    return found


def _enabled(root, name):
    for folder in ("etc/systemd/system", "run/systemd/system"):
        for wants in _names(os.path.join(root, folder)):
            if wants.endswith((".wants", ".requires")) and os.path.lexists(os.path.join(root, folder, wants, name)):
                return True
    return False


def _rival_processes(procfs, service):
    found = []
    for process in _processes.scan(procfs, service):
        if process["kind"] == "manager" and not process["service"]:
            dummy, script = _lock_guard.script_of(process["argv"], process["executable"])
            found.append((process, os.path.basename(script or process["argv"][0])))
    own = set(_lock_guard._own_pids(procfs))
    for name in _names(procfs):
        if name.isdigit() and int(name) not in own:
            arguments = _lock_guard._bytes(os.path.join(procfs, name, "cmdline"))
            kept = loop_in(_lock_guard.parse_arguments(arguments)) if arguments and b"sleep" in arguments else None
            process = _processes.look(int(name), procfs, service) if kept else None
            if process is not None:
                found.append((process, "loop around " + kept))
    return [_process_rival(process, name) for process, name in found]


def _process_rival(process, name):
    dummy, script = _lock_guard.script_of(process["argv"], process["executable"])
    place = os.path.join(process["cwd"] or "/", script) if script else "pid %d" % process["pid"]
    unit = re.search(r"/([^/]+\.service)(/|$)", process["cgroup"] or "")
    return {
        "kind": "process", "name": name, "location": place, "line": None, "active": True, "pid": process["pid"], "argv": process["argv"],
        "start_ticks": process["start_ticks"], "process_kind": process["kind"], "unit": unit.group(1) if unit else None,
    }


# --- acting ------------------------------------------------------------------------------------------------------------


class RivalError(Exception):
    """A rival that could not be disabled or put back; the text names it, why, and the way out."""


class Rivals:
    """Disables rivals and puts them back, keeping a record of each.

    :param records: folder of the records.
    :param root: where the file system begins.
    :param run: calls a command: a function from a list of arguments to its exit status.
    """

    def __init__(self, records=RECORDS, root="/", procfs=None, run=None, stop_timeout=10.0):
        self._records = records
        self._root = root
        self._procfs = procfs or os.path.join(root, "proc")
        self._run = run or _run
        self._stop_timeout = stop_timeout

    def disable(self, rival, run=None):
        """Disable one rival: for good, or, with the id of a run, only until :meth:`restore` after it. Raises RivalError."""
        record = {"kind": rival["kind"], "name": rival["name"], "location": rival["location"], "line": rival.get("line"), "time": time.time()}
        record.update(held=run is not None, run=run)
        try:
            if rival["kind"] in ("cron", "file"):
                self._disable_line(rival, record)
            elif rival["kind"] == "unit":
                self._disable_unit(rival, record)
            else:
                self._disable_process(rival, record)
        except OSError as exc:
            raise RivalError("%s %s: %s: %s" % (rival["kind"], rival["name"], exc.filename or rival["location"], exc.strerror)) from exc

    def recorded(self):
        """The records, oldest first; each with its C(key). Raises RivalError for one that cannot be read."""
        found = []
        for name in _names(self._records):
            if name.endswith(".json"):
                try:
                    with open(os.path.join(self._records, name), encoding="utf-8") as stream:
                        found.append(dict(json.load(stream), key=name[:-5]))
                except (OSError, ValueError) as exc:
                    raise RivalError("%s: it is no record of a rival (%s); move it away and put that rival back by hand"
                                     % (os.path.join(self._records, name), exc)) from exc
        return sorted(found, key=lambda record: (record.get("time", 0), record["key"]))

    def keep_disabled(self, record):
        """Make what is held off for a run disabled for good. Raises RivalError."""
        path = os.path.join(self._records, record["key"] + ".json")
        kept = {key: value for key, value in record.items() if key != "key"}
        try:
            self._write(path, dict(kept, held=False, run=None))
        except OSError as exc:
            raise RivalError("%s: %s" % (path, exc.strerror)) from exc

    def restore(self, record):
        """Put one rival back and take its record away. Raises RivalError."""
        try:
            if record["kind"] in ("cron", "file"):
                self._restore_line(record)
            elif record["kind"] == "unit":
                self._restore_unit(record)
            else:
                self._restore_process(record)
            os.unlink(os.path.join(self._records, record["key"] + ".json"))
        except OSError as exc:
            raise RivalError("%s %s: %s: %s" % (record["kind"], record["name"], exc.filename or record["location"], exc.strerror)) from exc
        except KeyError as exc:
            raise RivalError("%s.json: the record lacks %s; put that rival back by hand" % (os.path.join(self._records, record["key"]), exc)) from exc

    def _path(self, location):
        return os.path.join(self._root, location.lstrip("/"))

    def _keep(self, rival, record):
        os.makedirs(self._records, mode=0o700, exist_ok=True)
        self._write(os.path.join(self._records, key_of(rival) + ".json"), record)

    @staticmethod
    def _write(path, record):
        _replace(path, json.dumps(record, indent=2, sort_keys=True).encode("ascii"), mode=0o600)

    def _disable_line(self, rival, record):
        path = self._path(rival["location"])
        text = _read_text(path)
        # Lines before it may have come or gone since it was found, by this very run as well.
        same = [number for number, line in enumerate((text or "").split("\n"), 1) if line == rival["text"]]
        if not same:
            return
        number = min(same, key=lambda candidate: abs(candidate - rival["line"]))
        record["text_base64"] = base64.b64encode(rival["text"].encode("utf-8", "surrogateescape")).decode("ascii")
        self._keep(rival, record)
        _replace(path, comment_out(text, number, rival["text"]).encode("utf-8", "surrogateescape"))

    def _restore_line(self, record):
        path = self._path(record["location"])
        expected = base64.b64decode(record["text_base64"]).decode("utf-8", "surrogateescape")
        text = _read_text(path)
        restored = uncomment(text, expected) if text is not None else None
        # Somebody who has put it back or taken it out by hand has decided already.
        if restored is not None:
            _replace(path, restored.encode("utf-8", "surrogateescape"))

    def _disable_unit(self, rival, record):
        mask = os.path.join(self._root, "etc/systemd/system", rival["name"])
        record["active"] = rival["active"]
        record["running"] = self._run(["systemctl", "is-active", "--quiet", rival["name"]]) == 0
        record["link"] = os.readlink(mask) if os.path.islink(mask) else None
        if os.path.lexists(mask) and record["link"] is None:
            with open(mask, "rb") as stream:
                record["content_base64"] = base64.b64encode(stream.read()).decode("ascii")
            information = os.stat(mask)
            record.update(mode=stat.S_IMODE(information.st_mode), uid=information.st_uid, gid=information.st_gid)
        self._keep(rival, record)
        os.makedirs(os.path.dirname(mask), exist_ok=True)
        spare = mask + ".ringrift-p2p"
        os.symlink("/dev/null", spare)
        os.rename(spare, mask)
        self._run(["systemctl", "daemon-reload"])
        if record["running"] and self._run(["systemctl", "stop", rival["name"]]) != 0:
            raise RivalError("unit %s: it is masked, but 'systemctl stop %s' failed; stop it by hand" % (rival["name"], rival["name"]))

    def _restore_unit(self, record):
        mask = os.path.join(self._root, "etc/systemd/system", record["name"])
        if os.path.islink(mask) and os.readlink(mask) == "/dev/null":
            if record["link"] is not None:
                spare = mask + ".ringrift-p2p"
                os.symlink(record["link"], spare)
                os.rename(spare, mask)
            elif "content_base64" in record:
                os.unlink(mask)
                _replace(mask, base64.b64decode(record["content_base64"]), record["mode"], record["uid"], record["gid"])
            else:
                os.unlink(mask)
            self._run(["systemctl", "daemon-reload"])
        if record["running"] and self._run(["systemctl", "start", record["name"]]) != 0:
            raise RivalError("unit %s: it is back, but 'systemctl start %s' failed; start it by hand" % (record["name"], record["name"]))

    def _disable_process(self, rival, record):
        folder = os.path.join(self._procfs, str(rival["pid"]))
        arguments = _lock_guard._bytes(os.path.join(folder, "cmdline")) or b""
        record.update(
            arguments_base64=base64.b64encode(arguments).decode("ascii"), cwd=_lock_guard._link(os.path.join(folder, "cwd")),
            environment_base64=base64.b64encode(_lock_guard._bytes(os.path.join(folder, "environ")) or b"").decode("ascii"),
            executable=_lock_guard._link(os.path.join(folder, "exe")),
        )
        record.update(_identity_of(folder))
        self._keep(rival, record)
        process = {"pid": rival["pid"], "argv": rival["argv"], "start_ticks": rival["start_ticks"], "kind": rival["process_kind"]}
        ended = _processes.end(process, self._stop_timeout, procfs=self._procfs)
        if not ended["ended"]:
            raise RivalError("process %s: PID %d: %s; end it by hand, as its owner" % (rival["name"], rival["pid"], ended["error"]))

    def _restore_process(self, record):
        arguments = base64.b64decode(record["arguments_base64"])
        argv = _lock_guard.parse_arguments(arguments)
        if not argv or any(_lock_guard._bytes(os.path.join(self._procfs, name, "cmdline")) == arguments for name in _names(self._procfs) if name.isdigit()):
            return
        environment = _processes.full_environment(base64.b64decode(record["environment_base64"]))
        _start(argv, record["executable"], record["cwd"] or "/", environment, record["uid"], record["gid"], record["groups"])


def _identity_of(folder):
    status = (_lock_guard._bytes(os.path.join(folder, "status")) or b"").decode("ascii", "replace")
    numbers = {name: [int(word) for word in values.split()] for name, values in re.findall(r"^(Uid|Gid|Groups):([\s0-9]*)$", status, re.MULTILINE)}
    return {"uid": (numbers.get("Uid") or [os.getuid()])[0], "gid": (numbers.get("Gid") or [os.getgid()])[0], "groups": numbers.get("Groups") or []}


def _start(argv, executable, cwd, environment, uid, gid, groups):
    def become():
        if os.geteuid() == 0:
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)

    # The shell between them ends at once, so that the process belongs to nobody who waits for it.
    with open(os.devnull, "r+b") as null:
        subprocess.run(
            ["/bin/sh", "-c", 'program=$1; shift; exec "$program" "$@" &', "sh", executable or argv[0]] + argv[1:], cwd=cwd, env=environment,
            stdin=null, stdout=null, stderr=null, start_new_session=True, preexec_fn=become, check=True)


def _run(arguments):
    try:
        return subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False).returncode
    except FileNotFoundError:
        # A node without systemd has the unit's file and nothing to tell about it.
        return 127 if arguments[1] in ("is-active", "start") else 0
    except subprocess.TimeoutExpired:
        return 124


def _replace(path, content, mode=None, uid=None, gid=None):
    """Write a file at once or not at all, with the owner and mode that it had."""
    before = os.stat(path) if os.path.exists(path) else None
    # A link to the real file stays a link.
    path = os.path.realpath(path)
    spare = "%s.%s.new" % (path, os.urandom(4).hex())
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if before is not None:
                os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
            if uid is not None:
                os.fchown(descriptor, uid, gid)
            if mode is not None:
                os.fchmod(descriptor, mode)
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        os.rename(spare, path)
    except OSError:
        os.unlink(spare)
        raise
