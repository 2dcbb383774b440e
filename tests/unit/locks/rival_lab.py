# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs rival_managers on a cron line and a keepalive script: C(rival_lab.py WORK), as root of PID and mount namespaces of its own.

Prints a JSON object: what the module answered at each step, and whether the line and the process were there after it.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "playbooks" / "collections"))
LINE = "* * * * * root /root/p2p_keepalive.sh\n"
TABLE = Path("/etc/cron.d/ringrift")


def ask(work: Path, **arguments) -> dict:
    """The module's answer, from a process of its own."""
    basic = importlib.import_module("ansible.module_utils.basic")
    module = importlib.import_module("ansible_collections.ringrift.p2p.plugins.modules.rival_managers")
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": {"records": str(work / "records"), "_ansible_diff": True, **arguments}}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 1)
        try:
            module.main()
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as stream:
        answer = json.load(stream)
    os.waitpid(child, 0)
    return answer


def running(script: Path) -> bool:
    """Whether a shell runs the script; one that was just started is waited for."""
    limit = time.monotonic() + 0.5
    while time.monotonic() < limit:
        for folder in Path("/proc").glob("[0-9]*"):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            state = (folder / "stat").read_bytes().rpartition(b")")[2].split()[0]
            if words[1:2] == [bytes(script)] and state != b"Z":
                return True
        time.sleep(0.02)
    return False


def main() -> None:
    work = Path(sys.argv[1])
    TABLE.parent.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(TABLE.parent)], check=True)
    TABLE.write_text(LINE)
    script = work / "p2p_keepalive.sh"
    script.write_text("while :; do sleep 600; done\n")
    shell = subprocess.Popen(["/bin/sh", str(script)], stdout=subprocess.DEVNULL)
    steps = []
    for title, arguments in (
        ("check disabled", {"state": "disabled", "_ansible_check_mode": True}), ("only processes", {"state": "disabled", "kinds": ["process"]}),
        ("disabled", {"state": "disabled"}), ("disabled again", {"state": "disabled"}),
        ("check restored", {"state": "restored", "_ansible_check_mode": True}), ("restored", {"state": "restored"}), ("restored again", {"state": "restored"}),
        ("check held", {"state": "held", "run": "r1", "_ansible_check_mode": True}), ("left alone", {"state": "held", "run": "r1", "leave": [str(TABLE)]}),
        ("held", {"state": "held", "run": "r1"}), ("held again", {"state": "held", "run": "r2"}), ("of another run", {"state": "released", "run": "r2"}),
        ("check released", {"state": "released", "_ansible_check_mode": True}), ("released", {"state": "released", "run": "r1"}),
        ("only the line", {"state": "disabled", "kinds": ["cron"]}), ("the rest", {"state": "held", "run": "r3"}),
        ("released but for good", {"state": "released"}), ("held once more", {"state": "held", "run": "r4"}),
        ("check for good", {"state": "disabled", "_ansible_check_mode": True}), ("for good", {"state": "disabled"}),
        ("nothing held", {"state": "released"}), ("all back", {"state": "restored"}), ("no run", {"state": "held"}),
        ("wrong", {"state": "disabled", "kinds": [], "stop_timeout": 0}),
    ):
        answer = ask(work, **arguments)
        shell.poll()
        steps.append([title, answer, TABLE.read_text() == LINE, running(script)])
    sys.stdout.write(json.dumps(steps))


if __name__ == "__main__":
    main()
