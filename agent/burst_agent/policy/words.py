"""
What users read about a job before it is submitted, in one line.
"""

from __future__ import annotations

from datetime import tzinfo

from burst_agent.amounts import clock_time
from burst_agent.policy.decide import Foretold

#: What the target of a site is called that has one and did not name it: no word for users.
_UNNAMED = "default"


def promise(foretold: Foretold, now: float, zone: tzinfo | None, price: str) -> str:
    """
    Say what will become of a job: when it starts here and in Kubernetes, what it costs, when it bursts, or why it will
    not. What is not known is left out. ``price`` is its cost in words, empty where the site has no prices.
    """
    outlook, held = foretold.outlook, foretold.held
    if foretold.never or outlook.at is None:
        return f"will not burst: {foretold.never}{f' (up to {price})' if price else ''}"
    offer, later = foretold.offer, outlook.at > now
    takes_s = outlook.cloud - now if offer is None else offer.start_s
    where = "Kubernetes" if offer is None or offer.target.name == _UNNAMED else offer.target.name
    here = f"expected here {clock_time(outlook.local.at, now, zone)}, " if outlook.local.at is not None else ""
    there = f"in {where} {clock_time(max(outlook.at, now) + takes_s, now, zone)}"
    cost = f", at most {price}" if price else ""
    when = f" if still waiting at {clock_time(outlook.at, now, zone)}" if later else ""
    return f"{here}{there}{cost}; will burst{when}{_obstacle(held.reason, later=later) if held else ''}"


def _obstacle(reason: str, *, later: bool) -> str:
    return f" and nothing holds it up then (now: {reason})" if later else f", but not yet: {reason}"
