# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ansible_collections.ringrift.p2p.plugins.module_utils import _lock_guard

SCRIPT = Path(__file__).resolve().parent / "race" / "p2p_orchestrator.py"
# Files in memory make the rounds quick, so that more of them collide.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.mark.parametrize(("order", "rounds"), [("flock-first", 2000), ("claim-first", 400)])
def test_starters_and_cleaners_on_one_lock(order, rounds):
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), _lock_guard.__file__, folder, order, str(rounds)], stdout=subprocess.PIPE, encoding="utf-8", check=True, timeout=300)
    result = json.loads(done.stdout)
    assert result["wrong"] == []
    assert sum(result["counts"].values()) == rounds
    assert result["counts"]["owned"] > rounds // 10
    assert result["left"] == [[_lock_guard.CLAIM, "free"], [_lock_guard.ORCHESTRATOR_LOCK, "free"]]
    assert result["files"] == sorted([_lock_guard.CLAIM, _lock_guard.ORCHESTRATOR_LOCK])
    assert result["kept"] > 10
