# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib.util
import io
import json
import multiprocessing
import os
import sys
import tarfile

import pytest
from ansible_collections.ringrift.p2p.plugins.plugin_utils import _bundle

HERE = "%d.%d" % sys.version_info[:2]
HASH = "--hash=sha256:" + "0" * 64
LOCK = """\
# a comment
plain==1.0 \\
    %(hash)s \\
    %(hash)s
    # via nothing
old==1.0 ; python_full_version < '3.10' %(hash)s
new==2.0 ; python_full_version >= "3.10" and platform_machine == 'aarch64' \\
    %(hash)s
Supervisor==4.3.0 %(hash)s
""" % {"hash": HASH}


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "embedded"
    (folder / "ringrift_p2p").mkdir(parents=True)
    (folder / "scripts").mkdir()
    (folder / "ringrift_p2p" / "main.py").write_text("VALUE = 7\n")
    (folder / "scripts" / "p2p_orchestrator.py").write_text("# ringrift.p2p embedded orchestrator\n")
    (folder / "requirements.txt").write_text(LOCK)
    (folder / "ringrift_p2p" / "__pycache__").mkdir()
    (folder / "ringrift_p2p" / "__pycache__" / "main.cpython-39.pyc").write_bytes(b"never part of it")
    (tmp_path / "guard.py").write_text("GUARD = 1\n")
    return folder


def plan(source, kind="embedded", python="3.11.2", machine="x86_64"):
    return _bundle.plan(kind, python, machine, source, source.parent / "guard.py")


def lay_libraries(arguments):
    """Stands in for pip, which needs an index: lays a package where it was told to."""
    library = arguments[arguments.index("--target") + 1]
    os.makedirs(os.path.join(library, "package", "tests"))
    os.makedirs(os.path.join(library, "bin"))
    for name, text in (("package/__init__.py", "WHO = 'library'\n"), ("package/speed.pyx", "c"), ("package/tests/test_x.py", "t"), ("bin/tool", "x"),
                       ("package/python2.py", "print 'no'\n"), ("package/data.txt", "data\n")):
        with open(os.path.join(library, name), "w", encoding="utf-8") as handle:
            handle.write(text)


def members(path):
    with tarfile.open(path) as tar:
        return {item.name: tar.extractfile(item).read() for item in tar.getmembers()}


@pytest.mark.parametrize(
    ("python", "machine", "names"),
    [("3.9", "x86_64", ["old", "plain", "Supervisor"]), ("3.11", "x86_64", ["plain", "Supervisor"]), ("3.11", "aarch64", ["new", "plain", "Supervisor"])],
)
def test_markers_are_judged_for_the_node_not_for_the_controller(python, machine, names):
    lines = _bundle.select_requirements(LOCK, python, machine).splitlines()
    assert [line.split("==")[0] for line in lines] == names
    assert all("--hash=sha256:" in line and ";" not in line for line in lines)
    assert next(line for line in lines if line.startswith("plain")).count("--hash=") == 2


def test_an_unlocked_requirement_is_refused_by_line():
    with pytest.raises(_bundle.BundleError, match="line 2: loose has no --hash"):
        _bundle.select_requirements("# x\nloose==1\n", "3.11", "x86_64")
    with pytest.raises(_bundle.BundleError, match="line 1 is not a locked requirement"):
        _bundle.select_requirements("-r other.txt %s\n" % HASH, "3.11", "x86_64")


def test_the_release_follows_from_what_goes_in_and_from_nothing_else(source):
    first = plan(source)
    assert first == plan(source, python="3.11.9", machine="amd64")
    assert json.loads(first.manifest)["release"] == first.release
    others = {plan(source, python="3.12").release, plan(source, machine="aarch64").release, plan(source, kind="supervisor").release}
    (source / "ringrift_p2p" / "main.py").write_text("VALUE = 8\n")
    others.add(plan(source).release)
    (source.parent / "guard.py").write_text("GUARD = 2\n")
    others.add(plan(source).release)
    (source / "requirements.txt").write_text(LOCK.replace("plain==1.0", "plain==1.1"))
    others.add(plan(source).release)
    assert len(others | {first.release}) == 7


def test_a_bundle_of_supervisord_holds_no_orchestrator(source):
    wanted = plan(source, kind="supervisor")
    assert wanted.files == {} and wanted.requirements.startswith("Supervisor==4.3.0 ") and wanted.requirements.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"kind": "other"}, "not one of embedded, supervisor"), ({"python": "2.7.18"}, "not a version of Python 3"), ({"python": ""}, "not a version"),
     ({"machine": "riscv64"}, "'riscv64' has no locked dependencies; known are aarch64, x86_64")],
)
def test_what_can_not_be_planned_is_told(source, changes, message):
    with pytest.raises(_bundle.BundleError, match=message):
        plan(source, **changes)


def test_pip_is_asked_for_wheels_of_the_node_by_hash(source):
    arguments = _bundle.pip_arguments(plan(source, python="3.9.2", machine="arm64"), "r.txt", "lib")
    joined = " ".join(arguments)
    assert "--require-hashes" in joined and "--only-binary=:all:" in joined and "--abi cp39" in joined
    assert "--platform manylinux2014_aarch64" in joined and "x86_64" not in joined


def test_a_build_is_whole_compiled_for_its_python_and_the_same_each_time(source, tmp_path, monkeypatch):
    monkeypatch.setattr(_bundle, "_run_pip", lay_libraries)
    wanted = plan(source, python=HERE)
    built = _bundle.build(wanted, str(tmp_path / "one"))
    assert built.built and built.release == wanted.release
    again = _bundle.build(wanted, str(tmp_path / "two"))
    assert built.sha256 == again.sha256
    found = members(built.path)
    assert found["RELEASE.json"].decode() == wanted.manifest and found["lock_guard.py"] == b"GUARD = 1\n"
    assert {"scripts/p2p_orchestrator.py", "ringrift_p2p/main.py", "lib/package/__init__.py", "lib/package/data.txt"} <= set(found)
    assert not [name for name in found if "tests/" in name or name.endswith(".pyx") or name.startswith("lib/bin") or b"never part" in found[name]]
    code = tmp_path / "code.pyc"
    code.write_bytes(next(content for name, content in found.items() if name.startswith("ringrift_p2p/__pycache__/main.")))
    spec = importlib.util.spec_from_file_location("compiled", str(code), loader=importlib.machinery.SourcelessFileLoader("compiled", str(code)))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.VALUE == 7
    other = _bundle.build(plan(source, python="3.8"), str(tmp_path / "one"))
    assert not [name for name in members(other.path) if name.endswith(".pyc")]


def test_a_cached_bundle_is_found_and_a_damaged_one_built_anew(source, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(_bundle, "_run_pip", lambda arguments: (calls.append(1), lay_libraries(arguments)))
    wanted = plan(source)
    first = _bundle.build(wanted, str(tmp_path / "cache"))
    assert not _bundle.build(wanted, str(tmp_path / "cache")).built and len(calls) == 1
    with open(first.path, "ab") as handle:
        handle.write(b"rot")
    assert _bundle.build(wanted, str(tmp_path / "cache")).built and len(calls) == 2
    with open(first.path + ".sha256", "wb") as handle:
        handle.write(b"\xff")
    assert _bundle.build(wanted, str(tmp_path / "cache")).sha256 == first.sha256


def test_many_hosts_ask_and_one_builds(source, tmp_path, monkeypatch):
    monkeypatch.setattr(_bundle, "_run_pip", lay_libraries)
    wanted = plan(source)
    context = multiprocessing.get_context("fork")
    with context.Pool(4) as pool:
        bundles = pool.starmap(_bundle.build, [(wanted, str(tmp_path / "cache"))] * 8)
    assert [bundle.built for bundle in bundles].count(True) == 1 and len({bundle.sha256 for bundle in bundles}) == 1
    assert not [name for name in os.listdir(str(tmp_path / "cache")) if name.startswith(".building")]


def test_a_failing_pip_is_told_with_its_reason_and_the_way_out(source, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(_bundle.BundleError) as caught:
        _bundle.build(plan(source), str(tmp_path / "cache"))
    assert "No matching distribution" in str(caught.value) and "copy the cache folder" in str(caught.value)
    assert not [name for name in os.listdir(str(tmp_path / "cache")) if name.endswith(".tar.gz")]


def test_a_cache_that_can_not_be_written_is_told(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(_bundle.BundleError, match="give another cache folder"):
        _bundle.build(plan(source), str(tmp_path / "file" / "cache"))


def test_archives_carry_neither_times_nor_owners():
    content = _bundle.archive({"b": b"2", "a": b"1"})
    assert content == _bundle.archive({"a": b"1", "b": b"2"})
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert [(item.name, item.mtime, item.uid, item.mode) for item in tar.getmembers()] == [("a", 0, 0, 0o644), ("b", 0, 0, 0o644)]


def test_the_shipped_sources_can_be_planned_for_every_supported_python():
    releases = {_bundle.plan("embedded", "3.%d" % minor, machine).release for minor in range(9, 14) for machine in ("x86_64", "aarch64")}
    assert len(releases) == 10
    for machine in ("x86_64", "aarch64"):
        names = _bundle.plan("embedded", "3.11", machine).requirements.lower()
        assert all(name + "==" in names for name in ("aiohttp", "pysyncobj", "orjson", "pyyaml", "supervisor"))
