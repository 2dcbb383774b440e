#!/usr/bin/env bash
# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A keepalive of the field, for the stand-in: run by cron each minute, it kills what does not answer yet, whatever has that number now.
AS="$(cd "$(dirname "$0")/.." && pwd)"
mkdir -p "$AS/logs"
exec 200>"$AS/logs/p2p_keepalive.lock"
flock -n 200 || exit 0
cd "$AS" || exit 1
PORT="${P2P_PORT:-8770}"
if python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:$PORT/health', timeout=3)" 2>/dev/null; then
  exit 0
fi
if [ -f logs/p2p.pid ]; then
  kill -9 "$(cat logs/p2p.pid)" 2>/dev/null
fi
export PYTHONPATH="$AS"
# The descriptor of the lock leaks into what is started here.
# shellcheck disable=SC2086
nohup python3 scripts/p2p_orchestrator.py ${P2P_ARGUMENTS:---port $PORT --ringrift-path $AS} >>logs/p2p.log 2>&1 &
echo $! >logs/p2p.pid
