# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.ringrift.p2p.plugins.modules.cluster_health import ARGUMENTS, parameter_faults, watch_of

display = Display()

# Seconds that one call of the module samples; a line of progress follows each.
SLICE = 5.0


def progress_line(host, state, stable_for):
    """One line that says how far the cluster is."""
    quorum = state["quorum"]
    leader = state["leader"] if state["leader_agreed"] else f"none agreed ({', '.join(state['leaders_seen']) or 'nobody named'})"
    missing = state["missing"]
    names = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
    return (
        f"  [{host}] connected {state['connected']}/{state['expected']}, quorum {quorum['alive']}/{quorum['voters']}, leader {leader}, "
        f"stable for {state['stable_for']:.0f} of {stable_for:g} s" + (f", missing: {names}" if missing else "")
    )


class ActionModule(ActionBase):
    """Polls the module in slices, joins their samples into one judgement, and shows progress in between."""

    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        validated = ArgumentSpecValidator(ARGUMENTS).validate(dict(self._task.args))
        faults = validated.error_messages or parameter_faults(validated.validated_parameters)
        if faults:
            result.update(failed=True, msg=f"Parameters can't be used: {'; '.join(faults)}.")
            return result
        parameters = validated.validated_parameters
        watch = watch_of(parameters)
        host = (task_vars or {}).get("inventory_hostname", self._play_context.remote_addr)
        end = time.monotonic() + parameters["timeout"]
        wanted = SLICE

        while True:
            # Long enough for two samples, as one alone shows no heartbeat moving.
            slice_length = max(parameters["interval"], min(end - time.monotonic(), max(wanted, 2.5 * parameters["interval"])))
            answer = self._execute_module(
                module_name="ringrift.p2p.cluster_health",
                module_args=dict(self._task.args, timeout=slice_length),
                task_vars=task_vars,
            )
            if answer.get("failed") or "rounds" not in answer:
                result.update(answer)
                return result
            for sampled in answer["rounds"]:
                state = watch.add(sampled)
                if state["healthy"] and state["stable_for"] >= parameters["stable_for"]:
                    break
            display.display(progress_line(host, state, parameters["stable_for"]))
            done = state["healthy"] and state["stable_for"] >= parameters["stable_for"]
            if done or time.monotonic() >= end:
                break
            wanted = min(SLICE, parameters["stable_for"] - state["stable_for"] + parameters["interval"]) if state["healthy"] else SLICE

        if not done and state["healthy"]:
            state.update(healthy=False, reason=f"healthy for {state['stable_for']:.1f} s only, {parameters['stable_for']:g} s are asked for")
        result.update(changed=False, **state)
        return result
