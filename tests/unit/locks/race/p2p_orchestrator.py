# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starters and cleaners fight over one lock: C(p2p_orchestrator.py GUARD FOLDER ORDER ROUNDS). Named as it is, so that it is an orchestrator to the guard.

With the order C(flock-first), as the embedded orchestrator starts, several start at once; with C(claim-first), as the one in the field, one at a
time, and its claim is written in place. A starter dies without a word, leaving its claim. Prints what went wrong, and counts.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import sys
import time

CLEANERS = 2
HELD = 0.0005


def load(path):
    specification = importlib.util.spec_from_file_location("lock_guard", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class Race:
    """One folder, and the pipe into which everybody tells."""

    def __init__(self, guard, folder, order):
        self.guard = guard
        self.order = order
        self.folder = os.path.join(folder, "coordination")
        self.quarantine = os.path.join(folder, "kept")
        self.claim = os.path.join(self.folder, guard.CLAIM)
        self.lock = os.path.join(self.folder, guard.ORCHESTRATOR_LOCK)
        self.owner = os.path.join(folder, "owner")
        os.mkdir(self.folder)
        open(self.lock, "w").close()
        self.read, self.write = os.pipe()

    def tell(self, *words):
        os.write(self.write, (" ".join(words) + "\n").encode())

    def clean(self):
        locks = self.guard.clean(self.folder, paths=[], port=None, settle=0, quarantine_dir=self.quarantine)
        for lock in locks:
            if lock["action"] == "failed" or lock["verdict"] not in ("free", "held", "stale", "unreadable"):
                self.tell("cleaner", json.dumps(lock))
        return locks

    def content(self):
        return json.dumps({"managed_by": "manual", "pid": os.getpid(), "started_at": "", "last_health_check": ""})

    def start(self):
        """One start, one life and one death. Runs in a process of its own and never returns."""
        if self.order == "claim-first":
            with open(self.claim, "w") as stream:
                stream.write(self.content())
        else:
            self.clean()
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.tell("refused")
            os._exit(0)
        if self.order == "flock-first":
            spare = "%s.%d" % (self.claim, os.getpid())
            with open(spare, "w") as stream:
                stream.write(self.content())
            os.rename(spare, self.claim)
        try:
            os.close(os.open(self.owner, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            self.tell("two owners")
        limit = time.monotonic() + HELD
        while True:
            with open(self.claim) as stream:
                found = stream.read()
            if found != self.content():
                self.tell("the claim of a live owner is gone:", found)
            if not os.path.samestat(os.stat(self.lock), os.fstat(descriptor)):
                self.tell("the lock of a live owner is gone")
            if time.monotonic() >= limit:
                break
        os.unlink(self.owner)
        self.tell("owned")
        os._exit(0)

    def starters(self, rounds):
        for dummy in range(rounds):
            child = os.fork()
            if child == 0:
                self.start()
            os.waitpid(child, 0)

    def fork(self, work, *arguments):
        child = os.fork()
        if child == 0:
            os.close(self.read)
            work(*arguments)
            os._exit(0)
        return child

    def clean_until(self, flag):
        while not os.path.exists(flag):
            self.clean()
            time.sleep(0.002)


def main():
    guard, folder, order, rounds = load(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    race = Race(guard, folder, order)
    crews = 1 if order == "claim-first" else 3
    flag = os.path.join(folder, "over")
    cleaners = [race.fork(race.clean_until, flag) for dummy in range(CLEANERS)]
    starters = [race.fork(race.starters, rounds // crews + (crew < rounds % crews)) for crew in range(crews)]
    os.close(race.write)
    told = os.fdopen(race.read)
    counts, wrong = {"owned": 0, "refused": 0}, []
    ended = 0
    for line in told:
        if line.strip() in counts:
            counts[line.strip()] += 1
            ended += 1
        else:
            wrong.append(line.strip())
        if ended == rounds:
            open(flag, "w").close()
    for child in starters + cleaners:
        os.waitpid(child, 0)
    race.write = os.open(os.devnull, os.O_WRONLY)
    race.clean()
    left = race.clean()
    print(json.dumps({
        "counts": counts, "wrong": wrong, "left": [[os.path.basename(lock["path"]), lock["verdict"]] for lock in left],
        "files": sorted(os.listdir(race.folder)),
        "kept": len(os.listdir(os.path.join(race.quarantine, os.listdir(race.quarantine)[0]))),
    }))


if __name__ == "__main__":
    main()
