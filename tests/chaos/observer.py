# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches the voters of a cluster from outside, ten times a second or more, and counts what must not happen.

    observer.py '{"hetzner-cpu1": "198.51.100.11:8770", ...}' [--seconds N] [--output FILE]

It asks /health, which needs no token. It shares no code with the collection's own judgement, so that it can prove that wrong:
a voter is alive while it answers; seconds without a majority are those in which fewer voters than a majority did.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import signal
import sys
import threading
import time

INTERVAL = 0.08
# Seconds for one answer; one that takes longer is none. A voter whose last answer is older does not count any more.
PATIENCE = 0.5


class Timeline:
    """Sums up what was seen. Pure: time comes with what is added.

    add(time, {voter: null | {role, leader_id, term}}) takes what all voters said last; null is a voter that does not answer.
    """

    def __init__(self, voters):
        self.voters = list(voters)
        self.majority = len(self.voters) // 2 + 1
        self.samples = 0
        self._first = self._last = None
        self._losses, self._clashes, self._searches, self._leaders = [], [], [], []
        self._leaders_of_terms = {}

    @staticmethod
    def _extend(spans, holds, since, until, **detail):
        """Has the span that is open go on to `until` while the condition holds, or opens one; ends it otherwise."""
        if not holds:
            if spans:
                spans[-1]["open"] = False
            return
        if not spans or not spans[-1]["open"]:
            spans.append(dict(detail, start=since, end=until, open=True))
        spans[-1]["end"] = until

    def add(self, moment, said):
        """Takes one look at all voters."""
        since = self._last if self._last is not None else moment
        self._first = moment if self._first is None else self._first
        self._last = moment
        self.samples += 1
        alive = {name: answer for name, answer in said.items() if answer is not None}
        claiming = {name: answer.get("term") for name, answer in alive.items() if answer.get("role") == "leader"}
        for name, term in claiming.items():
            self._leaders_of_terms.setdefault(term, set()).add(name)
        terms = list(claiming.values())
        clashing = sorted(name for name, term in claiming.items() if terms.count(term) > 1)
        self._extend(self._losses, len(alive) < self.majority, since, moment, alive=sorted(alive))
        self._extend(self._clashes, bool(clashing), since, moment, leaders=clashing)
        named = {answer.get("leader_id") for answer in alive.values()}
        agreed = len(claiming) == 1 and named == set(claiming)
        self._extend(self._searches, not agreed, since, moment)
        if agreed and (not self._leaders or self._leaders[-1][1] != next(iter(claiming))):
            self._leaders.append((moment, next(iter(claiming))))

    def summary(self):
        """{seconds, samples, rate, seconds_without_majority, losses, seconds_with_two_leaders, clashes, terms_with_two_leaders, searches, leaders}.

        `searches` are the spans without one agreed leader, in seconds; `terms_with_two_leaders` names terms in which two voters
        called themselves leader, at the same time or not.
        """
        seconds = (self._last or 0.0) - (self._first or 0.0)

        def told(spans):
            details = [{key: value for key, value in span.items() if key != "open"} for span in spans]
            return [dict(span, start=round(span["start"] - self._first, 3), end=round(span["end"] - self._first, 3)) for span in details]

        def total(spans):
            return round(sum(span["end"] - span["start"] for span in spans), 3)

        return {
            "seconds": round(seconds, 3),
            "samples": self.samples,
            "rate": round((self.samples - 1) / seconds, 2) if seconds else 0.0,
            "seconds_without_majority": total(self._losses),
            "losses": told(self._losses),
            "seconds_with_two_leaders": total(self._clashes),
            "clashes": told(self._clashes),
            "terms_with_two_leaders": {str(term): sorted(names) for term, names in self._leaders_of_terms.items() if term is not None and len(names) > 1},
            "searches": [round(span["end"] - span["start"], 3) for span in self._searches],
            "leaders": [[round(moment - self._first, 3), name] for moment, name in self._leaders],
        }


def percentile(values, share):
    """The smallest of the values that at least `share` (0 to 1) of them do not exceed; None of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] if ordered else None


class _Voter(threading.Thread):
    """Asks one voter again and again over one connection."""

    def __init__(self, name, address, stopped):
        super().__init__(name=f"observe-{name}", daemon=True)
        self.voter = name
        host, unused, port = address.rpartition(":")
        self._address = (host.strip("[]"), int(port))
        self._stopped = stopped
        self._connection = None
        # (when, answer | None) of the last question, replaced as a whole.
        self.last = (0.0, None)

    def _ask(self):
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(*self._address, timeout=PATIENCE)
            self._connection.request("GET", "/health")
            body = json.loads(self._connection.getresponse().read())
            return body if isinstance(body, dict) else None
        except (OSError, ValueError, http.client.HTTPException):
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return None

    def run(self):
        again = False
        while not self._stopped.is_set():
            began = time.monotonic()
            reused = self._connection is not None
            answer = self._ask()
            # A kept connection that its server closed says nothing yet about the server.
            if answer is None and reused and not again:
                again = True
                continue
            again = False
            self.last = (time.monotonic(), answer)
            self._stopped.wait(max(0.0, began + INTERVAL - time.monotonic()))


class Observer:
    """Watches {voter: host:port} from start() to stop(), which gives the summary."""

    def __init__(self, endpoints):
        self._stopped = threading.Event()
        self._voters = [_Voter(name, address, self._stopped) for name, address in endpoints.items()]
        self.timeline = Timeline(endpoints)
        self._clock = threading.Thread(target=self._look, name="observe", daemon=True)
        self._lock = threading.Lock()

    def _look(self):
        # The first answers have to come in before their absence means anything.
        self._stopped.wait(2 * PATIENCE)
        while not self._stopped.is_set():
            now = time.monotonic()
            said = {}
            for voter in self._voters:
                when, answer = voter.last
                said[voter.voter] = answer if now - when <= 2 * PATIENCE else None
            with self._lock:
                self.timeline.add(now, said)
            self._stopped.wait(max(0.0, now + INTERVAL - time.monotonic()))

    def start(self):
        """Starts to watch."""
        for voter in self._voters:
            voter.start()
        self._clock.start()
        return self

    def leader(self):
        """The voter that called itself leader last, or None."""
        return next((voter.voter for voter in self._voters if (voter.last[1] or {}).get("role") == "leader"), None)

    def answers(self, name):
        """What that voter answered last; None for no answer."""
        return next(voter.last[1] for voter in self._voters if voter.voter == name)

    def summary(self):
        """The summary so far."""
        with self._lock:
            return self.timeline.summary()

    def stop(self):
        """Ends the watch and gives the summary."""
        self._stopped.set()
        self._clock.join()
        return self.timeline.summary()


def main():
    parser = argparse.ArgumentParser(description="Watches the voters of a cluster from outside.")
    parser.add_argument("endpoints", type=json.loads, help="JSON object of voters and their host:port")
    parser.add_argument("--seconds", type=float, help="how long; without it, until SIGTERM or SIGINT")
    parser.add_argument("--output", help="file for the summary; without it, standard output")
    options = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *unused: ended.set())
    observer = Observer(options.endpoints).start()
    ended.wait(options.seconds)
    text = json.dumps(observer.stop(), indent=2) + "\n"
    if options.output:
        with open(options.output, "w", encoding="utf-8") as stream:
            stream.write(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
