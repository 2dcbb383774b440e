# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the event loop was busy. Every turn of the loop is timed, not sampled, so no blocking call escapes it."""

from __future__ import annotations

import bisect
import selectors
import time
from collections import deque

# Upper bounds of the histogram in milliseconds; the last bucket is open.
BOUNDS = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 50.0, 75.0, 100.0, 200.0, 500.0, 1000.0)
WINDOW_SECONDS = 60


class LoopLag:
    """Turns of the event loop over the last minute, in one-second histograms of constant size."""

    def __init__(self) -> None:
        self._seconds: deque = deque(maxlen=WINDOW_SECONDS)
        self._second = -1
        self.worst_ms = 0.0

    def record(self, now: float, busy: float, processor: float = 0.0) -> None:
        """Count one turn that ended at `now` (monotonic seconds) and took `busy` seconds, `processor` of them on a processor."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._seconds.append([second, 0.0, [0] * (len(BOUNDS) + 1), 0.0])
        entry = self._seconds[-1]
        entry[3] = max(entry[3], processor * 1000.0)
        busy_ms = busy * 1000.0
        if busy_ms > entry[1]:
            entry[1] = busy_ms
            self.worst_ms = max(self.worst_ms, busy_ms)
        entry[2][bisect.bisect_left(BOUNDS, busy_ms)] += 1

    def clear(self) -> None:
        """Forget everything: loading and joining is over, from here on lag counts."""
        self._seconds.clear()
        self._second, self.worst_ms = -1, 0.0

    def summary(self, now: float) -> dict:
        """`{max, p99, processor_max}` in milliseconds over the last minute; p99 is the upper bound of its histogram bucket, never above max.

        `processor_max` is what the node itself did; the rest of `max` is time in which the host ran something else.
        """
        recent = [entry for entry in self._seconds if entry[0] > now - WINDOW_SECONDS]
        worst = max((entry[1] for entry in recent), default=0.0)
        processor = round(max((entry[3] for entry in recent), default=0.0), 3)
        counts = [sum(column) for column in zip(*(entry[2] for entry in recent))]
        left = sum(counts) * 0.01
        for place in range(len(counts) - 1, -1, -1):
            left -= counts[place]
            if left < 0:
                bound = BOUNDS[place] if place < len(BOUNDS) else worst
                return {"max": round(worst, 3), "p99": round(min(bound, worst), 3), "processor_max": processor}
        return {"max": 0.0, "p99": 0.0, "processor_max": 0.0}


class TimedSelector(selectors.DefaultSelector):
    """A selector that tells a LoopLag how long the loop was away from it, which is how long a ready event had to wait."""

    def __init__(self, lag: LoopLag) -> None:
        super().__init__()
        self._lag = lag
        self._left = None
        self._processor = 0.0

    def select(self, timeout=None):
        now = time.monotonic()
        if self._left is not None:
            self._lag.record(now, now - self._left, time.thread_time() - self._processor)
        ready = super().select(timeout)
        self._left, self._processor = time.monotonic(), time.thread_time()
        return ready
