# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib.util
import pathlib
import sys

import pytest

SOURCE = pathlib.Path(__file__).parents[2] / "chaos" / "observer.py"
SPECIFICATION = importlib.util.spec_from_file_location("chaos_observer", SOURCE)
observer = importlib.util.module_from_spec(SPECIFICATION)
sys.modules[SPECIFICATION.name] = observer
SPECIFICATION.loader.exec_module(observer)


def said(leader="a", claiming=("a",), down=(), term=1, voters="abc", **terms):
    answers = {name: {"role": "leader" if name in claiming else "follower", "leader_id": leader, "term": terms.get(name, term)} for name in voters}
    return {name: None if name in down else answer for name, answer in answers.items()}


def summary(*looks):
    timeline = observer.Timeline("abc")
    for moment, look in enumerate(looks):
        timeline.add(float(moment), look)
    return timeline.summary()


def test_a_quiet_cluster():
    told = summary(said(), said(), said())
    assert (told["seconds"], told["samples"], told["rate"]) == (2.0, 3, 1.0)
    assert told["seconds_without_majority"] == told["seconds_with_two_leaders"] == 0
    assert told["searches"] == [] and told["leaders"] == [[0.0, "a"]] and told["terms_with_two_leaders"] == {}


def test_seconds_without_a_majority_are_counted_from_the_look_before():
    told = summary(said(), said(down="b"), said(down="bc"), said(down="bc"), said(), said(down="bc"))
    assert told["seconds_without_majority"] == 3.0
    assert told["losses"] == [{"alive": ["a"], "start": 1.0, "end": 3.0}, {"alive": ["a"], "start": 4.0, "end": 5.0}]


def test_two_leaders_in_one_term_are_told_from_two_in_two_terms():
    old_and_new = said("b", claiming="ab", term=2, a=1)
    assert summary(said(), old_and_new, said("b", claiming="b", term=2))["seconds_with_two_leaders"] == 0
    told = summary(said(), said(claiming="ab"), said())
    assert told["seconds_with_two_leaders"] == 1.0 and told["clashes"][0]["leaders"] == ["a", "b"] and told["terms_with_two_leaders"] == {"1": ["a", "b"]}


def test_two_leaders_of_one_term_one_after_the_other_are_told_as_well():
    told = summary(said(), said("b", claiming="b"))
    assert told["seconds_with_two_leaders"] == 0 and told["terms_with_two_leaders"] == {"1": ["a", "b"]}


def test_the_search_for_a_leader_is_timed():
    told = summary(said(), said(None, claiming="", down="a"), said("b", claiming="b", down="a", term=2), said("b", claiming="b", term=2))
    assert told["searches"] == [1.0] and told["leaders"] == [[0.0, "a"], [2.0, "b"]]


@pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.95, 4.0), (0.0, 1.0), (1.0, 4.0)])
def test_percentiles(share, value):
    assert observer.percentile([4.0, 1.0, 3.0, 2.0], share) == value
    assert observer.percentile([], share) is None
