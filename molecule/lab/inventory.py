# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's inventory: the example file as it stands, reached at the containers' addresses with the lab's key."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess

import yaml

from containers import INSTANCE, LabError
from topology import LAB_PUBLIC, NAMES, PINNED, PORT, ROOT, hosts_text

WORK = os.path.join(ROOT, ".work", f"lab{INSTANCE}")
FOLDER = os.path.join(WORK, "inventory")
KEY = os.path.join(WORK, "id_ed25519")
HOST_KEY = os.path.join(WORK, "ssh_host_ed25519_key")
KNOWN_HOSTS = os.path.join(WORK, "known_hosts")
# The embedded orchestrator beats every second.
EMBEDDED_SETTINGS = {"orchestrator_source": "embedded", "p2p_window": 10, "p2p_timeout": 180, "p2p_join_timeout": 60}
# The stand-in beats every one to six seconds, see field.SCALE.
FIELD_SETTINGS = {"orchestrator_disable_rivals": True, "p2p_window": 16, "p2p_timeout": 300, "p2p_join_timeout": 90}


def _write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as stream:
        stream.write(text)


def read(path):
    """The text of a file."""
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def _key(path):
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ringrift-lab", "-f", path], check=True, timeout=30)


def secret(name):
    """The lab's secret of that name, made when it is first asked for."""
    path = os.path.join(WORK, "secrets", name)
    if not os.path.exists(path):
        _write(path, secrets.token_hex(24) + "\n", 0o600)
    return read(path).strip()


def keys():
    """Makes the lab's ssh keys and its known_hosts file where they are missing; all nodes share one host key."""
    try:
        _key(KEY)
        _key(HOST_KEY)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise LabError(f"ssh-keygen failed: {error}; it comes with the package openssh-client") from error
    public = " ".join(read(HOST_KEY + ".pub").split()[:2])
    _write(KNOWN_HOSTS, f"{LAB_PUBLIC}* {public}\n")


def cut(text, kept):
    """The hosts file `text` without those of the lab's nodes that are not in `kept`; everything else stays as it is written."""
    root = yaml.compose(text)
    top = {key.value: value for key, value in root.value}
    lines = text.splitlines(keepends=True)
    dropped = set()
    entries = top["hosts"].value
    for (key, _value), following in zip(entries, [*(entry[0].start_mark.line for entry in entries[1:]), top["hosts"].end_mark.line]):
        if key.value in NAMES and key.value not in kept:
            # Comments ahead of the next entry belong to that one.
            while following - 1 > key.start_mark.line and lines[following - 1].strip().startswith("#"):
                following -= 1
            dropped.update(range(key.start_mark.line, following))
    if "p2p_voters" in top:
        dropped.update(item.start_mark.line for item in top["p2p_voters"].value if item.value in NAMES and item.value not in kept)
    return "".join(line for number, line in enumerate(lines) if number not in dropped)


def write(known, chosen, only, field=False):
    """Writes the inventory folder anew and gives the path of its configuration.

    `known` are all nodes, `chosen` those that run; with `only` the hosts file names no others of the lab's. With `field` the nodes
    have an orchestrator of their own: nothing says what runs, there are no secrets, and its heartbeats take seconds.
    """
    shutil.rmtree(FOLDER, ignore_errors=True)
    text = hosts_text()
    _write(os.path.join(FOLDER, "distributed_hosts.yaml"), cut(text, {node.name for node in chosen}) if only else text)
    shutil.copy(os.path.join(ROOT, "inventory", "p2p.yml"), os.path.join(FOLDER, "p2p.yml"))
    variables = os.path.join(ROOT, "inventory", "group_vars", "all.yml")
    if os.path.exists(variables):
        _write(os.path.join(FOLDER, "group_vars", "all", "10-project.yml"), read(variables))
    _write(os.path.join(FOLDER, "group_vars", "all", "90-lab.yml"), yaml.safe_dump({
        "p2p_pinned_seeds": [{"address": f"{known[name].public}:{PORT}", "node": name} for name in PINNED if known[name] in chosen or not only],
        **(FIELD_SETTINGS if field else EMBEDDED_SETTINGS),
        "p2p_join_grace": 30,
        # A cluster of its own: its lease is not that of the operator's other clusters.
        "p2p_lease_path": os.path.join(WORK, "restart.lease"),
        **({"p2p_reports_directory": os.path.join(WORK, "reports")} if INSTANCE else {}),
        **({} if field else {"orchestrator_cluster_token": secret("cluster-token"), "orchestrator_election_password": secret("election-password")}),
    }, explicit_start=True))
    for node in known.values():
        _write(os.path.join(FOLDER, "host_vars", f"{node.name}.yml"), yaml.safe_dump({
            "ansible_host": node.public,
            "ansible_port": 22,
            "ansible_user": node.user,
            "ansible_ssh_private_key_file": KEY,
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={KNOWN_HOSTS} -o StrictHostKeyChecking=yes",
        }, explicit_start=True))
    return os.path.join(FOLDER, "p2p.yml")


def hosts_file():
    """The text of the lab's own hosts file."""
    return read(os.path.join(FOLDER, "distributed_hosts.yaml"))
