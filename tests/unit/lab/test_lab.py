# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pure parts of the lab: how it is laid out, what is broken in it, how differences are told."""

from __future__ import annotations

import ast
import io
import json
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
LAUNCHER = (ROOT / "roles/orchestrator/files/embedded/scripts/p2p_orchestrator.py").read_text(encoding="utf-8")
NOW = 1_769_300_000.0


@pytest.fixture
def known():
    import topology

    return topology.nodes(topology.load())


@pytest.mark.parametrize("text, expected", [
    ("deb http://mirror.example/debian bookworm main\n", "http://mirror.example/debian"),
    ("deb [signed-by=/k.gpg arch=amd64] https://m.example/debian trixie main contrib\n", "https://m.example/debian"),
    ("# deb http://old.example/debian bookworm main\ndeb http://new.example/debian bookworm main\n", "http://new.example/debian"),
    ("deb http://s.example/debian-security bookworm-security main\ndeb http://m.example/debian bookworm main\n", "http://m.example/debian"),
    ("Types: deb\nURIs: http://m.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n", "http://m.example/debian"),
    ("Types: deb\nURIs: http://s.example/\nSuites: bookworm-security\nComponents: main\n\n"
     "Types: deb\nURIs: http://m.example/d\nSuites: bookworm\nComponents: main\n",
     "http://m.example/d"),
    ("deb cdrom:[Debian 12]/ bookworm main\n", None),
    ("deb https://tools.example/apt stable tools\n", None),
    ("", None),
])
def test_mirror_is_that_of_the_machines_own_sources(text, expected):
    import image

    assert image.sources_mirror([text], "debian") == expected


def test_another_distributions_sources_serve_no_debian():
    import image

    assert image.sources_mirror(["deb http://mirror.example/ubuntu noble main\n"], "ubuntu") is None


def test_lab_has_the_reports_nodes_in_the_places_of_the_example(known):
    assert len(known) == 22
    assert [name for name, node in known.items() if node.voter] == ["hetzner-cpu1", "hetzner-cpu2", "nebius-h100-3", "nebius-backbone-1", "vultr-a100-20gb"]
    assert {node.provider for node in known.values() if not node.systemd} == {"vast", "runpod"}
    assert all(not node.overlay for name, node in known.items() if name.startswith("vast-"))
    assert known["nebius-h100-1"].path == "/home/ubuntu/ringrift/ai-service"
    assert known["vast-29128352"].path == "/workspace/ringrift/ai-service"


def test_every_fault_of_the_file_is_told_at_once():
    import topology
    from containers import LabError

    document = topology.load()
    del document["hosts"]["hetzner-cpu2"]
    document["hosts"]["vultr-a100-20gb"]["ssh_host"] = document["hosts"]["hetzner-cpu1"]["ssh_host"]
    document["hosts"]["vultr-a100-20gb"].pop("p2p_public_host", None)
    with pytest.raises(LabError) as caught:
        topology.nodes(document)
    assert "hosts.hetzner-cpu2 is missing" in str(caught.value)
    assert "198.51.100.51 stands at more than one node" in str(caught.value)


def test_cut_leaves_every_other_line_of_the_hosts_file_as_it_is(known):
    import inventory
    import topology

    whole = topology.hosts_text()
    kept = {"hetzner-cpu1", "vast-30274241"}
    text = inventory.cut(whole, kept)
    before, after = yaml.safe_load(whole), yaml.safe_load(text)
    assert set(after["hosts"]) == set(before["hosts"]) - (set(known) - kept)
    assert all(after["hosts"][name] == before["hosts"][name] for name in after["hosts"])
    assert after["p2p_voters"] == ["hetzner-cpu1"]
    lines = iter(whole.splitlines())
    assert all(line in lines for line in text.splitlines())


def test_cut_to_all_nodes_is_the_file_itself(known):
    import inventory
    import topology

    assert inventory.cut(topology.hosts_text(), set(known)) == topology.hosts_text()


def test_launcher_gets_overlay_seeds_alone_and_still_compiles(known):
    import broken

    source = broken.launcher(LAUNCHER, broken.overlay_seeds(known), ["a", "b", "c", "d"])
    values = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "BOOTSTRAP_SEEDS"]
    seeds = ast.literal_eval(values[0])
    assert len(seeds) == 4
    assert all(seed.startswith("100.64.0.") and seed.endswith(":8770") for seed in seeds)


def test_launcher_of_another_shape_is_refused():
    import broken

    with pytest.raises(ValueError):
        broken.launcher("BOOTSTRAP_SEEDS = []\n", ["100.64.0.1:8770"], ["a"])


def test_only_nodes_with_a_relay_before_the_repair_name_one(known):
    import broken

    relayed = {name for name, node in known.items() if "--relay-peers" in broken.arguments(node, known)}
    assert relayed == {f"lambda-gh200-{number}" for number in (1, 2, 3, 5, 10, 11)}
    for name in relayed:
        words = broken.arguments(known[name], known)
        peers, relays = words[words.index("--peers") + 1].split(","), words[words.index("--relay-peers") + 1].split(",")
        assert peers[:len(relays)] == relays


def test_nodes_outside_the_overlay_get_no_address_on_the_command_line(known):
    import broken

    assert all("--peers" not in broken.arguments(known[name], known) for name in known if name.startswith("vast-"))


def test_one_voter_may_start_elections_and_one_gpu_node_wrongly_coordinates(known):
    import broken

    coordinators = [name for name, node in known.items() if "RINGRIFT_IS_COORDINATOR" in broken.environment(node)]
    assert coordinators == ["hetzner-cpu1"]
    wrong = [name for name, node in known.items() for item in broken.files(node, known, LAUNCHER, "", "p", "t")
             if item.path.endswith(".env.local") and "RINGRIFT_IS_COORDINATOR=true" in item.content]
    assert wrong == ["vultr-a100-40gb"]


def test_stale_locks_lie_on_three_nodes_and_one_beside_files_that_are_none(known):
    import broken

    laid = {name: broken.locks(node, 4711, NOW) for name, node in known.items()}
    assert {name for name, files in laid.items() if files} == {"lambda-gh200-2", "lambda-gh200-5", "lambda-gh200-11"}
    claim = json.loads(laid["lambda-gh200-5"][0].content)
    assert claim["pid"] == 4711
    assert claim["managed_by"] == "manual"
    temporary = {item.path for item in laid["lambda-gh200-11"]}
    assert "/tmp/p2p_orchestrator.lock" in temporary
    assert len(temporary) == 8


def test_archive_keeps_owner_mode_time_and_links():
    import archive

    stream = archive.pack(
        [archive.File("/a/b", "text", mode=0o600, owner="ubuntu", modified=NOW - 5), archive.File("/a/link", link="/a/b")], NOW, [("/a", "root", 0o700)])
    with tarfile.open(fileobj=io.BytesIO(stream)) as opened:
        folder, item, link = opened.getmembers()
    assert (folder.name, folder.mode, folder.isdir()) == ("a", 0o700, True)
    assert (item.name, item.mode, item.uid, item.mtime, item.size) == ("a/b", 0o600, 1000, NOW - 5, 4)
    assert (link.issym(), link.linkname) == (True, "/a/b")


def test_differences_name_node_kind_and_what_happened():
    import lab

    before = {"n": {"files": {"/a": "1", "/b": "1"}, "processes": {"7@100": "sleep"}}}
    after = {"n": {"files": {"/a": "2", "/c": "1"}, "processes": {"7@200": "sleep"}}}
    assert lab.differences(before, after) == [
        "n: file changed: /a", "n: file vanished: /b", "n: file appeared: /c", "n: process vanished: 7@100 sleep", "n: process appeared: 7@200 sleep",
    ]
    assert lab.differences(before, before) == []
