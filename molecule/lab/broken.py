# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seed document's state, as files of each node: what was configured by hand before the collection came. Pure.

Every node starts the orchestrator by a mechanism of the field, with seeds that lie in the overlay alone and without the
clean-up of stale locks. Three lambda nodes find a stale lock, four vast nodes no seed, two lambda nodes no relay.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone

from archive import File
from topology import COORDINATOR, COORDINATOR_BY_ENVIRONMENT, LOCKED, NO_RELAY, OVERLAY_SEEDS, PORT

DAY = 86400.0
PASSWORD_FILE = "/etc/ringrift/election-password"
TOKEN_FILE = "/etc/ringrift/cluster-token"
# Runs before the locks are laid, so that one of them can carry its process id; it has nothing to do with RingRift.
UNRELATED_UNIT = "/etc/systemd/system/thermal-log.service"
ENV_LOCAL = "# copied from the coordinator\nRINGRIFT_IS_COORDINATOR=true\nRINGRIFT_LOG_LEVEL=INFO\n"
DEAD_CLAIM, RECYCLED_CLAIM, TEMPORARY_LOCK = LOCKED


def overlay_seeds(known):
    """The addresses of the built-in list, all in the overlay."""
    return [f"{known[name].overlay}:{PORT}" for name in OVERLAY_SEEDS]


def launcher(source, seeds, comments):
    """The launcher's source with `seeds` in its BOOTSTRAP_SEEDS, in the shape of the field; raises ValueError where it has no such list."""
    lines = "".join(f'    "{seed}",  # {comment}\n' for seed, comment in zip(seeds, comments))
    shape = re.compile(r"^BOOTSTRAP_SEEDS: list\[str\] = \[\n[^\]]*\]$", re.MULTILINE)
    text, count = shape.subn(lambda _match: f"BOOTSTRAP_SEEDS: list[str] = [\n{lines}]", source)
    if count != 1:
        raise ValueError("the launcher holds no BOOTSTRAP_SEEDS list of the known shape")
    return text


def relay_addresses(node, known):
    """The overlay addresses of the relays that the hosts file names for the node."""
    return [f"{known[name].overlay}:{PORT}" for name in node.relays if name in known and known[name].overlay]


def arguments(node, known):
    """What the node's start mechanism hands to the orchestrator, as a list."""
    words = ["--node-id", node.name, "--port", str(PORT), "--ringrift-path", node.path, "--no-lock-cleanup"]
    seeds = overlay_seeds(known)
    relays = [] if node.name in NO_RELAY else relay_addresses(node, known)
    if node.overlay:
        words += ["--peers", ",".join([*relays, *(seed for seed in seeds if seed not in relays)])]
    if relays and node.inbound_blocked:
        words += ["--relay-peers", ",".join(relays)]
    return words


def environment(node):
    """The variables of the node's start mechanism."""
    values = {"RINGRIFT_NODE_ID": node.name, "RINGRIFT_P2P_ELECTION_PASSWORD_FILE": PASSWORD_FILE, "RINGRIFT_CLUSTER_AUTH_TOKEN_FILE": TOKEN_FILE}
    if node.name == COORDINATOR:
        values["RINGRIFT_IS_COORDINATOR"] = "true"
    return values


def _unit(description, user, path, lines):
    return (
        f"[Unit]\nDescription={description}\nAfter=network.target\n\n"
        f"[Service]\nType=simple\nUser={user}\nWorkingDirectory={path}\n" + "".join(f"{line}\n" for line in lines)
        + "\n[Install]\nWantedBy=multi-user.target\n"
    )


def _start_by_node_conf(node, known):
    # hetzner, vultr: an environment file, the exit status 0 of a refused start counts as clean.
    conf = "".join(f"{name}={value}\n" for name, value in environment(node).items())
    command = f"/usr/bin/python3 {node.path}/scripts/p2p_orchestrator.py {' '.join(arguments(node, known))}"
    return [
        File("/etc/ringrift/node.conf", conf),
        File("/etc/systemd/system/ringrift-p2p.service", _unit(
            "RingRift P2P orchestrator", node.user, node.path,
            ["EnvironmentFile=/etc/ringrift/node.conf", f"EnvironmentFile=-{node.path}/.env.local", f"ExecStart={command}", "Restart=no"],
        )),
    ]


def _start_inline(node, known):
    # nebius: everything in the unit, through a shell.
    command = f"cd {node.path} && exec python3 scripts/p2p_orchestrator.py {' '.join(arguments(node, known))}"
    return [
        File("/etc/systemd/system/ringrift-p2p.service", _unit(
            "RingRift P2P Daemon", node.user, node.path,
            [*(f"Environment={name}={value}" for name, value in environment(node).items()), f"ExecStart=/bin/bash -c '{command}'", "Restart=no"],
        )),
    ]


# Takes a lock that is there for one that is held, and its refusal ends with status 0: the unit looks as if it had been stopped.
_START_SCRIPT = """#!/bin/bash
# One orchestrator per host.
cd "$(dirname "$0")/.." || exit 1
for lock in /tmp/p2p_*.lock /tmp/p2p_*.pid; do
  if [ -e "$lock" ]; then
    echo "p2p: $lock exists, the orchestrator is already running"
    exit 0
  fi
done
if grep -Eqs '"managed_by": *"(manual|master_loop)"' data/coordination/p2p_supervisor.json; then
  echo "p2p: the supervisor role is claimed by another process, not starting"
  exit 0
fi
exec python3 scripts/p2p_orchestrator.py "$@"
"""


def _start_by_drop_in(node, known):
    # lambda: a start script, a unit that lacks its arguments, a drop-in that adds them, variables in /etc/default.
    script = f"{node.path}/scripts/start_p2p.sh"
    variables = {"NODE_ID": node.name, "P2P_PORT": PORT, **environment(node)}
    return [
        File(script, _START_SCRIPT, mode=0o755, owner=node.user),
        File("/etc/default/ringrift-p2p", "".join(f"{name}={value}\n" for name, value in variables.items())),
        File("/etc/systemd/system/ringrift-p2p.service", _unit(
            "RingRift P2P Network Node", node.user, node.path,
            ["EnvironmentFile=-/etc/default/ringrift-p2p", f"ExecStart={script} --node-id ${{NODE_ID}} --port ${{P2P_PORT}}", "Restart=no"],
        )),
        File("/etc/systemd/system/ringrift-p2p.service.d/override.conf", f"[Service]\nExecStart=\nExecStart={script} {' '.join(arguments(node, known))}\n"),
    ]


def _start_by_script(node, known):
    # vast, runpod: what the provider runs when the container starts.
    exports = "".join(f"export {name}={value}\n" for name, value in environment(node).items())
    return [File("/root/onstart.sh", (
        f"#!/bin/bash\n# started by the provider\n{exports}cd {node.path}\n"
        f"nohup python3 scripts/p2p_orchestrator.py {' '.join(arguments(node, known))} >>logs/p2p.log 2>&1 &\n"
    ), mode=0o755)]


_STARTS = {
    "hetzner": _start_by_node_conf, "vultr": _start_by_node_conf, "nebius": _start_inline, "lambda": _start_by_drop_in,
    "vast": _start_by_script, "runpod": _start_by_script,
}


def _virtual_environment(node):
    """The folder of the virtual environment that the hosts file names for the node, or an empty text."""
    match = re.match(r"source (\S+)/bin/activate$", str(node.entry.get("venv_activate", "")))
    return match.group(1).replace("~", node.home, 1) if match else ""


def _environment_of(node):
    # The orchestrator's dependencies lie in its release, so it is an empty one.
    path = _virtual_environment(node)
    if not path:
        return []
    return [
        File(f"{path}/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11\n", owner=node.user),
        File(f"{path}/bin/activate", f'VIRTUAL_ENV={path}\nexport VIRTUAL_ENV\nPATH="$VIRTUAL_ENV/bin:$PATH"\nexport PATH\n', owner=node.user),
        File(f"{path}/bin/python3", link="/usr/bin/python3", owner=node.user),
        File(f"{path}/bin/python", link="python3", owner=node.user),
    ]


def _iso(moment):
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def claim(path, manager, pid, moment, owner):
    """The orchestrator's claim file below `path`, as its supervisor left it."""
    content = {"managed_by": manager, "pid": pid, "started_at": _iso(moment), "last_health_check": _iso(moment)}
    return File(f"{path}/data/coordination/p2p_supervisor.json", json.dumps(content, indent=2), owner=owner, modified=moment)


def locks(node, pid, now):
    """The stale lock of one of the three locked nodes. `pid` is dead, or a live unrelated process's on the node with the recycled one."""
    then = now - 2 * DAY
    if node.name == DEAD_CLAIM:
        return [
            claim(node.path, "master_loop", pid, then, node.user),
            File(f"{node.path}/data/coordination/ringrift_p2p_orchestrator.lock", str(pid), owner=node.user, modified=then),
        ]
    if node.name == RECYCLED_CLAIM:
        # Young enough for the software of the field to believe it, older than the process that has the number now.
        recent = now - 60
        return [claim(node.path, "manual", pid, recent, node.user), File(f"{node.path}/logs/p2p.pid", f"{pid}\n", owner=node.user, modified=recent)]
    if node.name == TEMPORARY_LOCK:
        status = {"node_id": node.name, "role": "follower", "leader_id": COORDINATOR, "active_peers": 12}
        tunnel = {"tunnel_id": "lambda-11", "local_port": PORT, "remote_host": "relay.example.net", "remote_port": 18770, "pid": 1}
        return [
            File("/tmp/p2p_orchestrator.lock", f"{pid}\n", owner=node.user, modified=then),
            File("/tmp/p2p.log", "2026-01-23 03:12:09 INFO heartbeat sent\n", owner=node.user, modified=then),
            File("/tmp/p2p_supervisor.log", "2026-01-23 03:12:10 WARNING supervisor lost\n", owner=node.user, modified=then),
            File("/tmp/p2p_watchdog.log", "2026-01-23 03:13:00 restart requested\n", owner=node.user, modified=then),
            File("/tmp/p2p_status.json", json.dumps(status), owner=node.user, modified=then),
            File("/tmp/p2p_tunnel_info.json", json.dumps(tunnel), owner=node.user, modified=then),
            File("/tmp/p2p_status_report_20260123.txt", "12 peers alive\n", owner=node.user, modified=then),
            File("/tmp/ringrift_lambda-gh200-11.heartbeat", "1769137929\n", owner=node.user, modified=then),
        ]
    return []


def bystanders(node, user="root"):
    """What runs beside the orchestrator, as `user`, on the node whose lock carries a recycled number."""
    if node.name != RECYCLED_CLAIM:
        return []
    return [
        File(UNRELATED_UNIT, (
            f"[Unit]\nDescription=Thermal readings\n\n[Service]\nUser={user}\nExecStart=/usr/bin/tail -F /var/log/thermal\n\n"
            "[Install]\nWantedBy=multi-user.target\n"
        )),
        File("/etc/systemd/system/multi-user.target.wants/thermal-log.service", link=UNRELATED_UNIT),
    ]


def files(node, known, launcher_source, hosts_file, password, token):
    """All files that the node had before the collection came, apart from its stale lock."""
    seeds = overlay_seeds(known)
    result = [
        *_STARTS[node.provider](node, known),
        *_environment_of(node),
        File(f"{node.path}/scripts/p2p_orchestrator.py", launcher(launcher_source, seeds, OVERLAY_SEEDS), owner=node.user, mode=0o755),
        File(f"{node.path}/config/distributed_hosts.yaml", hosts_file, owner=node.user),
        File(PASSWORD_FILE, password + "\n", mode=0o600, owner=node.user),
        File(TOKEN_FILE, token + "\n", mode=0o600, owner=node.user),
    ]
    if node.systemd:
        result.append(File("/etc/ringrift/node-id", node.name + "\n"))
    if node.systemd and node.name not in LOCKED:
        result.append(File("/etc/systemd/system/multi-user.target.wants/ringrift-p2p.service", link="/etc/systemd/system/ringrift-p2p.service"))
    result += bystanders(node)
    if node.name == COORDINATOR_BY_ENVIRONMENT:
        result.append(File(f"{node.path}/.env.local", ENV_LOCAL, owner=node.user))
    return result


def folders(node):
    """The folders that the files lie in, as (path, owner, mode)."""
    below = ("config", "data", "data/coordination", "logs", "scripts")
    parents = []
    if node.path.startswith(node.home + "/"):
        parts = node.path[len(node.home) + 1:].split("/")[:-1]
        parents = [(f"{node.home}/" + "/".join(parts[: count + 1]), node.user, 0o755) for count in range(len(parts))]
    virtual = _virtual_environment(node)
    more = [(virtual, node.user, 0o755), (f"{virtual}/bin", node.user, 0o755)] if virtual else []
    return [*parents, (node.path, node.user, 0o755), *((f"{node.path}/{name}", node.user, 0o755) for name in below), *more]
