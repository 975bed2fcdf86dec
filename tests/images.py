"""
Image references that are taken and refused alike by the SPANK plugin, job_submit.lua and the agent.
"""

from __future__ import annotations

import json
from pathlib import Path

_TABLE = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

#: What users write, and what Kubernetes gets.
TAKEN: dict[str, str] = _TABLE["taken"]

#: What users write, and some words of what the agent says to that.
REFUSED: dict[str, str] = _TABLE["refused"]
