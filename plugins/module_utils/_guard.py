# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""May this voter be stopped now? And is it a voter again? Pure: from views to an answer with its evidence."""

from __future__ import annotations

from ansible_collections.ringrift.p2p.plugins.module_utils._cluster_view import abstains, judge

MINIMUM_SAMPLES = 2


def _steady(name, view, window):
    """Why this view does not cover the whole window, or None."""
    if view["failures"]:
        return f"{name} left {view['failures']} of {view['samples']} questions unanswered within the window"
    # An answer takes its time, so the span between first and last one may fall a little short of that between the questions.
    if view["samples"] < MINIMUM_SAMPLES or view["window"] < 0.9 * window:
        return f"{name} was asked {view['samples']} times over {view['window']:.1f} s; at least {MINIMUM_SAMPLES} over {window:g} s are needed"
    return None


def may_stop(candidate, views, voters, window, leader_required=True):
    """Whether `candidate` may be stopped at this moment without costing the cluster its majority.

    `views` {voter: View | null} as sampled over `window` seconds up to now, the candidate's own among them; a voter that is
    missing there or null counts as down. Other nodes may be among them: a leader that is no voter. `leader_required=False` is for the
    repair of the very fault that keeps a cluster from agreeing on a leader; the majority is always required.

    Returns {allowed, reason (text | null), evidence [text], alive [voters alive without the candidate], majority, leader}.
    """
    asked = dict({name: None for name in [*voters, candidate]}, **views)
    without = judge(asked, voters, voters, [candidate])
    now = judge(asked, voters, voters)
    problems = []

    alive, evidence = [], []
    for name in voters:
        if name == candidate:
            continue
        if name not in without["quorum"]["alive_ids"]:
            view = asked[name]
            why = (
                "did not answer" if not (view and view["answers"]) else
                "answers, but takes no part in the election" if abstains(view) else "answers, but no other voter's record of its heartbeat moved"
            )
            detail = view and (view["error"] or view["election_fault"])
            detail = f" ({detail})" if detail else ""
            evidence.append(f"{name} {why}{detail}")
            continue
        unsteady = _steady(name, asked[name], window)
        if unsteady:
            evidence.append(unsteady)
            continue
        alive.append(name)
        witnesses = ", ".join(without["nodes"][name]["seen_by"])
        evidence.append(f"{name} answers, its heartbeat moved in the view of {witnesses}, it names {asked[name]['leader_id'] or 'no leader'}")

    needed = without["quorum"]["majority"]
    if len(alive) < needed:
        problems.append(f"without {candidate} only {len(alive)} of {len(set(voters))} voters are proven alive, a majority is {needed}")

    leaders = sorted({leader for name in alive for leader in asked[name]["leaders_seen"]})
    terms = sorted({asked[name]["term"] for name in alive if asked[name]["term"] is not None})
    if leader_required:
        if not now["leader_agreed"]:
            claiming = sorted(name for name, node in now["nodes"].items() if node["answers"] and node["role"] == "leader")
            problems.append(
                f"the voters do not agree on one leader: named {', '.join(leaders) or 'by no one'}, calling themselves leader: {', '.join(claiming) or 'none'}"
            )
        elif len(leaders) > 1:
            problems.append(f"the leader changed within the window: {', '.join(leaders)}")
        elif len(terms) > 1:
            problems.append(f"the voters are in different terms: {', '.join(str(term) for term in terms)}")
    return {
        "allowed": not problems,
        "reason": "; ".join(problems) or None,
        "evidence": evidence,
        "alive": alive,
        "majority": needed,
        "leader": now["leader"] if now["leader_agreed"] else None,
    }


def joined(node, views, voters, leader_required=True):
    """Whether `node`, just started, is part of the cluster again in the eyes of others.

    `views` {id: View | null} holds the node's own view and those of other voters, all sampled after its start. For a voter it
    must take part in the election as well: answer as one, be listed as one, and name the leader that the others name.
    Returns {joined, reason (text | null), seen_by [ids], leader (the one that the voters agree on | null)}.
    """
    others = [name for name in voters if name != node]
    state = judge(views, [node], voters)
    own = views.get(node)
    seen_by = [name for name in state["nodes"][node]["seen_by"] if name in others]
    problems = []
    if not (own and own["answers"]):
        problems.append(f"{node} does not answer{' (' + own['error'] + ')' if own and own['error'] else ''}")
    if others and not seen_by:
        problems.append(f"no other voter's record of the heartbeat of {node} moved")
    if node in voters and own and own["answers"]:
        unlisted = [name for name in seen_by if views[name]["voter_node_ids"] is not None and node not in views[name]["voter_node_ids"]]
        if seen_by and len(unlisted) == len(seen_by):
            problems.append(f"{', '.join(unlisted)} does not list {node} as a voter")
        if leader_required and abstains(own):
            problems.append(f"{node} takes no part in the election{' (' + own['election_fault'] + ')' if own['election_fault'] else ''}")
        elif leader_required and not state["leader_agreed"]:
            problems.append(f"{node} names {own['leader_id'] or 'no leader'}, and the voters together do not agree on one")
        elif leader_required and own["leader_id"] != state["leader"]:
            problems.append(f"{node} names {own['leader_id'] or 'no leader'} where the others name {state['leader']}")
    return {
        "joined": not problems,
        "reason": "; ".join(problems) or None,
        "seen_by": seen_by,
        "leader": state["leader"] if state["leader_agreed"] else None,
    }
