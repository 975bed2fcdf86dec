"""
burstctl policy: looks at a policy before an agent goes by it, and without one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from burst_agent import settings
from burst_agent.policy import warnings
from burst_agent.policy_file import line_of


def check(file: Path) -> int:
    """Check a policy, with the targets in its file. Raises SettingsError; what is surely not meant is only said."""
    text = settings.read(file)
    known = settings.parse_any(text, source=str(file))
    found = warnings(known.policy, known.targets)
    for warning in found:
        print(f"{file}:{line_of(text, warning.where)}: {warning.text}", file=sys.stderr)
    rules = f"{len(known.policy.rules)} rule{'' if len(known.policy.rules) == 1 else 's'}"
    print(f"{file}: {rules}, {len(found)} warning{'' if len(found) == 1 else 's'}")
    return 0
