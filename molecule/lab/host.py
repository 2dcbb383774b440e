# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the machine ready for the lab: Docker and mmdebstrap from its own packages, a running daemon. Debian and Ubuntu, as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

from containers import LabError, daemon_answers
from image import BASE_VARIABLE

# Command to look for, package that has it.
NEEDED = (
    ("dockerd", "docker.io"), ("docker", "docker.io"), ("iptables", "iptables"), ("ssh", "openssh-client"), ("ssh-keygen", "openssh-client"),
    ("mmdebstrap", "mmdebstrap"),
)
INOTIFY = "/proc/sys/fs/inotify/max_user_instances"
# systemd takes some for itself on each node; the kernel's usual 128 are gone after a dozen nodes.
INOTIFY_INSTANCES = 1024
LOG = "/var/log/ringrift-lab-dockerd.log"


def _install(packages, say):
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LabError(f"missing packages: {' '.join(packages)}; install them, or run this as root on Debian or Ubuntu")
    say(f"installing {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]):
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
        if result.returncode != 0:
            raise LabError(f"{' '.join(command)} failed:\n{result.stderr[-2000:]}")


def _start_daemon(say):
    if os.geteuid() != 0:
        raise LabError("the Docker daemon does not answer; start it, or let this user use it (group docker)")
    say("starting the Docker daemon")
    with open(LOG, "ab") as log:
        # A session of its own: the daemon outlives this command.
        subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    for _attempt in range(60):
        if daemon_answers():
            return
        time.sleep(1)
    raise LabError(f"the Docker daemon did not come up within a minute; its log is {LOG}")


def _raise_inotify(say):
    with open(INOTIFY, encoding="ascii") as stream:
        known = int(stream.read())
    if known >= INOTIFY_INSTANCES:
        return
    try:
        with open(INOTIFY, "w", encoding="ascii") as stream:
            stream.write(str(INOTIFY_INSTANCES))
    except OSError as error:
        raise LabError(f"fs.inotify.max_user_instances is {known}; systemd on 22 nodes needs {INOTIFY_INSTANCES}: {error}") from error
    say(f"raised fs.inotify.max_user_instances from {known} to {INOTIFY_INSTANCES}")


def prepare(say):
    """Installs what is missing, starts the daemon where it does not answer, and says what it did."""
    answers = daemon_answers()
    missing = {package for command, package in NEEDED if not shutil.which(command)}
    if answers:
        # A daemon that answers may run elsewhere, or under another package's name.
        missing -= {"docker.io", "iptables"}
    if os.environ.get(BASE_VARIABLE):
        missing.discard("mmdebstrap")
    if missing:
        _install(sorted(missing), say)
    if not answers and not daemon_answers():
        _start_daemon(say)
    _raise_inotify(say)
