# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's containers, networks and images, through the docker command line."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

# Which of the machine's labs: nothing for the first, a number from 1 to 9 for another one beside it, with networks of its own.
INSTANCE = os.environ.get("RINGRIFT_LAB", "")
LABEL = f"ringrift.lab{INSTANCE}"
IMAGE_LABEL = "ringrift.lab.image"
PREFIX = f"ringrift-lab{INSTANCE}-"
PUBLIC_NETWORK = PREFIX + "public"
OVERLAY_NETWORK = PREFIX + "overlay"
# Two cores start two nodes at a time; a few more keep them busy while the daemon waits for the disk.
WORKERS = 2 * (os.cpu_count() or 2)


class LabError(Exception):
    """Something that ends the command; its text is meant for the person at the keyboard."""


def docker(*arguments, stdin=None, check=True, timeout=300):
    """Runs the docker command line and gives its output as text; raises LabError with its own words where it fails."""
    try:
        result = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise LabError("there is no docker command; as root, `lab.py host` installs Docker on Debian and Ubuntu") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"docker {' '.join(arguments[:3])} took longer than {timeout} s") from error
    if check and result.returncode != 0:
        raise LabError(f"docker {' '.join(arguments[:4])}: {result.stderr.decode(errors='replace').strip()}")
    return result.stdout.decode(errors="replace")


def daemon_answers():
    """Whether a Docker daemon is there and may be used."""
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=30, check=False).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def everywhere(work, items, workers=WORKERS):
    """{item: work(item)} of all items, side by side; a fault of one is raised after all have ended."""
    items = list(items)
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        futures = {item: pool.submit(work, item) for item in items}
    faults = [f"{item}: {future.exception()}" for item, future in futures.items() if future.exception()]
    if faults:
        raise LabError("\n".join(faults))
    return {item: future.result() for item, future in futures.items()}


def image_exists(tag):
    """Whether there is an image of that name."""
    return bool(docker("images", "-q", tag).strip())


def running():
    """{node name: container state} of the lab's containers, stopped ones too."""
    lines = docker("ps", "-a", "--filter", f"label={LABEL}", "--format", '{{.Label "' + LABEL + '"}} {{.State}}')
    return dict(line.split(" ", 1) for line in lines.splitlines() if " " in line)


def init_flags():
    """What systemd needs of Docker as PID 1, without being privileged; it depends on the host's cgroup version."""
    version = docker("info", "--format", "{{.CgroupVersion}}").strip()
    flags = ["--cap-add", "SYS_ADMIN", "--tmpfs", "/run", "--tmpfs", "/run/lock", "--stop-signal", "SIGRTMIN+3"]
    if version == "2":
        return [*flags, "--cgroupns", "host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw"]
    return [*flags, "-v", "/sys/fs/cgroup:/sys/fs/cgroup:ro"]


def create_networks(public, overlay):
    """The public and the overlay network of those subnets, with no way out of either."""
    for name, subnet in ((PUBLIC_NETWORK, str(public)), (OVERLAY_NETWORK, str(overlay))):
        known = docker("network", "ls", "-q", "--filter", f"name=^{name}$").strip()
        if not known:
            docker("network", "create", "--internal", "--label", f"{LABEL}=network", "--subnet", subnet, name)


def create(node, image, flags, files):
    """A stopped container for `node` (see topology.py) with `files` (a tar stream) laid over its image."""
    command = ["/sbin/init"] if node.systemd else ["/usr/local/sbin/lab-entry"]
    docker(
        "create", "--name", PREFIX + node.name, "--hostname", node.name, "--label", f"{LABEL}={node.name}",
        "--network", PUBLIC_NETWORK, "--ip", node.public,
        # Names outside the lab stay unknown; nobody is asked for them.
        "--dns", "127.0.0.1",
        "--cap-add", "NET_ADMIN", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
        *(flags if node.systemd else []), image, *command,
    )
    docker("cp", "-", f"{PREFIX}{node.name}:/", stdin=files)
    if node.overlay:
        docker("network", "connect", "--ip", node.overlay, OVERLAY_NETWORK, PREFIX + node.name)


def execute(name, *command, stdin=None, check=True, timeout=120):
    """Runs a command on a node and gives its output."""
    flags = ["-i"] if stdin is not None else []
    return docker("exec", *flags, PREFIX + name, *command, stdin=stdin, check=check, timeout=timeout)


def remove(names=None):
    """Removes the named nodes, or all of them and the networks. What is not the lab's is left alone."""
    known = running()
    wanted = [PREFIX + name for name in known if names is None or name in names]
    if wanted:
        docker("rm", "-f", "-v", *wanted)
    if names is None:
        for network in docker("network", "ls", "-q", "--filter", f"label={LABEL}=network").split():
            docker("network", "rm", network)
