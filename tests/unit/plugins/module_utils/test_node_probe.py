# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judgements of an observation, and the observation of trees that are out of order."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import socketserver
import sys
import threading
import time
import typing as t
import xmlrpc.server

import pytest

from ansible_collections.ringrift.p2p.plugins.module_utils import _identity
from ansible_collections.ringrift.p2p.plugins.module_utils import _node_files
from ansible_collections.ringrift.p2p.plugins.module_utils import _node_probe
from ansible_collections.ringrift.p2p.plugins.module_utils import _rivals
from ansible_collections.ringrift.p2p.plugins.module_utils import _service_probe
from ansible_collections.ringrift.p2p.plugins.module_utils import _start_mechanisms

FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
     |-- 203.0.113.4
        /32 host LOCAL
     |-- 203.0.113.255
        /32 link BROADCAST
Local:
     |-- 203.0.113.4
        /32 host LOCAL
     |-- 100.64.0.11
        /32 host LOCAL
"""


def test_addresses_come_from_the_kernels_tables() -> None:
    assert _node_probe.parse_fib_trie(FIB_TRIE) == ["203.0.113.4", "100.64.0.11"]
    assert _node_probe.parse_if_inet6("00000000000000000000000000000001 01 80 10 80 lo\nfe800000000000000000000000000001 02 40 20 80 eth0\n"
                                      "20010db8000000000000000000000005 02 40 00 80 eth0\nrubbish\n") == ["2001:db8::5"]


def process(pid: int, ppid: int = 1, **details: t.Any) -> dict[str, t.Any]:
    return dict({"pid": pid, "ppid": ppid, "kind": "orchestrator", "service": False, "started_at": float(pid), "argv": [], "pid_namespace": "own"}, **details)


@pytest.mark.parametrize("processes, service_pid, port, chosen", [
    ([], None, 8770, None),
    ([process(5, kind="manager")], None, 8770, None),
    ([process(7), process(5)], None, 8770, 5),
    ([process(5), process(7, service=True)], None, 8770, 7),
    ([process(5), process(7)], 7, 8770, 7),
    ([process(5, argv=["x", "--port", "9000"]), process(7)], None, 8770, 7),
    ([process(5, argv=["x", "--port", "9000"]), process(7)], None, 9000, 5),
    ([process(9, ppid=7, started_at=1.0), process(7)], None, 8770, 7),
    ([process(5, pid_namespace="container"), process(7)], None, 8770, 7),
    ([process(5, pid_namespace="container")], None, 8770, None),
])
def test_which_process_is_the_nodes_orchestrator(processes: list[dict[str, t.Any]], service_pid: int | None, port: int, chosen: int | None) -> None:
    found = _node_probe.main_process(processes, service_pid, port, "own")
    assert (found and found["pid"]) == chosen


def test_identity_goes_by_the_orchestrators_own_order() -> None:
    sources = [("hostname", "host name", "vm"), ("default_file", "default", "d"), ("environment", "environment", "e"), ("node_id_file", "file", "f\n"),
               ("command_line", "--node-id", None), ("health", "GET /health", "")]
    found = _identity.identify(sources)
    assert (found["effective"], found["source"]) == ("f", "file")
    assert found["conflicts"] == [{"source": "environment", "value": "e"}, {"source": "default", "value": "d"}]
    assert _identity.identify(sources + [("health", "answer", "h")])["effective"] == "h"
    assert _identity.identify([("hostname", "host name", "vm")]) == {"effective": "vm", "source": "host name", "conflicts": []}
    assert _identity.identify([("hostname", "host name", "vm"), ("node_id_file", "f", "a"), ("environment", "e", "a")])["conflicts"] == []
    assert _identity.identify([]) == {"effective": None, "source": None, "conflicts": []}


def test_seeds_in_effect_stand_in_the_order_in_which_they_are_dialled() -> None:
    literals = [{"entries": ["100.64.0.11:8770"], "in_effect": True}, {"entries": ["192.0.2.1"], "in_effect": False}]
    environment = {"RINGRIFT_P2P_SEEDS": "203.0.113.5, 203.0.113.6:9000", "P2P_PEERS": "192.0.2.2"}
    assert _node_probe.effective_seeds(["http://203.0.113.4:8770"], environment, literals, {"RINGRIFT_P2P_SEEDS"}) == [
        "203.0.113.4:8770", "203.0.113.5:8770", "203.0.113.6:9000", "100.64.0.11:8770"]
    assert _node_probe.effective_seeds([], environment, literals, set()) == ["100.64.0.11:8770"]


def test_the_next_start_is_by_an_active_mechanism_and_ours_before_others() -> None:
    invocation = _start_mechanisms.find_invocation(["python3", "scripts/p2p_orchestrator.py"])
    assert invocation is not None

    def mechanism(kind: str, name: str, active: bool) -> dict[str, t.Any]:
        return {"kind": kind, "name": name, "active": active}

    cron, unit, ours, off = (mechanism("cron", "* * * * *", True), mechanism("unit", "p2p.service", True), mechanism("supervisord", "ringrift-p2p", True),
                             mechanism("unit", "ringrift-p2p.service", False))

    def chosen(*mechanisms: dict[str, t.Any]) -> dict[str, t.Any]:
        found = _node_probe.in_charge([(item, invocation) for item in mechanisms], "ringrift-p2p")
        assert found is not None
        return found[0]

    assert chosen(cron, unit, ours, off) is ours
    assert chosen(cron, unit, off) is unit
    assert chosen(off, cron) is cron
    assert chosen(off) is off
    assert _node_probe.in_charge([], "ringrift-p2p") is None


SHOWN = """\
Id=ringrift-p2p.service
LoadState=loaded
ActiveState=inactive
SubState=dead
MainPID=0
NRestarts=7
ExecMainStatus=0
ExecMainStartTimestampMonotonic=12345
UnitFileState=enabled
FragmentPath=/etc/systemd/system/ringrift-p2p.service
DropInPaths=/etc/systemd/system/ringrift-p2p.service.d/a.conf /run/x.conf
Type=simple
NotifyAccess=none
WatchdogUSec=30s

Id=other.service
LoadState=not-found
ActiveState=inactive
MainPID=0
WatchdogUSec=infinity
"""


def test_systemd_answers_for_several_units_at_once() -> None:
    units = _service_probe.parse_systemctl(SHOWN)
    ours = _service_probe.from_systemctl("ringrift-p2p", units["ringrift-p2p.service"])
    # A refused start exits 0: it looks clean, and is down.
    assert (ours["installed"], ours["enabled"], ours["active"], ours["pid"], ours["exit_status"], ours["restarts"]) == (True, True, False, None, 0, 7)
    assert ours["drop_ins"] == ["/etc/systemd/system/ringrift-p2p.service.d/a.conf", "/run/x.conf"] and ours["state"] == "inactive/dead"
    assert ours["watchdog"] and not ours["notify"]
    other = _service_probe.from_systemctl("other", units["other.service"])
    assert not other["installed"] and not other["watchdog"]
    assert _service_probe.starts(units["ringrift-p2p.service"]) and not _service_probe.starts(units["other.service"])


def test_supervisord_tells_its_service() -> None:
    program = {"autostart": True, "location": "/etc/ringrift/supervisord.conf"}
    running = _service_probe.from_supervisord("ringrift-p2p", program, {"name": "ringrift-p2p", "statename": "RUNNING", "pid": 7, "exitstatus": 0}, True)
    assert (running["installed"], running["enabled"], running["active"], running["pid"], running["exit_status"]) == (True, True, True, 7, None)
    exited = _service_probe.from_supervisord("ringrift-p2p", program, {"name": "ringrift-p2p", "statename": "EXITED", "pid": 0, "exitstatus": 0}, False)
    assert (exited["enabled"], exited["active"], exited["pid"], exited["exit_status"], exited["state"]) == (False, False, None, 0, "EXITED")


@pytest.mark.parametrize("argv, path", [
    (["/usr/bin/python3", "-m", "supervisor.supervisord", "-c", "/etc/ringrift/supervisord.conf"], "/etc/ringrift/supervisord.conf"),
    (["/usr/bin/python3", "/usr/bin/supervisord", "--configuration=s.conf", "-n"], "/w/s.conf"),
    (["/usr/bin/python3", "/usr/bin/supervisord"], "/etc/supervisor/supervisord.conf"),
    (["/usr/bin/python3", "p2p_supervisor.py"], None),
])
def test_supervisords_configuration_is_read_from_its_command_line(argv: list[str], path: str | None) -> None:
    assert _service_probe.supervisord_configuration(argv, "/w") == path


class Supervisord:
    """Speaks supervisord's XML-RPC over a socket in the file system, with the password that its configuration may ask for."""

    def __init__(self, path: str, processes: list[dict[str, t.Any]], password: str | None = None) -> None:
        class Handler(xmlrpc.server.SimpleXMLRPCRequestHandler):
            rpc_paths = ("/RPC2",)
            disable_nagle_algorithm = False

            def do_POST(self) -> None:
                if password and self.headers.get("Authorization") != "Basic " + base64.b64encode(("u:" + password).encode()).decode():
                    self.send_error(401)
                else:
                    super().do_POST()

            def address_string(self) -> str:
                return "local"

        class Server(socketserver.UnixStreamServer):
            dispatcher = xmlrpc.server.SimpleXMLRPCDispatcher(allow_none=True)
            _marshaled_dispatch = dispatcher._marshaled_dispatch
            logRequests = False

        Server.dispatcher.register_function(lambda: processes, "supervisor.getAllProcessInfo")
        self.server = Server(path, Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def __enter__(self) -> "Supervisord":
        return self

    def __exit__(self, *exception: t.Any) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_supervisord_is_asked_at_its_socket(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "s.sock")
    told = [{"name": "ringrift-p2p", "statename": "RUNNING", "pid": 7, "exitstatus": 0}]
    with Supervisord(path, told):
        assert _service_probe.supervisord_processes(path, None, None) == told
    os.unlink(path)
    with Supervisord(path, told, "secret"):
        assert _service_probe.supervisord_processes(path, "u", "secret") == told
        with pytest.raises(OSError, match="401"):
            _service_probe.supervisord_processes(path, None, None)
    with pytest.raises(OSError):
        _service_probe.supervisord_processes(path, None, None, 1.0)


def test_a_container_with_our_supervisord_is_observed(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "r"
    files = {
        "etc/ringrift/supervisord.conf": "[unix_http_server]\nfile=/run/s.sock\n[program:ringrift-p2p]\ncommand=/etc/ringrift/start\n"
                                         "stdout_logfile=/var/log/p2p.log\n",
        "etc/ringrift/start": "#!/bin/sh\ncd /workspace/ringrift\nexec /usr/bin/python3 scripts/p2p_orchestrator.py --node-id vast-1 --peers 203.0.113.4\n",
        "root/onstart.sh": "#!/bin/sh\n/etc/ringrift/on-start\n", "var/log/p2p.log": "first\nclaim refused --auth-token abcdefgh\n",
        "workspace/ringrift/scripts/p2p_orchestrator.py": "BOOTSTRAP_SEEDS = ['100.64.0.1']\nprint(BOOTSTRAP_SEEDS)\n",
        "proc/9/comm": "supervisord\n", "proc/9/cmdline": "/usr/bin/python3\0/usr/bin/supervisord\0-c\0/etc/ringrift/supervisord.conf\0",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "run").mkdir()
    with Supervisord(str(root / "run/s.sock"), [{"name": "ringrift-p2p", "statename": "EXITED", "pid": 0, "exitstatus": 0}]):
        seen = _node_probe.NodeProbe({"node_id": "vast-1", "port": 1, "path": "/workspace/ringrift"}, _node_files.Files(str(root), "/root")).gather()
    service = seen["service"]
    assert seen["init"] == "supervisord" and service["manager"] == "supervisord" and service["unit_path"] == "/etc/ringrift/supervisord.conf"
    # The refused start that exits 0 is told with the line that it logged, and without the secret in it.
    assert (service["installed"], service["enabled"], service["active"], service["exit_status"], service["state"]) == (True, True, False, 0, "EXITED")
    assert service["log"][-1].startswith("claim refused") and "abcdefgh" not in service["log"][-1]
    assert seen["identity"]["effective"] == "vast-1" and seen["seeds"]["effective"] == ["203.0.113.4:8770", "100.64.0.1:8770"]
    active = [item for item in seen["start_mechanisms"] if item["active"]]
    assert [(item["kind"], item["name"]) for item in active] == [("supervisord", "ringrift-p2p")]


@pytest.mark.parametrize("started_in, folder", [("current", "/workspace/ringrift/current"), (".", "/workspace/ringrift")])
def test_source_is_told_of_what_our_start_would_run(started_in: str, folder: str, tmp_path: pathlib.Path) -> None:
    root = tmp_path / "r"
    script = "import gone_from_%s\nBOOTSTRAP_SEEDS = ['%s']\nprint(BOOTSTRAP_SEEDS)\n"
    told = {"release": "a" * 16, "kind": "source", "revision": "c" * 40, "files": {"scripts/p2p_orchestrator.py": ["0" * 64, True]}}
    files = {
        "etc/ringrift/supervisord.conf": "[unix_http_server]\nfile=/run/s.sock\n[program:ringrift-p2p]\ncommand=/etc/ringrift/start\n",
        "etc/ringrift/start": "#!/bin/sh\ncd /workspace/ringrift/%s\nexec %s scripts/p2p_orchestrator.py --node-id vast-1 "
                              "--ringrift-path /workspace/ringrift\n" % (started_in, sys.executable),
        "root/onstart.sh": "#!/bin/sh\n/etc/ringrift/on-start\n",
        "workspace/ringrift/scripts/p2p_orchestrator.py": script % ("checkout", "203.0.113.1:8770"),
        "workspace/ringrift/config/distributed_hosts.yaml": "hosts: {}\n",
        "workspace/ringrift/releases/%s/scripts/p2p_orchestrator.py" % ("a" * 16): script % ("release", "203.0.113.2:8770"),
        "workspace/ringrift/releases/%s/RELEASE.json" % ("a" * 16): json.dumps(told),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "workspace/ringrift/current").symlink_to("releases/" + "a" * 16)
    seen = _node_probe.NodeProbe({"node_id": "vast-1", "port": 1}, _node_files.Files(str(root), "/root")).gather()
    orchestrator = seen["orchestrator"]
    released = started_in == "current"
    assert (orchestrator["path"], orchestrator["folder"], orchestrator["release"], orchestrator["kind"]) == ("/workspace/ringrift", folder, "a" * 16, "field")
    assert orchestrator["revision"] == ("c" * 40 if released else None)
    assert (orchestrator["dirty"], orchestrator["changes"]) == ((True, ["scripts/p2p_orchestrator.py"]) if released else (None, []))
    assert seen["seeds"]["effective"] == ["203.0.113.2:8770" if released else "203.0.113.1:8770"]
    assert [item["file"] for item in seen["seeds"]["literals"]] == [folder + "/scripts/p2p_orchestrator.py"]
    assert seen["hosts_file"]["path"] == "/workspace/ringrift/config/distributed_hosts.yaml" and seen["hosts_file"]["exists"]


def test_imports_are_those_of_the_release_that_runs(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "ai-service"
    for folder, name in (("", "checkout"), ("releases/" + "a" * 16, "release")):
        (path / folder / "scripts").mkdir(parents=True)
        (path / folder / "scripts/p2p_orchestrator.py").write_text("import gone_from_%s\n" % name)
    (path / "releases" / ("a" * 16) / "RELEASE.json").write_text(json.dumps({"release": "a" * 16, "kind": "source", "files": {}}))
    (path / "current").symlink_to("releases/" + "a" * 16)
    probe = _node_probe.NodeProbe({"node_id": "n", "probes": ["imports"]}, _node_files.Files("/"))
    missing = []
    for folder in (path, path / "current"):
        probe.path, probe.folder = str(path), str(folder)
        orchestrator = dict(probe._orchestrator(), interpreter=sys.executable)
        probe._imports(orchestrator)
        missing.append(orchestrator["imports"]["missing"])
    assert missing == ["gone_from_checkout", "gone_from_release"]


def test_secrets_are_taken_out_of_everything() -> None:
    data = {"a": ["x topsecret y", {"k": "topsecret"}], "b": None, "c": 3, "d": ("topsecret",)}
    assert "topsecret" not in repr(_node_probe.scrub(data, {"topsecret"}))
    assert _node_probe.scrub(data, set())["a"][0] == "x topsecret y"
    assert _node_probe.fingerprint(None) is None
    first = _node_probe.fingerprint("topsecret")
    assert first is not None and len(first) == 16 and first != _node_probe.fingerprint("topsecret2")


def test_a_probe_that_hangs_or_fails_is_data() -> None:
    probe = _node_probe.NodeProbe({"node_id": "a", "probes": ["files"]})
    started = time.monotonic()
    assert probe.limited("slow", lambda: time.sleep(5), "default", 0.1) == "default"
    assert probe.limited("broken", lambda: {}["x"], []) == []
    assert probe.limited("works", lambda: 1, None) == 1
    assert time.monotonic() - started < 3.0
    assert set(probe.errors) == {"slow", "broken"} and "0.1 s" in probe.errors["slow"] and "KeyError" in probe.errors["broken"]


def test_an_empty_host_gives_a_whole_observation(tmp_path: pathlib.Path) -> None:
    (tmp_path / "proc").mkdir()
    observation = _node_probe.NodeProbe({"node_id": "a", "path": "~/ringrift", "port": 1, "files": ["/etc/none"], "hosts_file": "/x/hosts.yaml"},
                                        _node_files.Files(str(tmp_path), "/root")).gather()
    assert observation["errors"] == {}
    assert observation["running"]["pid"] is None and observation["view"]["answers"] is False and observation["health_error"]
    assert observation["orchestrator"]["path"] == "/root/ringrift" and observation["orchestrator"]["present"] is False
    assert observation["files"]["/etc/none"]["exists"] is False and observation["hosts_file"] == {"path": "/x/hosts.yaml", "sha256": None, "exists": False}
    assert observation["service"]["manager"] == "none" and observation["init"] == "none"
    assert observation["token"] == {"configured": False, "fingerprint": None}


def test_files_are_described_and_odd_ones_do_not_block(tmp_path: pathlib.Path) -> None:
    (tmp_path / "plain").write_text("abc")
    (tmp_path / "plain").chmod(0o640)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("plain")
    (tmp_path / "broken").symlink_to("nowhere")
    files = _node_files.Files(str(tmp_path))
    plain = files.describe("/plain")
    assert plain["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (plain["exists"], plain["mode"], plain["size"]) == (True, "0640", 3) and plain["owner"]
    assert files.describe("/link")["sha256"] == plain["sha256"]
    assert files.describe("/folder")["sha256"] is None and files.describe("/folder")["exists"]
    assert files.describe("/fifo")["sha256"] is None and files.text("/fifo") is None and files.tail("/fifo", 3) == []
    assert files.describe("/broken")["exists"] is False
    assert files.text("/folder") is None and files.names("/plain") == [] and files.bytes("/plain", 2) == b"ab"
    (tmp_path / "log").write_bytes(b"x" * 200000 + b"\none\n\ntwo\nthree")
    assert files.tail("/log", 2) == ["two", "three"]


def test_what_a_run_has_held_off_is_told_beside_what_is_active(tmp_path: pathlib.Path) -> None:
    tables = tmp_path / "etc" / "cron.d"
    tables.mkdir(parents=True)
    for name in ("kept", "held"):
        (tables / name).write_text("* * * * * root /root/p2p_keepalive.sh\n")
    held = next(item for item in _rivals.detect(str(tmp_path)) if item["location"] == "/etc/cron.d/held")
    _rivals.Rivals(str(tmp_path) + _rivals.RECORDS, str(tmp_path)).disable(held, "run 1")
    seen = _node_probe.NodeProbe({"node_id": "a", "probes": ["rivals"]}, _node_files.Files(str(tmp_path), "/root")).gather()
    line = {"kind": "cron", "name": "p2p_keepalive.sh", "line": 1}
    assert [item for item in seen["rivals"] if item["kind"] == "cron"] == [
        dict(line, location="/etc/cron.d/kept", active=True, held=False), dict(line, location="/etc/cron.d/held", active=False, held=True)]
