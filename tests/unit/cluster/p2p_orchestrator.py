# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for an orchestrator: answers /health and /status and tells heartbeats, so that what asks it meets a real process.

    p2p_orchestrator.py FOLDER NODE_ID PORT VOTER,VOTER,...

Members meet in FOLDER: each writes its heartbeat there, `leader` holds the name of the leader. Files that change a member's
behaviour: `no-transfer` (404 on /leadership/transfer), `refuse-NODE_ID` (exit 0 at start), `as-NODE_ID` (answers under the name in it).
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FOLDER, NODE_ID, PORT, VOTERS = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4].split(",")


def read(name, default=""):
    try:
        return (FOLDER / name).read_text()
    except FileNotFoundError:
        return default


def write(name, text):
    temporary = FOLDER / f".{name}.{NODE_ID}"
    temporary.write_text(text)
    temporary.replace(FOLDER / name)


def beat():
    while True:
        write(f"beat-{NODE_ID}", repr(time.time()))
        time.sleep(0.05)


def beats():
    return {path.name[5:]: float(path.read_text()) for path in FOLDER.glob("beat-*")}


class Answers(BaseHTTPRequestHandler):
    def _send(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        leader = read("leader") or None
        own = read(f"as-{NODE_ID}") or NODE_ID
        body = {"node_id": own, "role": "leader" if leader == NODE_ID else "follower", "leader_id": leader, "healthy": True, "term": int(read("term", "1"))}
        if self.path == "/status":
            body["voter_node_ids"] = VOTERS
            body["peers"] = {name: {"last_heartbeat": at, "is_alive": True, "status": "alive"} for name, at in beats().items() if name != NODE_ID}
            body["all_peers"] = {"error": "not_collected"}
        elif self.path != "/health":
            self._send(404, {"error": "not found"})
            return
        self._send(200, body)

    def do_POST(self):
        fresh = [name for name, at in beats().items() if name != NODE_ID and name in VOTERS and time.time() - at < 1]
        if self.path != "/leadership/transfer" or (FOLDER / "no-transfer").exists() or not fresh:
            self._send(404, {"error": "not found"})
            return
        write("leader", sorted(fresh)[0])
        self._send(200, {"leader_id": sorted(fresh)[0]})

    def log_message(self, *arguments):
        pass


if (FOLDER / f"refuse-{NODE_ID}").exists():
    print("supervisor claim refused: held by pid 4711", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, lambda *unused: os._exit(0))
threading.Thread(target=beat, daemon=True).start()
ThreadingHTTPServer(("127.0.0.1", PORT), Answers).serve_forever()
