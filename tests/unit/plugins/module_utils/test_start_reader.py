# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each start mechanism of the field, found on a host's file tree."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.ringrift.p2p.plugins.module_utils import _node_files
from ansible_collections.ringrift.p2p.plugins.module_utils import _node_probe
from ansible_collections.ringrift.p2p.plugins.module_utils import _start_mechanisms
from ansible_collections.ringrift.p2p.plugins.module_utils import _start_reader
from ansible_collections.ringrift.p2p.tests.unit.plugins.module_utils import start_mechanism_cases as recorded


def host(root: pathlib.Path, files: t.Mapping[str, str]) -> _node_files.Files:
    """A host's tree with these files in it."""
    for path, text in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(0o755)
    return _node_files.Files(str(root), "/root")


def read(files: _node_files.Files, path: str | None = "/root/ringrift", systemd: bool = False, cron: bool = False,
         supervisord: t.Iterable[str] = (), active: t.Mapping[str, bool] | None = None) -> _start_reader.Found:
    return _start_reader.read(files, "ringrift-p2p", path, "hostname", cron, systemd, dict.fromkeys(supervisord, 1), active)


@pytest.mark.parametrize("name", sorted(recorded.CASES))
def test_each_start_mechanism_of_the_field_is_understood(name: str, tmp_path: pathlib.Path) -> None:
    case = recorded.CASES[name]
    active = {"ringrift-p2p.service": True} if case.systemd else None
    found = read(host(tmp_path, case.files), case.path, case.systemd, case.cron, case.supervisord, active)
    chosen = _node_probe.in_charge(found.invocations, "ringrift-p2p")
    assert chosen is not None, found.mechanisms
    mechanism, invocation = chosen
    assert {key: mechanism[key] for key in case.expected} == case.expected
    options = _start_mechanisms.options(invocation.arguments)
    assert {key: options[key] for key in case.options} == case.options
    assert {key: mechanism["environment"].get(key) for key in case.environment} == case.environment
    # One way to start it is one mechanism that counts, whatever lends it its environment.
    assert len([item for item in found.mechanisms if item["active"] and item["kind"] in ("unit", "supervisord", "cron", "on_start")]) == 1


@pytest.mark.parametrize("line", recorded.LOOKALIKES)
def test_what_only_names_the_orchestrator_starts_nothing(line: str, tmp_path: pathlib.Path) -> None:
    files = host(tmp_path, {"/root/onstart.sh": "#!/bin/sh\n%s\n" % line, "/etc/cron.d/x": "* * * * * root %s\n" % line.partition("\n")[0]})
    assert read(files, cron=True).invocations == []


def test_every_place_that_makes_a_node_a_coordinator_is_named(tmp_path: pathlib.Path) -> None:
    files = host(tmp_path, {
        "/etc/systemd/system/ringrift-p2p.service": "[Service]\nEnvironment=A=1 RINGRIFT_IS_COORDINATOR=true\nEnvironmentFile=/etc/ringrift/node.conf\n"
                                                    "ExecStart=/usr/bin/python3 /root/ringrift/scripts/p2p_orchestrator.py\n",
        "/etc/systemd/system/ringrift-p2p.service.d/x.conf": "[Service]\n# why\nEnvironment=RINGRIFT_IS_COORDINATOR=1\n",
        "/etc/ringrift/node.conf": "X=1\nRINGRIFT_IS_COORDINATOR=yes\n",
        "/root/ringrift/.env.local": "\nexport RINGRIFT_IS_COORDINATOR=true # copied\n",
        "/root/.bashrc": "export RINGRIFT_IS_COORDINATOR=true\n",
        "/etc/cron.d/p2p": "RINGRIFT_IS_COORDINATOR=true\n@reboot root python3 /root/ringrift/scripts/p2p_orchestrator.py\n",
    })
    found = read(files, systemd=True, cron=True, active={"ringrift-p2p.service": True})
    judged = {(item["location"], item["line"]): item["effective"] for item in _start_reader.judge_coordinator(found.coordinator)}
    assert judged == {
        ("/etc/systemd/system/ringrift-p2p.service", 2): True, ("/etc/systemd/system/ringrift-p2p.service.d/x.conf", 3): True,
        ("/etc/ringrift/node.conf", 2): True, ("/root/ringrift/.env.local", 2): True, ("/root/.bashrc", 1): False, ("/etc/cron.d/p2p", 2): True,
    }


def test_a_later_place_that_says_no_overrules_the_earlier_ones(tmp_path: pathlib.Path) -> None:
    files = host(tmp_path, {
        "/etc/systemd/system/ringrift-p2p.service": "[Service]\nEnvironment=RINGRIFT_IS_COORDINATOR=true\nEnvironmentFile=/etc/ringrift/node.conf\n"
                                                    "ExecStart=/usr/bin/python3 /root/ringrift/scripts/p2p_orchestrator.py\n",
        "/etc/ringrift/node.conf": "RINGRIFT_IS_COORDINATOR=false\n", "/root/ringrift/.env.local": "RINGRIFT_IS_COORDINATOR=true\n",
    })
    found = read(files, systemd=True, active={"ringrift-p2p.service": True})
    assert [item["effective"] for item in _start_reader.judge_coordinator(found.coordinator)] == [False, False, False]


def test_a_dotenv_counts_where_nothing_else_speaks(tmp_path: pathlib.Path) -> None:
    files = host(tmp_path, {"/root/ringrift/.env.local": "RINGRIFT_IS_COORDINATOR=True\n", "/root/ringrift/ai-service/.env": "RINGRIFT_IS_COORDINATOR=0\n"})
    found = read(files)
    assert _start_reader.judge_coordinator(found.coordinator) == [
        {"location": "/root/ringrift/.env.local", "line": 1, "value": "True", "effective": True}]


def test_a_dotenv_that_a_unit_reads_is_one_place(tmp_path: pathlib.Path) -> None:
    files = host(tmp_path, {
        "/etc/systemd/system/ringrift-p2p.service": "[Service]\nEnvironmentFile=-/root/ringrift/.env.local\nEnvironmentFile=-/root/ringrift/none\n"
                                                    "ExecStart=/usr/bin/python3 /root/ringrift/scripts/p2p_orchestrator.py\n",
        "/root/ringrift/.env.local": "RINGRIFT_IS_COORDINATOR=true\n",
    })
    found = read(files, systemd=True, active={"ringrift-p2p.service": True})
    assert _start_reader.judge_coordinator(found.coordinator) == [
        {"location": "/root/ringrift/.env.local", "line": 1, "value": "true", "effective": True}]
    assert [(item["location"], item["active"]) for item in found.mechanisms if item["kind"] == "environment_file"] == [
        ("/root/ringrift/.env.local", True), ("/root/ringrift/none", False)]


def test_hosts_that_update_themselves_are_told_with_the_place(tmp_path: pathlib.Path) -> None:
    for name, expected in (("runpod: cron keepalive", ("/workspace/ringrift/scripts/p2p_keepalive.sh", 5)),
                           ("lambda: system cron table", ("/etc/cron.d/ringrift", 3)),
                           ("nebius: universal unit that looks for its interpreter", ("/etc/systemd/system/ringrift-p2p.service", 6))):
        case = recorded.CASES[name]
        found = read(host(tmp_path / name.partition(":")[0], case.files), case.path, case.systemd, case.cron)
        assert [(item["location"], item["line"]) for item in found.updating] == [expected]


def test_our_own_supervisord_is_one_mechanism_with_its_start_script(tmp_path: pathlib.Path) -> None:
    files = host(tmp_path, {
        "/etc/ringrift/supervisord.conf": "[unix_http_server]\nfile=%(here)s/supervisor.sock\n[program:ringrift-p2p]\ncommand=/etc/ringrift/start\n",
        "/etc/ringrift/start": "#!/bin/sh\nset -a\n. /etc/ringrift/node.conf\nset +a\ncd /workspace/ringrift\n"
                               "exec /usr/bin/python3 scripts/p2p_orchestrator.py --node-id vast-1 --peers \"$RINGRIFT_P2P_SEEDS\"\n",
        "/etc/ringrift/node.conf": "RINGRIFT_P2P_SEEDS=203.0.113.21:8770\n",
        "/etc/ringrift/on-start": "#!/bin/sh\nPYTHONPATH=/workspace/ringrift/current/lib exec python3 -m supervisor.supervisord "
                                  "-c /etc/ringrift/supervisord.conf\n",
        "/root/onstart.sh": "#!/bin/sh\n/etc/ringrift/on-start\n",
    })
    found = read(files, "/workspace/ringrift", supervisord=["/etc/ringrift/supervisord.conf"])
    active = [item for item in found.mechanisms if item["active"] and item["kind"] != "environment_file"]
    assert [(item["kind"], item["location"], item["name"]) for item in active] == [("supervisord", "/etc/ringrift/supervisord.conf", "ringrift-p2p")]
    assert active[0]["arguments"] == ["--node-id", "vast-1", "--peers", "203.0.113.21:8770"]
    assert found.sockets["/etc/ringrift/supervisord.conf"]["file"] == "/etc/ringrift/supervisor.sock"


def test_an_enabled_unit_is_told_by_its_link_where_systemd_was_not_asked(tmp_path: pathlib.Path) -> None:
    files = host(tmp_path, {"/etc/systemd/system/ringrift-p2p.service": "[Service]\nExecStart=/usr/bin/python3 /x/scripts/p2p_orchestrator.py\n"})
    assert [item["active"] for item in read(files, systemd=True).mechanisms] == [False]
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "ringrift-p2p.service").symlink_to("../ringrift-p2p.service")
    assert [item["active"] for item in read(files, systemd=True).mechanisms] == [True]


def test_odd_files_are_passed_over(tmp_path: pathlib.Path) -> None:
    files = host(tmp_path, {"/etc/supervisord.conf": "rubbish\n", "/root/ringrift/scripts/x": ""})
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/ringrift-p2p.service").symlink_to("/dev/null")
    (tmp_path / "etc/crontab").mkdir()
    (tmp_path / "root/onstart.sh").write_bytes(b"\xff\xfe\0 'unbalanced \n `")
    found = read(files, systemd=True)
    assert found.mechanisms == [] and "/etc/supervisord.conf" in found.errors[0]
