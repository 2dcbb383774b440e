# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults, injected one at a time from outside into nodes of the lab. Each tells whether it is there, and takes itself back."""

from __future__ import annotations

import json
import socket
import time

PORT = 8770
STATE_FOLDER = "/var/lib/ringrift-p2p"
CLOCK_STEP = 3600.0

# Runs on the node, as root, from standard input, so that no command line holds the text it looks for.
PROCESSES = """
import json, os, signal, sys
found = {}
for entry in os.listdir("/proc"):
    try:
        words = open("/proc/%s/cmdline" % entry, "rb").read().split(b"\\0")
        if entry.isdigit() and any(word.endswith(b"/p2p_orchestrator.py") for word in words[:3]):
            fields = open("/proc/%s/stat" % entry).read().rpartition(")")[2].split()
            found[entry] = {"state": fields[0], "start": int(fields[19])}
            if len(sys.argv) > 1:
                os.kill(int(entry), int(sys.argv[1]))
    except OSError:
        continue
print(json.dumps(found))
"""

# A step of the clock that the orchestrator's process sees: containers share the machine's one.
CLOCK = """
import os, sys, time
if any(word.endswith("p2p_orchestrator.py") for word in getattr(sys, "orig_argv", sys.argv)):
    _real = time.time
    time.time = lambda: _real() + (%r if os.path.exists("/run/chaos-clock") else 0.0)
""" % CLOCK_STEP


def processes(execute, node, number=None):
    """{pid: {state, start}} of the node's orchestrators; with a signal's number, sends it to them."""
    words = [] if number is None else [str(number)]
    return json.loads(execute(node, "python3", "-", *words, stdin=PROCESSES.encode(), timeout=60))


def opens(address, port=PORT):
    """Whether a connection to that port opens from outside."""
    try:
        socket.create_connection((address, port), 1.5).close()
        return True
    except OSError:
        return False


def until(condition, seconds):
    """Whether the condition came true within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


class Fault:
    """What all faults share. `execute` runs a command on a node of the lab as root and gives its output."""

    name = ""

    def __init__(self, node, address, execute):
        self.node, self.address = node, address
        self._execute = execute

    def shell(self, text, check=True):
        """Runs a line of shell on the node."""
        return self._execute(self.node, "sh", "-c", text, check=check)


class Killed(Fault):
    """The orchestrator is killed; its service manager starts it again."""

    name = "leader killed"
    _before = None

    def inject(self):
        self._before = processes(self._execute, self.node, 9)

    def injected(self):
        now = processes(self._execute, self.node)
        return bool(self._before) and all(now.get(pid, {}).get("start") != seen["start"] for pid, seen in self._before.items())

    def heal(self):
        """Nothing to do."""

    def healed(self):
        return bool(processes(self._execute, self.node)) and opens(self.address)


class Stopped(Fault):
    """The orchestrator is stopped by SIGSTOP: its port is open, and it says nothing."""

    name = "voter hangs"

    def inject(self):
        processes(self._execute, self.node, 19)

    def injected(self):
        found = processes(self._execute, self.node)
        return bool(found) and all(seen["state"] == "T" for seen in found.values())

    def heal(self):
        processes(self._execute, self.node, 18)

    def healed(self):
        return all(seen["state"] != "T" for seen in processes(self._execute, self.node).values())


class CutOff(Fault):
    """The orchestrator's ports are cut off both ways."""

    name = "voter cut off"
    chains = ("input", "output")

    def inject(self):
        rules = "".join(
            f"chain {chain} {{ type filter hook {chain} priority -10; policy accept; "
            f"{'iifname' if chain == 'input' else 'oifname'} != \"lo\" tcp dport {PORT}-{PORT + 1} counter drop; }}\n"
            for chain in self.chains
        )
        self._execute(self.node, "nft", "-f", "-", stdin=f"table inet chaos {{\n{rules}}}\n".encode())

    def injected(self):
        # Packets were dropped, and where the way in is cut no connection opens.
        def dropped():
            told = json.loads(self._execute(self.node, "nft", "-j", "list", "table", "inet", "chaos"))
            counts = [part["counter"]["packets"] for line in told["nftables"] for part in line.get("rule", {}).get("expr", []) if "counter" in part]
            return bool(counts) and sum(counts) > 0

        return until(dropped, 20) and ("input" not in self.chains or not opens(self.address))

    def heal(self):
        self.shell("nft delete table inet chaos 2>/dev/null", check=False)

    def healed(self):
        return "chaos" not in self.shell("nft list tables") and opens(self.address)


class CutOffOneWay(CutOff):
    """Others can't reach the orchestrator; it can reach them."""

    name = "voter cut off one way"
    chains = ("input",)


class DiskFull(Fault):
    """No byte is left where the collection keeps its state on the node."""

    name = "disk full"

    def inject(self):
        # A small disk with the same contents, filled to the brim, so that the machine's own disk is left alone.
        self.shell(
            f"mkdir -p {STATE_FOLDER} /run/chaos-disk && cp -a {STATE_FOLDER}/. /run/chaos-disk/ && "
            f"mount -t tmpfs -o mode=755,size=$(( $(du -sk /run/chaos-disk | cut -f1) + 64 ))k chaos {STATE_FOLDER} && "
            f"cp -a /run/chaos-disk/. {STATE_FOLDER}/ && "
            f"dd if=/dev/zero of={STATE_FOLDER}/.chaos bs=1k 2>/dev/null; true"
        )

    def injected(self):
        return self.shell(f"df --output=avail {STATE_FOLDER} | tail -1").strip() == "0"

    def heal(self):
        # What was written meanwhile belongs to the node.
        self.shell(
            f"rm -f {STATE_FOLDER}/.chaos; rm -rf /run/chaos-disk; cp -a {STATE_FOLDER}/. /run/chaos-disk 2>/dev/null; umount {STATE_FOLDER} && "
            f"cp -a /run/chaos-disk/. {STATE_FOLDER}/; rm -rf /run/chaos-disk",
            check=False,
        )

    def healed(self):
        return "chaos" not in self.shell("cat /proc/mounts")


class ClockStep(Fault):
    """The wall clock that the orchestrator sees steps ahead by an hour, and back."""

    name = "clock steps"

    def __init__(self, node, address, execute, timestamp):
        super().__init__(node, address, execute)
        self._timestamp = timestamp

    def prepare(self):
        """Has every Python of the node look for the step; takes effect with the orchestrator's next start."""
        place = self._place()
        self.shell(f"test -e {place}.before-chaos || cp -a {place} {place}.before-chaos 2>/dev/null; rm -f {place}")
        self._execute(self.node, "sh", "-c", f"cat > {place}", stdin=CLOCK.encode())

    def _place(self):
        return self.shell("python3 -c 'import sysconfig; print(sysconfig.get_path(\"stdlib\"))'").strip() + "/sitecustomize.py"

    def inject(self):
        self.shell("touch /run/chaos-clock")

    def _ahead(self):
        told = self._timestamp()
        return told is not None and told - time.time() > CLOCK_STEP / 2

    def injected(self):
        return until(self._ahead, 20)

    def heal(self):
        self.shell("rm -f /run/chaos-clock")
        place = self._place()
        self.shell(f"rm -f {place}; mv {place}.before-chaos {place} 2>/dev/null", check=False)

    def healed(self):
        return until(lambda: self._timestamp() is not None and not self._ahead(), 60)
