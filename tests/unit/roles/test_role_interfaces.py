# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role says about its variables, what it sets them to and what its README tells are the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
PROVIDERS = ("lambda", "vast", "hetzner", "nebius", "vultr", "runpod")


def load(role, name):
    with open(str(ROLES / role / name), encoding="utf-8") as handle:
        return yaml.safe_load(handle)


@pytest.mark.parametrize("role", ("orchestrator", "p2p") + PROVIDERS)
def test_defaults_and_argument_specs_agree(role):
    defaults = load(role, "defaults/main.yml")
    options = load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert sorted(defaults) == sorted(options)
    for name, option in options.items():
        templated = isinstance(defaults[name], str) and "{{" in defaults[name]
        assert templated or option.get("default") == defaults[name], name
        assert not (templated and "default" in option), name
        kinds = {"str": str, "int": int, "list": list, "dict": dict, "float": (int, float), "bool": bool, "path": str, "raw": object}
        assert templated or defaults[name] is None or isinstance(defaults[name], kinds[option["type"]]), name
        assert option["type"] != "list" or "elements" in option, name
        assert name.startswith(role + "_")


@pytest.mark.parametrize("role", PROVIDERS)
def test_a_provider_hands_everything_it_knows_to_the_one_role(role):
    readme = (ROLES / role / "README.md").read_text(encoding="utf-8")
    for name in load(role, "defaults/main.yml"):
        assert "`%s`" % name in readme
    for stage in ("wanted", "install", "configure", "main"):
        (task,) = load(role, "tasks/%s.yml" % stage)
        assert task["ansible.builtin.import_role"] == dict({"name": "ringrift.p2p.orchestrator"}, **({} if stage == "main" else {"tasks_from": stage}))
        assert task["vars"]["orchestrator_provider"] == {
            key: "{{ %s_%s }}" % (role, key) for key in ("user", "path", "on_start_hooks")
        }


def test_the_readme_of_the_orchestrator_names_every_stage():
    readme = (ROLES / "orchestrator" / "README.md").read_text(encoding="utf-8")
    stages = sorted(path.stem for path in (ROLES / "orchestrator" / "tasks").glob("*.yml") if path.stem != "main")
    assert all("| `%s` |" % stage in readme for stage in stages)
