# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs what depends on ansible-core under each supported ansible-core, and what runs on nodes under each Python that nodes may have.

Every cell of the matrix is a virtual environment below .cache/matrix/, kept between runs. What this machine has no Python for is
listed and not counted as passed. With --quick, this Python alone: the oldest and the newest ansible-core that it can run. Words
choose cells by parts of their names: "2.18", "Python 3.8", "node".
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "matrix"
EXAMPLE = ROOT / "inventory" / "distributed_hosts.example.yaml"
# ansible-core, and the Pythons that its controller runs on.
CORES = {
    "2.16": ("3.10", "3.11", "3.12"),
    "2.17": ("3.10", "3.11", "3.12"),
    "2.18": ("3.11", "3.12", "3.13"),
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.12", "3.13", "3.14"),
    "2.21": ("3.12", "3.13", "3.14"),
}
NODE_PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
REQUIREMENTS = ("pytest", "hypothesis")
# The folders and files that meet ansible-core's own interfaces; the rest of tests/unit needs no ansible-core or real processes.
QUICK_TESTS = ("plugins/action", "plugins/filter", "plugins/inventory", "plugins/modules", "plugins/plugin_utils/test_managed_files.py", "roles")
CORE_TESTS = (*QUICK_TESTS, "plugins/plugin_utils/test_cluster_file.py", "cluster/test_cluster_health.py", "cluster/test_restart_lease.py")
NODE_TESTS = ("plugins/module_utils", "plugins/modules/test_bootstrap_seeds.py", "plugins/modules/test_node_info.py", "locks/test_lock_judgement.py")
PLAYBOOKS = ("diagnose", "stabilize", "rollback")
# Nobody listens on the port of the second node.
LOOPBACK_CLUSTER = """\
p2p_voters: [here-1]
hosts:
  here-1: {{ssh_host: localhost, provider: hetzner, p2p_public_host: 203.0.113.5, port: {port}, ringrift_path: {folder}/ai-service}}
  gone-1: {{ssh_host: 127.0.0.1, ssh_port: {port}, provider: hetzner, p2p_public_host: 203.0.113.6}}
"""


class Cell(NamedTuple):
    """One environment of the matrix: what it is called, its Python (None: this machine has none that fits) and what is installed."""

    name: str
    python: str | None
    needs: str
    requirements: tuple[str, ...]


def pythons(versions):
    """The Pythons of this machine: {version: path}; this one, those on PATH and those of pyenv, if it is on PATH."""
    found = {"%d.%d" % sys.version_info[:2]: sys.executable}
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    pyenv = shutil.which("pyenv")
    if pyenv:
        root = subprocess.run([pyenv, "root"], check=False, capture_output=True, text=True).stdout.strip()
        folders += [str(path) for path in sorted(Path(root).glob("versions/*/bin"))] if root else []
    for version in versions:
        for candidate in (os.path.join(folder, f"python{version}") for folder in folders):
            # A shim of a version manager may exist without its version; a system's Python may lack what makes environments.
            if version not in found and os.access(candidate, os.X_OK):
                if subprocess.run([candidate, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode == 0:
                    found[version] = candidate
    return found


def cores(available, quick):
    """The cells of ansible-core, each with this Python if it will do; with quick, the oldest and the newest of those."""
    own = "%d.%d" % sys.version_info[:2]
    made = []
    for core, runs_on in CORES.items():
        version = next((one for one in (own, *runs_on) if one in runs_on and one in available), None)
        needs = " or ".join(f"python{one}" for one in runs_on)
        made.append(Cell(f"ansible-core {core}", available.get(version), needs, (f"ansible-core=={core}.*", *REQUIREMENTS)))
    mine = [cell for cell in made if cell.python == sys.executable]
    return [mine[0], mine[-1]] if quick and len(mine) > 1 else mine if quick else made


def nodes(available):
    """The cells of the nodes' Pythons, which get no ansible-core of their own, as on a node."""
    return [Cell(f"node, Python {version}", available.get(version), f"python{version}", REQUIREMENTS) for version in NODE_PYTHONS]


def provide(cell):
    """Makes the cell's environment where it is missing or was made for something else; returns its interpreter."""
    folder = CACHE / cell.name.replace(", ", "-").replace(" ", "-").lower()
    stamp, wanted = folder / "ready.json", [cell.python, *cell.requirements]
    python = folder / "bin" / "python"
    if not (stamp.exists() and json.loads(stamp.read_text(encoding="utf-8")) == wanted and python.exists()):
        subprocess.run([cell.python, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *cell.requirements], check=True)
        stamp.write_text(json.dumps(wanted), encoding="utf-8")
    return str(python)


def environment(folder, **more):
    """The environment of a check: that of this process without settings of Ansible."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "P2P_", "PYTHONPATH"))}
    return {**kept, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(folder / "ansible"), "ANSIBLE_NOCOLOR": "1", **more}


def run(title, command, variables):
    """Runs one check; says how long it took and, if it failed, what it said. Returns whether it passed."""
    begun = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    print(f"  {'passed' if done.returncode == 0 else 'FAILED'}  {title} ({time.monotonic() - begun:.0f} s)", flush=True)
    if done.returncode != 0:
        print(done.stdout + done.stderr, flush=True)
    return done.returncode == 0


def pytest(python, tests):
    """The command that runs these tests."""
    return [python, "-m", "pytest", "--override-ini=cache_dir=.cache/matrix/pytest", *(f"tests/unit/{name}" for name in tests)]


def check_core(python, tests):
    """These unit tests, the example's inventory, the playbooks' syntax, and a diagnosis of two nodes on loopback; returns what failed."""
    folder = Path(python).parents[1] / "work"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (folder / "distributed_hosts.yaml").write_text(LOOPBACK_CLUSTER.format(folder=folder, port=port), encoding="utf-8")
    command = [python, "-m", "ansible"]
    plain = environment(folder, PATH=os.pathsep.join([os.path.dirname(python), os.environ.get("PATH", os.defpath)]))
    on_example = {**plain, "P2P_DISTRIBUTED_HOSTS": str(EXAMPLE)}
    on_loopback = {**plain, "P2P_DISTRIBUTED_HOSTS": str(folder / "distributed_hosts.yaml")}
    checks = [
        *([("unit tests", pytest(python, tests), plain)] if tests else []),
        ("ansible-inventory --graph", [*command, "inventory", "--graph"], on_example),
        *((f"{name}.yml --syntax-check", [*command, "playbook", f"playbooks/{name}.yml", "--syntax-check"], on_example) for name in PLAYBOOKS),
        ("diagnose.yml on loopback", [*command, "playbook", "playbooks/diagnose.yml", "-e", json.dumps(
            {"p2p_window": 1, "p2p_reports_directory": str(folder / "reports"), "ansible_python_interpreter": python})], on_loopback),
    ]
    failed = [title for title, words, variables in checks if not run(title, words, variables)]
    if "diagnose.yml on loopback" not in failed:
        report = json.loads((folder / "reports" / "latest" / "report.json").read_text(encoding="utf-8"))
        if [finding["node"] for finding in report["before"]["findings"] if finding["code"] == "UNREACHABLE"] != ["gone-1"]:
            print("  FAILED  the report of that diagnosis names the one node that is unreachable", flush=True)
            failed.append("the report of diagnose.yml")
    return failed


def check_node(python):
    """The unit tests of what runs on nodes; of ansible-core there is what Ansible sends along with a module. Returns what failed."""
    folder = Path(python).parents[1]
    packages = next(folder.glob("lib/python*/site-packages"))
    sent = packages / "ansible"
    sent.unlink(missing_ok=True)
    sent.symlink_to(Path(importlib.util.find_spec("ansible").origin).parent)
    return [] if run("unit tests", pytest(python, NODE_TESTS), environment(folder)) else ["unit tests"]


def main(words):
    """Runs the matrix; returns 1 if a check failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="the oldest and the newest ansible-core that this Python can run, and no more")
    parser.add_argument("part", nargs="*", help="run only cells whose name has this in it, such as 2.18 or 'Python 3.8'")
    options = parser.parse_args(words)
    quick = options.quick
    available = pythons(sorted({*NODE_PYTHONS, *(version for runs_on in CORES.values() for version in runs_on)}, key=lambda text: int(text[2:])))
    results = {}
    chosen = [cell for cell in cores(available, quick) + ([] if quick else nodes(available))
              if not options.part or any(part in cell.name for part in options.part)]
    if not chosen:
        parser.error(f"no cell of the matrix has {' or '.join(options.part)} in its name, or this Python can run none of them")
    for cell in chosen:
        if cell.python is None:
            results[cell.name] = f"not run: {cell.needs} is not on this machine"
            continue
        print(f"{cell.name} ({cell.python})", flush=True)
        python = provide(cell)
        if cell.name.startswith("node"):
            failed = check_node(python)
        else:
            # `make unit` runs the tests under the ansible-core of this environment.
            here = cell.name == "ansible-core " + ".".join(importlib.metadata.version("ansible-core").split(".")[:2])
            failed = check_core(python, () if quick and here else QUICK_TESTS if quick else CORE_TESTS)
        results[cell.name] = f"FAILED: {', '.join(failed)}" if failed else "passed"
    print("\n" + "\n".join(f"{name:<20} {result}" for name, result in results.items()))
    return int(any(result.startswith("FAILED") for result in results.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
