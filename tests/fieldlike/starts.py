# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How nodes of the field start the orchestrator: the variants of each provider, as files. Pure."""

from __future__ import annotations

import typing as t

UNIT = "/etc/systemd/system/ringrift-p2p.service"
WANTED = "/etc/systemd/system/multi-user.target.wants/ringrift-p2p.service"
ON_START = "/root/onstart.sh"


class Start(t.NamedTuple):
    """What a node's start is made of: `path` is its ringrift_path, `arguments` and `environment` are the orchestrator's."""

    node: str
    user: str
    path: str
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


class File(t.NamedTuple):
    """A file of the node: text, or the target of a symbolic link."""

    text: str = ""
    link: str = ""
    mode: int = 0o644


def command(start: Start) -> str:
    """The command line, from the orchestrator's folder."""
    return " ".join(("/usr/bin/python3", "scripts/p2p_orchestrator.py", "--node-id", start.node, *start.arguments))


def variables(start: Start) -> dict[str, str]:
    """The environment of the process."""
    return {"RINGRIFT_NODE_ID": start.node, "PYTHONPATH": start.path, **dict(start.environment)}


def _unit(start: Start, lines: t.Iterable[str]) -> File:
    head = "[Unit]\nDescription=RingRift P2P\nAfter=network.target\n\n[Service]\nType=simple\nUser=%s\nWorkingDirectory=%s\n" % (start.user, start.path)
    return File(head + "".join(line + "\n" for line in lines) + "\n[Install]\nWantedBy=multi-user.target\n")


def environment_file(start: Start) -> dict[str, File]:
    """hetzner: a unit that reads /etc/ringrift/node.conf and starts again whatever happens."""
    return {
        "/etc/ringrift/node.conf": File("# written by hand\n" + "".join("%s=%s\n" % item for item in variables(start).items())),
        UNIT: _unit(start, ["EnvironmentFile=/etc/ringrift/node.conf", "ExecStart=" + command(start), "Restart=always", "RestartSec=10"]),
    }


def inline(start: Start) -> dict[str, File]:
    """vultr: everything in the unit, and a leftover file that nothing reads."""
    return {
        "/etc/default/ringrift-p2p": File("NODE_ID=%s\nP2P_SEEDS=\n" % start.node),
        UNIT: _unit(start, ["Environment=%s=%s" % item for item in variables(start).items()] + ["ExecStart=" + command(start), "Restart=on-failure"]),
    }


def shell(start: Start) -> dict[str, File]:
    """nebius: through a shell that looks for its folder itself."""
    exports = " ".join("%s=%s" % item for item in variables(start).items())
    return {UNIT: _unit(start, ["ExecStart=/bin/bash -c 'cd %s && export %s && exec %s'" % (start.path, exports, command(start)), "Restart=no"])}


def drop_in(start: Start) -> dict[str, File]:
    """lambda: a unit of an older set-up, and a drop-in that replaces its command and environment."""
    lines = ["[Service]", "Environment="] + ["Environment=%s=%s" % item for item in variables(start).items()] + ["ExecStart=", "ExecStart=" + command(start)]
    return {
        UNIT: _unit(start, ["Environment=RINGRIFT_NODE_ID=old-name", "ExecStart=/usr/bin/python3 scripts/p2p_orchestrator.py", "Restart=no"]),
        UNIT + ".d/override.conf": File("\n".join(lines) + "\n"),
    }


def on_start(start: Start) -> dict[str, File]:
    """vast: the script that the container runs at its start."""
    exports = "".join("export %s=%s\n" % item for item in variables(start).items())
    return {ON_START: File(
        "#!/bin/bash\n# started by the provider\n%scd %s || exit 1\nmkdir -p logs\nnohup %s >>logs/p2p.log 2>&1 &\n" % (exports, start.path, command(start)),
        mode=0o755,
    )}


def keepalive(start: Start) -> dict[str, File]:
    """runpod: cron runs the keepalive, and the container's start runs cron."""
    settings = dict(variables(start), P2P_ARGUMENTS=" ".join(start.arguments))
    table = "SHELL=/bin/bash\n" + "".join("%s=%s\n" % item for item in settings.items())
    return {
        "/var/spool/cron/crontabs/root": File(
            "%s* * * * * %s/scripts/p2p_keepalive.sh >>/tmp/p2p_watchdog.log 2>&1\n" % (table, start.path), mode=0o600),
        ON_START: File("#!/bin/bash\ncron\n", mode=0o755),
    }


def second_manager(start: Start) -> dict[str, File]:
    """A keepalive in the system's cron table, beside whatever else starts the node: two managers of one node."""
    return {"/etc/cron.d/ringrift-watchdog": File(
        "SHELL=/bin/bash\n*/5 * * * * %s RINGRIFT_NODE_ID=%s %s/scripts/p2p_keepalive.sh >/dev/null 2>&1\n" % (start.user, start.node, start.path))}


BY_PROVIDER = {"hetzner": environment_file, "vultr": inline, "nebius": shell, "lambda": drop_in, "vast": on_start, "runpod": keepalive}
