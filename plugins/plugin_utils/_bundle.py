# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles: what a node needs to run, in one archive, so that nodes reach no registry.

A bundle of kind C(embedded) holds the embedded orchestrator, the lock guard and their dependencies in C(lib/); one of kind
C(supervisor) holds supervisord alone, for a container whose orchestrator is already there. Which *release* a bundle is follows from
its sources, the locked requirements, the Python version and the machine, without building it: L(plan) is pure but for reading the sources.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import io
import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import typing as t
from pathlib import Path

try:
    from packaging.markers import UndefinedEnvironmentName, default_environment
    from packaging.requirements import InvalidRequirement, Requirement
except ImportError as exc:
    # ansible-core itself needs it, so that it is missing only where plugins are imported without ansible-core.
    PACKAGING_ERROR: ImportError | None = exc
else:
    PACKAGING_ERROR = None

COLLECTION = Path(__file__).resolve().parents[2]
SOURCE = COLLECTION / "roles" / "orchestrator" / "files" / "embedded"
LOCK_GUARD = COLLECTION / "plugins" / "module_utils" / "_lock_guard.py"
KINDS = ("embedded", "supervisor")
MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
# The C libraries that wheels are built against, oldest first; the newest is that of Debian 10 and Ubuntu 20.04.
PLATFORMS = ("manylinux_2_5", "manylinux1", "manylinux2010", "manylinux_2_12", "manylinux2014", "manylinux_2_17", "manylinux_2_24", "manylinux_2_26",
             "manylinux_2_27", "manylinux_2_28")
# Published as source alone; pure Python, so that it is built on the controller for every machine.
SOURCE_ONLY = ("pysyncobj",)
LIBRARIES_TIMEOUT = 600.0
# Parts of wheels that nothing reads at run time.
NOT_NEEDED = frozenset((".c", ".h", ".pyx", ".pxd", ".pyi", ".hash", ".pyc"))


class BundleError(Exception):
    """A bundle can't be planned or built; the message names the place and the way out."""


class Plan(t.NamedTuple):
    """What a bundle will be: its identity, the text of its RELEASE.json, its own files by their place in it, its locked requirements."""

    kind: str
    release: str
    manifest: str
    files: dict[str, bytes]
    requirements: str
    python_version: str
    machine: str


class Bundle(t.NamedTuple):
    """A built archive: C(path), its C(sha256), its C(release), and whether it was made just now."""

    path: str
    sha256: str
    release: str
    built: bool


def short_version(version: str) -> str:
    """C(3.11) of C(3.11.2). Raises BundleError for what is not a version of Python 3."""
    match = re.match(r"^(3\.\d+)(\.|$)", str(version or ""))
    if not match:
        raise BundleError("python_version %r is not a version of Python 3, such as '3.11'" % version)
    return match.group(1)


def machine_name(machine: str) -> str:
    """The name of a machine as wheels spell it. Raises BundleError for one that no wheels are locked for."""
    try:
        return MACHINES[str(machine).lower()]
    except KeyError:
        raise BundleError("machine %r has no locked dependencies; known are %s" % (machine, ", ".join(sorted(set(MACHINES.values()))))) from None


def select_requirements(text: str, python_version: str, machine: str, only: t.Container[str] | None = None) -> str:
    """The locked requirements that apply to this Python and machine, without their markers, one logical line each.

    pip judges markers by the Python that runs it, not by the one that is asked for; so that is done here. C(only) names the packages to
    take. Raises BundleError for a line that is no requirement or has no hash.
    """
    if PACKAGING_ERROR is not None:
        raise BundleError("the Python package packaging is needed on the controller: %s" % PACKAGING_ERROR)
    environment = dict(default_environment())
    environment.update(
        python_version=python_version, python_full_version=python_version + ".0", platform_machine=machine, sys_platform="linux", os_name="posix",
        platform_system="Linux", implementation_name="cpython", platform_python_implementation="CPython", implementation_version=python_version + ".0",
    )
    selected = []
    for number, line in _logical_lines(text):
        words = line.split("--hash=")
        hashes = [word.strip() for word in words[1:]]
        try:
            requirement = Requirement(words[0].strip())
            applies = requirement.marker is None or requirement.marker.evaluate(environment)
        except (InvalidRequirement, UndefinedEnvironmentName) as exc:
            raise BundleError("requirements.txt line %d is not a locked requirement: %s" % (number, exc)) from exc
        if not hashes:
            raise BundleError("requirements.txt line %d: %s has no --hash; lock it again" % (number, requirement.name))
        name = requirement.name.lower().replace("_", "-")
        if applies and (only is None or name in only):
            selected.append("%s%s %s" % (requirement.name, requirement.specifier, " ".join("--hash=" + item for item in sorted(hashes))))
    return "\n".join(sorted(selected, key=str.lower)) + "\n"


def _logical_lines(text: str) -> t.Iterator[tuple[int, str]]:
    pending, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", line)
        if not pending:
            start = number
        if line.rstrip().endswith("\\"):
            pending += line.rstrip()[:-1] + " "
            continue
        joined = (pending + line).strip()
        pending = ""
        if joined:
            yield start, joined
    if pending.strip():
        yield start, pending.strip()


def plan(kind: str, python_version: str, machine: str, source: Path = SOURCE, lock_guard: Path = LOCK_GUARD) -> Plan:
    """What the bundle of this kind is for this Python and machine. Reads the sources, builds nothing. Raises BundleError."""
    if kind not in KINDS:
        raise BundleError("kind %r is not one of %s" % (kind, ", ".join(KINDS)))
    python_version, machine = short_version(python_version), machine_name(machine)
    try:
        lock = (source / "requirements.txt").read_text(encoding="utf-8")
        files: dict[str, bytes] = {}
        if kind == "embedded":
            files["lock_guard.py"] = lock_guard.read_bytes()
            for path in sorted(source.rglob("*.py")):
                files[path.relative_to(source).as_posix()] = path.read_bytes()
    except OSError as exc:
        raise BundleError("%s can't be read: %s; the collection is not whole, install it again" % (exc.filename, exc.strerror)) from exc
    requirements = select_requirements(lock, python_version, machine, None if kind == "embedded" else ("supervisor",))
    described = {
        "kind": kind, "python": python_version, "machine": machine,
        "requirements": hashlib.sha256(requirements.encode("utf-8")).hexdigest(),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }
    release = hashlib.sha256(json.dumps(described, sort_keys=True).encode("utf-8")).hexdigest()[:16]
    manifest = json.dumps(dict(described, release=release), indent=1, sort_keys=True) + "\n"
    return Plan(kind, release, manifest, files, requirements, python_version, machine)


def pip_arguments(wanted: Plan, requirements: str, target: str) -> list[str]:
    """The arguments of pip that lay the locked dependencies of this bundle into a folder."""
    digits = wanted.python_version.replace(".", "")
    arguments = ["install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--no-compile", "--require-hashes", "--target", target,
                 "--only-binary=:all:", "--no-binary=" + ",".join(SOURCE_ONLY), "--implementation", "cp",
                 # The newest patch of that version, since some projects refuse the first ones; wheels are told apart by the minor version alone.
                 "--python-version", wanted.python_version + ".99"]
    for abi in ("cp" + digits, "abi3", "none"):
        arguments += ["--abi", abi]
    for platform in reversed(PLATFORMS):
        arguments += ["--platform", "%s_%s" % (platform, wanted.machine)]
    return arguments + ["--requirement", requirements]


def archive(files: t.Mapping[str, bytes]) -> bytes:
    """A compressed archive of these files that is the same, byte for byte, whenever and wherever it is made."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(files[name]))
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0, filename="") as stream:
        stream.write(plain.getvalue())
    return packed.getvalue()


def build(wanted: Plan, cache: str) -> Bundle:
    """Builds the bundle in C(cache), or finds it there. Several processes may ask for the same one at once. Raises BundleError."""
    folder = Path(os.path.expanduser(cache))
    compiled = wanted.python_version == "%d.%d" % sys.version_info[:2]
    # Byte code can be made here only for the Python that runs here; both forms are the same release.
    path = folder / ("%s-%s%s.tar.gz" % (wanted.kind, wanted.release, "-compiled" if compiled else ""))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _exclusively(folder / (path.name + ".lock")):
            known = _sound(path)
            if known:
                return Bundle(str(path), known, wanted.release, False)
            with tempfile.TemporaryDirectory(dir=str(folder), prefix=".building-") as work:
                content = archive(_collect(wanted, Path(work), compiled))
            digest = hashlib.sha256(content).hexdigest()
            _write(path, content)
            _write(path.with_name(path.name + ".sha256"), (digest + "\n").encode("ascii"))
            return Bundle(str(path), digest, wanted.release, True)
    except OSError as exc:
        raise BundleError("the bundle can't be written to %s: %s; give another cache folder" % (folder, exc)) from exc


@contextlib.contextmanager
def _exclusively(path: Path) -> t.Iterator[None]:
    with open(path, "a", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _sound(path: Path) -> str | None:
    """The digest of a cached archive that is whole, or None."""
    try:
        expected = path.with_name(path.name + ".sha256").read_text(encoding="ascii").strip()
        return expected if hashlib.sha256(path.read_bytes()).hexdigest() == expected else None
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _write(path: Path, content: bytes) -> None:
    spare = path.with_name("%s.%d" % (path.name, os.getpid()))
    spare.write_bytes(content)
    os.replace(spare, path)


def _collect(wanted: Plan, work: Path, compiled: bool) -> dict[str, bytes]:
    library = work / "lib"
    requirements = work / "requirements.txt"
    requirements.write_text(wanted.requirements, encoding="utf-8")
    _run_pip(pip_arguments(wanted, str(requirements), str(library)))
    shutil.rmtree(library / "bin", ignore_errors=True)
    for name, content in wanted.files.items():
        place = work / "release" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    files = {"RELEASE.json": wanted.manifest.encode("utf-8")}
    for root, prefix in ((library, "lib/"), (work / "release", "")):
        for path in sorted(root.rglob("*")) if root.is_dir() else ():
            inner = path.relative_to(root)
            if path.is_symlink() or not path.is_file() or path.suffix in NOT_NEEDED or {"__pycache__", "tests"} & set(inner.parts):
                continue
            name = prefix + inner.as_posix()
            files[name] = path.read_bytes()
            if compiled and path.suffix == ".py" and not name.startswith("scripts/"):
                files.update(_byte_code(path, name))
    return files


def _byte_code(path: Path, name: str) -> dict[str, bytes]:
    """The compiled form of a source, valid by itself: neither times nor places go into it."""
    place = path.parent / "__compiled__"
    try:
        py_compile.compile(str(path), cfile=str(place), dfile=name, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    except py_compile.PyCompileError:
        return {}
    content = place.read_bytes()
    place.unlink()
    folder, stem = os.path.split(name)
    return {os.path.join(folder, "__pycache__", "%s.%s.pyc" % (stem[:-3], sys.implementation.cache_tag)): content}


def _run_pip(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "pip", *arguments]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIBRARIES_TIMEOUT, check=False)
    except subprocess.TimeoutExpired as exc:
        raise BundleError("pip took longer than %d s to fetch the dependencies; repeat the run" % LIBRARIES_TIMEOUT) from exc
    if done.returncode != 0:
        reason = ([line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.strip().splitlines())[-2:]
        raise BundleError(
            "pip could not fetch the orchestrator's dependencies on the controller (%s): %s. The controller needs pip and a package index, once; "
            "or copy the cache folder from one that had them"
            % (sys.executable, " | ".join(line[:300] for line in reason) or "exit status %d" % done.returncode)
        )
