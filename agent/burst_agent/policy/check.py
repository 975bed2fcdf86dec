"""
What of a policy is well-formed, and yet surely not meant: rules that never win, in each other's way or without effect,
names of targets that there are not, prices that are missing. Pure.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from burst_agent.policy.rules import PATTERNS, SPANS, effects
from burst_agent.policy_file import Policy, Rule, Span, TimeSpan
from burst_agent.target_file import Target


class Warn(NamedTuple):
    """
    One thing to look at.
    """

    #: The setting, as :func:`burst_agent.policy_file.line_of` takes it.
    where: tuple[str | int, ...]
    text: str


def warnings(policy: Policy, targets: Sequence[Target] = ()) -> list[Warn]:
    """
    Look at a policy; without targets, what is about them is left out.
    """
    found = [Warn(("policy", "rules", index), text) for index, text in _overlaps(policy)]
    for index, rule in enumerate(policy.rules):
        where = ("policy", "rules", index)
        if targets and (text := _strays(rule, [target.name for target in targets])):
            found.append(Warn((*where, "targets"), text))
        if rule.reservation and not rule.deny:
            text = "has no effect: jobs with a reservation never burst, and rules can only give the reason (deny)"
            found.append(Warn((*where, "reservation"), f"rule {rule.name} {text}"))
    if policy.prices:
        text = "has no prices: what runs there costs nothing, and no cap on money holds it; write an empty table"
        found += [
            Warn(("policy", "prices"), f"target {one.name} {text} [policy.prices.{one.name}] if that is so")
            for one in targets
            if one.name not in policy.prices
        ]
    return found


def _strays(rule: Rule, names: Sequence[str]) -> str:
    """Say which of a rule's targets there are not; empty where there are all."""
    strays = [pattern for pattern in rule.targets if not fnmatch.filter(names, pattern)]
    if not strays:
        return ""
    lost = "" if len(strays) < len(rule.targets) else ", so jobs that fit it never burst"
    return f"rule {rule.name}: no target is called {' or '.join(strays)}{lost}; there are {', '.join(names)}"


def _overlaps(policy: Policy) -> Iterator[tuple[int, str]]:
    """
    Find rules that never win, because an earlier one fits whatever they fit, and pairs that overlap with other effects;
    by the index of the later one.

    Names are compared as patterns: what can't be decided by looking at two of them is no warning.
    """
    for index, later in enumerate(policy.rules):
        earlier = policy.rules[:index]
        cover = next((rule for rule in earlier if _covers(rule, later)), None)
        if cover is not None:
            yield index, f"rule {later.name} never wins: rule {cover.name} comes first and fits whatever it fits"
            continue
        for rule in earlier:
            if effects(rule) != effects(later) and not _covers(later, rule) and _meet(rule, later):
                names = f"{rule.name} and {later.name}"
                yield index, f"rules {names} overlap: jobs that fit both get {rule.name}'s effects alone"


def _covers(wide: Rule, narrow: Rule) -> bool:
    """Whether every job that fits ``narrow`` surely fits ``wide``."""
    for name in PATTERNS:
        wider, narrower = getattr(wide, name), getattr(narrow, name)
        if wider and not (narrower and all(any(fnmatch.fnmatchcase(n, w) for w in wider) for n in narrower)):
            return False
    for name in SPANS:
        outer, inner = getattr(wide, name), getattr(narrow, name)
        if outer is not None and not (inner is not None and _within(inner, outer)):
            return False
    hours = not wide.hours or (bool(narrow.hours) and _minutes(narrow.hours) <= _minutes(wide.hours))
    days = not wide.weekdays or (bool(narrow.weekdays) and set(narrow.weekdays) <= set(wide.weekdays))
    return hours and days


def _within(inner: Span | TimeSpan, outer: Span | TimeSpan) -> bool:
    low = outer.min is None or (inner.min is not None and inner.min >= outer.min)
    high = outer.max is None or (inner.max is not None and inner.max <= outer.max)
    return low and high


def _meet(one: Rule, other: Rule) -> bool:
    """Whether some job surely fits both, where they name the same kind of thing: a shared literal name or span."""
    shared = False
    for name in PATTERNS:
        mine, theirs = getattr(one, name), getattr(other, name)
        if not mine or not theirs:
            continue
        if not any(fnmatch.fnmatchcase(a, b) or fnmatch.fnmatchcase(b, a) for a in mine for b in theirs):
            return False
        shared = True
    for name in SPANS:
        a, b = getattr(one, name), getattr(other, name)
        if a is None or b is None:
            continue
        if (a.max is not None and b.min is not None and a.max < b.min) or (
            b.max is not None and a.min is not None and b.max < a.min
        ):
            return False
        shared = True
    if one.weekdays and other.weekdays and not set(one.weekdays) & set(other.weekdays):
        return False
    if one.hours and other.hours:
        return bool(_minutes(one.hours) & _minutes(other.hours))
    # Rules about different things (an account here, hours there) meet by design: the order decides.
    return shared and not one.hours and not other.hours


def _minutes(hours: str) -> frozenset[int]:
    """Give the minutes of a day that a span of hours holds."""
    begin, end = (int(clock[:2]) * 60 + int(clock[3:]) for clock in hours.split("-"))
    return frozenset(range(begin, end)) if begin < end else frozenset({*range(begin, 1440), *range(end)})
