# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers of everything that can start an orchestrator: text in, data out.

Units with their drop-ins, environment files, cron tables, supervisord configurations, shell scripts and command lines.
Nothing here touches the system; ``_start_reader`` finds the files and hands their text over.
"""

from __future__ import annotations

import configparser
import re
import typing as t

SCRIPT_NAME = "p2p_orchestrator.py"
MODULE_NAME = "p2p_orchestrator"
DEFAULT_PORT = 8770

# The names under which scripts and units of the field pass seeds on.
SEED_VARIABLES = (
    "RINGRIFT_P2P_BOOTSTRAP_SEEDS", "RINGRIFT_P2P_SEEDS", "RINGRIFT_P2P_PEERS",
    "P2P_SEEDS", "P2P_PEERS", "PEER_LIST", "COORDINATOR_URL",
)

# Where this is set, the orchestrator of the field moves its own checkout on.
UPDATE_VARIABLE = "RINGRIFT_P2P_AUTO_UPDATE"

_SECRET_NAME = re.compile(r"(TOKEN|PASSWORD|PASSWD|SECRET|KEY)", re.IGNORECASE)
_NOT_SECRET_NAME = re.compile(r"(_FILE|_PATH|_DIR)$", re.IGNORECASE)
_SECRET_ASSIGNMENT = re.compile(r"\b([A-Za-z_][A-Za-z0-9_]*)=(\"[^\"]*\"|'[^']*'|[^\s\"']+)")
_SECRET_OPTION = re.compile(r"(--auth-token)([= ]+)(\"[^\"]*\"|'[^']*'|\S+)")
_BEARER = re.compile(r"(Bearer\s+|X-RingRift-Auth:\s*)\S+", re.IGNORECASE)
MASK = "********"

_INTERPRETER = re.compile(r"^(python|pypy)[0-9.]*$")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_ASSIGNMENT = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)=(.*)$", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*|[0-9])(?::?-([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*|[0-9]))")
_HOME = re.compile(r"^((?:[A-Za-z_][A-Za-z0-9_]*=)?)~(?=/|$)")
_TRUE = ("1", "true", "yes", "on")


class Assignment(t.NamedTuple):
    """One ``NAME=value`` as it stands in a file: ``line`` is 1-based, ``exported`` says whether a shell would pass it on."""

    line: int
    name: str
    value: str
    exported: bool = True


def is_true(value: t.Any) -> bool:
    """Whether the orchestrator takes this value of a switch for on."""
    return str(value).strip().lower() in _TRUE


# --- secrets --------------------------------------------------------------------------------------------------------


def is_secret_name(name: str) -> bool:
    """Whether the value under this name must never leave the node. A path to a secret is not one."""
    return bool(_SECRET_NAME.search(name)) and not _NOT_SECRET_NAME.search(name)


def mask_environment(environment: t.Mapping[str, str]) -> dict[str, str]:
    """The same environment with the values of secrets replaced."""
    return {name: MASK if value and is_secret_name(name) else value for name, value in environment.items()}


def mask_text(text: str) -> str:
    """A command line or log line without the secrets in it."""
    text = _SECRET_OPTION.sub(lambda match: match.group(1) + match.group(2) + MASK, text)
    text = _BEARER.sub(lambda match: match.group(1) + MASK, text)
    return _SECRET_ASSIGNMENT.sub(lambda match: match.group(1) + "=" + MASK if is_secret_name(match.group(1)) else match.group(0), text)


def mask_argv(argv: t.Sequence[str]) -> list[str]:
    """The same command line with secret arguments replaced, word by word."""
    masked: list[str] = []
    for index, word in enumerate(argv):
        if index and argv[index - 1] == "--auth-token":
            masked.append(MASK)
        else:
            masked.append(mask_text(word))
    return masked


def secret_values(environment: t.Mapping[str, str], argv: t.Sequence[str] = ()) -> set[str]:
    """The secrets themselves, so that they can be taken out of whatever text is reported."""
    found = {value for name, value in environment.items() if is_secret_name(name)}
    for index, word in enumerate(argv):
        if word.startswith("--auth-token="):
            found.add(word.partition("=")[2])
        elif index and argv[index - 1] == "--auth-token":
            found.add(word)
    # Short values and paths would take ordinary words out of the text.
    return {value for value in found if len(value) >= 8 and not value.startswith(("/", "~"))}


# --- environment files ----------------------------------------------------------------------------------------------


def parse_environment_file(text: str) -> list[Assignment]:
    """What ``EnvironmentFile=`` makes of a file: quotes, escapes and continued lines as systemd reads them."""
    return _assignments(text, comments="#;", shell=False)


def parse_dotenv(text: str) -> list[Assignment]:
    """What a ``.env.local`` or ``/etc/default`` file holds: ``export`` is allowed, a blank and ``#`` begin a comment."""
    return _assignments(text, comments="#", shell=True)


def _assignments(text: str, comments: str, shell: bool) -> list[Assignment]:
    found = []
    position, line, size = 0, 1, len(text)
    while position < size:
        start_line = line
        # One logical line: up to a newline outside quotes that no backslash hides.
        name_end = position
        while name_end < size and text[name_end] not in "=\n":
            name_end += 1
        head = text[position:name_end].strip()
        if name_end >= size or text[name_end] == "\n" or head[:1] in tuple(comments):
            end = text.find("\n", position)
            position = size if end < 0 else end + 1
            line += 1
            continue
        value, position, newlines = _value(text, name_end + 1, shell)
        line += newlines
        exported = True
        if shell and head.startswith("export "):
            head = head[7:].strip()
        elif shell:
            exported = False
        if _NAME.match(head):
            found.append(Assignment(start_line, head, value, exported))
    return found


def _value(text: str, position: int, shell: bool) -> tuple[str, int, int]:
    """The value that starts at ``position``, where the next line starts, and how many line ends were passed."""
    pieces: list[str] = []
    quote, newlines, size = "", 0, len(text)
    keep = 0
    while position < size and text[position] in " \t":
        position += 1
    while position < size:
        character = text[position]
        if quote:
            if character == quote:
                quote = ""
                keep = len(pieces)
            elif character == "\\" and quote == '"' and position + 1 < size:
                following = text[position + 1]
                if following == "\n":
                    newlines += 1
                else:
                    pieces.append(following if following in '"\\`$' else character + following)
                position += 1
            else:
                newlines += character == "\n"
                pieces.append(character)
        elif character == "\n":
            newlines += 1
            position += 1
            break
        elif character in "'\"":
            quote = character
        elif character == "\\" and position + 1 < size:
            following = text[position + 1]
            if following == "\n":
                newlines += 1
            else:
                pieces.append(following)
                keep = len(pieces)
            position += 1
        elif shell and character == "#" and (not pieces or pieces[-1] in (" ", "\t")):
            end = text.find("\n", position)
            position = size if end < 0 else end
            continue
        else:
            pieces.append(character)
            if character not in " \t\r":
                keep = len(pieces)
        position += 1
    if quote:
        keep = len(pieces)
    return "".join(pieces[:keep]), position, newlines


def joined(*environments: t.Mapping[str, str]) -> dict[str, str]:
    """Several environments as one; the later one wins."""
    result: dict[str, str] = {}
    for environment in environments:
        result.update(environment)
    return result


def as_environment(assignments: t.Iterable[Assignment]) -> dict[str, str]:
    """Name to value; the last assignment of a name counts."""
    return {item.name: item.value for item in assignments}


# --- systemd units --------------------------------------------------------------------------------------------------


class Directive(t.NamedTuple):
    """One ``Key=value`` of a unit or drop-in with its place."""

    location: str
    line: int
    section: str
    key: str
    value: str


def parse_unit(text: str, location: str) -> list[Directive]:
    """The directives of one unit file or drop-in, in order. Comments inside a continued line are left out, as systemd does."""
    found: list[Directive] = []
    section, pending, start = "", "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        stripped = raw.strip()
        if stripped[:1] in ("#", ";"):
            continue
        if pending:
            stripped = pending + " " + stripped
        else:
            start = number
        if stripped.endswith("\\"):
            pending = stripped[:-1].rstrip()
            continue
        pending = ""
        if stripped.startswith("[") and stripped.endswith("]"):
            section = stripped[1:-1]
        elif "=" in stripped:
            key, _separator, value = stripped.partition("=")
            found.append(Directive(location, start, section, key.strip(), value.strip()))
    return found


def unit_words(value: str) -> list[str]:
    """Splits a directive's value into words as systemd does: quotes around whole words, C escapes."""
    words: list[str] = []
    current: list[str] = []
    begun = False
    quote, position = "", 0
    escapes = {"n": "\n", "t": "\t", "s": " ", "r": "\r", "\\": "\\", "'": "'", '"': '"', " ": " "}
    while position < len(value):
        character = value[position]
        if not quote and character in " \t":
            if begun:
                words.append("".join(current))
                current, begun = [], False
        elif character == "\\" and position + 1 < len(value):
            position += 1
            # What is no escape to systemd keeps its backslash.
            current.append(escapes.get(value[position], "\\" + value[position]))
            begun = True
        elif quote and character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote, begun = character, True
        else:
            current.append(character)
            begun = True
        position += 1
    if begun:
        words.append("".join(current))
    return words


def expand_unit_words(words: t.Sequence[str], environment: t.Mapping[str, str], specifiers: t.Mapping[str, str]) -> list[str]:
    """A command line as systemd starts it: ``%`` specifiers, ``${NAME}`` in place, ``$NAME`` as a word of its own split at blanks."""
    expanded: list[str] = []
    for word in words:
        word = re.sub(r"%(.)", lambda match: "%" if match.group(1) == "%" else specifiers.get(match.group(1), match.group(0)), word)
        lone = re.match(r"^\$([A-Za-z_][A-Za-z0-9_]*)$", word)
        if lone:
            expanded.extend(environment.get(lone.group(1), "").split())
            continue
        word = re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", lambda match: environment.get(match.group(1), ""), word)
        expanded.append(word.replace("$$", "$"))
    return expanded


def merge_unit(directives: t.Iterable[Directive]) -> dict[str, t.Any]:
    """What a unit and its drop-ins amount to, with an empty assignment clearing a list as systemd has it.

    Returns ``{commands {ExecStart: [Directive], ExecStartPre: […], …}, environment [(location, Assignment)],
    environment_files [(location, line, path, optional)], log_file, working_directory, user, type, restart, watchdog (bool), notify (bool)}``.
    """
    commands: dict[str, list[Directive]] = {}
    environment: list[tuple[str, Assignment]] = []
    files: list[tuple[str, int, str, bool]] = []
    single: dict[str, str] = {}
    for item in directives:
        if item.section != "Service":
            continue
        if item.key.startswith("Exec"):
            entries = commands.setdefault(item.key, [])
            if item.value:
                entries.append(item)
            else:
                entries.clear()
        elif item.key == "Environment":
            if not item.value:
                environment.clear()
            for word in unit_words(item.value):
                match = _ASSIGNMENT.match(word)
                if match:
                    environment.append((item.location, Assignment(item.line, match.group(1), match.group(2))))
        elif item.key == "EnvironmentFile":
            if not item.value:
                files.clear()
            else:
                path = unit_words(item.value)[0] if item.value[:1] in "'\"" else item.value
                files.append((item.location, item.line, path[1:] if path.startswith("-") else path, path.startswith("-")))
        else:
            single[item.key] = item.value
    watchdog = single.get("WatchdogSec", "").strip()
    output = single.get("StandardOutput", "")
    return {
        "commands": commands, "environment": environment, "environment_files": files,
        "log_file": output.partition(":")[2] if output.startswith(("append:", "file:", "truncate:")) else None,
        "working_directory": single.get("WorkingDirectory", "").lstrip("-") or None, "user": single.get("User") or None,
        "type": single.get("Type") or "simple", "restart": single.get("Restart") or "no",
        "watchdog": watchdog not in ("", "0", "0s", "infinity"),
        "notify": single.get("Type", "") in ("notify", "notify-reload") or single.get("NotifyAccess", "none") not in ("none", ""),
    }


def exec_words(value: str) -> list[str]:
    """The words of an ``Exec…=`` value without the prefixes that systemd takes off."""
    value = value.lstrip("-:+!|")
    if value.startswith("@"):
        words = unit_words(value[1:].lstrip("-:+!|"))
        return words[:1] + words[2:]
    return unit_words(value)


# --- cron -----------------------------------------------------------------------------------------------------------


def parse_crontab(text: str, with_user: bool) -> list[dict[str, t.Any]]:
    """The jobs of a cron table: ``[{line, schedule, user (None in a user's own table), command, environment}]``.

    ``with_user``: the table has a user column (``/etc/crontab``, ``/etc/cron.d``). A line that cron would refuse is left out.
    """
    jobs = []
    environment: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = re.match(r"^([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)$", line)
        if match:
            value = match.group(2).strip()
            if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            environment[match.group(1)] = value
            continue
        fields = 1 if line.startswith("@") else 5
        parts = line.split(None, fields + (1 if with_user else 0))
        if len(parts) != fields + (2 if with_user else 1):
            continue
        # An unescaped % ends the command; what follows is its standard input.
        command = re.split(r"(?<!\\)%", parts[-1])[0].replace("\\%", "%").strip()
        jobs.append({"line": number, "schedule": " ".join(parts[:fields]), "user": parts[fields] if with_user else None,
                     "command": command, "environment": dict(environment)})
    return jobs


# --- supervisord ----------------------------------------------------------------------------------------------------


def parse_supervisord(text: str, location: str) -> dict[str, t.Any]:
    """``{includes [glob], socket {file, username, password}, programs [program]}`` of one supervisord configuration.

    A program: ``{location, line, name, command, environment, directory, user, autostart, autorestart, stdout_logfile}``.
    Raises ValueError, naming the place, for a file that supervisord would refuse.
    """
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as exc:
        raise ValueError("%s: %s" % (location, " ".join(str(exc).split()))) from exc
    lines = {}
    for number, raw in enumerate(text.splitlines(), 1):
        if raw.startswith("["):
            lines.setdefault(raw.strip()[1:].partition("]")[0], number)
    programs = []
    for section in parser.sections():
        if not section.startswith("program:"):
            continue
        values = dict(parser.items(section))
        programs.append({
            "location": location, "line": lines.get(section), "name": section[len("program:"):].strip(),
            "command": " ".join(values.get("command", "").split()),
            "environment": parse_supervisord_environment(values.get("environment", "")),
            "directory": values.get("directory"), "user": values.get("user"),
            "autostart": is_true(values.get("autostart", "true")), "autorestart": values.get("autorestart", "unexpected"),
            "stdout_logfile": values.get("stdout_logfile"),
        })
    includes = parser.get("include", "files", fallback="").split()
    socket = {"file": parser.get("unix_http_server", "file", fallback=None),
              "username": parser.get("unix_http_server", "username", fallback=None),
              "password": parser.get("unix_http_server", "password", fallback=None)}
    return {"includes": includes, "socket": socket, "programs": programs}


def parse_supervisord_environment(text: str) -> dict[str, str]:
    """``A="x,y",B=z`` as supervisord reads it; ``%%`` is a percent sign."""
    found = {}
    for match in re.finditer(r"([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(\"[^\"]*\"|'[^']*'|[^,\n]*)", text):
        value = match.group(2).strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[match.group(1)] = value.replace("%%", "%")
    return found


# --- shell ----------------------------------------------------------------------------------------------------------


class Command(t.NamedTuple):
    """One simple command of a script: its words after expansion, what it adds to the environment, where it runs."""

    line: int
    argv: list[str]
    environment: dict[str, str]
    directory: str | None
    output: str | None


class Script(t.NamedTuple):
    """What a shell script does that matters here: its commands, its assignments and the files that it sources."""

    commands: list[Command]
    assignments: list[Assignment]
    sourced: list[tuple[int, str]]


_OPERATORS = ("&&", "||", ";;", "<<-", "<<<", "<<", ">>", ">&", "&>", "<&", "|&", ">|", ";", "|", "&", "(", ")", "<", ">", "\n")
_KEYWORDS = frozenset(("if", "then", "elif", "else", "fi", "do", "done", "while", "until", "for", "case", "esac", "!", "{", "}", "time", "in"))
_SEPARATORS = frozenset(("&&", "||", ";;", ";", "|", "|&", "&", "(", ")", "\n"))
_Token = t.Tuple[str, int, t.List[t.Tuple[str, bool]]]


def _tokens(text: str) -> list[_Token]:
    """``(operator or "", line, [(piece, expandable)])``; an operator has no pieces, a word has no operator."""
    tokens: list[_Token] = []
    pieces: list[tuple[str, bool]] | None = None
    position, line, size = 0, 1, len(text)
    word_line = 1
    heredocs: list[str] = []

    def finish() -> None:
        nonlocal pieces
        if pieces is not None:
            tokens.append(("", word_line, pieces))
            pieces = None

    while position < size:
        character = text[position]
        if character == "\\" and text[position + 1:position + 2] == "\n":
            position, line = position + 2, line + 1
            continue
        if character in " \t\r":
            finish()
            position += 1
            continue
        if character == "#" and pieces is None:
            end = text.find("\n", position)
            position = size if end < 0 else end
            continue
        operator = next((item for item in _OPERATORS if text.startswith(item, position)), None) if character in "&|;()<>\n" else None
        if operator:
            if operator[0] in "<>" and pieces is not None and all(piece.isdigit() for piece, _expandable in pieces):
                pieces = None
            finish()
            tokens.append((operator, line, []))
            position += len(operator)
            if operator == "\n":
                line += 1
                while heredocs:
                    # The body of a here-document is data, not commands.
                    delimiter = heredocs.pop(0)
                    while position < size:
                        end = text.find("\n", position)
                        end = size if end < 0 else end
                        body, position, line = text[position:end], end + 1, line + 1
                        if body.strip() == delimiter:
                            break
            elif operator in ("<<", "<<-"):
                match = re.compile(r"[ \t]*\\?['\"]?([^\s'\";|&<>]+)['\"]?").match(text, position)
                if match:
                    heredocs.append(match.group(1))
                    position = match.end()
                    tokens.append(("", line, [(match.group(1), False)]))
            continue
        if pieces is None:
            pieces, word_line = [], line
        if character == "'":
            end = text.find("'", position + 1)
            end = size if end < 0 else end
            pieces.append((text[position + 1:end], False))
            line += text.count("\n", position, end)
            position = end + 1
        elif character == '"':
            position += 1
            while position < size and text[position] != '"':
                if text[position] == "\\" and position + 1 < size:
                    position += 1
                    if text[position] == "\n":
                        line += 1
                    else:
                        pieces.append((text[position] if text[position] in '"\\$`' else "\\" + text[position], False))
                else:
                    line += text[position] == "\n"
                    pieces.append((text[position], True))
                position += 1
            pieces.append(("", False))
            position += 1
        elif character == "\\":
            pieces.append((text[position + 1:position + 2], False))
            position += 2
        elif text.startswith("$(", position) or character == "`":
            end = _substitution_end(text, position)
            pieces.append((text[position:end], False))
            line += text.count("\n", position, end)
            position = end
        elif text.startswith("${", position):
            end = text.find("}", position)
            end = size if end < 0 else end + 1
            pieces.append((text[position:end], True))
            position = end
        else:
            pieces.append((character, True))
            position += 1
    finish()
    return tokens


def _substitution_end(text: str, position: int) -> int:
    if text[position] == "`":
        end = text.find("`", position + 1)
        return len(text) if end < 0 else end + 1
    depth = 0
    for index in range(position + 1, len(text)):
        depth += (text[index] == "(") - (text[index] == ")")
        if depth == 0:
            return index + 1
    return len(text)


def _expand(pieces: t.Sequence[tuple[str, bool]], variables: t.Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name, default = match.group(1) or match.group(3), match.group(2)
        return variables.get(name) or default or ""

    text, run = [], ""
    for piece, expandable in list(pieces) + [("", False)]:
        if expandable:
            run += piece
            continue
        text.append(_VARIABLE.sub(value, run) + piece)
        run = ""
    return "".join(text)


def parse_script(text: str, variables: t.Mapping[str, str] | None = None, directory: str | None = None, arguments: t.Sequence[str] = (),
                 test: t.Callable[[str, str], bool] | None = None) -> Script:
    """Reads a shell script without running it. Branches count as taken: what a script may do is what matters here.

    ``variables`` and ``arguments`` are what the script is started with; those are used for expansion but not listed again.
    ``test(operator, path)`` answers ``[ -x path ]`` and its kin, so that of ``if [ ! -x "$PY" ]; then …`` only what holds here is read.
    """
    commands: list[Command] = []
    assignments: list[Assignment] = []
    sourced: list[tuple[int, str]] = []
    known = dict(variables or {})
    known.update((str(number), value) for number, value in enumerate(arguments[:9], 1))
    exported: dict[str, str] = {}
    everything_exported = False
    simple: list[tuple[int, str, bool]] = []
    output: str | None = None
    redirect = ""
    # One entry for each `if` that is open: whether its present branch is skipped, and whether a branch of it is known to be taken.
    branches: list[list[bool]] = []

    def run() -> None:
        nonlocal everything_exported, directory, output
        words = list(simple)
        simple.clear()
        target, output = output, None
        condition = False
        while words and words[0][1] in _KEYWORDS and words[0][2]:
            keyword = words.pop(0)[1]
            condition = keyword in ("if", "elif") or (condition and keyword == "!")
            if keyword == "if":
                branches.append([False, False])
            elif keyword == "fi" and branches:
                branches.pop()
            elif keyword in ("elif", "else") and branches:
                branches[-1][0] = branches[-1][1]
        holds = file_test([word for _line, word, _plain in words], test) if condition else None
        if holds is not None and branches:
            # A branch of which nothing is known was read, so it rules out none of the others.
            branches[-1] = [not holds or branches[-1][1], holds or branches[-1][1]]
            return
        if any(skipped for skipped, _taken in branches):
            return
        prefix: list[Assignment] = []
        while words and words[0][2]:
            match = _ASSIGNMENT.match(words[0][1])
            if not match:
                break
            prefix.append(Assignment(words[0][0], match.group(1), match.group(2), False))
            words.pop(0)
        if not words:
            for item in prefix:
                known[item.name] = item.value
                if everything_exported or item.name in exported:
                    exported[item.name] = item.value
                assignments.append(item._replace(exported=everything_exported or item.name in exported))
            return
        line, name = words[0][0], words[0][1]
        argv = [word for _line, word, _plain in words]
        if name in ("export", "declare", "readonly", "local", "typeset"):
            for word in argv[1:]:
                match = _ASSIGNMENT.match(word)
                if match:
                    known[match.group(1)] = match.group(2)
                    assignments.append(Assignment(line, match.group(1), match.group(2), name == "export"))
                if name == "export" and not word.startswith("-"):
                    exported[word.partition("=")[0]] = known.get(word.partition("=")[0], "")
            return
        if name == "set" and len(argv) > 1:
            everything_exported = "a" in argv[1] if argv[1].startswith("-") and "o" not in argv[1] else everything_exported and argv[1] != "+a"
            return
        if name in (".", "source") and len(argv) > 1:
            sourced.append((line, join_path(directory, argv[1])))
            return
        if name == "cd":
            directory = join_path(directory, argv[1]) if len(argv) > 1 else known.get("HOME", "~")
            return
        assignments.extend(item._replace(exported=True) for item in prefix)
        environment = dict(exported)
        environment.update((item.name, item.value) for item in prefix)
        commands.append(Command(line, argv, environment, directory, target))

    for operator, line, pieces in _tokens(text):
        if operator in _SEPARATORS:
            redirect = ""
            run()
        elif operator:
            redirect = operator
        else:
            if not redirect and "".join(piece for piece, _expandable in pieces) in ("$@", "$*", "${@}", "${*}"):
                simple.extend((line, item, False) for item in arguments)
                continue
            word = _expand(pieces, known)
            if known.get("HOME") and pieces[0][1]:
                word = _HOME.sub(lambda match: match.group(1) + known["HOME"], word)
            if redirect:
                if redirect in (">", ">>", "&>", ">|") and not word.startswith("/dev/") and output is None:
                    output = word
                redirect = ""
            else:
                simple.append((line, word, all(expandable for _piece, expandable in pieces[:1])))
    run()
    return Script(commands, assignments, sourced)


def file_test(words: t.Sequence[str], test: t.Callable[[str, str], bool] | None) -> bool | None:
    """The outcome of ``[ ! -x path ]`` and its kin; None for any other command."""
    if test is None or not words or words[0] not in ("[", "[[", "test"):
        return None
    inner = [word for word in words[1:] if word not in ("]", "]]")]
    negated = inner[:1] == ["!"]
    inner = inner[1:] if negated else inner
    if len(inner) != 2 or inner[0] not in ("-x", "-f", "-e", "-d", "-r", "-s") or not inner[1].startswith(("/", "~")) or "$" in inner[1]:
        return None
    return test(inner[0], inner[1]) != negated


def join_path(directory: str | None, path: str) -> str:
    """``path`` as seen from ``directory``; ``~`` is left to who knows the user."""
    if path.startswith(("/", "~")) or not directory:
        return path
    return directory.rstrip("/") + "/" + (path[2:] if path.startswith("./") else path)


# --- command lines of the orchestrator ------------------------------------------------------------------------------

# Words that look at an orchestrator or end it; a script name behind them starts nothing.
_LOOKERS = frozenset(("pgrep", "pkill", "grep", "egrep", "ps", "kill", "killall", "echo", "printf", "tail", "head", "cat", "test", "[", "[[", "ls",
                      "sed", "awk", "rm", "touch", "chmod", "chown", "vi", "vim", "nano", "less", "cp", "mv", "scp", "rsync", "logger", "log"))
SHELLS = frozenset(("sh", "bash", "dash", "zsh", "ash"))


class Invocation(t.NamedTuple):
    """A start of an orchestrator found in a command line: its interpreter, its own arguments and what stands before it."""

    interpreter: str | None
    script: str
    arguments: list[str]
    environment: dict[str, str]
    directory: str | None
    output: str | None


def find_invocation(argv: t.Sequence[str], environment: t.Mapping[str, str] | None = None, directory: str | None = None,
                    depth: int = 3) -> Invocation | None:
    """The start of an orchestrator in a command line, through ``nohup``, ``env``, ``sudo``, ``bash -c`` and the like; None without one."""
    environment = dict(environment or {})
    own: dict[str, str] = {}
    for index, word in enumerate(argv):
        base = word.rpartition("/")[2]
        if base in _LOOKERS:
            return None
        match = _ASSIGNMENT.match(word)
        if match and _NAME.match(match.group(1)) and not any(item.rpartition("/")[2] in SHELLS for item in argv[:index]):
            own[match.group(1)] = match.group(2)
            continue
        previous = argv[index - 1] if index else ""
        interpreter = next((item for item in reversed(argv[:index]) if _INTERPRETER.match(item.rpartition("/")[2])), None)
        if base == SCRIPT_NAME and (interpreter or not index or _ASSIGNMENT.match(previous) or argv[0].rpartition("/")[2] in ("exec", "nohup", "setsid")):
            return Invocation(interpreter, word, list(argv[index + 1:]), dict(environment, **own), directory, None)
        if previous == "-m" and word.rpartition(".")[2] == MODULE_NAME and interpreter:
            return Invocation(interpreter, word, list(argv[index + 1:]), dict(environment, **own), directory, None)
        if depth and MODULE_NAME in word and any(character.isspace() for character in word):
            script = parse_script(word, dict(environment, **own), directory)
            for command in script.commands:
                found = find_invocation(command.argv, joined(environment, own, command.environment), command.directory, depth - 1)
                if found:
                    return found if found.output else found._replace(output=command.output)
    return None


def options(arguments: t.Sequence[str]) -> dict[str, t.Any]:
    """The orchestrator's own options that matter here, the last one of a name counting as in argparse.

    ``{node_id, host, port (int|None), advertise_host, peers [host:port], relay_peers, ringrift_path, auth_token, flags [--…]}``.
    """
    values: dict[str, str] = {}
    flags: list[str] = []
    index = 0
    valued = ("--node-id", "--host", "--port", "--advertise-host", "--advertise-port", "--peers", "--relay-peers", "--ringrift-path",
              "--auth-token", "--storage-type")
    while index < len(arguments):
        name, separator, value = arguments[index].partition("=")
        if name in valued:
            if not separator and index + 1 < len(arguments):
                index += 1
                value = arguments[index]
            values[name] = value
        elif name.startswith("--"):
            flags.append(arguments[index])
        index += 1
    # What only a shell could tell is not known here.
    values = {name: value for name, value in values.items() if "$(" not in value and "`" not in value}
    port = values.get("--port", "")
    return {
        "node_id": values.get("--node-id") or None, "host": values.get("--host") or None,
        "port": int(port) if port.isdigit() else None, "advertise_host": values.get("--advertise-host") or None,
        "peers": split_addresses(values.get("--peers", "")), "relay_peers": split_addresses(values.get("--relay-peers", "")),
        "ringrift_path": values.get("--ringrift-path") or None, "auth_token": values.get("--auth-token") or None, "flags": flags,
    }


def split_addresses(text: str) -> list[str]:
    """A list of seeds as people write it, blanks or commas between them, each once, in order."""
    return list(dict.fromkeys(item for item in re.split(r"[,\s]+", text) if item))


def normal_address(text: str, port: int = DEFAULT_PORT) -> str:
    """``host:port`` of ``host``, ``host:port`` or ``http(s)://host[:port]/…``; IPv6 stays in brackets."""
    scheme, separator, rest = text.strip().partition("://")
    if separator:
        port = {"http": 80, "https": 443}.get(scheme.lower(), port)
        rest = rest.partition("/")[0]
    else:
        rest = scheme
    if rest.startswith("["):
        host, _bracket, tail = rest.partition("]")
        return "%s]:%s" % (host, tail[1:] or port)
    if rest.count(":") > 1:
        return "[%s]:%s" % (rest, port)
    host, separator, tail = rest.partition(":")
    return "%s:%s" % (host, tail if separator and tail else port)


# --- updates of the source behind our back --------------------------------------------------------------------------

_UPDATE = re.compile(r"\bgit\b[^|;&\n]*\b(pull|reset\s+--hard|checkout\s+(-f|--force)|merge\s+--ff-only|rebase)\b")


def updates_source(text: str) -> bool:
    """Whether this command moves a git checkout on: ``git pull``, ``git reset --hard`` and their kin."""
    return bool(_UPDATE.search(text))


# --- venv_activate --------------------------------------------------------------------------------------------------


def activation(text: str | None, path: str | None) -> dict[str, t.Any]:
    """What a host's ``venv_activate`` amounts to: ``{interpreters [candidates, best first], directory, environment, kind}``.

    ``kind`` is ``none`` (nothing, or ``:``), ``venv``, ``conda`` or ``other`` (something that names no interpreter, such as ``cd …``).
    ``path`` is the folder from which it is meant (the host's ``ringrift_path``).
    """
    words = (text or "").strip()
    if not words or words in (":", "true"):
        return {"interpreters": [], "directory": path, "environment": {}, "kind": "none"}
    script = parse_script(words, {}, path)
    interpreters: list[str] = []
    kind = "other"
    conda_roots: list[str] = []
    for _line, sourced in script.sourced:
        if sourced.endswith("/etc/profile.d/conda.sh"):
            conda_roots.append(sourced[:-len("/etc/profile.d/conda.sh")])
        elif sourced.rpartition("/")[2].startswith("activate"):
            folder = sourced.rpartition("/")[0]
            interpreters += [folder + "/python", folder + "/python3"]
            kind = "venv"
    for sourced, words_after in _sourced_arguments(words):
        # `source <conda>/bin/activate <environment>`
        root = join_path(path, sourced).rpartition("/bin/")[0]
        if words_after and root:
            kind = "conda"
            interpreters = _conda_interpreters([root], words_after) + interpreters
    directory = path
    for command in script.commands:
        directory = command.directory or directory
        name = command.argv[0].rpartition("/")[2]
        if name in ("conda", "mamba", "micromamba") and "activate" in command.argv:
            kind = "conda"
            wanted = command.argv[command.argv.index("activate") + 1:]
            roots = conda_roots + ([command.argv[0].rpartition("/bin/")[0]] if "/bin/" in command.argv[0] else [])
            roots += ["~/miniconda3", "~/anaconda3", "~/miniforge3", "/opt/conda", "/opt/miniconda3"]
            interpreters += _conda_interpreters(roots, wanted[0] if wanted else "base")
    return {"interpreters": list(dict.fromkeys(interpreters)), "directory": directory,
            "environment": as_environment(item for item in script.assignments if item.exported), "kind": kind}


def _sourced_arguments(text: str) -> list[tuple[str, str]]:
    found = []
    for match in re.finditer(r"(?:^|[;&\n]\s*)(?:source|\.)\s+(\S*/bin/activate)[ \t]+([A-Za-z0-9_.~/-]+)", text):
        found.append((match.group(1), match.group(2)))
    return found


def _conda_interpreters(roots: t.Sequence[str], name: str) -> list[str]:
    if "/" in name:
        return [name.rstrip("/") + "/bin/python"]
    if name in ("base", "root"):
        return [root + "/bin/python" for root in roots]
    return ["%s/envs/%s/bin/python" % (root, name) for root in roots]
