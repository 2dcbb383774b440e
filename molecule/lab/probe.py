# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a lab node, handed to its Python on standard input; prints one JSON document. Standard library only.

    probe.py samples COUNT INTERVAL PORT TOKEN_FILE   what the node's own orchestrator answers, several times
    probe.py lead NODE PORT TOKEN_FILE                asks the node's own orchestrator to hand the leadership to NODE
    probe.py digest EXCLUDE...                        every file and process that a run could have touched
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sys
import time
import urllib.error
import urllib.request

# Nothing below is the collection's business, or it changes by itself: kernel file systems, packages, logs, systemd's stamps, what Docker writes.
SKIPPED = (
    "/proc", "/sys", "/dev", "/run", "/usr/bin", "/usr/lib", "/usr/sbin", "/usr/share", "/usr/include", "/usr/libexec", "/var/log", "/var/cache",
    "/var/lib/systemd", "/var/lib/dpkg", "/var/lib/apt", "/var/lib/private", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
)


def read_token(path):
    """The cluster's token, or an empty text where the node has none."""
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as stream:
        return stream.read().strip()


def ask(port, path, token, body=None):
    """(body, error) of a GET at this node, or of a POST where there is something to send."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None
    if body is not None:
        data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers, data=data)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=3) as answer:
            return json.loads(answer.read()), None
    except (OSError, ValueError, urllib.error.URLError) as error:
        return None, str(error)


def samples(count, interval, port, token_file):
    """A list of samples as _cluster_view takes them."""
    token = read_token(token_file)
    found = []
    for number in range(count):
        if number:
            time.sleep(interval)
        status, error = ask(port, "/status", token)
        health = None if status else ask(port, "/health", token)[0]
        found.append({"time": time.time(), "status": status, "health": health, "error": error})
    return found


def fingerprint(path, entry):
    """Kind, mode, owner and content of a directory entry, as text."""
    owner = f"{stat.S_IFMT(entry.st_mode):o} {stat.S_IMODE(entry.st_mode):04o} {entry.st_uid}:{entry.st_gid}"
    if stat.S_ISLNK(entry.st_mode):
        return f"{owner} -> {os.readlink(path)}"
    if not stat.S_ISREG(entry.st_mode):
        return owner
    with open(path, "rb") as stream:
        content = stream.read()
    if os.path.basename(path) == "p2p_supervisor.json":
        # A live orchestrator writes the time into its claim again and again.
        content = re.sub(rb'"last_health_check": *"[^"]*"', b"", content)
    return f"{owner} {hashlib.sha256(content).hexdigest()}"


def files(excluded):
    """{path: fingerprint} of all files."""
    found = {}
    for folder, names, members in os.walk("/"):
        names[:] = sorted(name for name in names if os.path.join(folder, name) not in excluded and name != "__pycache__")
        for name in [*names, *members]:
            path = os.path.join(folder, name)
            if path in excluded:
                continue
            try:
                found[path] = fingerprint(path, os.lstat(path))
            except FileNotFoundError:
                continue
    return found


def processes():
    """{pid and start time: command line} of all processes but this one and the sessions of sshd."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as stream:
                command = stream.read().replace(b"\0", b" ").decode(errors="replace").strip()
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stream:
                started = stream.read().rpartition(")")[2].split()[19]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if command and not command.startswith("sshd: "):
            found[f"{name}@{started}"] = command
    return found


def main(words):
    """Prints what the words ask for."""
    if words[0] == "samples":
        result = samples(int(words[1]), float(words[2]), int(words[3]), words[4])
    elif words[0] == "lead":
        answer, error = ask(int(words[2]), "/leadership/transfer", read_token(words[3]), {"to": words[1]})
        result = {"answer": answer, "error": error}
    else:
        result = {"files": files({*SKIPPED, *words[1:]}), "processes": processes()}
    json.dump(result, sys.stdout)


main(sys.argv[1:])
