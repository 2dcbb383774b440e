# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From command line to exit code: 0 ended on request, 1 refused by the state of the host, 2 wrong settings."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys

from . import __version__, configuration, hosts, locks, loop_lag, service

log = logging.getLogger("ringrift_p2p")


def main(argv: list, builtin_seeds: list, root_path: str, environment=None) -> int:
    """Run an orchestrator until it is told to end. Returns the exit code; argparse exits 0 for --help and 2 for unknown flags."""
    environment = dict(os.environ if environment is None else environment)
    try:
        settings = configuration.settings(argv, builtin_seeds, root_path, environment)
    except configuration.UsageError as problem:
        for fault in problem.faults:
            sys.stderr.write("p2p_orchestrator: %s\n" % fault)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("pysyncobj").setLevel(logging.CRITICAL)
    held = locks.Locks(settings)
    try:
        held.acquire()
    except locks.Refused as refusal:
        log.error("refused: %s", refusal)
        return 1
    lag = loop_lag.LoopLag()
    loop = asyncio.SelectorEventLoop(loop_lag.TimedSelector(lag))
    try:
        return loop.run_until_complete(_run(settings, held, lag))
    except OSError as problem:
        log.error("%s: %s", problem.filename or settings.state_dir, problem.strerror)
        return 1
    finally:
        held.release()
        loop.close()


async def _run(settings, held: locks.Locks, lag) -> int:
    from aiohttp import web

    from .http_api import Api
    from .node import Node

    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.set_exception_handler(_on_loop_error)
    directory = hosts.read(settings.hosts_file)
    for fault in directory.faults:
        log.error("%s", fault)
    if settings.node_id not in directory.hosts:
        log.warning("%s: no host %s (named by %s): it is not counted as any node of the cluster", directory.source, settings.node_id, settings.node_id_source)
    node = Node(settings, directory, held, lag)
    runner = web.AppRunner(Api(node).application(), access_log=None, handle_signals=False, shutdown_timeout=0.3)
    await runner.setup()
    try:
        await web.SockSite(runner, held.socket, backlog=128).start()
        try:
            await node.start()
        except configuration.ElectionError as problem:
            log.error("%s", problem)
            return 2
        log.info("%s %s listens at port %d, advertised as %s:%d", settings.node_id, __version__, settings.port, node.addresses.host, settings.advertise_port)
        gc.collect()
        gc.freeze()
        lag.clear()
        service.notify("READY=1\nSTATUS=%s listens at port %d" % (settings.node_id, settings.port))
        interval = service.watchdog_interval()
        while not ended.is_set():
            try:
                await asyncio.wait_for(ended.wait(), interval)
            except asyncio.TimeoutError:
                service.notify("WATCHDOG=1")
        service.notify("STOPPING=1")
        return 0
    finally:
        await node.stop()
        await runner.cleanup()


def _on_loop_error(unused_loop, context: dict) -> None:
    """What went wrong in a callback, such as a peer that broke off: told in the log, the loop goes on."""
    log.warning("%s: %s", context.get("message"), context.get("exception"))
