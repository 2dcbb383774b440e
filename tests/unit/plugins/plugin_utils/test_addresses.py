# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.ringrift.p2p.plugins.plugin_utils import _addresses


@pytest.mark.parametrize("host, kind", [
    ("203.0.113.5", "public"), ("8.8.8.8", "public"), ("172.32.0.1", "public"), ("100.63.255.255", "public"), ("100.128.0.1", "public"),
    ("100.64.0.1", "overlay"), ("100.127.255.254", "overlay"), ("fd7a:115c:a1e0::5", "overlay"), ("node.tailnet-abc.ts.net", "overlay"),
    ("10.0.0.1", "private"), ("172.16.0.1", "private"), ("172.31.255.1", "private"), ("192.168.1.1", "private"), ("169.254.1.1", "private"),
    ("fe80::1", "private"), ("fd00::1", "private"), ("mac-studio.local", "private"), ("gpu-box", "private"), ("db.internal", "private"),
    ("127.0.0.1", "loopback"), ("::1", "loopback"), ("localhost", "loopback"), ("LocalHost", "loopback"), ("x.localhost", "loopback"),
    ("2001:db8::1", "public"), ("[2001:db8::1]", "public"), ("::ffff:10.0.0.1", "private"), ("node.example.org", "public"), ("node.example.org.", "public"),
    ("ssh5.vast.ai", "gateway"), ("ssh.runpod.io", "gateway"), ("abc.ssh.runpod.io", "gateway"),
    ("<public-ip>", "placeholder"), ("100.x.x.x", "placeholder"), ("xxx.xxx.xxx.xxx", "placeholder"), ("your-host-here", "placeholder"),
    ("YOUR_IP", "placeholder"), ("{{ ip }}", "placeholder"), ("TBD", "placeholder"), ("0.0.0.0", "placeholder"), ("", "placeholder"), ("?", "placeholder"),
    ("300.1.1.1", "invalid"), ("1.2.3", "invalid"), ("0.1.2.3", "invalid"), ("239.1.1.1", "invalid"), ("-oProxyCommand=x", "invalid"), ("a b", "invalid"),
    ("a..b", "invalid"), ("2001:::1", "invalid"), ("x;reboot", "invalid"), ("a" * 64, "invalid"),
])
def test_kind(host, kind):
    assert _addresses.kind(host) == kind


@pytest.mark.parametrize("target, parts", [
    ("203.0.113.5", (None, "203.0.113.5", None)),
    ("root@203.0.113.5", ("root", "203.0.113.5", None)),
    ("root@203.0.113.5:2222", ("root", "203.0.113.5", 2222)),
    ("node.example:22", (None, "node.example", 22)),
    ("2001:db8::1", (None, "2001:db8::1", None)),
    ("[2001:db8::1]:22", (None, "2001:db8::1", 22)),
    ("user@[2001:db8::1]", ("user", "2001:db8::1", None)),
    ("odd@user@host", ("odd@user", "host", None)),
    ("[2001:db8::1]x", (None, "[2001:db8::1]x", None)),
])
def test_split(target, parts):
    assert _addresses.split(target) == parts
