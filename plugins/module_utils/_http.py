# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks orchestrators over HTTP. An address that does not answer is data, never an exception.

Addresses are `host:port`, `[v6]:port` or `host` (then port 8770). Proxies from the environment are not used: a peer is
dialled as its neighbours dial it.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor

DEFAULT_PORT = 8770
MAXIMUM_BODY = 16 * 1024 * 1024
_CHUNK = 256 * 1024


def split_address(address, default_port=DEFAULT_PORT):
    """(host, port) of `host`, `host:port` or `[v6]:port`; raises ValueError where the port is not one."""
    host, separator, port = address.rpartition(":")
    if address.startswith("["):
        if address.endswith("]"):
            host, port = address, str(default_port)
        host = host[1:-1]
    elif not separator or ":" in host:
        host, port = address, str(default_port)
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is not host:port")
    return host, int(port)


def endpoint_faults(endpoints):
    """What is wrong with {id: [host:port, ...]}, as a list of sentences."""
    faults = []
    for name, addresses in endpoints.items():
        if not isinstance(addresses, list):
            faults.append(f"endpoints.{name} must be a list of host:port")
            continue
        for index, address in enumerate(addresses):
            try:
                split_address(str(address))
            except ValueError as problem:
                faults.append(f"endpoints.{name}[{index}]: {problem}")
    return faults


def with_port(endpoints, port):
    """The endpoints with `port` added to each address that names none."""
    full = {}
    for name, addresses in endpoints.items():
        pairs = [split_address(str(address), port) for address in addresses]
        full[name] = [f"[{host}]:{number}" if ":" in host else f"{host}:{number}" for host, number in pairs]
    return full


def read_token(path):
    """The cluster's token from its file; None where there is no file, no permission or nothing in it."""
    if not path:
        return None
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as stream:
            return stream.read().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _read(connection, response, deadline):
    """The body, within the size cap and the deadline: a server that drips bytes must not outlast its time."""
    parts, size = [], 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out while reading")
        if connection.sock is not None:
            connection.sock.settimeout(left)
        part = response.read1(_CHUNK)
        if not part:
            return b"".join(parts)
        size += len(part)
        if size > MAXIMUM_BODY:
            raise ValueError(f"answer is larger than {MAXIMUM_BODY} bytes")
        parts.append(part)


def _request(method, address, path, timeout, token, body):
    deadline = time.monotonic() + timeout
    headers = {"Accept": "application/json", "Connection": "close"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    connection = None
    status = None
    try:
        host, port = split_address(address)
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
        connection.request(method, path, body=data, headers=headers)
        response = connection.getresponse()
        status = response.status
        decoded = json.loads(_read(connection, response, deadline) or b"null")
    # RecursionError: nesting deeper than the parser goes.
    except (OSError, ValueError, http.client.HTTPException, RecursionError) as problem:
        return status, None, f"{address}: {str(problem) or type(problem).__name__}"
    finally:
        if connection is not None:
            connection.close()
    if not isinstance(decoded, dict):
        return status, None, f"{address}: answered {status} without a JSON object"
    if status >= 400:
        return status, decoded, f"{address}: answered {status}"
    return status, decoded, None


def get_json(address, path, timeout, token=None):
    """GET `path` at `address` within `timeout` seconds. Returns (status | None, body as dict | None, error text | None)."""
    return _request("GET", address, path, timeout, token, None)


def post_json(address, path, body, timeout, token=None):
    """POST `body` (JSON-able) to `path` at `address`. Returns (status | None, body as dict | None, error text | None)."""
    return _request("POST", address, path, timeout, token, body)


def tcp(address, timeout):
    """Whether a TCP connection to `address` opens within `timeout` seconds. Returns (opened, error text | None)."""
    try:
        host, port = split_address(address)
        socket.create_connection((host, port), timeout).close()
    except (OSError, ValueError) as problem:
        return False, f"{address}: {str(problem) or type(problem).__name__}"
    return True, None


def sample_node(addresses, timeout, token=None, now=time.monotonic):
    """One sample (see _cluster_view) of the node behind `addresses`, tried in order until one answers.

    /status carries all that a view needs; /health is asked only where /status is answered with an error. Returns (sample, address | None).
    """
    errors = []
    for address in addresses:
        status_code, status, problem = get_json(address, "/status", timeout, token)
        if problem is None:
            return {"time": now(), "status": status, "health": None, "error": None}, address
        errors.append(f"/status of {problem}")
        # No answer at all: asking again would only make the others' answers older.
        if status_code is None:
            continue
        unused_code, health, problem = get_json(address, "/health", timeout, token)
        if problem is None:
            return {"time": now(), "status": None, "health": health, "error": errors[-1]}, address
        errors.append(f"/health of {problem}")
    return {"time": now(), "status": None, "health": None, "error": "; ".join(errors) or "no address known"}, None


def sample_round(endpoints, timeout, token=None, now=time.monotonic):
    """Samples all nodes at once. `endpoints` {id: [host:port, ...]}; returns a round of _cluster_view: {time, nodes: {id: sample}}."""
    if not endpoints:
        return {"time": now(), "nodes": {}}
    with ThreadPoolExecutor(max_workers=min(len(endpoints), 32)) as pool:
        answers = pool.map(lambda addresses: sample_node(addresses, timeout, token, now)[0], endpoints.values())
        return {"time": now(), "nodes": dict(zip(endpoints, answers))}
