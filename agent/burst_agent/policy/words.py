"""
What users read about a job before it is submitted, in one line.
"""

from __future__ import annotations

from datetime import tzinfo

from burst_agent.amounts import clock_time
from burst_agent.policy.decide import Outlook


def promise(outlook: Outlook, now: float, zone: tzinfo | None, price: str, obstacle: str) -> str:
    """
    Say what will become of a job. ``price`` is its cost in words, empty where the site has no prices; ``obstacle`` is
    the cap that would hold it up now, empty where none would.
    """
    if outlook.at is None:
        return f"will not burst: {outlook.never}{f' (up to {price})' if price else ''}"
    here = f"expected here {clock_time(outlook.local.at, now, zone)}, " if outlook.local.at is not None else ""
    cost = f", at most {price}" if price else ""
    start = max(outlook.at, now) + outlook.cloud - now
    facts = f"{here}in Kubernetes {clock_time(start, now, zone)}{cost}"
    when = "will burst" if outlook.at <= now else f"will burst if still waiting at {clock_time(outlook.at, now, zone)}"
    held = f", but not yet: {obstacle}" if obstacle else ""
    return f"{facts}; {when}{held}"
