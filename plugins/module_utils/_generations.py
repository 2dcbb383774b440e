# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of files that change together: all of them or none, and back again.

A *generation* is what a node's configuration is at one time. L(Store) writes one, keeps what stood there before, and puts it back.
Everything is a *state* of a path, a dict of one of these shapes (mode is text such as C("0644"))::

    {"kind": "file", "sha256": str, "mode": str, "uid": int, "gid": int}
    {"kind": "link", "target": str}
    {"kind": "absent"}
    {"kind": "other", "what": str}            a directory, a device, a socket: never replaced

C("sensitive": true) in a state keeps its content out of every diff, also on the way back; C("brief": true) has the diff show digests.
Contents lie beside the records, named by their digest, so a record is small and a content is kept once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import hashlib
import json
import os
import pwd
import re
import stat
import time

BLOCK_BEGIN = "# BEGIN ringrift.p2p"
BLOCK_END = "# END ringrift.p2p"
DISABLED_COMMENT = "# ringrift.p2p disabled: "
# In a shell script a no-op has to stay: a body of comments alone is a syntax error.
DISABLED_COMMAND = ": # ringrift.p2p disabled: "
LARGEST_FILE = 64 * 1024 * 1024
UNIT_FOLDERS = ("/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/", "/run/systemd/system/")

_SECRET_ASSIGNMENT = re.compile(
    r"(?im)^([ \t]*(?:export[ \t]+|Environment=[\"']?)?[A-Z0-9_]*(?:TOKEN|PASSWORD|SECRET|API_KEY|PRIVATE_KEY)[A-Z0-9_]*(?<!_FILE)[ \t]*=[ \t]*)(\S.*)$"
)
_SECRET_ARGUMENT = re.compile(r"(--auth-token[= ]+)(\S+)")


class GenerationError(Exception):
    """Something can't be done; C(faults) lists every reason, each naming the path and the way out."""

    def __init__(self, faults):
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("; ".join(self.faults))


# ---------------------------------------------------------------------------------------------------------------- pure


def digest(content):
    """The sha256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def generation_id(entries):
    """The identity of a set of entries, where the caller gives none: a digest over what they ask for."""
    wanted = sorted((json.dumps(entry, sort_keys=True, default=str) for entry in entries))
    return digest("\n".join(wanted).encode("utf-8"))


def faults_of(entries, remove):
    """Everything that is wrong with the wanted entries by themselves, as a list of messages."""
    faults = []
    seen = set()
    for position, entry in enumerate(entries):
        place = "files[%d] (%s)" % (position, entry.get("path"))
        path = entry.get("path") or ""
        if not os.path.isabs(path) or os.path.normpath(path) != path or path == "/":
            faults.append("%s: the path must be absolute and without '.', '..', or doubled or trailing slashes" % place)
        if path in seen:
            faults.append("%s: the path is listed twice; list it once" % place)
        seen.add(path)
        forms = [name for name in ("content", "secret", "link") if entry.get(name) is not None]
        edits = entry.get("block") is not None or bool(entry.get("disable_lines"))
        if len(forms) + (1 if edits else 0) != 1:
            faults.append("%s: give exactly one of content, secret, link, or block with disable_lines" % place)
        if entry.get("link") == "":
            faults.append("%s: the link has no target" % place)
        mode = entry.get("mode")
        if mode is not None and not re.match(r"^0?[0-7]{3,4}$", str(mode)):
            faults.append("%s: mode %r is not octal, such as '0644'" % (place, mode))
        for pattern in entry.get("disable_lines") or ():
            try:
                re.compile(pattern)
            except re.error as exc:
                faults.append("%s: disable_lines has %r, which is not a regular expression: %s" % (place, pattern, exc))
    for position, path in enumerate(remove):
        place = "remove[%d] (%s)" % (position, path)
        if not os.path.isabs(path) or os.path.normpath(path) != path:
            faults.append("%s: the path must be absolute and normalised" % place)
        if path in seen:
            faults.append("%s: the path is also listed under files; keep it in one of the two" % place)
        seen.add(path)
    return faults


def edit_text(text, block=None, disable_lines=(), disable_as="comment"):
    """Returns C(text) with our marked block in place and the lines that match taken out of force.

    A line that ends in a backslash belongs together with the next one and is judged and disabled with it. What is disabled stays
    readable behind a marker; disabling twice changes nothing. The block stands first, behind the line that names the interpreter, because
    such scripts often end in something that never returns; an empty C(block) takes it away.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines()
    patterns = [re.compile(pattern) for pattern in disable_lines]
    marker = DISABLED_COMMAND if disable_as == "command" else DISABLED_COMMENT
    kept = []
    inside = False
    group = []
    for line in lines:
        if line.strip() == BLOCK_BEGIN:
            inside = True
            continue
        if inside:
            if line.strip() == BLOCK_END:
                inside = False
            continue
        group.append(line)
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            continue
        kept.extend(_disabled(group, patterns, marker))
        group = []
    kept.extend(_disabled(group, patterns, marker))
    if block is not None and block.strip():
        place = 1 if kept and kept[0].startswith("#!") else 0
        kept[place:place] = [BLOCK_BEGIN] + block.strip("\n").splitlines() + [BLOCK_END]
    if not kept:
        return ""
    ending = newline if text.endswith(("\n", "\r")) or not text or block is not None else ""
    return newline.join(kept) + ending


def _disabled(group, patterns, marker):
    joined = " ".join(line.rstrip("\\") for line in group)
    if not group or joined.lstrip().startswith((DISABLED_COMMENT.strip(), DISABLED_COMMAND.strip(), "#")):
        return group
    if not any(pattern.search(joined) for pattern in patterns):
        return group
    return ["%s%s%s" % (line[: len(line) - len(line.lstrip())], marker, line.lstrip()) for line in group]


def same_state(path, first, second):
    """Whether two states of C(path) are the same; links are compared by where they lead, not by how that is spelled."""
    if first["kind"] != second["kind"]:
        return False
    if first["kind"] == "link":
        folder = os.path.dirname(path)
        return os.path.normpath(os.path.join(folder, first["target"])) == os.path.normpath(os.path.join(folder, second["target"]))
    return all(first.get(key) == second.get(key) for key in ("sha256", "mode", "uid", "gid", "what"))


def action_of(path, before, after):
    """One word for what happens to C(path): V(unchanged), V(created), V(changed) or V(removed)."""
    if same_state(path, before, after):
        return "unchanged"
    if before["kind"] == "absent":
        return "created"
    return "removed" if after["kind"] == "absent" else "changed"


def mask_secrets(text):
    """Hides the values of assignments and arguments that look like secrets, for showing a text to a human."""
    return _SECRET_ARGUMENT.sub(r"\1********", _SECRET_ASSIGNMENT.sub(r"\1********", text))


def diff_of(path, before, after, contents):
    """The difference between two states as Ansible shows it: C({before_header, after_header, before, after})."""
    sensitive = is_sensitive(before, after)

    def shown(state):
        if state["kind"] == "link":
            return "link to %s\n" % state["target"]
        if state["kind"] != "file":
            return ""
        if sensitive:
            return "(sensitive, %s)\n" % ("as it is" if state is before else "as wanted")
        if before.get("brief") or after.get("brief"):
            return "(sha256 %s)\n" % state["sha256"]
        try:
            return mask_secrets(contents[state["sha256"]].decode("utf-8"))
        except (KeyError, UnicodeDecodeError):
            return "(not text, sha256 %s)\n" % state["sha256"]

    def header(state):
        if state["kind"] == "file":
            return "%s (mode %s, owner %d:%d)" % (path, state["mode"], state["uid"], state["gid"])
        return "%s (%s)" % (path, state["kind"])

    return {"before_header": header(before), "after_header": header(after), "before": shown(before), "after": shown(after)}


def is_sensitive(*states):
    """Whether the contents of these states, all of one path, are to be kept out of sight."""
    return any(state.get("sensitive") for state in states)


def needs_daemon_reload(paths):
    """Whether systemd has to read its units again after these paths changed."""
    return any(path.startswith(UNIT_FOLDERS) for path in paths)


def prunable(records, keep):
    """Sequence numbers of the records beyond the newest C(keep); the one in force always stays."""
    numbers = sorted((record["sequence"] for record in records), reverse=True)
    current = current_record(records)
    return [number for number in numbers[max(1, keep):] if current is None or number != current["sequence"]]


def current_record(records):
    """The record of the generation in force, or C(None) where none is."""
    applied = [record for record in records if record["status"] == "applied"]
    return max(applied, key=lambda record: record["sequence"]) if applied else None


# ----------------------------------------------------------------------------------------------------------------- I/O


def look(path):
    """The state of C(path) as it is now, and its bytes where it is a file: C((state, content))."""
    try:
        found = os.lstat(path)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENOTDIR):
            return {"kind": "absent"}, None
        raise GenerationError("%s can't be looked at: %s; run as a user who may" % (path, exc.strerror)) from exc
    if stat.S_ISLNK(found.st_mode):
        return {"kind": "link", "target": os.readlink(path)}, None
    if not stat.S_ISREG(found.st_mode):
        return {"kind": "other", "what": "directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"}, None
    if found.st_size > LARGEST_FILE:
        raise GenerationError("%s has %d bytes, more than the %d that are kept for a way back; move it away first" % (path, found.st_size, LARGEST_FILE))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as handle:
            content = handle.read(LARGEST_FILE + 1)
    except OSError as exc:
        raise GenerationError("%s can't be read: %s; run as a user who may" % (path, exc.strerror)) from exc
    state = {"kind": "file", "sha256": digest(content), "mode": "%04o" % stat.S_IMODE(found.st_mode), "uid": found.st_uid, "gid": found.st_gid}
    return state, content


def owner_ids(owner, group):
    """Numeric user and group for names or numbers; the group defaults to the user's own. Raises KeyError with a message."""
    uid, gid = os.geteuid(), os.getegid()
    if owner is not None:
        try:
            account = pwd.getpwuid(int(owner)) if str(owner).isdigit() else pwd.getpwnam(owner)
            uid, gid = account.pw_uid, account.pw_gid
        except KeyError:
            if not str(owner).isdigit():
                raise KeyError("there is no user %r on this host; create it or give another owner" % owner) from None
            uid = gid = int(owner)
    if group is not None:
        try:
            gid = int(group) if str(group).isdigit() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise KeyError("there is no group %r on this host; create it or give another group" % group) from None
    return uid, gid


def _sync_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_durably(path, content, mode=0o600, uid=None, gid=None):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(content)
        handle.flush()
        if uid is not None and (uid, gid) != (os.geteuid(), os.getegid()):
            os.fchown(handle.fileno(), uid, gid)
        os.fchmod(handle.fileno(), mode)
        os.fsync(handle.fileno())


def make_folders(folder):
    """Creates missing folders; each belongs to the owner of the nearest one that was there."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    owner = os.stat(folder)
    for path in reversed(missing):
        os.mkdir(path, 0o755)
        os.chmod(path, 0o755)
        if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(path, owner.st_uid, owner.st_gid)


class Store:
    """Writes generations and keeps the way back, under one folder that only its owner can read.

    C(folder) holds C(records/NNNNNN.json), C(blobs/SHA256), C(origin.json) (what stood at each path before the first generation) and, only
    while files are being changed, C(journal.json): a run that died half-way is undone by the next one.
    """

    def __init__(self, folder, clock=time.time, finish=None):
        """C(clock) tells epoch seconds; C(finish(paths)) runs once files are in place and undoes everything if it raises GenerationError."""
        self.folder = folder
        self.clock = clock
        self.finish = finish
        self.contents = {}

    # -- the three things a caller asks for

    def present(self, entries, remove=(), generation=None, keep=5, check=False, situation=None):
        """Makes the files what C(entries) say; returns the result dict of the module. Raises GenerationError, with nothing changed.

        C(situation), a dict, is kept beside what is replaced, for whoever puts that back.
        """
        faults = faults_of(entries, remove)
        if faults:
            raise GenerationError(faults)
        generation = generation or generation_id([dict(entry) for entry in entries] + [{"remove": path} for path in remove])
        with self._held(check):
            before, after = self._states(entries, remove, check)
            current = current_record(self._records())
            previous = current["generation"] if current else None
            changed = [path for path in before if not same_state(path, before[path], after[path])]
            if changed and not check:
                self._change({path: before[path] for path in changed}, {path: after[path] for path in changed})
                self._record(generation, {path: before[path] for path in changed}, {path: after[path] for path in changed}, situation)
                self._prune(keep)
            in_force = generation if changed or previous is None else previous
            return self._result(before, after, changed, in_force, previous)

    def rolled_back(self, generation=None, check=False):
        """Puts back what the generation in force replaced. With C(generation) only if that one is in force, so it can be repeated."""
        with self._held(check):
            record = current_record(self._records())
            if record is None or (generation is not None and record["generation"] != generation):
                in_force = record["generation"] if record else None
                return self._result({}, {}, [], in_force, in_force)
            before = {path: self._look(path) for path in record["before"]}
            result = self._put_back(before, record["before"], record["generation"], check)
            if not check:
                record.update(status="rolled_back", left=self.clock(), found=before)
                self._save_record(record)
            remaining = [item for item in self._records() if item["sequence"] != record["sequence"]]
            earlier = current_record(remaining)
            result["generation"] = earlier["generation"] if earlier else None
            result["situation"] = record.get("situation")
            return result

    def absent(self, check=False):
        """Puts back what stood at every path before the first generation."""
        with self._held(check):
            origin = self._read("origin.json", {})
            record = current_record(self._records())
            before = {path: self._look(path) for path in origin}
            result = self._put_back(before, origin, record["generation"] if record else None, check)
            result["generation"] = None
            if not check and (origin or record):
                for item in self._records():
                    if item["status"] == "applied":
                        item.update(status="rolled_back", left=self.clock(), found={path: before[path] for path in item["after"] if path in before})
                        self._save_record(item)
                self._replace("origin-%d.json" % self.clock(), origin)
                self._replace("origin.json", {})
            return result

    # -- working parts

    def _states(self, entries, remove, check):
        faults, before, after = [], {}, {}
        written = {entry["path"] for entry in entries if entry.get("link") is None}
        for entry in entries:
            path = entry["path"]
            try:
                before[path] = self._look(path)
                if before[path]["kind"] == "other":
                    raise GenerationError("%s is a %s; it is not replaced: move it away first" % (path, before[path]["what"]))
                after[path] = self._wanted(entry, before[path], check, written)
                if entry.get("secret") is not None or entry.get("sensitive"):
                    before[path]["sensitive"] = after[path]["sensitive"] = True
                if entry.get("brief"):
                    before[path]["brief"] = after[path]["brief"] = True
            except GenerationError as exc:
                faults.extend(exc.faults)
            except KeyError as exc:
                faults.append("%s: %s" % (path, exc.args[0]))
        for path in remove:
            try:
                before[path] = self._look(path)
                after[path] = {"kind": "absent"}
                if before[path]["kind"] == "other":
                    raise GenerationError("%s is a %s; it is not removed: move it away first" % (path, before[path]["what"]))
            except GenerationError as exc:
                faults.extend(exc.faults)
        if faults:
            raise GenerationError(faults)
        return before, after

    def _wanted(self, entry, before, check, written):
        path = entry["path"]
        if entry.get("link") is not None:
            target = os.path.normpath(os.path.join(os.path.dirname(path), entry["link"]))
            if not check and target not in written and not os.path.exists(target):
                raise GenerationError("%s is to lead to %s, which is not there; install that first" % (path, target))
            return {"kind": "link", "target": entry["link"]}
        if entry.get("block") is not None or entry.get("disable_lines"):
            return self._edited(entry, before)
        text = entry["secret"] if entry.get("secret") is not None else entry["content"]
        content = text if isinstance(text, bytes) else text.encode("utf-8")
        uid, gid = owner_ids(entry.get("owner"), entry.get("group"))
        mode = entry.get("mode") or ("0600" if entry.get("secret") is not None else "0644")
        return self._file_state(content, mode, uid, gid)

    def _edited(self, entry, before):
        path = entry["path"]
        if before["kind"] == "link":
            raise GenerationError("%s is a link to %s; name the file itself, which is what is to be edited" % (path, before["target"]))
        if before["kind"] == "absent":
            if entry.get("block") is None:
                return before
            text, mode = "#!/bin/sh\n", entry.get("mode") or "0755"
            uid, gid = owner_ids(entry.get("owner"), entry.get("group"))
        else:
            try:
                text = self.contents[before["sha256"]].decode("utf-8")
            except UnicodeDecodeError as exc:
                raise GenerationError("%s is not UTF-8 text (byte %d), so its lines can't be edited; edit it by hand" % (path, exc.start)) from exc
            mode, uid, gid = before["mode"], before["uid"], before["gid"]
        edited = edit_text(text, entry.get("block"), entry.get("disable_lines") or (), entry.get("disable_as") or "comment")
        return self._file_state(edited.encode("utf-8"), mode, uid, gid)

    def _file_state(self, content, mode, uid, gid):
        name = digest(content)
        self.contents[name] = content
        return {"kind": "file", "sha256": name, "mode": "%04o" % int(str(mode), 8), "uid": uid, "gid": gid}

    def _look(self, path):
        state, content = look(path)
        if content is not None:
            self.contents[state["sha256"]] = content
        return state

    def _put_back(self, before, after, generation, check):
        faults = []
        for path, state in after.items():
            if before[path]["kind"] == "other":
                faults.append("%s is a %s now; move it away, then repeat" % (path, before[path]["what"]))
            if state["kind"] == "file":
                try:
                    self._content(state["sha256"])
                except OSError as exc:
                    faults.append("%s: what stood there is not kept any more (%s); restore it by hand" % (path, exc.strerror))
            if state["kind"] == "link" and not os.path.lexists(os.path.join(os.path.dirname(path), state["target"])):
                faults.append("%s led to %s, which is gone; install that again, then repeat" % (path, state["target"]))
        if faults:
            raise GenerationError(faults)
        changed = [path for path in after if not same_state(path, before[path], after[path])]
        if changed and not check:
            self._change({path: before[path] for path in changed}, {path: after[path] for path in changed})
        return self._result(before, after, changed, generation, generation)

    def _result(self, before, after, changed, generation, previous):
        files = [{"path": path, "action": action_of(path, before[path], after[path])} for path in before]
        for path in changed:
            for state in (before[path], after[path]):
                if state["kind"] == "file" and not is_sensitive(before[path], after[path]):
                    self._content(state["sha256"])
        return {
            "changed": bool(changed),
            "generation": generation,
            "previous": previous,
            "files": files,
            "daemon_reload": needs_daemon_reload(changed),
            "diff": [diff_of(path, before[path], after[path], self.contents) for path in changed],
        }

    def _change(self, before, after):
        """Stages every file beside its place, then renames all; on any fault everything is as it was."""
        for state in list(before.values()) + list(after.values()):
            if state["kind"] == "file":
                self._keep_content(state["sha256"])
        token = "%d-%d" % (os.getpid(), time.monotonic_ns())
        staged = {path: os.path.join(os.path.dirname(path), ".%s.ringrift-p2p-%s" % (os.path.basename(path), token)) for path in after}
        self._replace("journal.json", {"before": before, "staged": sorted(staged.values())})
        path = None
        try:
            for path, state in after.items():
                self._stage(path, staged[path], state)
            for path, state in after.items():
                self._land(path, staged[path], state)
            if self.finish is not None:
                self.finish(list(after))
        except (OSError, GenerationError) as exc:
            self._undo(before, staged.values())
            if isinstance(exc, GenerationError):
                raise
            raise GenerationError("%s can't be written: %s; nothing was changed" % (path, exc.strerror or exc)) from exc
        origin = self._read("origin.json", {})
        fresh = {path: state for path, state in before.items() if path not in origin}
        if fresh:
            self._replace("origin.json", dict(origin, **fresh))
        self._drop_journal()

    def _stage(self, path, staged, state):
        if state["kind"] == "absent":
            return
        make_folders(os.path.dirname(path))
        if state["kind"] == "link":
            os.symlink(state["target"], staged)
        else:
            _write_durably(staged, self._content(state["sha256"]), int(state["mode"], 8), state["uid"], state["gid"])

    def _land(self, path, staged, state):
        if state["kind"] == "absent":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
                _sync_folder(os.path.dirname(path))
            return
        os.replace(staged, path)
        _sync_folder(os.path.dirname(path))

    def _undo(self, before, staged):
        for path in staged:
            with contextlib.suppress(OSError):
                os.unlink(path)
        faults = []
        for path, state in before.items():
            try:
                if not same_state(path, look(path)[0], state):
                    spare = os.path.join(os.path.dirname(path), ".%s.ringrift-p2p-undo-%d" % (os.path.basename(path), time.monotonic_ns()))
                    self._stage(path, spare, state)
                    self._land(path, spare, state)
            except (OSError, GenerationError) as exc:
                faults.append("%s could not be put back (%s); its content is kept as %s" % (path, exc, self._path("blobs", state.get("sha256", "none"))))
        if faults:
            raise GenerationError(faults)
        self._drop_journal()

    def _drop_journal(self):
        os.unlink(self._path("journal.json"))
        _sync_folder(self.folder)

    # -- what is kept

    @contextlib.contextmanager
    def _held(self, check):
        """Holds the store against a second writer and first undoes what a dead one left half done."""
        if check:
            if os.path.exists(self._path("journal.json")):
                raise GenerationError("%s: an earlier run died while it changed files; a run without check mode undoes that first" % self._path("journal.json"))
            yield
            return
        try:
            for folder in (self.folder, self._path("records"), self._path("blobs")):
                os.makedirs(folder, mode=0o700, exist_ok=True)
            descriptor = os.open(self._path("lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise GenerationError("%s can't be used to keep generations: %s; run as root or give another state_dir" % (self.folder, exc.strerror)) from exc
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                raise GenerationError("%s is held: another run is changing this node's files; wait for it" % self._path("lock")) from exc
            journal = self._read("journal.json", None)
            if journal is not None:
                self._undo(journal["before"], journal["staged"])
            yield
        finally:
            os.close(descriptor)

    def _path(self, *names):
        return os.path.join(self.folder, *names)

    def _read(self, name, default):
        try:
            with open(self._path(name), "rb") as handle:
                return json.loads(handle.read().decode("utf-8"))
        except FileNotFoundError:
            return default
        except (OSError, ValueError) as exc:
            raise GenerationError("%s can't be read: %s; move it away to go on without it" % (self._path(name), exc)) from exc

    def _replace(self, name, value):
        spare = self._path("%s.%d" % (name, os.getpid()))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(spare)
        _write_durably(spare, json.dumps(value, indent=1, sort_keys=True).encode("utf-8"))
        os.replace(spare, self._path(name))
        _sync_folder(os.path.dirname(self._path(name)))

    def _content(self, name):
        if name not in self.contents:
            with open(self._path("blobs", name), "rb") as handle:
                self.contents[name] = handle.read()
        return self.contents[name]

    def _keep_content(self, name):
        place = self._path("blobs", name)
        if os.path.exists(place):
            return
        spare = "%s.%d" % (place, os.getpid())
        with contextlib.suppress(FileNotFoundError):
            os.unlink(spare)
        _write_durably(spare, self._content(name))
        os.replace(spare, place)

    def _records(self):
        try:
            names = sorted(name for name in os.listdir(self._path("records")) if name.endswith(".json"))
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise GenerationError("%s can't be listed: %s; run as a user who may" % (self._path("records"), exc.strerror)) from exc
        return [self._read(os.path.join("records", name), None) for name in names]

    def _record(self, generation, before, after, situation):
        sequence = max([record["sequence"] for record in self._records()] or [0]) + 1
        self._save_record(
            {"sequence": sequence, "generation": generation, "time": self.clock(), "status": "applied", "before": before, "after": after,
             "situation": situation}
        )

    def _save_record(self, record):
        self._replace(os.path.join("records", "%06d.json" % record["sequence"]), record)

    def _prune(self, keep):
        """Forgets the oldest records and the contents that nothing refers to any more; the origin is never forgotten."""
        records = self._records()
        for sequence in prunable(records, keep):
            os.unlink(self._path("records", "%06d.json" % sequence))
        groups = [self._read("origin.json", {})]
        for name in os.listdir(self.folder):
            if re.match(r"^origin-\d+\.json$", name):
                groups.append(self._read(name, {}))
        for record in self._records():
            groups.extend(record.get(key, {}) for key in ("before", "after", "found"))
        used = {state.get("sha256") for group in groups for state in group.values()}
        for name in os.listdir(self._path("blobs")):
            if name not in used:
                os.unlink(self._path("blobs", name))
