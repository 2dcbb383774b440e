# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PySyncObj's network on the event loop, with bounds for those who have not shown yet that they know the password."""

from __future__ import annotations

import asyncio
import time

from pysyncobj.poller import POLL_EVENT_TYPE, Poller
from pysyncobj.tcp_connection import CONNECTION_STATE
from pysyncobj.transport import TCPTransport

# What a peer may send ahead: bytes until its first message was decrypted, bytes after that.
MAX_GREETING = 4 << 10
MAX_MESSAGE = 1 << 20
# Connections that have not said yet which voter they are: how many, and for how many seconds.
MAX_STRANGERS = 64
STRANGER_SECONDS = 3.0
# An attempt to connect that was not answered by then is begun anew: the kernel would wait up to a minute before it asks again.
CONNECT_SECONDS = 2.0


class LoopPoller(Poller):
    """PySyncObj's sockets, watched by the event loop instead of by a poll of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.after_event = None

    def subscribe(self, descr, callback, eventMask):
        self.unsubscribe(descr)
        if eventMask & (POLL_EVENT_TYPE.READ | POLL_EVENT_TYPE.ERROR):
            self._loop.add_reader(descr, self._event, descr, callback, POLL_EVENT_TYPE.READ)
        if eventMask & POLL_EVENT_TYPE.WRITE:
            self._loop.add_writer(descr, self._event, descr, callback, POLL_EVENT_TYPE.WRITE)

    def unsubscribe(self, descr):
        for remove in (self._loop.remove_reader, self._loop.remove_writer):
            try:
                remove(descr)
            except OSError:
                # The socket was closed first; the selector has forgotten it by now.
                continue

    def _event(self, descr, callback, event):
        callback(descr, event)
        if self.after_event is not None:
            self.after_event()

    def poll(self, timeout):
        """The loop has polled already."""


class Transport(TCPTransport):
    """Notes when the leader was last heard, keeps voters' connections from ageing unused, and drops who sends, waits or connects too long."""

    KEEPALIVE = 2.0

    def __init__(self, syncObj, selfNode, otherNodes):
        self.leader_heard = 0.0
        self.dropped = 0
        self._next_keepalive = 0.0
        self._connecting_since = {}
        super().__init__(syncObj, selfNode, otherNodes)
        syncObj.transport_in_use = self

    def _onMessageReceived(self, node, message):
        if not isinstance(message, dict) or "type" not in message:
            return
        if message["type"] == "append_entries":
            self.leader_heard = time.monotonic()
        super()._onMessageReceived(node, message)

    def _onTick(self):
        now = time.monotonic()
        for node, conn in list(self._connections.items()):
            if conn.state != CONNECTION_STATE.CONNECTING:
                self._connecting_since.pop(node, None)
            elif now - self._connecting_since.setdefault(node, now) > CONNECT_SECONDS:
                del self._connecting_since[node]
                conn.disconnect()
        super()._onTick()
        if now >= self._next_keepalive:
            # Only a leader sends on its own. A link between followers would time out just when an election needs it.
            self._next_keepalive = now + self.KEEPALIVE
            for node in list(self._connections):
                self.send(node, {"type": "keepalive"})

    def addNode(self, node):
        super().addNode(node)
        if node in self._connections:
            self._bound(self._connections[node])

    def _onNewIncomingConnection(self, conn):
        if len(self._unknownConnections) >= MAX_STRANGERS:
            self._drop(conn)
            return
        self._bound(conn)
        super()._onNewIncomingConnection(conn)
        asyncio.get_running_loop().call_later(STRANGER_SECONDS, self._drop_stranger, conn)

    def _drop_stranger(self, conn):
        if conn in self._unknownConnections:
            self._drop(conn)

    def _drop(self, conn):
        self.dropped += 1
        conn.disconnect()

    def _bound(self, conn):
        """PySyncObj reads for as long as bytes come, and keeps them until the length that the peer announced is there."""
        read = conn._TcpConnection__processRead

        def read_within_bounds():
            if len(conn._TcpConnection__readBuffer) > (MAX_MESSAGE if conn.sendRandKey else MAX_GREETING):
                self._drop(conn)
                return False
            return read()

        conn._TcpConnection__processRead = read_within_bounds
