# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong: cluster file, plan and observations side by side. Pure; shapes as in ``docs/architecture.md``."""

from __future__ import annotations

import typing as t

from ansible_collections.ringrift.p2p.plugins.module_utils import _cluster_view
from ansible_collections.ringrift.p2p.plugins.plugin_utils import _findings, _plan_reach

# A node needs this long after a start before it may be judged as hung or as not joined: earlier restarts cascade.
JOIN_GRACE = 120.0
LAG_LIMIT_MS = 1000.0
CLOCK_LIMIT = 5.0
DISK_LIMIT_PERCENT = 5.0
SEEDS_TRIED = 6

SAFE_PYSYNCOBJ = (0, 3, 16)

Finding = t.Dict[str, t.Any]
Observation = t.Mapping[str, t.Any]


def is_overlay(address: str) -> bool:
    """Whether ``host:port`` lies in the overlay; what cannot be read as an address does not."""
    try:
        return _plan_reach.is_overlay(_plan_reach.split_address(address)[0])
    except ValueError:
        return False


def _section(observation: Observation, key: str) -> dict[str, t.Any]:
    return observation.get(key) or {}


def answers(observation: Observation | None) -> bool:
    """Whether the node's own orchestrator answered when it was asked on the node."""
    return bool(observation and _section(observation, "view").get("answers"))


def orchestrators(observation: Observation) -> list[dict[str, t.Any]]:
    """Its orchestrator processes; children of an orchestrator are part of it."""
    found = [item for item in observation.get("processes") or [] if item.get("kind") == "orchestrator"]
    pids = {item.get("pid") for item in found}
    return [item for item in found if item.get("ppid") not in pids]


def process_age(observation: Observation) -> float | None:
    """Seconds since the youngest orchestrator process of the node started; None without one."""
    started = [item["started_at"] for item in orchestrators(observation) if item.get("started_at")]
    return max(0.0, observation.get("time", 0.0) - max(started)) if started else None


def _service(node: str, observation: Observation, grace: float) -> list[Finding]:
    if answers(observation):
        return []
    age = process_age(observation)
    error = observation.get("health_error") or "no answer on its port"
    if age is None:
        service = _section(observation, "service")
        log = [line for line in service.get("log") or [] if line][-1:]
        return [_findings.make("SERVICE_DOWN", node, ["no orchestrator process", error] + ["last logged: " + line for line in log])]
    if age < grace:
        return [_findings.make(
            "SERVICE_HUNG", node, ["started %.0f s ago; it is judged only after %.0f s" % (age, grace), error],
            severity="low", summary="The orchestrator is still starting", remedy="Wait, then run again.", starting=True)]
    return [_findings.make("SERVICE_HUNG", node, ["process runs for %.0f s" % age, error])]


def _locks(node: str, observation: Observation) -> list[Finding]:
    found = []
    for lock in observation.get("locks") or []:
        evidence = ["%s: %s" % (lock.get("path"), lock.get("reason"))]
        if lock.get("verdict") == "stale":
            found.append(_findings.make("STALE_LOCK", node, evidence, path=lock.get("path")))
        elif lock.get("verdict") in ("foreign", "unreadable"):
            found.append(_findings.make("LOCK_UNDECIDED", node, evidence, path=lock.get("path"),
                                        severity="low" if answers(observation) else "medium"))
    return found


def _managers(node: str, observation: Observation) -> list[Finding]:
    found = []
    running = orchestrators(observation)
    if len(running) > 1:
        found.append(_findings.make("DUPLICATE_PROCESS", node, ["pid %s: %s" % (item.get("pid"), " ".join(item.get("argv") or [])) for item in running]))
    for rival in observation.get("rivals") or []:
        where = str(rival.get("location")) + (":%s" % rival["line"] if rival.get("line") else "")
        if rival.get("active", True):
            found.append(_findings.make("RIVAL_MANAGER", node, ["%s %s, defined in %s" % (rival.get("kind"), rival.get("name"), where)]))
    return found


def _identity(node: str, observation: Observation) -> list[Finding]:
    said = _section(observation, "health").get("node_id") or _section(observation, "view").get("node_id")
    identity = _section(observation, "identity")
    if said and said != node:
        return [_findings.make("NODE_ID_MISMATCH", node, ["it answers as %s (name taken from %s)" % (said, identity.get("source") or "unknown")])]
    if identity.get("effective") and identity["effective"] != node:
        return [_findings.make("NODE_ID_MISMATCH", node, ["%s says %s" % (identity.get("source"), identity["effective"])])]
    return []


def _seeds(node: str, observation: Observation, plan: t.Mapping[str, t.Any]) -> list[Finding]:
    found = []
    effective = _section(observation, "seeds").get("effective") or []
    tried = observation.get("candidates") or {}
    wanted = plan["nodes"].get(node) or {}
    if effective and wanted.get("class") == "outside" and all(is_overlay(address) for address in effective):
        found.append(_findings.make("SEEDS_OVERLAY_ONLY", node, ["in effect: " + ", ".join(effective[:SEEDS_TRIED])]))
    elif effective and all(address in tried and not tried[address].get("health") for address in effective[:SEEDS_TRIED]):
        # Where the plan knows none that are better, writing them again repairs nothing.
        better = [address for address in wanted.get("peers") or [] if address not in effective[:SEEDS_TRIED]]
        finding = _findings.make("SEEDS_UNREACHABLE", node, ["%s: %s" % (address, tried[address].get("error") or "no answer")
                                                             for address in effective[:SEEDS_TRIED]])
        found.append(finding if better else dict(finding, repairable=False, repair=None))
    updating = _section(observation, "orchestrator").get("self_updating") or []
    if updating:
        evidence = ["%s:%s: %s" % (item.get("location"), item.get("line"), item.get("command")) for item in updating]
        found.append(_findings.make("SEEDS_NOT_LASTING", node, evidence))
    return found


def _is_true(value: t.Any) -> bool:
    return str(value).strip().lower() in ("1", "true", "yes", "on")


def _coordinator(node: str, observation: Observation, host: t.Mapping[str, t.Any], wanted: t.Mapping[str, t.Any]) -> list[Finding]:
    declared = [item for item in observation.get("coordinator_environment") or [] if _is_true(item.get("value"))]
    field = _section(observation, "orchestrator").get("kind") == "field"
    if wanted.get("coordinator"):
        if field and not declared:
            return [_findings.make("COORDINATOR_ENV", node, ["no place on the node sets RINGRIFT_IS_COORDINATOR=true, and it is the one that must carry it"])]
        return []
    if declared and (field or host.get("discrete_gpu")):
        evidence = ["%s:%s sets RINGRIFT_IS_COORDINATOR=%s" % (item.get("location"), item.get("line") or 0, item.get("value")) for item in declared]
        return [_findings.make("COORDINATOR_ENV", node, evidence)]
    return []


def _relays(node: str, observation: Observation, wanted: t.Mapping[str, t.Any]) -> list[Finding]:
    relays = wanted.get("relays") or []
    view = _section(observation, "view")
    running = _section(observation, "running")
    if not relays or not running.get("pid") or view.get("relay_via") or "--relay-peers" in (running.get("argv") or []):
        return []
    return [_findings.make("NAT_WITHOUT_RELAY", node, ["cannot be dialled by others, and uses no relay; planned: " + ", ".join(relays)])]


def _drift(node: str, observation: Observation, target: t.Mapping[str, t.Any] | None) -> list[Finding]:
    if not target:
        return []
    evidence = []
    present = dict(observation.get("files") or {})
    own_copy = _section(observation, "hosts_file")
    if own_copy.get("path"):
        present.setdefault(own_copy["path"], own_copy)
    for path, sha256 in sorted((target.get("files") or {}).items()):
        actual = present.get(path) or {}
        if not actual.get("exists"):
            evidence.append("%s is missing" % path)
        elif actual.get("sha256") != sha256:
            evidence.append("%s differs" % path)
    release = target.get("release")
    if release and _section(observation, "orchestrator").get("release") != release:
        evidence.append("release %s is installed, %s is wanted" % (_section(observation, "orchestrator").get("release") or "none", release))
    if evidence:
        return [_findings.make("CONFIG_DRIFT", node, evidence)]
    generation = _section(observation, "running").get("generation")
    if _section(observation, "running").get("pid") and target.get("generation") and generation != target["generation"]:
        return [_findings.make("RESTART_PENDING", node, ["runs generation %s, its files are generation %s" % (generation or "none", target["generation"])])]
    return []


def _version(text: t.Any) -> tuple[int, ...]:
    return tuple(int(part) for part in str(text).split(".") if part.isdigit())


def _machine(node: str, observation: Observation, limits: t.Mapping[str, float]) -> list[Finding]:
    found = []
    lag = _section(observation, "view").get("lag_ms")
    if isinstance(lag, (int, float)) and lag > limits["lag_ms"]:
        found.append(_findings.make("LOOP_BLOCKED", node, ["event loop blocked for %.0f ms (limit %.0f ms)" % (lag, limits["lag_ms"])]))
    offset = observation.get("clock_offset")
    if isinstance(offset, (int, float)) and abs(offset) > limits["clock"]:
        found.append(_findings.make("CLOCK_SKEW", node, ["%+.1f s against the peers that answered (limit %.0f s)" % (offset, limits["clock"])]))
    disk = _section(observation, "disk")
    if isinstance(disk.get("free_percent"), (int, float)) and disk["free_percent"] < limits["disk_percent"]:
        found.append(_findings.make("DISK_LOW", node, ["%s: %.1f %% free" % (disk.get("path"), disk["free_percent"])]))
    orchestrator = _section(observation, "orchestrator")
    imports = orchestrator.get("imports") or {}
    if imports.get("ok") is False:
        found.append(_findings.make("IMPORTS_BROKEN", node, ["%s with PYTHONPATH=%s: %s" % (
            orchestrator.get("interpreter"), imports.get("pythonpath") or "", imports.get("missing") or imports.get("error"))]))
    return found


def _engines(node: str, observation: Observation, protocols: t.Mapping[str, t.Any]) -> list[Finding]:
    evidence = []
    engines = _section(observation, "orchestrator").get("engines") or {}
    raft = protocols.get("raft") not in (None, False, {}) or protocols.get("consensus_mode") in ("raft", "hybrid")
    if raft and engines.get("pysyncobj") and _version(engines["pysyncobj"]) < SAFE_PYSYNCOBJ:
        evidence.append(
            "PySyncObj %s with Raft on: below 0.3.16 a restart of all voters loses the term and can overwrite committed data" % engines["pysyncobj"])
    swim = protocols.get("swim") not in (None, False, {}) or protocols.get("membership_mode") in ("swim", "hybrid")
    if swim and engines.get("swim_transport") == "tcp":
        evidence.append("SWIM over TCP never forms a cluster; set its transport to UDP")
    service = _section(observation, "service")
    if service.get("watchdog") and service.get("notify") is False:
        evidence.append("%s has WatchdogSec but its process never notifies: systemd kills it for ever" % (service.get("unit_path") or service.get("name")))
    active = sorted({"%s in %s" % (item.get("name") or item.get("kind"), item.get("location"))
                     for item in observation.get("start_mechanisms") or []
                     if item.get("active") and item.get("kind") in ("unit", "supervisord", "cron", "on_start")})
    if len(active) > 1:
        evidence.append("%d start mechanisms are active: %s" % (len(active), "; ".join(active)))
    return [_findings.make("ENGINE_UNSAFE", node, evidence)] if evidence else []


def _tokens(observations: t.Mapping[str, Observation]) -> list[Finding]:
    by_fingerprint: dict[str, list[str]] = {}
    for node, observation in sorted(observations.items()):
        token = _section(observation, "token")
        by_fingerprint.setdefault(token.get("fingerprint") or "none", []).append(node)
    if len(by_fingerprint) < 2:
        return []
    evidence = ["token %s: %s" % (name, ", ".join(nodes)) for name, nodes in sorted(by_fingerprint.items(), key=lambda item: (-len(item[1]), item[0]))]
    return [_findings.make("TOKEN_MISMATCH", None, evidence)]


def _nat(plan: t.Mapping[str, t.Any]) -> list[Finding]:
    """Where what the nodes observed contradicts what the file says about NAT."""
    found = []
    for node, nat in sorted((plan.get("nat") or {}).items()):
        if nat.get("observed") is True and not nat.get("declared"):
            found.append(_findings.make(
                "FILE_CONTRADICTION", node,
                ["the file does not call it nat_blocked, but %d nodes that tried cannot dial it while it can dial out" % nat["asked"]],
                remedy="stabilize.yml writes nat_blocked: true into the hosts file."))
        elif nat.get("observed") is False and nat.get("declared"):
            evidence = ["the file calls it nat_blocked, but %d of %d nodes that tried can dial it" % (nat["reached"], nat["asked"])]
            found.append(_findings.make("FILE_CONTRADICTION", node, evidence))
    return found


def _cluster_findings(state: t.Mapping[str, t.Any], plan: t.Mapping[str, t.Any]) -> list[Finding]:
    found = []
    quorum = state["quorum"]
    counts = "%d of %d voters alive, majority is %d" % (quorum["alive"], quorum["voters"], quorum["majority"])
    if not quorum["ok"]:
        found.append(_findings.make("QUORUM_AT_RISK", None, [counts]))
    elif quorum["alive"] == quorum["majority"] < quorum["voters"]:
        found.append(_findings.make("QUORUM_AT_RISK", None, [counts + ": the next failure costs the majority"], severity="high"))
    if quorum["ok"] and not state["leader_agreed"]:
        found.append(_findings.make("LEADER_DISAGREEMENT", None, ["leaders named: " + (", ".join(str(item) for item in state["leaders_seen"]) or "none")]))
    for name, seeds in sorted((plan.get("seeds") or {}).items()):
        if seeds.get("refused"):
            found.append(_findings.make("SEEDS_REFUSED", None, ["class %s: %s" % (name, seeds["refused"])]))
        for item in seeds.get("left_out") or []:
            if item.get("tried_by"):
                found.append(_findings.make("SEED_DEAD", None, ["class %s: %s: %s; tried by %s" % (
                    name, item["address"], item["reason"], ", ".join(item["tried_by"]))]))
    shortage = (plan.get("relays") or {}).get("shortage")
    if shortage:
        found.append(_findings.make("RELAY_SHORTAGE", None, ["%s more needed: %s" % (shortage["missing"], shortage["reason"]),
                                                             "would qualify: " + (", ".join(shortage["candidates"]) or "none")]))
    return found


def diagnose(cluster: t.Mapping[str, t.Any], plan: t.Mapping[str, t.Any], observations: t.Mapping[str, Observation],
             settings: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
    """Findings, the cluster's state and the work that follows from them.

    ``settings`` (all optional): ``scope`` [nodes that this run may touch], ``unreachable`` {node: reason}, ``targets``
    {node: {files {path: sha256}, generation, release}}, ``views`` {node: View, for nodes outside the scope},
    ``join_grace`` (s), ``lag_limit_ms``, ``clock_limit`` (s), ``disk_limit_percent``, ``disable_rivals`` (bool).

    Returns ``{findings, state, work {configure, restart, down, forced}, nodes {name: {connected, findings [codes]}}, healthy, problems [str]}``.
    """
    settings = settings or {}
    hosts = cluster["hosts"]
    members = sorted(name for name, host in hosts.items() if host["belongs"])
    scope = sorted(set(settings["scope"]) & set(members)) if settings.get("scope") is not None else members
    reasons = settings.get("unreachable") or {}
    unreachable = sorted(set(reasons) & set(members))
    seen = {name: item for name, item in observations.items() if name in members and name not in unreachable and item}
    grace = float(settings.get("join_grace", JOIN_GRACE))
    limits = {"lag_ms": float(settings.get("lag_limit_ms", LAG_LIMIT_MS)), "clock": float(settings.get("clock_limit", CLOCK_LIMIT)),
              "disk_percent": float(settings.get("disk_limit_percent", DISK_LIMIT_PERCENT))}
    targets = settings.get("targets") or {}

    views = {name: view for name, view in (settings.get("views") or {}).items() if name in members}
    views.update({name: item.get("view") for name, item in seen.items()})
    state = _cluster_view.judge(views, members, cluster["voters"], unreachable)

    findings = [_findings.make("UNREACHABLE", name, [str(reasons[name])]) for name in unreachable]
    for name, observation in sorted(seen.items()):
        host, wanted = hosts[name], plan["nodes"].get(name) or {}
        own = (
            _service(name, observation, grace) + _locks(name, observation) + _managers(name, observation) + _identity(name, observation)
            + _seeds(name, observation, plan) + _coordinator(name, observation, host, wanted) + _relays(name, observation, wanted)
            + _drift(name, observation, targets.get(name)) + _machine(name, observation, limits)
            + _engines(name, observation, cluster.get("protocols") or {})
        )
        if answers(observation) and not state["nodes"][name]["connected"]:
            own.append(_findings.make("NOT_CONNECTED", name, ["no other node's record of its heartbeat moved within the window"]))
        view = _section(observation, "view")
        if name in cluster["voters"] and view.get("answers") and _cluster_view.abstains(view):
            own.append(_findings.make("VOTER_NOT_VOTING", name, [view.get("election_fault") or "it gives no reason"]))
        findings += own
    findings += [dict(item) for item in cluster.get("findings") or []]
    if len(seen) > 1:
        findings += _tokens(seen)
    findings += _nat(plan) + _cluster_findings(state, plan)
    if not settings.get("disable_rivals"):
        findings = [dict(item, repairable=False, repair=None) if item["code"] == "RIVAL_MANAGER" else item for item in findings]
    findings = _findings.order(findings)

    # For a node whose class has too few seeds nothing is written.
    refused = {name: wanted["seeds_refused"] for name, wanted in plan["nodes"].items() if wanted.get("seeds_refused")}
    work = _work(findings, seen, [name for name in scope if name not in refused], targets, grace)
    problems = _problems(findings, state, scope, refused)
    codes: dict[str, list[str]] = {name: [] for name in members}
    for item in findings:
        if item["node"] in codes and item["code"] not in codes[item["node"]]:
            codes[item["node"]].append(item["code"])
    return {
        "findings": findings, "state": state, "work": work, "problems": problems, "healthy": not problems,
        "nodes": {name: {"connected": bool(state["nodes"][name]["connected"]), "findings": codes[name]} for name in members},
    }


def _work(findings: t.Sequence[Finding], seen: t.Mapping[str, Observation], scope: t.Sequence[str],
          targets: t.Mapping[str, t.Any], grace: float) -> dict[str, list[str]]:
    configure, restart, down, forced = set(), set(), set(), set()
    for item in findings:
        node = item["node"]
        if node not in scope or node not in seen or not item["repairable"] or item.get("starting"):
            continue
        if item["repair"] == _findings.CONFIGURE:
            configure.add(node)
        elif item["repair"] == _findings.RESTART:
            restart.add(node)
    for node in seen:
        age = process_age(seen[node])
        if node in restart and answers(seen[node]) and age is not None and age < grace:
            only_waiting = not any(item["node"] == node and item["code"] in ("RESTART_PENDING", "DUPLICATE_PROCESS") for item in findings)
            if only_waiting:
                restart.discard(node)
        if node in scope and not answers(seen[node]) and age is None:
            down.add(node)
        target = targets.get(node) or {}
        generation = _section(seen[node], "running").get("generation")
        if node in configure and target.get("generation") and generation != target["generation"]:
            restart.add(node)
        # Files and process agree, and still it does not take part: only a restart for its own sake is left.
        broken = any(item["node"] == node and item["code"] in ("SERVICE_HUNG", "NOT_CONNECTED") for item in findings)
        if node in restart and broken and (not target.get("generation") or generation == target["generation"]):
            forced.add(node)
    return {"configure": sorted(configure), "restart": sorted(restart | down), "down": sorted(down), "forced": sorted(forced)}


def _problems(findings: t.Sequence[Finding], state: t.Mapping[str, t.Any], scope: t.Sequence[str], refused: t.Mapping[str, str]) -> list[str]:
    """Why the aim is not reached, one sentence each; empty when it is. Nodes outside the scope are not this run's aim."""
    # What is missing comes first: it explains what is said of its nodes below.
    problems = ["no seeds were written: %s" % refused[name] for name in scope if name in refused]
    for name in scope:
        codes = ", ".join(dict.fromkeys(item["code"] for item in findings if item["node"] == name and item["repairable"] and not item.get("starting")))
        if not state["nodes"][name]["connected"]:
            problems.append("%s is not connected%s" % (name, " (%s)" % codes if codes else ""))
        elif codes:
            problems.append("%s is connected, but not as it should be (%s)" % (name, codes))
    quorum = state["quorum"]
    if not quorum["ok"]:
        problems.append("no majority: %d of %d voters alive, %d needed" % (quorum["alive"], quorum["voters"], quorum["majority"]))
    elif not state["leader_agreed"]:
        problems.append("no agreed leader: %s" % (", ".join(str(item) for item in state["leaders_seen"]) or "none named"))
    problems += ["cluster: %s" % item["code"] for item in findings if item["node"] is None and item["repairable"]]
    return list(dict.fromkeys(problems))
