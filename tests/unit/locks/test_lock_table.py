# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of cases that lock_lab.py builds out of real processes, flocks, users, namespaces and mounts, on every Python at hand."""

from __future__ import annotations


def said(locks):
    return {lock["path"]: [lock["verdict"], lock["action"]] for lock in locks}


def each(judged):
    for version, surfaces in judged.items():
        for surface, cases in surfaces.items():
            for name, case in cases.items():
                if name != "quarantine":
                    yield "%s, %s, %s" % (version, surface, name), case


def test_every_case_is_judged_as_the_rules_say(judged):
    wrong = {
        title: {"expected": expected, "said": case["check"]}
        for title, case in each(judged) for expected in [{name: pair[0] for name, pair in case["expected"].items()}] if said(case["check"]) != expected
    }
    assert wrong == {}


def test_check_mode_changes_nothing(judged):
    assert [title for title, case in each(judged) if not case["unchanged"]] == []


def test_a_run_does_what_check_mode_predicts_unless_the_world_changes_meanwhile(judged):
    wrong = {title: case["run"] for title, case in each(judged) if said(case["run"]) != {
        name: pair[1] for name, pair in case["expected"].items() if not (pair[1][0] == "free" and name not in said(case["run"]))}}
    assert wrong == {}


def test_a_second_run_finds_nothing_to_do(judged):
    for title, case in each(judged):
        assert [lock for lock in case["again"] if lock["action"] in ("reset", "quarantined")] == [], title
        assert case["idle"], title


def test_only_what_was_acted_on_differs_afterwards(judged):
    for title, case in each(judged):
        acted = {lock["path"] for lock in case["run"] if lock["action"] in ("reset", "quarantined")}
        meddled = {name for name, pair in case["expected"].items() if pair[0] != pair[1]}
        changed = {path.split("/")[-1] for path in case["before"].keys() | case["after"].keys() if not path.endswith(("coordination", "logs", "tmp"))
                   and case["before"].get(path) != case["after"].get(path)}
        assert changed <= acted | meddled, title
        assert acted <= changed, title


def test_nothing_is_left_lying_about(judged):
    for title, case in each(judged):
        assert [path for path in case["after"] if path.split("/")[-1].startswith(".") or path.endswith(".new")] == [], title


def test_all_that_was_taken_away_is_kept_with_a_record(judged):
    for version, surfaces in judged.items():
        for surface, cases in surfaces.items():
            kept = cases["quarantine"]
            acted = [lock["path"] for name, case in cases.items() if name != "quarantine" and case["user"] == "root" for lock in case["run"]
                     if lock["action"] in ("reset", "quarantined")]
            moved = [name for name in kept if not name.endswith(".record.json")]
            assert sorted(name.split("-")[-1] for name in moved) == sorted(acted), (version, surface)
            assert sorted(kept) == sorted(moved + [name + ".record.json" for name in moved]), (version, surface)


def test_module_and_start_up_guard_judge_alike_on_every_python(judged):
    def verdicts(cases):
        return {name: [said(case["check"]), said(case["run"])] for name, case in cases.items() if name != "quarantine"}

    found = [verdicts(cases) for surfaces in judged.values() for cases in surfaces.values()]
    assert len(found) == 2 * len(judged)
    assert all(other == found[0] for other in found)


def test_every_verdict_says_why(judged):
    for title, case in each(judged):
        for lock in case["check"]:
            assert lock["reason"], title
            assert bool(lock["error"]) == (lock["action"] == "failed"), title
