# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What starts orchestrators in the field, one example of each kind, in the shape in which hosts of each provider have it.

A case: the files of the host, what else is known about it, and what the reader must say about the mechanism in charge.
Addresses are documentation addresses.
"""

from __future__ import annotations

import typing as t

SCRIPT = "#!/usr/bin/env python3\nprint('an orchestrator')\n"


class Case(t.NamedTuple):
    """``files``: path → text; ``expected``: keys of the mechanism in charge; ``options``: what its orchestrator is told."""

    files: dict[str, str]
    expected: dict[str, t.Any]
    options: dict[str, t.Any]
    environment: dict[str, str]
    systemd: bool = True
    cron: bool = False
    supervisord: tuple[str, ...] = ()
    path: str = "/home/ubuntu/ringrift/ai-service"


UNIT_WITH_ENVIRONMENT_FILE = """\
[Unit]
Description=RingRift P2P Orchestrator
After=network-online.target tailscaled.service
Wants=network-online.target

[Service]
Type=simple
User=ubuntu
WorkingDirectory=/home/ubuntu/ringrift/ai-service
EnvironmentFile=/etc/ringrift/node.conf
Environment=PYTHONPATH=/home/ubuntu/ringrift/ai-service PYTHONUNBUFFERED=1
Environment="RINGRIFT_LOG_LEVEL=INFO"
ExecStart=/home/ubuntu/ringrift/ai-service/venv/bin/python scripts/p2p_orchestrator.py \\
    --node-id ${NODE_ID} \\
    --port ${P2P_PORT} \\
    --peers ${P2P_PEERS} \\
    --ringrift-path /home/ubuntu/ringrift
Restart=always
RestartSec=10

[Install]
WantedBy=multi-user.target
"""

CASES: dict[str, Case] = {
    "lambda: unit with an environment file": Case(
        files={
            "/etc/systemd/system/ringrift-p2p.service": UNIT_WITH_ENVIRONMENT_FILE,
            "/etc/ringrift/node.conf": "# written by the set-up script\nNODE_ID=lambda-gh200-2\nP2P_PORT=8770\n"
                                       "P2P_PEERS=\"100.64.0.11:8770,100.64.0.12:8770\"\nRINGRIFT_CLUSTER_AUTH_TOKEN='s3cret-token'\n",
        },
        expected={"kind": "unit", "location": "/etc/systemd/system/ringrift-p2p.service", "name": "ringrift-p2p.service", "active": True,
                  "interpreter": "/home/ubuntu/ringrift/ai-service/venv/bin/python", "directory": "/home/ubuntu/ringrift/ai-service", "user": "ubuntu"},
        options={"node_id": "lambda-gh200-2", "port": 8770, "peers": ["100.64.0.11:8770", "100.64.0.12:8770"], "ringrift_path": "/home/ubuntu/ringrift"},
        environment={"PYTHONPATH": "/home/ubuntu/ringrift/ai-service", "RINGRIFT_LOG_LEVEL": "INFO", "RINGRIFT_CLUSTER_AUTH_TOKEN": "s3cret-token"},
    ),
    "hetzner: unit whose drop-in replaces command and environment": Case(
        files={
            "/etc/systemd/system/ringrift-p2p.service": "[Service]\nEnvironment=RINGRIFT_NODE_ID=old-name\nWorkingDirectory=/root/ringrift/ai-service\n"
                                                        "ExecStart=/usr/bin/python3 scripts/p2p_orchestrator.py --peers 192.0.2.1\n",
            "/etc/systemd/system/ringrift-p2p.service.d/10-node.conf":
                "[Service]\nEnvironment=\nEnvironment=RINGRIFT_NODE_ID=hetzner-cpu1 RINGRIFT_IS_COORDINATOR=true\n",
            "/etc/systemd/system/ringrift-p2p.service.d/20-peers.conf":
                "[Service]\nExecStart=\nExecStart=-/usr/bin/python3 scripts/p2p_orchestrator.py --node-id=hetzner-cpu1 --peers=203.0.113.4:8770\n",
        },
        expected={"kind": "unit", "name": "ringrift-p2p.service", "active": True, "interpreter": "/usr/bin/python3"},
        options={"node_id": "hetzner-cpu1", "peers": ["203.0.113.4:8770"]},
        environment={"RINGRIFT_NODE_ID": "hetzner-cpu1", "RINGRIFT_IS_COORDINATOR": "true"},
        path="/root/ringrift/ai-service",
    ),
    "nebius: unit that starts a shell": Case(
        files={
            "/etc/systemd/system/ringrift-p2p.service": "[Service]\nUser=ubuntu\nEnvironmentFile=-/etc/default/ringrift-p2p\nExecStart=/bin/bash -c 'cd "
                                                        "/home/ubuntu/ringrift/ai-service && source venv/bin/activate && exec python "
                                                        "scripts/p2p_orchestrator.py --node-id $NODE_ID --peers $PEER_LIST'\n",
            "/etc/default/ringrift-p2p": "NODE_ID=nebius-h100-3\nPEER_LIST=203.0.113.21:8770,203.0.113.31\n",
        },
        expected={"kind": "unit", "interpreter": "python", "directory": "/home/ubuntu/ringrift/ai-service", "active": True},
        options={"node_id": "nebius-h100-3", "peers": ["203.0.113.21:8770", "203.0.113.31"]},
        environment={"NODE_ID": "nebius-h100-3"},
    ),
    "vultr: unit that starts a script of its own": Case(
        files={
            "/etc/systemd/system/ringrift-p2p.service": "[Service]\nEnvironmentFile=/etc/ringrift/node.conf\nExecStart=/etc/ringrift/start\n"
                                                        "Type=notify\nWatchdogSec=30\n",
            "/etc/ringrift/node.conf": "RINGRIFT_NODE_ID=vultr-a100-20gb\nRINGRIFT_P2P_SEEDS=203.0.113.21:8770\n",
            "/etc/ringrift/start": "#!/bin/sh\nset -eu\ncd /root/ringrift/ai-service\nexec /usr/bin/python3 scripts/p2p_orchestrator.py "
                                   "--node-id \"$RINGRIFT_NODE_ID\" \\\n  --peers \"${RINGRIFT_P2P_SEEDS}\" --force-supervisor --kill-duplicates\n",
        },
        expected={"kind": "unit", "interpreter": "/usr/bin/python3", "directory": "/root/ringrift/ai-service", "notify": True, "watchdog": True},
        options={"node_id": "vultr-a100-20gb", "peers": ["203.0.113.21:8770"], "flags": ["--force-supervisor", "--kill-duplicates"]},
        environment={"RINGRIFT_NODE_ID": "vultr-a100-20gb", "RINGRIFT_P2P_SEEDS": "203.0.113.21:8770"},
        path="/root/ringrift/ai-service",
    ),
    "vast: on-start script": Case(
        files={
            "/root/onstart.sh": "#!/bin/bash\n# the machine's own start; don't edit\nenv >> /etc/environment\nexport RINGRIFT_NODE_ID=vast-30274241\n"
                                "export PEERS=\"203.0.113.21:8770\"\ncd ~/ringrift || exit 1\nmkdir -p logs\n"
                                "if ! pgrep -f p2p_orchestrator.py > /dev/null; then\n"
                                "  PYTHONPATH=. nohup venv/bin/python scripts/p2p_orchestrator.py --node-id $RINGRIFT_NODE_ID --peers ${PEERS:-192.0.2.9:8770} "
                                "> logs/p2p_orchestrator.log 2>&1 &\nfi\n",
        },
        expected={"kind": "on_start", "location": "/root/onstart.sh", "active": True, "interpreter": "venv/bin/python", "directory": "/root/ringrift"},
        options={"node_id": "vast-30274241", "peers": ["203.0.113.21:8770"]},
        environment={"RINGRIFT_NODE_ID": "vast-30274241", "PYTHONPATH": "."},
        systemd=False, path="/root/ringrift",
    ),
    "vast: supervisord of the image": Case(
        files={
            "/etc/supervisor/supervisord.conf": "; supervisor config file\n[unix_http_server]\nfile=/var/run/supervisor.sock   ; the socket\nchmod=0700\n\n"
                                                "[supervisord]\nlogfile=/var/log/supervisor/supervisord.log\n\n"
                                                "[include]\nfiles = /etc/supervisor/conf.d/*.conf\n",
            "/etc/supervisor/conf.d/p2p.conf": "[program:p2p]\ncommand=/opt/conda/bin/python -m scripts.p2p_orchestrator --node-id vast-29128352\n"
                                               "directory=/workspace/ringrift\n"
                                               "environment=RINGRIFT_P2P_PEERS=\"203.0.113.21:8770,203.0.113.31:8770\",PYTHONPATH=/workspace/ringrift\n"
                                               "autostart=true\nautorestart=true\nstdout_logfile=/workspace/ringrift/logs/p2p.log\n",
        },
        expected={"kind": "supervisord", "location": "/etc/supervisor/conf.d/p2p.conf", "name": "p2p", "active": True,
                  "interpreter": "/opt/conda/bin/python", "directory": "/workspace/ringrift"},
        options={"node_id": "vast-29128352"},
        environment={"RINGRIFT_P2P_PEERS": "203.0.113.21:8770,203.0.113.31:8770", "PYTHONPATH": "/workspace/ringrift"},
        systemd=False, supervisord=("/etc/supervisor/supervisord.conf",), path="/workspace/ringrift",
    ),
    "runpod: cron keepalive": Case(
        files={
            "/var/spool/cron/crontabs/root": "SHELL=/bin/bash\nRINGRIFT_NODE_ID=runpod-a100-1\n# keep it up\n"
                                             "* * * * * /workspace/ringrift/scripts/p2p_keepalive.sh >> /tmp/p2p_watchdog.log 2>&1\n",
            "/workspace/ringrift/scripts/p2p_keepalive.sh": "#!/usr/bin/env bash\nexec 200>/workspace/ringrift/logs/p2p_keepalive.lock\n"
                                                            "flock -n 200 || exit 0\n"
                                                            "cd /workspace/ringrift\ngit pull --ff-only -q\n[ -f .env.local ] && . ./.env.local\n"
                                                            "curl -sf http://localhost:8770/health > /dev/null && exit 0\n"
                                                            "pkill -9 -f p2p_orchestrator.py\n"
                                                            "setsid nohup python3 scripts/p2p_orchestrator.py --node-id \"$RINGRIFT_NODE_ID\" --port 8770 &\n",
            "/workspace/ringrift/.env.local": "export RINGRIFT_IS_COORDINATOR=true\n",
        },
        expected={"kind": "cron", "location": "/var/spool/cron/crontabs/root", "line": 4, "active": True, "interpreter": "python3",
                  "directory": "/workspace/ringrift", "user": "root"},
        options={"node_id": "runpod-a100-1", "port": 8770},
        environment={"RINGRIFT_NODE_ID": "runpod-a100-1"},
        systemd=False, cron=True, path="/workspace/ringrift",
    ),
    "lambda: system cron table": Case(
        files={
            "/etc/cron.d/ringrift": "PATH=/usr/bin:/bin\n@reboot ubuntu cd /home/ubuntu/ringrift/ai-service && RINGRIFT_NODE_ID=lambda-gh200-9 "
                                    "venv/bin/python scripts/p2p_orchestrator.py --peers 100.64.0.21:8770 > /tmp/p2p.log 2>&1 &\n"
                                    "0 3 * * * ubuntu cd /home/ubuntu/ringrift && git fetch -q && git reset --hard origin/main\n",
        },
        expected={"kind": "cron", "location": "/etc/cron.d/ringrift", "line": 2, "name": "@reboot", "user": "ubuntu", "active": True,
                  "interpreter": "venv/bin/python", "directory": "/home/ubuntu/ringrift/ai-service"},
        options={"peers": ["100.64.0.21:8770"]},
        environment={"RINGRIFT_NODE_ID": "lambda-gh200-9"},
        cron=True,
    ),
    "lambda: override that calls a start script with everything behind it": Case(
        files={
            "/etc/systemd/system/ringrift-p2p.service": "[Service]\nUser=ubuntu\nExecStart=/usr/bin/false\nEnvironmentFile=/etc/default/ringrift-p2p\n",
            "/etc/systemd/system/ringrift-p2p.service.d/override.conf":
                "[Service]\nExecStart=\nExecStart=/home/ubuntu/ringrift/ai-service/scripts/start_p2p.sh --node-id ${NODE_ID} "
                "--peers 100.64.0.71:8770,100.64.0.53:8770\n",
            "/etc/default/ringrift-p2p": "NODE_ID=lambda-gh200-5\n",
            "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000::/home/ubuntu:/bin/bash\n",
            "/home/ubuntu/ringrift/ai-service/scripts/start_p2p.sh": "#!/bin/bash\nset -e\ncd \"$HOME/ringrift/ai-service\"\n. venv/bin/activate\n"
                                                                     "exec python3 scripts/p2p_orchestrator.py --port ${P2P_PORT:-8770} \"$@\"\n",
        },
        expected={"kind": "unit", "active": True, "interpreter": "python3", "directory": "/home/ubuntu/ringrift/ai-service"},
        options={"node_id": "lambda-gh200-5", "port": 8770, "peers": ["100.64.0.71:8770", "100.64.0.53:8770"]},
        environment={"NODE_ID": "lambda-gh200-5", "HOME": None},
    ),
    "nebius: universal unit that looks for its interpreter": Case(
        files={
            "/etc/systemd/system/ringrift-p2p.service":
                "[Service]\nType=notify\nNotifyAccess=all\nEnvironmentFile=-/etc/ringrift/node.conf\n"
                "ExecStartPre=/bin/bash -c 'pid=$(lsof -ti:${P2P_PORT:-8770} | head -1); if [ -n \"$pid\" ]; then kill -9 \"$pid\" || true; fi'\n"
                "ExecStartPre=/bin/bash -c 'cd /home/ubuntu/ringrift && git pull origin main 2>/dev/null || true'\n"
                "# the folder of the service itself\n"
                "ExecStart=/bin/bash -c '\\\n  AI=\"${RINGRIFT_AI_PATH:-/home/ubuntu/ringrift/ai-service}\"; \\\n  ROOT=\"$(dirname \"$AI\")\"; \\\n"
                "  export PYTHONPATH=\"$AI\"; \\\n  PY=\"$AI/venv/bin/python\"; \\\n  if [ ! -x \"$PY\" ]; then PY=\"/usr/bin/python3\"; fi; \\\n"
                "  EXTRA=\"\"; \\\n  if [ -n \"${ADVERTISE_HOST}\" ]; then EXTRA=\"--advertise-host ${ADVERTISE_HOST}\"; fi; \\\n"
                "  cd \"$AI\" && exec \"$PY\" scripts/p2p_orchestrator.py \\\n    --node-id \"${NODE_ID}\" \\\n    --port \"${P2P_PORT:-8770}\" \\\n"
                "    --peers \"${COORDINATOR_URL:-https://p2p.example.com,http://100.64.0.11:8770}\" \\\n    --ringrift-path \"$ROOT\" $EXTRA'\n"
                "WatchdogSec=300\nStandardOutput=append:/var/log/ringrift/p2p.log\n",
            "/etc/ringrift/node.conf": "NODE_ID=nebius-backbone-1\n",
            "/home/ubuntu/ringrift/ai-service/venv/bin/python": "#!/bin/sh\n",
        },
        expected={"kind": "unit", "active": True, "interpreter": "/home/ubuntu/ringrift/ai-service/venv/bin/python", "notify": True, "watchdog": True,
                  "directory": "/home/ubuntu/ringrift/ai-service", "log_file": "/var/log/ringrift/p2p.log"},
        options={"node_id": "nebius-backbone-1", "port": 8770, "peers": ["https://p2p.example.com", "http://100.64.0.11:8770"], "ringrift_path": None},
        environment={"NODE_ID": "nebius-backbone-1", "PYTHONPATH": "/home/ubuntu/ringrift/ai-service"},
    ),
    "vast: on-start script with functions": Case(
        files={
            "/root/onstart.sh":
                "#!/bin/bash\nset -e\nexec > >(tee -a \"/tmp/onstart.log\") 2>&1\nNODE_ID=\"${VAST_CONTAINERLABEL:-vast-30274242}\"\n"
                "setup() {\n    DIR=\"$HOME/ringrift\"\n    if [ -d \"$DIR/.git\" ]; then\n        cd \"$DIR\"\n        git fetch origin\n"
                "        git reset --hard origin/main\n    fi\n    cd \"$DIR/ai-service\"\n}\n"
                "unit() {\n    command -v systemctl &> /dev/null || return 1\n    cat > /tmp/p2p.service << EOF\n[Service]\n"
                "ExecStart=/usr/bin/python3 scripts/p2p_orchestrator.py --node-id wrong\nEOF\n}\n"
                "start() {\n    cd \"$HOME/ringrift/ai-service\"\n    for i in {1..30}; do sleep 2; done\n    pkill -f p2p_orchestrator || true\n"
                "    SEEDS=\"100.64.0.11:8770,100.64.0.12:8770\"\n    if unit; then\n        sudo systemctl start ringrift-p2p\n    else\n"
                "        nohup python3 scripts/p2p_orchestrator.py \\\n            --node-id \"$NODE_ID\" \\\n            --peers \"$SEEDS\" \\\n"
                "            >> logs/p2p_orchestrator.log 2>&1 &\n        echo \"started (PID: $!)\"\n    fi\n}\n"
                "main() {\n    setup\n    start\n}\nmain \"$@\"\n",
        },
        expected={"kind": "on_start", "location": "/root/onstart.sh", "active": True, "interpreter": "python3", "directory": "/root/ringrift/ai-service"},
        options={"node_id": "vast-30274242", "peers": ["100.64.0.11:8770", "100.64.0.12:8770"]},
        environment={}, systemd=False, path="/root/ringrift/ai-service",
    ),
    "vast: watchdog in cron": Case(
        files={
            "/var/spool/cron/crontabs/root": "* * * * * /etc/ringrift/p2p-watchdog.sh\n",
            "/etc/ringrift/p2p-watchdog.sh":
                "#!/bin/bash\nsource /etc/ringrift/node.conf\nLOG=\"/var/log/ringrift/p2p.log\"\nPID_FILE=\"/var/run/ringrift-p2p.pid\"\n"
                "if [ -f \"$PID_FILE\" ]; then\n    PID=$(cat \"$PID_FILE\")\n    if ! kill -0 \"$PID\" 2>/dev/null; then\n        rm -f \"$PID_FILE\"\n"
                "    else\n        curl -sf \"http://localhost:$P2P_PORT/health\" > /dev/null 2>&1 && exit 0\n        kill -9 \"$PID\"\n    fi\nfi\n"
                "cd \"$RINGRIFT_PATH/ai-service\"\nPY=\"$RINGRIFT_PATH/ai-service/venv/bin/python\"\nif [ ! -x \"$PY\" ]; then PY=\"/usr/bin/python3\"; fi\n"
                "nohup \"$PY\" scripts/p2p_orchestrator.py \\\n    --node-id \"$NODE_ID\" \\\n"
                "    --port \"$P2P_PORT\" \\\n    --peers \"$COORDINATOR_URL\" \\\n"
                "    --ringrift-path \"$RINGRIFT_PATH\" >> \"$LOG\" 2>&1 &\necho $! > \"$PID_FILE\"\n",
            "/etc/ringrift/node.conf": "NODE_ID=vast-29129151\nP2P_PORT=8770\nCOORDINATOR_URL=http://100.64.0.11:8770\nRINGRIFT_PATH=/root/ringrift\n",
        },
        expected={"kind": "cron", "line": 1, "interpreter": "/usr/bin/python3", "directory": "/root/ringrift/ai-service", "active": True},
        options={"node_id": "vast-29129151", "port": 8770, "peers": ["http://100.64.0.11:8770"], "ringrift_path": "/root/ringrift"},
        environment={}, systemd=False, cron=True, path="/root/ringrift/ai-service",
    ),
    "mac or hand: rc.local with sudo and env": Case(
        files={
            "/etc/rc.local": "#!/bin/sh -e\nsudo -u ubuntu env RINGRIFT_NODE_ID=lambda-gh200-1 PYTHONPATH=/home/ubuntu/ringrift/ai-service "
                             "/home/ubuntu/ringrift/ai-service/venv/bin/python /home/ubuntu/ringrift/ai-service/scripts/p2p_orchestrator.py --relay-peers "
                             "203.0.113.4:8770 --peers 203.0.113.4:8770 &\nexit 0\n",
        },
        expected={"kind": "on_start", "location": "/etc/rc.local", "active": True},
        options={"relay_peers": ["203.0.113.4:8770"], "peers": ["203.0.113.4:8770"]},
        environment={"RINGRIFT_NODE_ID": "lambda-gh200-1", "PYTHONPATH": "/home/ubuntu/ringrift/ai-service"},
    ),
}

# Command lines that start no orchestrator although they name one.
LOOKALIKES = (
    "pgrep -f p2p_orchestrator.py",
    "pkill -9 -f 'python.*p2p_orchestrator.py'",
    "ps aux | grep p2p_orchestrator.py | grep -v grep",
    "vim scripts/p2p_orchestrator.py",
    "tail -f /tmp/p2p_orchestrator.py.log",
    "echo python scripts/p2p_orchestrator.py",
    "test -f scripts/p2p_orchestrator.py",
    "cat > x <<EOF\npython scripts/p2p_orchestrator.py\nEOF",
    "# python scripts/p2p_orchestrator.py",
)
