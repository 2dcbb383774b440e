# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the seed lists in an orchestrator's source is in effect, on the shapes that the field has."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.ringrift.p2p.plugins.module_utils import _node_files
from ansible_collections.ringrift.p2p.plugins.module_utils import _seeds_probe

MANAGER = '''\
"""Initialisation."""
from __future__ import annotations
import random

BOOTSTRAP_SEEDS: list[str] = [
    "100.64.0.11:8770",  # hetzner-cpu1
    "100.64.0.12:8770",  # hetzner-cpu2
]


def seeds(peers):
    return peers + random.sample(BOOTSTRAP_SEEDS, len(BOOTSTRAP_SEEDS))
'''
CONSTANTS = '''\
import os
_env = os.environ.get("RINGRIFT_P2P_BOOTSTRAP_SEEDS", "").strip()
if _env:
    BOOTSTRAP_SEEDS: list[str] = [s.strip() for s in _env.split(",") if s.strip()]
else:
    BOOTSTRAP_SEEDS: list[str] = [
        # public
        "203.0.113.4:8770",
        # overlay
        "100.64.0.11:8770",
    ]
__all__ = ["BOOTSTRAP_SEEDS"]
'''
USER = "from app.p2p.constants import BOOTSTRAP_SEEDS as SEEDS\nprint(SEEDS)\n"


def judged(texts: dict[str, str], environment: dict[str, str] | None = None) -> dict[tuple[str, int], bool]:
    found, _names = _seeds_probe.sources({path: text.encode() for path, text in texts.items()}, environment or {})
    return {(item["file"], item["line"]): item["in_effect"] for item in found}


def test_a_list_that_nothing_uses_is_dead_code() -> None:
    assert judged({"managers/initialization_manager.py": MANAGER, "app/p2p/constants.py": CONSTANTS}) == {
        ("managers/initialization_manager.py", 5): True, ("app/p2p/constants.py", 4): False, ("app/p2p/constants.py", 6): False}


def test_a_list_that_another_file_uses_is_in_effect_in_the_branch_that_is_taken() -> None:
    texts = {"app/p2p/constants.py": CONSTANTS, "scripts/p2p_orchestrator.py": USER}
    assert judged(texts) == {("app/p2p/constants.py", 4): False, ("app/p2p/constants.py", 6): True}
    assert judged(texts, {"RINGRIFT_P2P_BOOTSTRAP_SEEDS": "203.0.113.9"}) == {("app/p2p/constants.py", 4): True, ("app/p2p/constants.py", 6): False}


@pytest.mark.parametrize("user", [
    "from app.p2p import constants\nprint(constants.BOOTSTRAP_SEEDS)\n",
    "import app.p2p.constants as c\nprint(c.BOOTSTRAP_SEEDS)\n",
    USER,
])
def test_use_is_seen_in_every_spelling(user: str) -> None:
    assert judged({"app/p2p/constants.py": CONSTANTS, "scripts/p2p_orchestrator.py": user})[("app/p2p/constants.py", 6)] is True


def test_use_through_a_package_that_passes_it_on() -> None:
    texts = {"app/p2p/constants.py": CONSTANTS, "app/p2p/__init__.py": "from .constants import BOOTSTRAP_SEEDS\n"}
    assert judged(texts)[("app/p2p/constants.py", 6)] is False
    texts["scripts/p2p_orchestrator.py"] = "from app.p2p import BOOTSTRAP_SEEDS\nprint(BOOTSTRAP_SEEDS)\n"
    assert judged(texts)[("app/p2p/constants.py", 6)] is True


def test_older_shapes() -> None:
    one_line = 'import os\nBOOTSTRAP_SEEDS = os.environ["P2P_SEEDS"].split(",") if os.environ.get("P2P_SEEDS") else ["a:1", "b:2"]\nprint(BOOTSTRAP_SEEDS)\n'
    found, names = _seeds_probe.sources({"x.py": one_line.encode()}, {})
    assert [(item["entries"], item["in_effect"], bool(item["refusal"])) for item in found] == [([], False, True), (["a:1", "b:2"], True, False)]
    assert names == {"P2P_SEEDS"}
    assert judged({"x.py": 'BOOTSTRAP_SEEDS = ["a"]\nBOOTSTRAP_SEEDS = ("b",)\nprint(BOOTSTRAP_SEEDS)\n'}) == {("x.py", 1): False, ("x.py", 2): True}


def test_what_is_not_python_is_reported_with_its_place() -> None:
    found, _names = _seeds_probe.sources({"x.py": b"BOOTSTRAP_SEEDS = [\n"}, {})
    assert found[0]["file"] == "x.py" and found[0]["refusal"] and not found[0]["in_effect"]


def test_files_below_the_folder_are_searched_and_tests_are_not(tmp_path: pathlib.Path) -> None:
    for name, text in (("scripts/p2p/managers/initialization_manager.py", MANAGER), ("app/p2p/constants.py", CONSTANTS), ("scripts/tests/test_x.py", MANAGER),
                       ("current/ringrift_p2p/configuration.py", "x = environment.get('RINGRIFT_P2P_BOOTSTRAP_SEEDS')\n"), ("notes.py", MANAGER)):
        (tmp_path / "as" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "as" / name).write_text(text)
    found, names = _seeds_probe.read(_node_files.Files(str(tmp_path)), "/as", {})
    assert sorted({item["file"] for item in found}) == ["/as/app/p2p/constants.py", "/as/scripts/p2p/managers/initialization_manager.py"]
    assert names == {"RINGRIFT_P2P_BOOTSTRAP_SEEDS"}
