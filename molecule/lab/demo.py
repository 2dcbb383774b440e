# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole story on this machine: the lab in the report's state, diagnosed, stabilised, and stabilised again with nothing to do.

Run by `make demo`. Ends with status 0 only where the cluster is whole and the second run changed nothing; prints how long each part took.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import inventory
import lab
from topology import NAMES, OUTSIDE, ROOT

PLAYBOOKS = os.path.join(ROOT, "playbooks")
CONFIGURATION = os.path.join(inventory.FOLDER, "p2p.yml")
RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)")


def title(text):
    """A heading in the output."""
    print(f"\n=== {text}", flush=True)


def play(name, reports):
    """Runs a playbook on the lab, shows its output, and gives {host: times changed}; ends the program where it fails."""
    command = ["ansible-playbook", os.path.join(PLAYBOOKS, name), f"--inventory={CONFIGURATION}", f"--extra-vars=p2p_reports_directory={reports}"]
    changed = {}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            match = RECAP.match(line)
            if match:
                changed[match.group(1)] = int(match.group(2))
    if process.returncode != 0:
        sys.exit(f"{name} ended with status {process.returncode}")
    return changed


def timed(times, name, work, *arguments):
    """The result of the work; how many seconds it took goes into `times`."""
    start = time.monotonic()
    result = work(*arguments)
    times[name] = time.monotonic() - start
    return result


def main():
    """Gives the exit code."""
    times = {}
    reports = os.path.join(ROOT, "reports")
    title("The lab, in the state of the report")
    timed(times, "lab up and broken", lab.raise_nodes, [], "break", False)
    print(lab.show(lab.state()))
    title("What is wrong")
    timed(times, "diagnosis", play, "diagnose.yml", os.path.join(reports, "diagnosis"))
    title("Stabilise")
    timed(times, "first stabilisation", play, "stabilize.yml", reports)
    title("Stabilise once more")
    changed = timed(times, "second stabilisation", play, "stabilize.yml", os.path.join(reports, "second"))
    title("The end")
    judged = lab.wait(len(NAMES), 60)
    print(lab.show(judged))
    for name, seconds in times.items():
        print(f"{name:24} {seconds:6.0f} s")
    print(f"before: {len(NAMES) - len(OUTSIDE)} of {len(NAMES)} nodes; the report of the repair: {os.path.relpath(reports)}/latest/report.md")
    touched = {host: count for host, count in changed.items() if count}
    if touched:
        print(f"the second run was not idle: {touched}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except lab.LabError as error:
        sys.exit(f"lab: {error}")
