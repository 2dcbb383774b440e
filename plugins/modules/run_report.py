#!/usr/bin/python
# Copyright (c) 2026, RingRift P2P contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: run_report
short_description: Write the report of a run and append to the audit log
version_added: 1.0.0
author:
  - RingRift P2P contributors (@ringrift)
description:
  - Writes C(report.json) and C(report.md) of a run into a folder of its own below O(directory), points the link C(latest) there,
    and appends what was done to C(audit.jsonl), one JSON object per line.
  - Runs on the controller. It also hands the report to the callback P(ringrift.p2p.report#callback).
  - The report is the output of a run, so it is written in check mode too.
extends_documentation_fragment:
  - ringrift.p2p.attributes
attributes:
  check_mode:
    support: full
    details:
      - Reports say of themselves that they come from check mode. Nothing but the report is written.
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Every run has a report of its own.
options:
  report:
    description: The report, as made by the filter P(ringrift.p2p.cluster_report#filter).
    type: dict
    required: true
  directory:
    description: Folder of the reports on the controller.
    type: path
    required: true
  audit:
    description: Events for the audit log, in the order in which they happened.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Write the report
  ringrift.p2p.run_report:
    report: "{{ report }}"
    directory: reports
"""

RETURN = r"""
path:
  description: Folder that holds C(report.json) and C(report.md).
  type: str
  returned: success
  sample: reports/20260125T030000Z-4711
problems:
  description: Why the aim was not reached; empty when it was.
  type: list
  elements: str
  returned: success
lines:
  description: The report in a few lines.
  type: list
  elements: str
  returned: success
"""
