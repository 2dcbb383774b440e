# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the lab's images: a small Debian, and on top of it one image per place in which an orchestrator is installed.

Images are named after the digest of all that goes into them, so an unchanged one is never built twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile

from containers import IMAGE_LABEL, LabError, docker, image_exists

HERE = os.path.dirname(os.path.abspath(__file__))
SUITE = "bookworm"
# The version of that suite.
PYTHON = "3.11"
BASE = "ringrift-lab-base"
WITH_ORCHESTRATOR = "ringrift-lab-node"
# Another image to start from than a freshly built Debian, where that cannot be built: RINGRIFT_LAB_BASE_IMAGE=debian:12
BASE_VARIABLE = "RINGRIFT_LAB_BASE_IMAGE"


def sources_mirror(texts, distribution):
    """The address from which a machine gets its Debian packages, of the texts of its apt sources; None where there is none.

    Reads one-line and deb822 form alike. `distribution` is the machine's own: only Debian's sources can serve a Debian.
    """
    if distribution != "debian":
        return None
    for text in texts:
        for line in text.splitlines():
            match = re.match(r"^deb\s+(?:\[[^\]]*\]\s+)?(https?://\S+)\s+(\S+)\s+.*\bmain\b", line)
            if match and "-security" not in match.group(2) and "/" not in match.group(2):
                return match.group(1)
        for stanza in re.split(r"\n\s*\n", text):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
            suites, components = fields.get("Suites", "").split(), fields.get("Components", "").split()
            addresses = [uri for uri in fields.get("URIs", "").split() if uri.startswith("http")]
            if "deb" in fields.get("Types", "").split() and "main" in components and addresses and not all("-security" in suite for suite in suites):
                return addresses[0]
    return None


def _machine_mirror():
    texts = []
    folder = "/etc/apt/sources.list.d"
    names = [os.path.join(folder, name) for name in sorted(os.listdir(folder))] if os.path.isdir(folder) else []
    for name in ["/etc/apt/sources.list", *names]:
        if name.endswith((".list", ".sources")) and os.path.isfile(name):
            with open(name, encoding="utf-8", errors="replace") as stream:
                texts.append(stream.read())
    try:
        distribution = platform.freedesktop_os_release().get("ID", "")
    except OSError:
        distribution = ""
    return sources_mirror(texts, distribution)


def _packages():
    with open(os.path.join(HERE, "image", "packages.txt"), encoding="utf-8") as stream:
        return stream.read().split()


def _digest(*contents):
    total = hashlib.sha256()
    for content in contents:
        total.update(hashlib.sha256(content if isinstance(content, bytes) else content.encode()).digest())
    return total.hexdigest()[:12]


def _read(name):
    with open(os.path.join(HERE, "image", name), "rb") as stream:
        return stream.read()


def _from_debian(tag, say):
    if not shutil.which("mmdebstrap"):
        raise LabError(f"mmdebstrap is missing; `lab.py host` installs it, or {BASE_VARIABLE} names a Debian image to start from")
    mirror = _machine_mirror()
    say(f"building {tag} with mmdebstrap")
    setup = os.path.join(HERE, "image", "setup.sh")
    entry = os.path.join(HERE, "image", "lab-entry")
    with tempfile.TemporaryDirectory(prefix="ringrift-lab-") as folder:
        archive = os.path.join(folder, "root.tar")
        command = [
            "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_packages())}",
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")),
            f"--customize-hook=sh {setup} \"$1\"",
            f"--customize-hook=install -m 0755 {entry} \"$1/usr/local/sbin/lab-entry\"",
            SUITE, archive, *([mirror] if mirror else []),
        ]
        result = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
        if result.returncode != 0:
            raise LabError(f"mmdebstrap failed:\n{result.stderr[-3000:]}")
        docker("import", "--change", f"LABEL {IMAGE_LABEL}=1", archive, tag)


def _from_image(tag, base, say):
    say(f"building {tag} from {base}")
    name = f"{tag.replace(':', '-')}-build"
    docker("rm", "-f", name, check=False)
    script = f"apt-get update -q && apt-get install -y -q --no-install-recommends {' '.join(_packages())} && sh /tmp/setup.sh /"
    try:
        docker("create", "--name", name, base, "sh", "-ec", script)
        docker("cp", os.path.join(HERE, "image", "setup.sh"), f"{name}:/tmp/setup.sh")
        docker("cp", os.path.join(HERE, "image", "lab-entry"), f"{name}:/usr/local/sbin/lab-entry")
        docker("start", "-a", name, timeout=1200)
        docker("commit", "--change", f"LABEL {IMAGE_LABEL}=1", name, tag)
    finally:
        docker("rm", "-f", name, check=False)


@contextlib.contextmanager
def _alone():
    """One builder at a time: a lab that starts beside another one waits for the image, and finds it."""
    with open(os.path.join(tempfile.gettempdir(), f"ringrift-lab-image-{os.getuid()}.lock"), "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def base(say):
    """The tag of the plain node image, built where it is not there yet. `say` is told what takes long."""
    start = os.environ.get(BASE_VARIABLE, "")
    tag = f"{BASE}:{_digest(IMAGE_LABEL, SUITE, start, _read('packages.txt'), _read('setup.sh'), _read('lab-entry'))}"
    with _alone():
        if not image_exists(tag) and start:
            _from_image(tag, start, say)
        elif not image_exists(tag):
            _from_debian(tag, say)
    return tag


def with_tree(base_tag, digest, tree, say):
    """The tag of the image `base_tag` with a tar stream laid over it. `digest` names the content, `tree` gives the stream when it is needed."""
    tag = f"{WITH_ORCHESTRATOR}:{_digest(base_tag, digest)}"
    with _alone():
        if image_exists(tag):
            return tag
        say(f"building {tag}")
        name = f"{tag.replace(':', '-')}-build"
        docker("rm", "-f", name, check=False)
        try:
            docker("create", "--name", name, base_tag, "/bin/true")
            docker("cp", "-", f"{name}:/", stdin=tree())
            docker("commit", "--change", f"LABEL {IMAGE_LABEL}=1", name, tag)
        finally:
            docker("rm", "-f", name, check=False)
    return tag


def remove():
    """Removes every image that the lab has built."""
    tags = docker("images", "--filter", f"label={IMAGE_LABEL}=1", "--format", "{{.Repository}}:{{.Tag}}").split()
    if tags:
        docker("rmi", "-f", *tags)
