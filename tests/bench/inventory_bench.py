# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What reading and editing a big hosts file costs, against Ansible's own inventory plugin `yaml` and against the bare parser.

Run from the checkout: ``python tests/bench/inventory_bench.py [--hosts 10000] [--large 100000] [--runs 3]``. Every measurement is a process of its own;
medians of the runs, taken in turns. Prints one JSON line a case, and exits 1 if a bound is not kept. Seconds and MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

COMPOSE = "import sys, yaml; yaml.compose(open(sys.argv[1], encoding='utf-8').read(), Loader=yaml.CSafeLoader)"
EDIT = """\
import sys
sys.path.insert(0, sys.argv[2])
from ansible_collections.ringrift.p2p.plugins.plugin_utils import _hosts_edit
content = open(sys.argv[1], "rb").read()
name = "lambda-gh200-%d" % (content.count(b"ssh_host:") // 2)
edited = _hosts_edit.edit(content, {name: {"role": "gpu_training_primary", "relay_tertiary": "hetzner-cpu2", "relay_secondary": None}}, sys.argv[1])
assert len(edited.changes) == 3
"""


def entry(number):
    """The 25 keys of one host."""
    address = f"{number // 62500 % 250 + 1}.{number // 250 % 250}.{number % 250 + 1}"
    return [
        ("ssh_host", f"203.{address}"), ("ssh_port", "22"), ("ssh_user", "ubuntu"), ("ssh_key", "~/.ssh/id_cluster"),
        ("ringrift_path", "~/ringrift/ai-service"),
        ("memory_gb", "480"), ("cpus", "64"), ("status", "ready"), ("role", "gpu_selfplay"), ("p2p_enabled", "true"),
        ("venv_activate", "source ~/ringrift/ai-service/venv/bin/activate"), ("gpu", "GH200"), ("gpu_vram_gb", "96"),
        ("tailscale_ip", f"100.{64 + number // 62500 % 64}.{number // 250 % 250}.{number % 250 + 1}"), ("note", f'"rack {number}, checked 2026-01-25"'),
        ("selfplay_enabled", "true"), ("training_enabled", "true"), ("is_container", "false"), ("is_ephemeral", "false"), ("region", "us-east-1"),
        ("force_relay_mode", "true"), ("nat_blocked", "true"), ("p2p_port", "8770"), ("relay_primary", "hetzner-cpu1"), ("relay_secondary", "hetzner-cpu3"),
    ]


def write(path, count, head, indent):
    """A file of ``count`` hosts below ``head``."""
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(head)
        for number in range(count):
            stream.write(f"{indent}lambda-gh200-{number}:\n")
            stream.writelines(f"{indent}  {key}: {value}\n" for key, value in entry(number))


def measure(command, folder, **environment):
    """``(seconds, MiB)`` of one process and its children."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, env={
            **{key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "P2P_"))},
            "ANSIBLE_CONFIG": os.path.join(folder, "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections"), "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true", **environment})
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def in_turns(runs, commands, folder):
    """The median seconds and memory of each of the ``commands`` ({name: command}), run alternately, so that all meet the same machine."""
    taken = {name: [] for name in commands}
    for _run in range(runs):
        for name, command in commands.items():
            taken[name].append(measure(command, folder))
    return {name: [statistics.median(values) for values in zip(*pairs)] for name, pairs in taken.items()}


def report(case, bound, value, **figures):
    """Print one result. True if the bound is kept."""
    print(json.dumps({"case": case, **{key: round(figure, 3) for key, figure in figures.items()},
                     "value": round(value, 3), "bound": bound, "kept": value <= bound}),
          flush=True)
    return value <= bound


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=10000)
    parser.add_argument("--large", type=int, default=100000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    kept = []
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        (place / "ansible.cfg").write_text("[defaults]\n", encoding="utf-8")
        for name, count in (("hosts", options.hosts), ("large", options.large)):
            write(place / f"{name}.yaml", count, "hosts:\n", "  ")
            (place / f"{name}.p2p.yml").write_text(f"plugin: ringrift.p2p.distributed_hosts\nsource: {name}.yaml\n", encoding="utf-8")
        write(place / "builtin.yml", options.hosts, "all:\n  hosts:\n", "    ")
        graph = [sys.executable, "-m", "ansible", "inventory", "--graph", "-i"]
        found = in_turns(options.runs, {"ours": [*graph, "hosts.p2p.yml"], "builtin": [*graph, "builtin.yml"]}, folder)
        ours, builtin = found["ours"], found["builtin"]
        kept.append(report(
            f"graph of {options.hosts} hosts, share of the builtin plugin's time", 0.25,
            ours[0] / builtin[0], ours_seconds=ours[0], builtin_seconds=builtin[0]))
        kept.append(report(
            f"graph of {options.hosts} hosts, share of the builtin plugin's memory", 1.0, ours[1] / builtin[1], ours_mib=ours[1], builtin_mib=builtin[1]))

        large = in_turns(options.runs, {"hosts": [*graph, "hosts.p2p.yml"], "large": [*graph, "large.p2p.yml"]}, folder)
        kept.append(report(
            f"graph of {options.large} hosts, times that of {options.hosts}", 12.0, large["large"][0] / large["hosts"][0],
            seconds=large["large"][0], mib=large["large"][1], small_seconds=large["hosts"][0]))

        collections = str(ROOT / "playbooks" / "collections")
        edit = in_turns(options.runs, {
            "compose": [sys.executable, "-c", COMPOSE, "hosts.yaml"], "edit": [sys.executable, "-c", EDIT, "hosts.yaml", collections]}, folder)
        kept.append(report(
            f"editing one of {options.hosts} hosts, times the bare compose", 1.5, edit["edit"][0] / edit["compose"][0],
            edit_seconds=edit["edit"][0], compose_seconds=edit["compose"][0]))
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
