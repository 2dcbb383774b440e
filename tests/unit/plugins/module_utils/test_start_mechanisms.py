# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The readers of start mechanisms, on text alone."""

from __future__ import annotations

import shlex
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ringrift.p2p.plugins.module_utils import _start_mechanisms as mechanisms


def test_environment_file_is_read_as_systemd_does() -> None:
    text = (
        "# comment\n; comment\nA=plain value  \nB=\"quoted \\\"value\\\" # kept\"\nC='single $literal'\nD=one \\\n  two\n"
        "E=\nnot an assignment\n1BAD=x\nF=\"two\nlines\"\nG=a#b\nexport H=1\n  I = 2\n"
    )
    values = mechanisms.as_environment(mechanisms.parse_environment_file(text))
    assert values == {
        "A": "plain value", "B": 'quoted "value" # kept', "C": "single $literal", "D": "one   two", "E": "", "F": "two\nlines", "G": "a#b", "I": "2"}
    lines = {item.name: item.line for item in mechanisms.parse_environment_file(text)}
    assert (lines["A"], lines["D"], lines["E"], lines["F"], lines["G"]) == (3, 6, 8, 11, 13)


def test_dotenv_knows_export_and_trailing_comments() -> None:
    items = mechanisms.parse_dotenv("export A=1 # why\nB=x#y\nexport C='q # q'\n")
    assert [(item.line, item.name, item.value, item.exported) for item in items] == [(1, "A", "1", True), (2, "B", "x#y", False), (3, "C", "q # q", True)]


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_no_text_is_too_odd_for_the_readers(text: str) -> None:
    for item in mechanisms.parse_environment_file(text) + mechanisms.parse_dotenv(text):
        assert item.line >= 1 and item.name
    script = mechanisms.parse_script(text)
    assert all(command.argv for command in script.commands)
    assert all(job["command"] is not None for job in mechanisms.parse_crontab(text, True) + mechanisms.parse_crontab(text, False))
    assert all(isinstance(word, str) for word in mechanisms.unit_words(text))
    mechanisms.merge_unit(mechanisms.parse_unit(text, "x"))
    assert len(mechanisms.mask_argv(text.split())) == len(text.split())
    try:
        assert isinstance(mechanisms.parse_supervisord(text, "place")["programs"], list)
    except ValueError as exc:
        assert str(exc).startswith("place: ")


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True),
                       st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=30)))
def test_what_a_shell_quotes_comes_back(environment: dict[str, str]) -> None:
    text = "".join("export %s=%s\n" % (name, shlex.quote(value)) for name, value in environment.items())
    assert mechanisms.as_environment(mechanisms.parse_dotenv(text)) == environment
    assert {item.name: item.value for item in mechanisms.parse_script(text).assignments} == environment


def test_unit_and_drop_ins_merge_as_systemd_has_it() -> None:
    unit = (
        "[Unit]\nDescription=x\n[Service]\nExecStartPre=/bin/true\nExecStart=/usr/bin/python3 a.py \\\n# in between\n  --flag\n"
        "Environment=A=1 \"B=two words\" 'C=3'\nEnvironmentFile=-/etc/one.conf\nWatchdogSec=0\n"
    )
    drop_in = ("[Service]\nExecStart=\nExecStart=@/usr/bin/python3 orchestrator b.py\nEnvironment=A=2\nEnvironmentFile=\n"
               "EnvironmentFile=/etc/two.conf\nNotifyAccess=main\n")
    merged = mechanisms.merge_unit(mechanisms.parse_unit(unit, "unit") + mechanisms.parse_unit(drop_in, "drop-in"))
    starts = merged["commands"]["ExecStart"]
    assert [(item.location, item.line) for item in starts] == [("drop-in", 3)]
    assert mechanisms.exec_words(starts[0].value) == ["/usr/bin/python3", "b.py"]
    assert [item.value for item in merged["commands"]["ExecStartPre"]] == ["/bin/true"]
    assert mechanisms.as_environment(item for _location, item in merged["environment"]) == {"A": "2", "B": "two words", "C": "3"}
    assert merged["environment_files"] == [("drop-in", 6, "/etc/two.conf", False)]
    assert merged["notify"] and not merged["watchdog"]
    continued = mechanisms.parse_unit(unit, "unit")[2]
    assert (continued.line, continued.value) == (5, "/usr/bin/python3 a.py --flag")


def test_huge_files_take_no_time() -> None:
    started = time.process_time()
    for text in ("[Service]\nExecStart=" + "a" * 200000, "[Service]\n" + "E=x \\\n" * 20000, "'" * 100001, "$(" * 50000, "A=" + "x" * 100000):
        for directive in mechanisms.parse_unit(text, "u"):
            assert mechanisms.exec_words(directive.value) is not None
        mechanisms.parse_script(text)
        mechanisms.parse_dotenv(text)
    assert time.process_time() - started < 10.0


def test_unit_words_expand_specifiers_and_variables() -> None:
    words = mechanisms.unit_words(r"""--a "b c" 'd' e\ f ${ONE} $MANY %H 100%% $$x""")
    expanded = mechanisms.expand_unit_words(words, {"ONE": "1 1", "MANY": "2 3"}, {"H": "node"})
    assert expanded == ["--a", "b c", "d", "e f", "1 1", "2", "3", "node", "100%", "$x"]


def test_crontab_with_and_without_user() -> None:
    text = "MAILTO=\"\"\n#* * * * * root disabled\n*/5 * * * * root /a.sh \\% x % stdin\n@reboot root /b.sh\n* * * * * root\nbad\n"
    jobs = mechanisms.parse_crontab(text, True)
    assert [(job["line"], job["schedule"], job["user"], job["command"]) for job in jobs] == [
        (3, "*/5 * * * *", "root", "/a.sh % x"), (4, "@reboot", "root", "/b.sh")]
    assert jobs[0]["environment"] == {"MAILTO": ""}
    assert mechanisms.parse_crontab("* * * * * /a.sh --x\n", False)[0]["command"] == "/a.sh --x"


def test_supervisord_configuration() -> None:
    parsed = mechanisms.parse_supervisord(
        "[unix_http_server]\nfile=/run/s.sock ; socket\nusername=u\npassword=p\n[program:a]\ncommand=python x.py\n  --more\n"
        "environment=A=\"1,2\",B='3',C=4,D=\"100%%\"\nautostart=false\n[include]\nfiles=conf.d/*.conf other.ini\n", "c")
    assert parsed["socket"] == {"file": "/run/s.sock", "username": "u", "password": "p"}
    assert parsed["includes"] == ["conf.d/*.conf", "other.ini"]
    program = parsed["programs"][0]
    assert (program["line"], program["command"], program["autostart"]) == (5, "python x.py --more", False)
    assert program["environment"] == {"A": "1,2", "B": "3", "C": "4", "D": "100%"}


def test_a_broken_supervisord_configuration_names_its_place() -> None:
    with pytest.raises(ValueError, match="/etc/s.conf: .*line: 1"):
        mechanisms.parse_supervisord("no section\n", "/etc/s.conf")


def test_script_keeps_track_of_folder_variables_and_output() -> None:
    script = mechanisms.parse_script(
        "HOME_DIR=/opt/x\nset -a\nAUTO=1\nset +a\nLATER=2\nexport LATER THIRD=3\ncd $HOME_DIR/ai\nsource venv/bin/activate\n"
        "A='$NOT' python run.py \"${PEERS:-a,b}\" '${PEERS}' $(hostname) >> logs/out.log 2>&1 &\n")
    command = script.commands[-1]
    assert command.argv == ["python", "run.py", "a,b", "${PEERS}", "$(hostname)"]
    assert command.environment == {"AUTO": "1", "LATER": "2", "THIRD": "3", "A": "$NOT"}
    assert (command.directory, command.output, command.line) == ("/opt/x/ai", "logs/out.log", 9)
    assert script.sourced == [(8, "/opt/x/ai/venv/bin/activate")]


@pytest.mark.parametrize("line, interpreter, arguments", [
    ("python3 scripts/p2p_orchestrator.py --port 1", "python3", ["--port", "1"]),
    ("nohup /v/bin/python3.11 -u /x/scripts/p2p_orchestrator.py", "/v/bin/python3.11", []),
    ("env A=1 python -m scripts.p2p_orchestrator --peers a", "python", ["--peers", "a"]),
    ("timeout 60 sudo -u ubuntu python scripts/p2p_orchestrator.py x", "python", ["x"]),
    ("bash -lc 'cd /x && exec python scripts/p2p_orchestrator.py y'", "python", ["y"]),
    ("screen -dmS p2p bash -c \"python scripts/p2p_orchestrator.py z\"", "python", ["z"]),
    ("su - ubuntu -c 'python scripts/p2p_orchestrator.py w'", "python", ["w"]),
    ("./scripts/p2p_orchestrator.py v", None, ["v"]),
])
def test_invocations_are_found_through_what_wraps_them(line: str, interpreter: str | None, arguments: list[str]) -> None:
    found = mechanisms.find_invocation(shlex.split(line))
    assert found is not None
    assert (found.interpreter, found.arguments) == (interpreter, arguments)


def test_a_script_gets_its_arguments() -> None:
    script = mechanisms.parse_script('run --one "$1" $2 -- "$@" ${3:-none} "$@x"\n', {}, None, ["a b", "c"])
    assert script.commands[0].argv == ["run", "--one", "a b", "c", "--", "a b", "c", "none", "$@x"]


# Pieces of scripts in any order: what a parser meets in a file that somebody edited by hand.
PIECES = ("if ", "then ", "else ", "elif ", "fi ", "[ -x /a ] ", "[ ! -f ~/b ] ", "&&", "||", ";", "\n", "\\\n", "'", '"', "$(", "`", ")", "(",
          "${", "}", "$@", "$1", "${A:-b}", "A=1 ", "export ", "cd ", "source ", "<<EOF\n", "EOF\n", ">", "2>&1 ", "&", "--peers a,b ",
          "python scripts/p2p_orchestrator.py ", "bash -c ", "#", "~/x ", "set -a ", "set ", "in ", "do ", "done ", "\\", "\0")


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40), st.booleans())
def test_no_script_is_too_odd_to_be_read(pieces: list[str], holds: bool) -> None:
    text = "".join(pieces)
    script = mechanisms.parse_script(text, {"HOME": "/h", "A": "0"}, "/d", ["x", "y z"], lambda operator, path: holds)
    for command in script.commands:
        found = mechanisms.find_invocation(command.argv, command.environment, command.directory)
        assert found is None or "p2p_orchestrator.py" in text
        assert 1 <= command.line <= text.count("\n") + 1
    for directive in mechanisms.parse_unit(text, "u"):
        assert isinstance(mechanisms.expand_unit_words(mechanisms.exec_words(directive.value), {"A": "1"}, {}), list)
    assert mechanisms.activation(text, "/p")["kind"] in ("none", "venv", "conda", "other")


def test_a_variable_set_twice_on_the_way_is_no_fault() -> None:
    found = mechanisms.find_invocation(["env", "A=1", "bash", "-c", "A=2 python scripts/p2p_orchestrator.py"], {"A": "0"})
    assert found is not None and found.environment["A"] == "2"


def test_options_take_the_last_of_a_name_in_both_spellings() -> None:
    options = mechanisms.options(["--peers", "a:1", "--peers=b:2,c", "--port", "x", "--relay-peers=b:2", "--kill-duplicates", "--node-id=n"])
    assert options["peers"] == ["b:2", "c"] and options["relay_peers"] == ["b:2"] and options["port"] is None
    assert options["node_id"] == "n" and options["flags"] == ["--kill-duplicates"]


@pytest.mark.parametrize("text, address", [
    ("203.0.113.4", "203.0.113.4:8770"), ("203.0.113.4:9000", "203.0.113.4:9000"), ("http://h:8770/", "h:8770"), ("https://h", "h:443"),
    ("[2001:db8::1]:1", "[2001:db8::1]:1"), ("2001:db8::1", "[2001:db8::1]:8770"), (" h ", "h:8770"),
])
def test_addresses_become_comparable(text: str, address: str) -> None:
    assert mechanisms.normal_address(text) == address


@pytest.mark.parametrize("command, updates", [
    ("cd /x && git pull", True), ("git -C /x reset --hard origin/main", True), ("git fetch && git checkout -f main", True),
    ("git status", False), ("echo pull", False), ("git log; foo pull", False),
])
def test_commands_that_move_the_source_on(command: str, updates: bool) -> None:
    assert mechanisms.updates_source(command) is updates


def test_secrets_are_masked_and_paths_to_them_are_not() -> None:
    environment = {"RINGRIFT_CLUSTER_AUTH_TOKEN": "topsecret", "RINGRIFT_CLUSTER_AUTH_TOKEN_FILE": "/etc/t", "API_KEY": "k", "X": "y", "EMPTY_TOKEN": ""}
    assert mechanisms.mask_environment(environment) == {
        "RINGRIFT_CLUSTER_AUTH_TOKEN": mechanisms.MASK, "RINGRIFT_CLUSTER_AUTH_TOKEN_FILE": "/etc/t", "API_KEY": mechanisms.MASK, "X": "y", "EMPTY_TOKEN": ""}
    line = mechanisms.mask_text("A_TOKEN='to p' B=1 run --auth-token topsecret --auth-token=topsecret -H 'Authorization: Bearer topsecret'")
    assert "topsecret" not in line and "to p" not in line and "B=1" in line
    assert mechanisms.mask_argv(["x", "--auth-token", "s3cret", "--auth-token=s3cret", "--peers", "a"]) == [
        "x", "--auth-token", mechanisms.MASK, "--auth-token=" + mechanisms.MASK, "--peers", "a"]


@pytest.mark.parametrize("text, kind, interpreter", [
    (None, "none", None), (":", "none", None), ("", "none", None),
    ("source ~/ringrift/ai-service/venv/bin/activate", "venv", "~/ringrift/ai-service/venv/bin/python"),
    (". venv/bin/activate", "venv", "/as/venv/bin/python"),
    ("cd ~/ringrift/ai-service && source .venv/bin/activate", "venv", "~/ringrift/ai-service/.venv/bin/python"),
    ("cd ~/ringrift", "other", None),
    ("source /opt/conda/bin/activate p2p", "conda", "/opt/conda/envs/p2p/bin/python"),
    ("source ~/miniconda3/etc/profile.d/conda.sh && conda activate p2p", "conda", "~/miniconda3/envs/p2p/bin/python"),
    ("conda activate base", "conda", "~/miniconda3/bin/python"),
    ("export PYTHONPATH=/as; source /as/venv/bin/activate", "venv", "/as/venv/bin/python"),
])
def test_interpreter_behind_venv_activate(text: str | None, kind: str, interpreter: str | None) -> None:
    found = mechanisms.activation(text, "/as")
    assert found["kind"] == kind
    assert (found["interpreters"] or [None])[0] == interpreter
