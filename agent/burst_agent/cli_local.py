"""
What burstctl does without the agent: looks at policies.
"""

from __future__ import annotations

import sys
from pathlib import Path

from burst_agent import settings
from burst_agent.policy import warnings


def check(file: Path) -> int:
    """Check a policy; mistakes are raised as SettingsError, rules in each other's way are said."""
    policy = settings.load_policy(file)
    found = warnings(policy)
    for line in found:
        print(f"{file}: {line}", file=sys.stderr)
    rules = f"{len(policy.rules)} rule{'' if len(policy.rules) == 1 else 's'}"
    print(f"{file}: {rules}, {len(found)} warning{'' if len(found) == 1 else 's'}")
    return 0
