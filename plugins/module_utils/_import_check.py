# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a Python program would get past its imports, found out without running any of it.

``PROGRAM`` is run by the orchestrator's own interpreter (``-B -c PROGRAM script root``), which alone knows where it would look.
It reads the script and, from there, every module below ``root`` that is imported at module level; of anything else it asks the
import system where it is, and executes none of it. It prints one JSON object::

    {ok, missing [{name, file, line}], error, python, packages {name: version}}

Imports that the program guards (``try`` … ``except ImportError``), that only type checkers see, or that stand in functions do
not stop a start, so they are not counted.
"""

from __future__ import annotations

import json
import typing as t

PACKAGES = ("pysyncobj", "swim-p2p", "aiohttp", "orjson")

# Interpreters on nodes can be older than the one that runs the module, so this keeps to what 3.6 understands.
PROGRAM = r'''
import ast, json, os, re, sys, time

DEADLINE = time.time() + 10
script, root = os.path.abspath(sys.argv[1]), os.path.realpath(sys.argv[2])
sys.path[0] = os.path.dirname(script)
missing, visited, queue = [], set(), []


class Unknown(Exception):
    pass


def value(node, names, here):
    """A path expression such as str(Path(__file__).resolve().parent.parent), evaluated by its meaning."""
    if isinstance(node, ast.Name):
        if node.id == "__file__":
            return here
        if node.id in names:
            return names[node.id]
    elif isinstance(node, (ast.Str if sys.version_info < (3, 8) else ast.Constant)):
        text = getattr(node, "s", None) if sys.version_info < (3, 8) else node.value
        if isinstance(text, str):
            return text
    elif isinstance(node, ast.Attribute) and node.attr == "parent":
        return os.path.dirname(value(node.value, names, here))
    elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "parents":
        index = node.slice.value if isinstance(getattr(node.slice, "value", None), (ast.AST, int)) else node.slice
        index = getattr(index, "value", getattr(index, "n", index))
        result = value(node.value.value, names, here)
        for _step in range(int(index) + 1):
            result = os.path.dirname(result)
        return result
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return os.path.join(value(node.left, names, here), value(node.right, names, here))
    elif isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in ("resolve", "absolute", "expanduser", "as_posix", "__str__") and isinstance(node.func, ast.Attribute) and not node.args:
            return os.path.realpath(value(node.func.value, names, here))
        if name in ("str", "Path", "PurePath", "abspath", "realpath", "normpath", "fspath", "expanduser") and len(node.args) == 1:
            return os.path.abspath(os.path.expanduser(value(node.args[0], names, here)))
        if name == "dirname" and len(node.args) == 1:
            return os.path.dirname(value(node.args[0], names, here))
        if name == "join":
            return os.path.normpath(os.path.join(*[value(item, names, here) for item in node.args]))
        if name in ("getcwd", "cwd"):
            return os.getcwd()
    raise Unknown()


def find(name, path):
    for finder in sys.meta_path:
        look = getattr(finder, "find_spec", None)
        spec = look(name, path, None) if look else None
        if spec is not None:
            return spec
    return None


def local(spec):
    origin = getattr(spec, "origin", None)
    if not origin or not origin.endswith(".py"):
        return None
    origin = os.path.realpath(origin)
    return origin if origin.startswith(root + os.sep) and "site-packages" not in origin else None


def locate(name):
    """(found, [(file, module)] to read on the way, search path of the last part or None, is it one of the program's own)."""
    path, done, files = None, [], []
    own = False
    for part in name.split("."):
        done.append(part)
        spec = find(".".join(done), path)
        if spec is None:
            # Other people's packages make submodules at run time; only our own are known to be files.
            return (len(done) > 1 and not own), files, None, own
        own = bool(local(spec)) or (own and getattr(spec, "origin", None) in (None, "namespace"))
        if spec.origin in (None, "namespace"):
            own = own or any(os.path.realpath(item).startswith(root + os.sep) or os.path.realpath(item) == root
                             for item in (spec.submodule_search_locations or []))
        if local(spec):
            files.append((local(spec), ".".join(done), bool(spec.submodule_search_locations)))
        path = spec.submodule_search_locations
        if path is None:
            break
        if spec.origin in (None, "namespace"):
            # A folder without __init__.py below another one asks its parent for its path.
            stub = sys.modules.setdefault(".".join(done), type(sys)(".".join(done)))
            stub.__dict__.setdefault("__path__", path)
    return True, files, path, own


def need(name, where, line):
    found, files, path, own = locate(name)
    for item in files:
        if item[0] not in visited:
            visited.add(item[0])
            queue.append(item)
    if not found:
        return {"name": name, "file": where, "line": line}
    return None


def guards(handler):
    names = handler.type
    if names is None:
        return True
    names = names.elts if isinstance(names, ast.Tuple) else [names]
    return any(getattr(item, "id", getattr(item, "attr", "")) in ("ImportError", "ModuleNotFoundError", "Exception", "BaseException") for item in names)


def known_test(test):
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(test) if isinstance(node, ast.Attribute)}
    if names == {"sys"} and attributes and attributes <= {"version_info", "platform"} and not any(isinstance(n, ast.Call) for n in ast.walk(test)):
        return bool(eval(compile(ast.Expression(test), "<test>", "eval"), {"sys": sys}))
    return None


def stops(body):
    return any(isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("exit", "_exit"))
               for item in body for node in ast.walk(item))


def read(body, module, package, where, names, functions, top):
    """The imports that these statements would fail at."""
    faults = []
    for node in body:
        if isinstance(node, ast.Import):
            faults += [need(alias.name, where, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".") if module else []
                parts = parts[:len(parts) - node.level + (1 if package else 0)]
                base = ".".join(parts + ([base] if base else []))
            if base == "__future__" or not base:
                continue
            fault = need(base, where, node.lineno)
            faults.append(fault)
            if fault is None:
                _found, _files, path, own = locate(base)
                if path is not None and own:
                    for alias in node.names:
                        spec = find(base + "." + alias.name, path) if alias.name != "*" else None
                        if spec is not None and local(spec) and local(spec) not in visited:
                            visited.add(local(spec))
                            queue.append((local(spec), base + "." + alias.name, bool(spec.submodule_search_locations)))
        elif isinstance(node, ast.Try):
            inner = [item for item in read(node.body, module, package, where, names, functions, top) if item]
            handlers = [item for item in node.handlers if guards(item)]
            if inner and handlers:
                inner = inner if stops(handlers[0].body) else read(handlers[0].body, module, package, where, names, functions, top)
            faults += inner
            faults += read(node.orelse + node.finalbody, module, package, where, names, functions, top)
        elif isinstance(node, ast.If):
            shown = ast.dump(node.test)
            if "TYPE_CHECKING" in shown:
                continue
            if "__name__" in shown and "__main__" in shown:
                if top:
                    called = {item.func.id for line in node.body for item in ast.walk(line) if isinstance(item, ast.Call) and isinstance(item.func, ast.Name)}
                    faults += read(node.body, module, package, where, names, functions, top)
                    for name in called & set(functions):
                        faults += read(functions[name].body, module, package, where, names, {}, top)
                continue
            known = known_test(node.test)
            if known is not None:
                faults += read(node.body if known else node.orelse, module, package, where, names, functions, top)
            else:
                # A branch not known to be taken cannot be held against the start, but its path changes count.
                for part in (node.body, node.orelse):
                    read([item for item in part if not isinstance(item, (ast.Import, ast.ImportFrom))], module, package, where, names, functions, top)
        elif isinstance(node, (ast.With, ast.ClassDef)):
            faults += read(node.body, module, package, where, names, functions, top)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                names[node.targets[0].id] = value(node.value, names, where)
            except (Unknown, ValueError, TypeError):
                names.pop(node.targets[0].id, None)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = node.value.func
            if isinstance(call, ast.Attribute) and call.attr in ("insert", "append") and isinstance(call.value, ast.Attribute) and call.value.attr == "path":
                try:
                    entry = value(node.value.args[-1], names, where)
                except (Unknown, ValueError, TypeError, IndexError):
                    entry = root
                if entry not in sys.path:
                    sys.path.insert(0 if call.attr == "insert" else len(sys.path), entry)
    return [item for item in faults if item]


def packages():
    found = {}
    wanted = re.compile(r"^(pysyncobj|swim[-_]p2p|aiohttp|orjson)-([0-9][^-]*?)(?:-py[0-9.]+)?\.(?:dist|egg)-info$", re.I)
    for folder in sys.path:
        try:
            entries = os.listdir(folder or ".")
        except OSError:
            continue
        for entry in entries:
            match = wanted.match(entry)
            if match:
                found.setdefault(match.group(1).lower().replace("_", "-"), match.group(2))
    return found


error = None
visited.add(os.path.realpath(script))
queue.append((script, "__main__", False))
while queue and time.time() < DEADLINE:
    path, module, package = queue.pop(0)
    try:
        with open(path, "rb") as stream:
            tree = ast.parse(stream.read(), path)
    except SyntaxError as exc:
        error = error or "SyntaxError in %s line %s: %s" % (path, exc.lineno, exc.msg)
        continue
    except (OSError, ValueError, RecursionError) as exc:
        error = error or "%s: %s" % (path, exc)
        continue
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    missing += read(tree.body, "" if module == "__main__" else module, package, path, {}, functions, module == "__main__")
print(json.dumps({"ok": not missing and not error, "missing": missing, "error": error, "unread": len(queue), "packages": packages(),
                  "python": "%d.%d.%d" % tuple(sys.version_info[:3])}))
'''


def judge(status: int, output: str, errors: str, pythonpath: str | None) -> dict[str, t.Any]:
    """``{ok, error, missing, pythonpath, packages, python}`` from what the program left behind. Pure.

    ``missing`` holds the missing names, comma-separated, or None; ``ok`` is None where the check itself did not come to an end.
    """
    result: dict[str, t.Any] = {"ok": None, "error": None, "missing": None, "pythonpath": pythonpath, "packages": {}, "python": None}
    try:
        answer = json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        last = [line for line in errors.splitlines() if line.strip()][-1:]
        return dict(result, ok=False if status else None, error=(last or ["the interpreter ended with status %d and said nothing" % status])[0][:500])
    missing = answer.get("missing") or []
    names = list(dict.fromkeys(item["name"] for item in missing))
    error = answer.get("error")
    if missing and not error:
        error = "No module named %r (imported in %s line %s)" % (missing[0]["name"], missing[0]["file"], missing[0]["line"])
    return dict(result, ok=bool(answer.get("ok")), error=error, missing=", ".join(names) or None, packages=answer.get("packages") or {},
                python=answer.get("python"))
