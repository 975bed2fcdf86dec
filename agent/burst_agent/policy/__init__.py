"""
Burst or wait, within budget, and why. Small pure modules: values in, values out.

- rules: which of the site's rules a job falls under
- money: what jobs may cost and have cost
- budget: the caps, and how much of each is left
- where: at which target
- pauses: which targets are left alone for a while
- forecast: when a job would start here, and in a pod
- decide: all of it together, for the jobs of one plan
- terms: a policy made ready for that
- check: what of a policy is surely not meant
"""

from burst_agent.policy.budget import Budget, Cap
from burst_agent.policy.check import Warn, warnings
from burst_agent.policy.decide import Desk, Foretold, Outlook, as_placed
from burst_agent.policy.forecast import PodStarts, Start
from burst_agent.policy.money import Books, Claim, Tariff, books
from burst_agent.policy.pauses import Pause, Pauses, image_shape, shape_words, shapes_of, size_shape
from burst_agent.policy.rules import RuleBook
from burst_agent.policy.terms import Past, Terms
from burst_agent.policy.where import Market, Offer

__all__ = [
    "Books",
    "Budget",
    "Cap",
    "Claim",
    "Desk",
    "Foretold",
    "Market",
    "Offer",
    "Outlook",
    "Past",
    "Pause",
    "Pauses",
    "PodStarts",
    "RuleBook",
    "Start",
    "Tariff",
    "Terms",
    "Warn",
    "as_placed",
    "books",
    "image_shape",
    "shape_words",
    "shapes_of",
    "size_shape",
    "warnings",
]
