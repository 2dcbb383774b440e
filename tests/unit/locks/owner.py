# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for an orchestrator or a manager: runs under any script name, answers /health, says who it is, and ends when told."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import sys
import threading
import time


class Health(http.server.BaseHTTPRequestHandler):
    """Answers as the orchestrator's port does."""

    def do_GET(self):
        body = json.dumps({"healthy": True, "node_id": "here"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Says nothing."""


def main():
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # A forked worker shares the script and the arguments, and says nothing.
    speaks = "fork" not in sys.argv or os.fork() > 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    silent = socket.create_server(("127.0.0.1", 0))
    with open("/proc/self/stat", "rb") as stream:
        ticks = int(stream.read().rpartition(b")")[2].split()[19])
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        boot = stream.read().strip()
    facts = {
        "pid": os.getpid(), "start_ticks": ticks, "boot_id": boot, "pid_namespace": os.readlink("/proc/self/ns/pid"), "hostname": socket.gethostname(),
        "thread": thread.native_id, "port": server.server_address[1], "silent_port": silent.getsockname()[1],
    }
    if speaks:
        print(json.dumps(facts), flush=True)
    limit = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < limit:
        connection = None
        silent.settimeout(max(0.01, limit - time.monotonic()))
        try:
            connection = silent.accept()[0]
        except OSError:
            continue
        connection.close()


if __name__ == "__main__":
    main()
