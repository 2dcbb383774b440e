# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's files should be: one generation, its identity, and what of the node's own start it takes over or puts out of force. Pure."""

from __future__ import annotations

import hashlib
import json
import typing as t

Mapping = t.Mapping[str, t.Any]

UNIT_FOLDER = "/etc/systemd/system/"
# The role writes these itself, for each node.
MANAGED_ENVIRONMENT = frozenset((
    "RINGRIFT_NODE_ID", "RINGRIFT_P2P_GENERATION", "RINGRIFT_P2P_BOOTSTRAP_SEEDS", "RINGRIFT_P2P_SEEDS", "RINGRIFT_P2P_PEERS", "P2P_SEEDS", "P2P_PEERS",
    "PEER_LIST", "COORDINATOR_URL", "RINGRIFT_PREFER_PUBLIC_IP", "RINGRIFT_IS_COORDINATOR", "RINGRIFT_P2P_ELECTION_PASSWORD_FILE",
))
# Arguments of the operator's that outlive a change of the start mechanism; what the role plans itself, and what was only there to get
# past a lock, does not. The value says how many words follow.
KEPT_ARGUMENTS = {"--host": 1, "--advertise-port": 1, "--storage-type": 1, "--require-auth": 0, "--training-only": 0}
TAKEN_PREFIXES = ("RINGRIFT_", "P2P_")
MASKED = "********"
# Lines here belong to cron or to a unit, which are replaced or disabled as a whole.
NOT_EDITED = ("/etc/systemd/", "/run/", "/usr/lib/", "/lib/", "/etc/cron", "/var/spool/cron", "/proc/")


def adopted_start(observation: Mapping) -> dict[str, t.Any]:
    """What of the node's own start is the operator's and must outlive the change of mechanism.

    Returns C({environment {name: value}, arguments [str], pythonpath (str|None), unreadable [names]}). C(unreadable): secrets that
    stand in the start itself, so that they never leave the node and can't be carried over from here.
    """
    mechanisms = [item for item in observation.get("start_mechanisms") or [] if item.get("active")]
    running = observation.get("running") or {}
    if not running.get("pid"):
        running = {}
    starting = [item for item in mechanisms if item.get("arguments") is not None]
    environment: dict[str, str] = {}
    for source in [item.get("environment") or {} for item in starting] + [running.get("environment") or {}]:
        environment.update({str(name): str(value) for name, value in source.items()})
    arguments = list(running.get("argv") or []) or list((starting[0].get("arguments") if starting else None) or [])
    taken = {
        name: value for name, value in sorted(environment.items())
        if name.startswith(TAKEN_PREFIXES) and name not in MANAGED_ENVIRONMENT and value != MASKED
    }
    return {
        "environment": taken, "arguments": kept_arguments(arguments), "pythonpath": environment.get("PYTHONPATH"),
        "unreadable": sorted(name for name, value in environment.items() if name.startswith(TAKEN_PREFIXES) and value == MASKED),
    }


def kept_arguments(argv: t.Sequence[str]) -> list[str]:
    """The operator's own arguments out of a command line of the orchestrator."""
    kept: list[str] = []
    index = 0
    while index < len(argv):
        name, separator, _value = str(argv[index]).partition("=")
        following = KEPT_ARGUMENTS.get(name)
        if following is not None:
            end = index + 1 + (0 if separator else following)
            kept += [str(word) for word in argv[index:end]]
            index = end
        else:
            index += 1
    return kept


def replaced(observation: Mapping, service: str, hooks: t.Sequence[str], hook: str, own: t.Container[str], coordinator: bool) -> dict[str, t.Any]:
    """The edits, links and removals that leave our start mechanism as the only one.

    C(hooks) are scripts that the container runs at its start, C(hook) the lines that start ours from there. Cron lines and managers are
    not among them: those are rivals, held off for the run, and disabled only when the operator says so. Returns C({files [entries of
    node_config], remove [paths]}).
    """
    edits: dict[str, dict[str, t.Any]] = {}
    links: list[dict[str, t.Any]] = []
    remove: list[str] = []
    for path in hooks:
        edits[path] = {"path": path, "block": hook, "mode": "0755", "disable_lines": [], "disable_as": "command"}
    for item in observation.get("start_mechanisms") or []:
        location, kind, name = str(item.get("location") or ""), item.get("kind"), str(item.get("name") or "")
        if location in own:
            continue
        if kind == "drop_in" and name == service + ".service" and location.startswith(UNIT_FOLDER):
            # A drop-in that sets neither is the operator's tuning and stays.
            if item.get("command") or item.get("environment"):
                remove.append(location)
        elif kind == "unit" and name != service + ".service" and item.get("active"):
            links.append({"path": UNIT_FOLDER + name, "link": "/dev/null"})
        elif kind == "on_start" and item.get("active"):
            edit = edits.setdefault(location, {"path": location, "disable_lines": [], "disable_as": "command"})
            edit["disable_lines"] = sorted(set(edit["disable_lines"]) | {r"p2p_orchestrator"})
    if not coordinator:
        for item in observation.get("coordinator_environment") or []:
            location = str(item.get("location") or "")
            if not location.startswith("/") or location.startswith(NOT_EDITED) or location in own or location in remove or not _is_true(item.get("value")):
                continue
            edit = edits.setdefault(location, {"path": location, "disable_lines": [], "disable_as": "comment"})
            edit["disable_lines"] = sorted(set(edit["disable_lines"]) | {r"^\s*(export\s+)?RINGRIFT_IS_COORDINATOR="})
    return {"files": [edits[path] for path in sorted(edits)] + sorted(_once(links), key=lambda item: item["path"]), "remove": sorted(set(remove))}


def _once(entries: t.Iterable[Mapping]) -> list[dict[str, t.Any]]:
    return list({str(entry["path"]): dict(entry) for entry in entries}.values())


def _is_true(value: t.Any) -> bool:
    return str(value).strip().lower() in ("1", "true", "yes", "on")


def digest(text: str) -> str:
    """The sha256 of a text as it lands in a file, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def managed_files(settings: Mapping) -> dict[str, t.Any]:
    """One generation, ready for node_config and for the diagnosis.

    ``settings``: ``files`` [{path, content, mode, owner}] (rendered), ``environment_file`` (path of the one that gets the generation's
    identity as its last line), ``apart`` [{path, content, …}] (files that don't decide over a restart), ``secrets`` [{path, secret, …}],
    ``links`` [{path, link}], ``restart_digest`` (what else decides over a restart), ``release`` (str|None), ``manifest`` {path, content} | None,
    ``own`` extras for :func:`replaced`: ``observation``, ``service``, ``hooks``, ``hook``, ``coordinator``.

    Returns ``{generation, files, remove, target {files {path: sha256}, generation, release}}``; secrets are left out of ``files``.
    """
    identity = {
        "files": [[item["path"], item["content"], item.get("mode"), item.get("owner")] for item in settings["files"]],
        "secrets": [[item["path"], digest(item["secret"])] for item in settings.get("secrets") or []],
        "links": [[item["path"], item["link"]] for item in settings.get("links") or []],
        "release": settings.get("release"), "restart": settings.get("restart_digest"),
    }
    generation = digest(json.dumps(identity, sort_keys=True))[:16]
    files = []
    for item in settings["files"]:
        content = item["content"]
        if item["path"] == settings["environment_file"]:
            content += "RINGRIFT_P2P_GENERATION=%s\n" % generation
        files.append(dict(item, content=content))
    files += [dict(item) for item in settings.get("apart") or []]
    wanted = {item["path"]: digest(item["content"]) for item in files}
    wanted.update({item["path"]: digest(item["secret"]) for item in settings.get("secrets") or []})
    observed = (settings.get("observation") or {}).get("hosts_file") or {}
    if observed.get("path") in wanted and observed.get("sha256") == wanted[observed["path"]]:
        # Already compared here: its place depends on the node, so the observation need not have been asked for it by path.
        del wanted[observed["path"]]
    own = set(item["path"] for item in files) | {item["path"] for item in settings.get("links") or []}
    out = replaced(settings.get("observation") or {}, settings["service"], settings.get("hooks") or [], settings.get("hook") or "", own,
                   bool(settings.get("coordinator")))
    manifest = settings.get("manifest")
    if manifest and manifest["path"] in ((settings.get("observation") or {}).get("files") or {}):
        # It belongs to the release, not to the files written here, and is compared only where it was looked at.
        wanted[manifest["path"]] = digest(manifest["content"])
    return {
        "generation": generation, "files": files + [dict(item) for item in settings.get("links") or []] + out["files"], "remove": out["remove"],
        "target": {"files": wanted, "generation": generation, "release": settings.get("release")},
    }
