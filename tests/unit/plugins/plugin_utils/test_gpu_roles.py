# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _cluster_file, _gpu_roles

COORDINATOR = "ssh_host: 203.0.113.1, role: coordinator"


def edits(entry, extra="", **options):
    return _cluster_file.parse(f"hosts:\n  node-1: {{{entry}}}\n{extra}", "hosts.yaml", **options).gpu_edits


@pytest.mark.parametrize("gpu, vram, discrete", [
    ("GH200", 96, True), ("RTX 4090", None, True), ("A100", 0, True), ("Tesla M40", 12, True), ("none", 24, False), ("None", None, False), ("", None, False),
    ("cpu", None, False), ("MPS", 64, False), ("Apple M2 Max", None, False), ("M3 Ultra", None, False), ("m4", None, False), ("mps", None, False),
    (None, 24, True), (None, 0, False), (None, None, False)])
def test_what_a_discrete_gpu_is(gpu, vram, discrete):
    assert _gpu_roles.is_discrete(gpu, vram) is discrete


@pytest.mark.parametrize("entry", [
    f"{COORDINATOR}, gpu: GH200",
    f"{COORDINATOR}, gpu_vram_gb: 24",
    f"{COORDINATOR}, gpu: GH200, training_enabled: true",
    "ssh_host: 203.0.113.1, role: gpu_selfplay, gpu: GH200, selfplay_enabled: false, training_enabled: false",
    "ssh_host: 203.0.113.1, gpu: GH200, selfplay_enabled: false, training_enabled: false",
])
def test_gpu_nodes_that_are_kept_from_training_are_corrected(entry):
    assert edits(entry) == {"node-1": {"role": "gpu_training_primary", "training_enabled": True}}


@pytest.mark.parametrize("entry, extra", [
    (f"{COORDINATOR}, gpu: none", ""), (f"{COORDINATOR}, gpu: MPS, gpu_vram_gb: 64", ""), (COORDINATOR, ""),
    (f"{COORDINATOR}, gpu: GH200", "elo_sync: {coordinator: node-1}\n"), (f"{COORDINATOR}, gpu: GH200", "p2p_coordinators: [node-1]\n"),
    (f"{COORDINATOR}, gpu: GH200, status: retired", ""), (f"{COORDINATOR}, gpu: GH200, p2p_enabled: false", ""),
    ("ssh_host: 203.0.113.1, role: gpu_selfplay, gpu: GH200, training_enabled: false", ""),
    ("ssh_host: 203.0.113.1, role: gpu_selfplay, gpu: GH200, selfplay_enabled: false", ""),
    ("ssh_host: 203.0.113.1, role: backbone, gpu: none, selfplay_enabled: false, training_enabled: false", ""),
])
def test_legitimate_ones_are_never_touched(entry, extra):
    assert edits(entry, extra) == {}


def test_the_operators_selfplay_setting_stays():
    assert "selfplay_enabled" not in edits(f"{COORDINATOR}, gpu: GH200, selfplay_enabled: false, training_enabled: false")["node-1"]


@pytest.mark.parametrize("vram, role", [
    ("96", "large"), ("80", "large"), ("79", "medium"), ("'40 GB'", "medium"), ("24", "small"), ("8", "small"), ("null", "small")])
def test_a_role_by_video_memory(vram, role):
    found = edits(f"{COORDINATOR}, gpu: X100, gpu_vram_gb: {vram}", gpu_role={"80": "large", 24: "small", "40": "medium"})
    assert found["node-1"]["role"] == role
