# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: the seed document's 22 nodes as containers, reached over SSH, on two networks without a way out.

    lab.py host                     make this machine ready (Docker; as root)
    lab.py image                    build the images
    lab.py up [NODE...]             nodes as they are rented: nothing of RingRift on them
    lab.py break [NODE...]          nodes in the seed document's state, running the embedded orchestrator
    lab.py field [NODE...]          the same with the stand-in for the field's own orchestrator, and the faults that only that one has
    lab.py status [--wait N]        who is connected, as the collection counts it
    lab.py snapshot FILE [--against FILE]   digest of files and processes; tells differences
    lab.py restart [NODE...]        restart nodes as a provider would
    lab.py down [--images]          remove everything

It works in .work/lab/ below the checkout; the inventory of what runs is .work/lab/inventory/p2p.yml. With RINGRIFT_LAB=1 to 9 in the
environment it is another lab beside that one, in .work/lab1/ to .work/lab9/.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time

import archive
import broken
import bundle
import containers
import field
import host
import image
import inventory
import topology
from containers import LabError

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(topology.ROOT, "playbooks", "collections"))
sys.dont_write_bytecode = True
DEAD_PID = 23817


def say(text):
    """Progress, for the person at the keyboard."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def _layout():
    known = topology.nodes(topology.load())
    inventory.keys()
    return known


def _plain_files(node):
    """Files that make a container reachable, and its provider's firewall."""
    public = inventory.read(inventory.KEY + ".pub")
    result = [
        archive.File("/etc/ssh/ssh_host_ed25519_key", inventory.read(inventory.HOST_KEY), mode=0o600),
        archive.File("/etc/ssh/ssh_host_ed25519_key.pub", inventory.read(inventory.HOST_KEY + ".pub")),
        *(archive.File(f"{home}/.ssh/authorized_keys", public, mode=0o600, owner=user) for home, user in {"/root": "root", node.home: node.user}.items()),
    ]
    if node.inbound_blocked:
        rules = (
            "table inet carrier\ndelete table inet carrier\ntable inet carrier {\n  chain inbound {\n    type filter hook input priority 0; policy accept;\n"
            f'    iifname != "lo" tcp dport {topology.PORT}-{topology.PORT + 2} drop\n  }}\n}}\n'
        )
        if node.systemd:
            result.append(archive.File("/etc/nftables.conf", "#!/usr/sbin/nft -f\n" + rules, mode=0o755))
            result.append(archive.File("/etc/systemd/system/sysinit.target.wants/nftables.service", link="/lib/systemd/system/nftables.service"))
        else:
            result.append(archive.File("/etc/nftables.conf.lab", rules))
    return result


def _plain_folders(node):
    return [(f"{home}/.ssh", user, 0o700) for home, user in {"/root": "root", node.home: node.user}.items()]


def _await_ssh(nodes, limit=90):
    deadline = time.monotonic() + limit
    for node in nodes:
        while True:
            try:
                with socket.create_connection((node.public, 22), 2) as connection:
                    connection.settimeout(5)
                    if connection.recv(4) == b"SSH-":
                        break
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise LabError(f"{node.name} does not answer at {node.public}:22 after {limit} s; see: docker logs {containers.PREFIX}{node.name}")
            time.sleep(0.2)


def _locked_start(node, now):
    """Lays the node's stale lock, then lets its own start mechanism run into it."""
    pid = DEAD_PID
    if node.name == broken.RECYCLED_CLAIM:
        for _attempt in range(100):
            pid = int(containers.execute(node.name, "systemctl", "show", "-p", "MainPID", "--value", "thermal-log.service", check=False).strip() or 0)
            if pid:
                break
            time.sleep(0.2)
        else:
            raise LabError(f"{node.name}: thermal-log.service does not start")
    stream = archive.pack(broken.locks(node, pid, now), now)
    containers.docker("cp", "-", f"{containers.PREFIX}{node.name}:/", stdin=stream)
    containers.execute(node.name, "systemctl", "enable", "--quiet", "ringrift-p2p.service")
    containers.execute(node.name, "systemctl", "start", "--no-block", "ringrift-p2p.service")


def raise_nodes(names, wanted, only):
    """Creates the nodes of those names anew (all for none), in the state `wanted` (up, break, field), and waits until ssh answers."""
    if wanted not in ("up", "break", "field"):
        raise LabError(f"there is no state {wanted!r} of the lab")
    known = _layout()
    chosen = topology.choose(known, names)
    base = image.base(say)
    containers.create_networks(topology.PUBLIC, topology.OVERLAY)
    containers.remove({node.name for node in chosen})
    inventory.write(known, chosen, only, wanted == "field")
    flags = containers.init_flags()
    now = time.time()
    release = bundle.release(say) if wanted == "break" else None
    hosts_file = inventory.hosts_file()
    password, token = inventory.secret("election-password"), inventory.secret("cluster-token")
    images = {(node.path, node.user): base for node in chosen}
    if release:
        for path, user in images:
            images[path, user] = image.with_tree(base, f"{release.digest} {path} {user}", lambda path=path, user=user: bundle.tree(release, path, user), say)

    def make(node):
        files, folders = _plain_files(node), _plain_folders(node)
        if release:
            files += broken.files(node, known, release.launcher, hosts_file, password, token)
            folders += broken.folders(node)
        if wanted == "field":
            files += field.files(node, known, hosts_file)
            folders += field.folders(node)
        containers.create(node, images[node.path, node.user], flags, archive.pack(files, now, folders))

    containers.everywhere(make, chosen)
    # The voters first: the cluster that was there before the nodes that failed to join it.
    for part in ([node for node in chosen if node.voter], [node for node in chosen if not node.voter]):
        containers.everywhere(lambda node: containers.docker("start", containers.PREFIX + node.name), part)
    _await_ssh(chosen)
    if wanted != "up":
        containers.everywhere(lambda node: _locked_start(node, now), [node for node in chosen if node.name in topology.LOCKED])
    if wanted == "break" and len(chosen) == len(known):
        settle([node.name for node in chosen if node.name not in topology.OUTSIDE])
    say(f"{len(chosen)} nodes are up; inventory: {os.path.relpath(os.path.join(inventory.FOLDER, 'p2p.yml'))}")


def settle(inside):
    """Waits until exactly these nodes are connected, and has the report's leader lead them."""
    judged = wait(len(inside), 120)
    if judged["connected_ids"] != inside:
        raise LabError(f"other nodes are connected than the report tells of\n{show(judged)}")
    for _attempt in range(5):
        if judged["leader"] == topology.COORDINATOR:
            return
        probe(judged["leader"], "lead", topology.COORDINATOR, topology.PORT, broken.TOKEN_FILE)
        judged = wait(len(inside), 60)
    raise LabError(f"{topology.COORDINATOR} does not become the leader\n{show(judged)}")


def probe(name, *words):
    """What probe.py prints on the node, as text; empty where the node does not run."""
    with open(os.path.join(HERE, "probe.py"), "rb") as stream:
        return containers.execute(name, "python3", "-", *(str(word) for word in words), stdin=stream.read(), check=False)


def views(names, count, interval):
    """{node: View} of the named nodes, each asked on the node itself."""
    from ansible_collections.ringrift.p2p.plugins.module_utils._cluster_view import view_from_samples

    def ask(name):
        answer = probe(name, "samples", count, interval, topology.PORT, broken.TOKEN_FILE)
        try:
            samples = json.loads(answer)
        except ValueError:
            samples = [{"time": time.time(), "status": None, "health": None, "error": "the node does not run"}]
        return view_from_samples(name, samples)

    # Waiting costs nothing: every node is asked within the same window.
    return containers.everywhere(ask, names, workers=len(names))


def state(window=4.0):
    """The state of the cluster as _cluster_view judges it, over all of the lab's nodes and `window` seconds."""
    from ansible_collections.ringrift.p2p.plugins.module_utils._cluster_view import judge

    known = _layout()
    names = [name for name in known if name in containers.running()]
    if not names:
        raise LabError("no node is up")
    voters = [node.name for node in known.values() if node.voter]
    return judge(views(names, 3, window / 2), names, voters)


def show(judged):
    """A state, as text."""
    quorum = judged["quorum"]
    lines = [
        f"connected {judged['connected']} of {judged['expected']}   leader {judged['leader'] or 'none'}   "
        f"voters {quorum['alive']} of {quorum['voters'] if isinstance(quorum['voters'], int) else len(quorum['voters'])}, majority {quorum['majority']}",
    ]
    for name, node in judged["nodes"].items():
        lines.append(f"  {name:20} {'connected' if node['connected'] else 'answers, not connected' if node['answers'] else 'down':24} {node['role'] or ''}")
    return "\n".join(lines)


def wait(connected, limit, window=4.0):
    """The state once `connected` nodes are connected twice in a row and one leader is agreed on; raises LabError after `limit` seconds."""
    deadline = time.monotonic() + limit
    before = None
    while True:
        judged = state(window)
        settled = judged["connected"] == connected and judged["leader_agreed"]
        if settled and before:
            return judged
        before = settled
        if time.monotonic() > deadline:
            raise LabError(f"not {connected} connected nodes with one leader after {limit} s\n{show(judged)}")


def snapshot():
    """{node: {files, processes}} of what a run could have touched."""
    known = _layout()

    def ask(name):
        path = known[name].path
        # What a running orchestrator writes by itself.
        answer = probe(name, "digest", f"{path}/logs", f"{path}/data/p2p_embedded")
        if not answer:
            raise LabError("the node does not run")
        return json.loads(answer)

    return containers.everywhere(ask, containers.running(), workers=os.cpu_count() or 2)


def differences(before, after):
    """What differs between two snapshots, one line each. Pure."""
    lines = []
    for node in sorted({*before, *after}):
        for kind, singular in (("files", "file"), ("processes", "process")):
            old, new = before.get(node, {}).get(kind, {}), after.get(node, {}).get(kind, {})
            for key in sorted({*old, *new}):
                if old.get(key) != new.get(key):
                    word = "appeared" if key not in old else "vanished" if key not in new else "changed"
                    command = new.get(key, old.get(key)) if kind == "processes" else ""
                    lines.append(f"{node}: {singular} {word}: {key} {command}".rstrip())
    return lines


def _parser():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("host", help="make this machine ready")
    commands.add_parser("image", help="build the images")
    for name, text in (("up", "nodes with nothing on them"), ("break", "nodes in the seed document's state"),
                       ("field", "the same with the stand-in for the field's orchestrator")):
        command = commands.add_parser(name, help=text)
        command.add_argument("nodes", nargs="*", metavar="NODE")
        command.add_argument("--only", action="store_true", help="cut the hosts file down to these nodes")
    command = commands.add_parser("status", help="who is connected")
    command.add_argument("--wait", type=int, metavar="N", help="until N nodes are connected")
    command.add_argument("--timeout", type=float, default=120)
    command.add_argument("--window", type=float, default=4, help="seconds in which a heartbeat has to move; the stand-in's take longer")
    command.add_argument("--json", action="store_true")
    command = commands.add_parser("snapshot", help="digest of files and processes")
    command.add_argument("file")
    command.add_argument("--against", metavar="FILE", help="an earlier snapshot; exit 1 where anything differs")
    command = commands.add_parser("restart", help="restart nodes as a provider would")
    command.add_argument("nodes", nargs="*", metavar="NODE")
    command = commands.add_parser("down", help="remove nodes and networks")
    command.add_argument("--images", action="store_true", help="the images, too")
    return parser


def run(options):
    """Carries out one command and gives its exit code."""
    if options.command == "host":
        host.prepare(say)
    elif options.command == "image":
        image.base(say)
    elif options.command in ("up", "break", "field"):
        raise_nodes(options.nodes, options.command, options.only)
    elif options.command == "status":
        judged = wait(options.wait, options.timeout, options.window) if options.wait is not None else state(options.window)
        print(json.dumps(judged, indent=2) if options.json else show(judged))
    elif options.command == "snapshot":
        taken = snapshot()
        with open(options.file, "w", encoding="utf-8") as stream:
            json.dump(taken, stream, indent=1, sort_keys=True)
        if options.against:
            with open(options.against, encoding="utf-8") as stream:
                found = differences(json.load(stream), taken)
            print("\n".join(found) or "nothing differs")
            return 1 if found else 0
    elif options.command == "restart":
        known = _layout()
        chosen = [node for node in topology.choose(known, options.nodes) if node.name in containers.running()]
        containers.everywhere(lambda node: containers.docker("restart", "-t", "15", containers.PREFIX + node.name), chosen)
        _await_ssh(chosen)
    else:
        containers.remove()
        if options.images:
            image.remove()
    return 0


def main():
    """The command line."""
    try:
        if containers.INSTANCE not in ("", *"123456789"):
            raise LabError(f"RINGRIFT_LAB is {containers.INSTANCE!r}; it is a number from 1 to 9, or empty")
        return run(_parser().parse_args())
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except subprocess.TimeoutExpired as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
