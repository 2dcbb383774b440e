# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds everything on a node that starts an orchestrator or lends it its environment; reads, never runs."""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible_collections.ringrift.p2p.plugins.module_utils import _start_mechanisms as _text
from ansible_collections.ringrift.p2p.plugins.module_utils._node_files import Files

COORDINATOR = "RINGRIFT_IS_COORDINATOR"
UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
USER_UNIT_FOLDERS = ("~/.config/systemd/user", "/etc/systemd/user")
CRON_TABLES = ("/etc/crontab",)
CRON_FOLDERS = (("/etc/cron.d", True), ("/var/spool/cron/crontabs", False), ("/var/spool/cron", False))
SUPERVISORD_FILES = ("/etc/ringrift/supervisord.conf", "/etc/supervisor/supervisord.conf", "/etc/supervisord.conf", "/etc/supervisor/conf.d/*.conf")
ON_START_FILES = ("/root/onstart.sh", "/onstart.sh", "~/onstart.sh", "/workspace/onstart.sh", "/workspace/start.sh", "/start.sh", "/pre_start.sh",
                  "/post_start.sh", "/etc/rc.local", "/etc/ringrift/on-start")
# Read by the orchestrator or by units of the field, whether or not a mechanism found here names them.
ENVIRONMENT_FILES = ("/etc/ringrift/node.conf", "/etc/default/ringrift-p2p")
DOTENV_FILES = (".env.local", ".env")
# Not read by services; a person who looks for the variable wants to know all the same.
PROFILE_FILES = ("/etc/environment", "/etc/profile.d/*.sh", "~/.profile", "~/.bashrc", "~/.bash_profile")
SCRIPT_LIMIT = 256 * 1024
_SHELL_COMMAND = re.compile(r"^-[a-z]*c$")


class Found:
    """What was found. ``mechanisms`` are unmasked here; ``_node_probe`` masks them before they leave the node."""

    def __init__(self) -> None:
        self.mechanisms: list[dict[str, t.Any]] = []
        self.invocations: list[tuple[dict[str, t.Any], _text.Invocation]] = []
        self.coordinator: list[dict[str, t.Any]] = []
        self.updating: list[dict[str, t.Any]] = []
        self.programs: list[dict[str, t.Any]] = []
        self.sockets: dict[str, dict[str, t.Any]] = {}
        self.errors: list[str] = []

    def add(self, kind: str, location: str, name: str | None, command: str | None, environment: t.Mapping[str, str], active: bool,
            invocation: _text.Invocation | None = None, **details: t.Any) -> dict[str, t.Any]:
        """Notes one mechanism; ``command`` as it stands in the file, ``arguments`` the orchestrator's own where they can be told."""
        mechanism = dict({
            "kind": kind, "location": location, "name": name, "command": command, "environment": dict(environment), "active": active,
            "arguments": list(invocation.arguments) if invocation else None,
            "interpreter": invocation.interpreter if invocation else None,
            "directory": invocation.directory if invocation else None,
        }, **details)
        self.mechanisms.append(mechanism)
        if invocation:
            self.invocations.append((mechanism, invocation))
        return mechanism

    def note_coordinator(self, location: str, items: t.Iterable[_text.Assignment], scope: str | None, active: bool) -> None:
        """Notes each place that sets the coordinator switch; places of one scope stand in the order in which the later one wins."""
        for item in items:
            if item.name == COORDINATOR:
                self.coordinator.append({"location": location, "line": item.line, "value": item.value, "scope": scope, "active": active and item.exported})

    def note_updates(self, location: str, line: int | None, command: str) -> None:
        """Notes a command that moves the source on."""
        entry = {"location": location, "line": line, "command": command}
        if _text.updates_source(command) and entry not in self.updating:
            self.updating.append(entry)


def judge_coordinator(entries: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """``[{location, line, value, effective}]``: which of the places make, or leave, the node a coordinator at its next start. Pure.

    A mechanism's own environment wins over the ``.env`` files (scope ``dotenv``), which reach every mechanism.
    """
    final: dict[str, bool] = {}
    for entry in entries:
        if entry["scope"] and entry["active"]:
            final[entry["scope"]] = _text.is_true(entry["value"])
    mechanisms = [value for scope, value in final.items() if scope not in ("dotenv", "process")]
    overruled = bool(mechanisms) and not any(mechanisms)
    judged: dict[tuple[str, int | None], dict[str, t.Any]] = {}
    for entry in entries:
        effective = bool(entry["active"] and entry["scope"] and _text.is_true(entry["value"]) and final.get(entry["scope"]))
        if entry["scope"] == "dotenv" and overruled:
            effective = False
        # One place can reach the orchestrator in two ways, such as a .env.local that a unit reads as well.
        known = judged.setdefault((entry["location"], entry["line"]), {"location": entry["location"], "line": entry["line"], "value": entry["value"],
                                                                       "effective": False})
        known["effective"] = known["effective"] or effective
    return list(judged.values())


def resolve(files: Files, found: Found, argv: t.Sequence[str], environment: t.Mapping[str, str], directory: str | None, location: str,
            scope: str | None = None, active: bool = True, depth: int = 3, output: str | None = None) -> _text.Invocation | None:
    """The start of an orchestrator behind a command line, through the scripts it calls. Notes updates and switches on the way."""
    for index, word in enumerate(argv[:-1]) if depth else ():
        # `bash -c '…'`, `bash -lc '…'`: a script of its own, with all that a script can do.
        if _SHELL_COMMAND.match(word) and index and argv[index - 1].rpartition("/")[2] in _text.SHELLS:
            return _from_script(files, found, argv[index + 1], environment, directory, location, scope, active, depth - 1, None, argv[index + 3:])
    invocation = _text.find_invocation(argv, environment, directory)
    if invocation:
        folder = invocation.directory and files.expand(invocation.directory)
        return invocation._replace(output=invocation.output or output, directory=folder)
    for word in argv[:8] if depth else ():
        base = word.rpartition("/")[2]
        if base in ("pgrep", "pkill", "grep", "tail", "cat"):
            return None
        if "/" not in word and not base.endswith(".sh"):
            continue
        path = files.expand(_text.join_path(directory, word))
        if not path.startswith("/"):
            continue
        if not base.endswith(".sh") and files.bytes(path, 2) != b"#!":
            continue
        script = files.text(path, SCRIPT_LIMIT)
        if script is None or "python" in script.partition("\n")[0]:
            continue
        invocation = _from_script(files, found, script, environment, directory, path, scope, active, depth - 1, path, argv[argv.index(word) + 1:])
        if invocation:
            return invocation
    return None


def _from_script(files: Files, found: Found, script_text: str, environment: t.Mapping[str, str], directory: str | None, location: str,
                 scope: str | None, active: bool, depth: int, path: str | None, arguments: t.Sequence[str] = ()) -> _text.Invocation | None:
    variables = dict(environment)
    if files.home:
        variables.setdefault("HOME", files.home)

    def test(operator: str, name: str) -> bool:
        return {"-x": files.is_executable, "-f": files.is_file, "-d": files.is_directory}.get(operator, files.exists)(name)

    script = _text.parse_script(script_text, variables, directory, arguments, test)
    sourced: dict[str, str] = {}
    for _line, name in script.sourced:
        name = files.expand(name)
        if name.startswith("/") and not name.rpartition("/")[2].startswith("activate") and not name.endswith("conda.sh"):
            inner = _text.parse_dotenv(files.text(name, SCRIPT_LIMIT) or "")
            found.note_coordinator(name, (item._replace(exported=True) for item in inner), scope, active)
            sourced.update(_text.as_environment(inner))
    if sourced:
        script = _text.parse_script(script_text, dict(variables, **sourced), directory, arguments, test)
    if path:
        found.note_coordinator(path, script.assignments, scope, active)
    result = None
    for command in script.commands:
        shown = shlex.join(command.argv)
        if path:
            found.note_updates(path, command.line, shown)
        if result is None:
            result = resolve(files, found, command.argv, _text.joined(environment, sourced, command.environment), command.directory, location, scope, active,
                             depth, command.output)
    return result


def read(files: Files, service: str, path: str | None, hostname: str, cron_runs: bool, systemd_runs: bool,
         supervisord: t.Mapping[str, int], units_active: t.Mapping[str, bool] | None = None) -> Found:
    """Reads every mechanism of the node.

    ``service``: name of ours. ``path``: ``ringrift_path``, absolute. ``supervisord``: configuration file → pid of the daemon that runs with it.
    ``units_active``: unit → whether systemd runs or would start it; without it the links of ``systemctl enable`` decide.
    """
    found = Found()
    _read_units(files, found, service, hostname, systemd_runs, units_active or {})
    _read_supervisord(files, found, service, supervisord)
    _read_cron(files, found, cron_runs)
    _read_on_start(files, found, systemd_runs)
    _read_environment(files, found, path)
    return found


def unit_names(files: Files, service: str) -> list[str]:
    """The units worth asking systemd about: ours, and those that name the orchestrator or RingRift."""
    # systemd refuses to be asked about a template.
    return sorted({name for name, _path, _content in _units(files, service) if "@." not in name} | {service + ".service"})


def _units(files: Files, service: str) -> t.Iterator[tuple[str, str, str]]:
    seen = set()
    for folder in UNIT_FOLDERS + USER_UNIT_FOLDERS:
        for name in files.names(folder):
            if not name.endswith(".service") or name in seen:
                continue
            named = "ringrift" in name or "p2p" in name
            # Distributions ship hundreds of units; those of an orchestrator that lie there say so in their name.
            if not named and folder not in ("/etc/systemd/system", "/run/systemd/system") + USER_UNIT_FOLDERS:
                continue
            location = files.expand(folder) + "/" + name
            text = files.text(location, SCRIPT_LIMIT)
            if text is None:
                continue
            if named or _text.MODULE_NAME in text or "ringrift" in text:
                seen.add(name)
                yield name, location, text


def _drop_ins(files: Files, name: str) -> list[tuple[str, str]]:
    stem = name[:-len(".service")]
    parts = stem.split("-")
    folders = ["service.d"] + ["-".join(parts[:count]) + "-.service.d" for count in range(1, len(parts))] + [name + ".d"]
    chosen: dict[str, str] = {}
    for unit_folder in reversed(UNIT_FOLDERS):
        for folder in folders:
            for entry in files.names(unit_folder + "/" + folder):
                if entry.endswith(".conf"):
                    chosen[entry] = unit_folder + "/" + folder + "/" + entry
    return [(path, files.text(path, SCRIPT_LIMIT) or "") for _entry, path in sorted(chosen.items())]


def _enabled(files: Files, name: str) -> bool:
    return any(files.glob(folder + "/*.%s/" % suffix + name) for folder in UNIT_FOLDERS[:2] for suffix in ("wants", "requires"))


def _read_units(files: Files, found: Found, service: str, hostname: str, systemd_runs: bool, units_active: t.Mapping[str, bool]) -> None:
    for name, location, text in _units(files, service):
        drop_ins = _drop_ins(files, name)
        directives = _text.parse_unit(text, location)
        for path, content in drop_ins:
            directives += _text.parse_unit(content, path)
        merged = _text.merge_unit(directives)
        active = systemd_runs and units_active.get(name, _enabled(files, name))
        specifiers = {"n": name, "N": name[:-8], "p": name[:-8], "H": hostname, "h": "/root", "u": "root", "t": "/run", "S": "/var/lib", "i": ""}
        environment = _text.as_environment(item for _location, item in merged["environment"])
        for _location, item in merged["environment"]:
            found.note_coordinator(_location, [item], name, active)
        file_environments = []
        for _location, _line, path, _optional in merged["environment_files"]:
            for path_found in (files.glob(path) if "*" in path else [path]):
                text_found = files.text(path_found, SCRIPT_LIMIT)
                items = _text.parse_environment_file(text_found or "")
                found.note_coordinator(path_found, items, name, active)
                environment.update(_text.as_environment(items))
                file_environments.append((path_found, _text.as_environment(items), text_found is not None))
        home = files.home_of(merged["user"]) if merged["user"] else None
        start = next(iter(merged["commands"].get("ExecStart", [])), None)
        invocation = None
        for key, commands in merged["commands"].items():
            for command in commands:
                argv = _text.expand_unit_words(_text.exec_words(command.value), environment, specifiers)
                found.note_updates(command.location, command.line, shlex.join(argv))
                variables = dict(environment, HOME=home) if home else environment
                result = resolve(files, found, argv, variables, merged["working_directory"], command.location, name, active)
                if key == "ExecStart" and invocation is None:
                    invocation = result
        if invocation is None and name != service + ".service":
            continue
        shown = dict(environment)
        if invocation:
            shown.update(_without_home(invocation.environment))
        found.add("unit", location, name, start.value if start else None, shown, active, invocation,
                  user=merged["user"], restart=merged["restart"], watchdog=merged["watchdog"], notify=merged["notify"], log_file=merged["log_file"])
        for path, _content in drop_ins:
            own = _text.merge_unit(_text.parse_unit(_content, path))
            commands = own["commands"].get("ExecStart", [])
            found.add("drop_in", path, name, commands[-1].value if commands else None,
                      _text.as_environment(item for _location, item in own["environment"]), active)
        for path, values, exists in file_environments:
            found.add("environment_file", path, name, None, values, active and exists)


def _read_supervisord(files: Files, found: Found, service: str, running: t.Mapping[str, int]) -> None:
    seen: set[str] = set()
    for start in list(running) + [path for pattern in SUPERVISORD_FILES for path in (files.glob(pattern) if "*" in pattern else [pattern])]:
        _read_supervisord_file(files, found, service, start, start in running, start, seen)


def _read_supervisord_file(files: Files, found: Found, service: str, path: str, active: bool, top: str, seen: set[str]) -> None:
    path = files.expand(path)
    text = files.text(path, SCRIPT_LIMIT) if path not in seen else None
    seen.add(path)
    if text is None:
        return
    try:
        parsed = _text.parse_supervisord(text, path)
    except ValueError as exc:
        found.errors.append(str(exc))
        return
    if parsed["socket"]["file"]:
        found.sockets[top] = dict(parsed["socket"], file=parsed["socket"]["file"].replace("%(here)s", path.rpartition("/")[0]))
    for program in parsed["programs"]:
        scope = "%s:%s" % (path, program["name"])
        runs = active and program["autostart"]
        found.note_coordinator(path, (_text.Assignment(program["line"], name, value) for name, value in program["environment"].items()), scope, runs)
        try:
            argv = shlex.split(program["command"])
        except ValueError:
            argv = program["command"].split()
        invocation = resolve(files, found, argv, program["environment"], program["directory"], path, scope, runs)
        if invocation is None and program["name"] != service:
            continue
        environment = dict(program["environment"], **(invocation.environment if invocation else {}))
        found.programs.append(dict(program, configuration=top, active=runs))
        found.add("supervisord", path, program["name"], program["command"], environment, runs, invocation, line=program["line"])
    for pattern in parsed["includes"]:
        if not pattern.startswith("/"):
            pattern = path.rpartition("/")[0] + "/" + pattern
        for included in files.glob(pattern):
            _read_supervisord_file(files, found, service, included, active, top, seen)


def _read_cron(files: Files, found: Found, cron_runs: bool) -> None:
    tables = [(path, True) for path in CRON_TABLES]
    for folder, with_user in CRON_FOLDERS:
        tables += [(folder + "/" + name, with_user) for name in files.names(folder) if not name.startswith(".")]
    for path, with_user in tables:
        text = files.text(path)
        if text is None:
            continue
        for job in _text.parse_crontab(text, with_user):
            user = job["user"] or path.rpartition("/")[2]
            home = files.home_of(user)
            environment = dict(job["environment"])
            if home:
                environment.setdefault("HOME", home)
            scope = "%s:%d" % (path, job["line"])
            found.note_updates(path, job["line"], job["command"])
            before = len(found.coordinator)
            invocation = _from_script(files, found, job["command"], environment, environment.get("HOME"), path, scope, cron_runs, 3, None)
            script = _text.parse_script(job["command"], environment)
            items = [_text.Assignment(job["line"], name, value) for name, value in job["environment"].items()]
            items += [item._replace(line=job["line"]) for item in script.assignments]
            if invocation is None:
                # A job that starts no orchestrator lends it no environment either.
                del found.coordinator[before:]
                continue
            found.note_coordinator(path, items, scope, cron_runs)
            found.add("cron", path, job["schedule"], job["command"], dict(job["environment"], **_without_home(invocation.environment)), cron_runs,
                      invocation, line=job["line"], user=user)


def _without_home(environment: t.Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name != "HOME"}


def _read_on_start(files: Files, found: Found, systemd_runs: bool) -> None:
    seen = set()
    for path in ON_START_FILES:
        path = files.expand(path)
        if path in seen:
            continue
        seen.add(path)
        text = files.text(path, SCRIPT_LIMIT)
        if text is None:
            continue
        active = not systemd_runs or (path == "/etc/rc.local" and files.is_executable(path))
        before = len(found.coordinator)
        invocation = _from_script(files, found, text, {}, files.home, path, path, active, 3, path)
        if invocation is None:
            for entry in found.coordinator[before:]:
                entry["active"] = False
            continue
        found.add("on_start", path, path.rpartition("/")[2], " ".join([invocation.interpreter or "", invocation.script] + invocation.arguments).strip(),
                  _without_home(invocation.environment), active, invocation)


def _read_environment(files: Files, found: Found, path: str | None) -> None:
    known = {(item["kind"], item["location"]) for item in found.mechanisms}
    for name in ENVIRONMENT_FILES:
        text = files.text(name, SCRIPT_LIMIT)
        if text is None or ("environment_file", name) in known:
            continue
        items = _text.parse_environment_file(text)
        if not any(entry["location"] == name for entry in found.coordinator):
            found.note_coordinator(name, items, None, False)
        found.add("environment_file", name, None, None, _text.as_environment(items), False)
    folders = [path, path.rpartition("/")[0]] if path and path.rstrip("/").endswith("/ai-service") else [path] if path else []
    for folder in folders:
        for name in DOTENV_FILES:
            location = "%s/%s" % (folder, name)
            text = files.text(location, SCRIPT_LIMIT)
            if text is None:
                continue
            items = [item._replace(exported=True) for item in _text.parse_dotenv(text)]
            found.note_coordinator(location, items, "dotenv", True)
            if ("environment_file", location) in known:
                continue
            found.add("environment_file", location, None, None, _text.as_environment(items), True)
    for pattern in PROFILE_FILES:
        for location in files.glob(pattern) if "*" in pattern else [files.expand(pattern)]:
            text = files.text(location, SCRIPT_LIMIT)
            if text is not None and COORDINATOR in text:
                found.note_coordinator(location, _text.parse_dotenv(text), None, False)
