# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of findings: the only list of them. ``docs/findings.md`` is generated from it."""

from __future__ import annotations

import typing as t

SEVERITIES = ("critical", "high", "medium", "low")

# The stage of stabilize.yml that acts on a finding. None means that a person has to.
FILE = "hosts file"
CONFIGURE = "configure"
RESTART = "restart"


class Code(t.NamedTuple):
    """One entry of the catalogue.

    ``severity`` is one of SEVERITIES; ``summary`` one line in plain words; ``remedy`` what ends it; ``repair`` the stage
    that repairs it, or None where the collection reports only.
    """

    severity: str
    summary: str
    remedy: str
    repair: str | None


CATALOGUE: dict[str, Code] = {
    "UNREACHABLE": Code(
        "critical", "The node could not be reached over SSH, or nothing could be run on it",
        "Check that the machine is rented and running, then its address, user and key in the hosts file, that the user may become root, and that there is "
        "Python; or mark it `status: offline`.", None),
    "QUORUM_AT_RISK": Code(
        "critical", "The voters have no majority, or would lose it with the next failure",
        "Bring the voters that are down back first; the run does so before it touches anything that runs.", RESTART),
    "LEADER_DISAGREEMENT": Code(
        "critical", "The voters do not agree on one leader",
        "Exactly one leader must be named by all fresh voters; see the other findings on the voters.", RESTART),
    "SERVICE_DOWN": Code(
        "critical", "No orchestrator answers on the node", "The service is configured and started.", RESTART),
    "SERVICE_HUNG": Code(
        "critical", "The orchestrator process lives but does not answer", "The service is restarted under the guard.", RESTART),
    "STALE_LOCK": Code(
        "high", "A lock whose owner is dead keeps the orchestrator from starting",
        "The claim is reset, a PID file is moved into quarantine; start-up does the same from then on.", CONFIGURE),
    "LOCK_UNDECIDED": Code(
        "medium", "A lock file that can neither be proved alive nor dead",
        "Look at the file; pass it to the module stale_locks by hand once its owner is known to be gone.", None),
    "DUPLICATE_PROCESS": Code(
        "high", "More than one orchestrator runs on the node", "All but the service's own are ended gracefully.", RESTART),
    "RIVAL_MANAGER": Code(
        "high", "Something else restarts or kills the orchestrator on this node",
        "It is held off while a run works on the node. Run with `-e orchestrator_disable_rivals=true` to disable it for good, or remove it by hand.",
        CONFIGURE),
    "NODE_ID_MISMATCH": Code(
        "high", "The node runs under another name than the hosts file gives it", "The identity is written to /etc/ringrift/node-id.", CONFIGURE),
    "SEEDS_OVERLAY_ONLY": Code(
        "high", "The node is outside the overlay and every seed in effect is an overlay address",
        "Public seeds are put first on its command line, in its environment and in its source.", CONFIGURE),
    "SEEDS_UNREACHABLE": Code(
        "high", "None of the first six seeds in effect answers from this node", "Seeds that answer from this class of node are put in place.", CONFIGURE),
    "SEED_DEAD": Code(
        "medium", "A planned seed was left out because no node of its class reaches it",
        "Check the address in the hosts file or the pinned seeds; public addresses drift.", None),
    "GPU_COORDINATOR": Code(
        "medium", "A GPU node is marked coordinator in the hosts file, which disables training on it",
        "Its role and training_enabled are corrected in the hosts file; the nodes' copies follow.", FILE),
    "COORDINATOR_ENV": Code(
        "medium", "RINGRIFT_IS_COORDINATOR is set where it must not be, or on no voter or several",
        "It is removed from GPU nodes and left on exactly one voter.", CONFIGURE),
    "NAT_WITHOUT_RELAY": Code(
        "high", "The node cannot accept connections and no relay is in effect for it", "A primary and a secondary relay are assigned.", CONFIGURE),
    "RELAY_SHORTAGE": Code(
        "medium", "Too few relay-capable nodes for the nodes behind NAT",
        "Run with `-e p2p_add_relays=true` to mark the named candidates `relay_capable: true`, or add public nodes.", None),
    "LOOP_BLOCKED": Code(
        "medium", "The orchestrator's event loop was blocked for longer than it may be",
        "Upgrade to an orchestrator that gossips deltas; reduce the state that is serialised as one piece.", None),
    "CONFIG_DRIFT": Code(
        "medium", "The node's configuration differs from what the plan wants", "The managed files are written as one generation.", CONFIGURE),
    "RESTART_PENDING": Code(
        "medium", "The orchestrator runs with an older configuration than the node's files", "The service is restarted under the guard.", RESTART),
    "NOT_CONNECTED": Code(
        "high", "The node answers for itself, but no other node's record of its heartbeat moves",
        "See its other findings: seeds, relays, identity, token. It is configured and restarted with those repaired.", RESTART),
    "VOTER_NOT_VOTING": Code(
        "high", "A voter answers, but takes no part in the election",
        "See the evidence. A voter that lost its state votes again by itself once a majority of all voters, without it, agrees on a leader.", None),
    "VOTER_UNFIT": Code(
        "high", "A voter of the hosts file cannot do a voter's work", "Choose another voter in `p2p_voters`, or correct the entry.", None),
    "TOKEN_MISMATCH": Code(
        "critical", "The shared token is not the same on all nodes, or is on some nodes only",
        "Run without --limit, so that every node gets the same token.", CONFIGURE),
    "CLOCK_SKEW": Code("medium", "The node's clock is off", "Start a time service on the node.", None),
    "DISK_LOW": Code("medium", "The disk of the orchestrator's folder is almost full", "Free space on the node.", None),
    "FILE_CONTRADICTION": Code(
        "low", "Two statements of the hosts file contradict each other", "Correct the entry in the hosts file.", None),
    "ENGINE_UNSAFE": Code(
        "high", "The node runs a version or a setting that is known to be dangerous", "See the evidence for what to upgrade or switch off.", None),
    "SEEDS_NOT_LASTING": Code(
        "low", "The node updates its own checkout, so seeds patched into the source do not last there",
        "Nothing needs doing for the seeds on the command line and in the environment: they last.", None),
    "IMPORTS_BROKEN": Code(
        "high", "The orchestrator would crash on start: its imports fail", "Install the missing package into the interpreter named in the evidence.", None),
    "SEEDS_REFUSED": Code(
        "high", "Too few seeds answer for this class of node, so none were written", "Name seeds that this class of node can reach.", None),
}


def make(code: str, node: str | None = None, evidence: t.Iterable[str] = (), *, summary: str | None = None,
         remedy: str | None = None, severity: str | None = None, **details: t.Any) -> dict[str, t.Any]:
    """A finding: ``{code, severity, node, summary, evidence [str], remedy, repairable, repair}`` plus ``details`` (line, path …).

    Raises KeyError for a code that the catalogue does not hold.
    """
    entry = CATALOGUE[code]
    return {
        "code": code, "severity": severity or entry.severity, "node": node, "summary": summary or entry.summary,
        "evidence": [str(item) for item in evidence], "remedy": remedy or entry.remedy,
        "repairable": entry.repair is not None, "repair": entry.repair, **details,
    }


def order(findings: t.Iterable[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The findings, worst first, then by node and code: the same order in every output."""
    return sorted(findings, key=lambda item: (SEVERITIES.index(item["severity"]), item["node"] or "", item["code"], item["evidence"]))


def as_markdown() -> str:
    """The text of ``docs/findings.md``."""
    lines = [
        "<!-- Generated from plugins/plugin_utils/_findings.py by `make docs`. -->", "", "# Findings", "",
        "Every run reports what it found under one of these codes. *Repaired* names the stage of `stabilize.yml` that acts on it;",
        "a dash means that a person has to.", "",
        "| Code | Severity | What it means | What ends it | Repaired |", "|---|---|---|---|---|",
    ]
    for code, entry in sorted(CATALOGUE.items()):
        lines.append("| `%s` | %s | %s. | %s | %s |" % (code, entry.severity, entry.summary, entry.remedy, entry.repair or "–"))
    return "\n".join(lines) + "\n"
