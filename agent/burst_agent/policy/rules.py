"""
Which of a site's rules a job falls under: the first that fits, and why the others don't.
"""

from __future__ import annotations

import fnmatch
import functools
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, tzinfo
from typing import Any

from burst_agent.amounts import duration
from burst_agent.model import Job, Unflagged
from burst_agent.policy_file import WEEKDAYS, Policy, Rule, Span, TimeSpan

#: Values of one kind, names of accounts for example, of which it is remembered what rules they fit.
_REMEMBERED = 1 << 16

#: Says why a value does not fit; empty where it fits.
_Check = Callable[[Any], str]
#: Says why a moment does not fit; empty where it fits.
_ClockCheck = Callable[[datetime], str]


class RuleBook:
    """
    The rules of one policy, ready to be applied many times.
    """

    def __init__(self, policy: Policy) -> None:
        """Prepare the rules."""
        self._zone: tzinfo | None = policy.zone
        self._rules = tuple((rule, tuple(_checks(rule)), tuple(_clock_checks(rule))) for rule in policy.rules)
        looked_at = {name for _, checks, _ in self._rules for name, _ in checks}
        self._sieves = [_Sieve(name, [dict(checks).get(name) for _, checks, _ in self._rules]) for name in looked_at]
        self._all = (1 << len(self._rules)) - 1
        self._moment = 0.0, datetime.fromtimestamp(0, self._zone)
        #: What unflagged jobs are to be looked at.
        self.flags = tuple(Unflagged(rule.partition, rule.account, rule.qos) for rule in policy.rules if rule.flag)

    def first(self, job: Job, now: float) -> Rule | None:
        """Give the first rule that fits."""
        if now != self._moment[0]:
            self._moment = now, datetime.fromtimestamp(now, self._zone)
        moment, fitting = self._moment[1], self._all
        for sieve in self._sieves:
            fitting &= sieve.fitting(job)
            if not fitting:
                return None
        while fitting:
            first = fitting & -fitting
            rule, _, clock = self._rules[first.bit_length() - 1]
            if not any(check(moment) for check in clock):
                return rule
            fitting ^= first
        return None

    def look(self, job: Job, now: float) -> tuple[str, ...]:
        """Say of each rule up to the first that fits why it does not fit, or what it does."""
        moment = datetime.fromtimestamp(now, self._zone)
        lines: list[str] = []
        for rule, checks, clock in self._rules:
            misfit = next((text for name, check in checks if (text := check(_VALUES[name](job)))), "")
            misfit = misfit or next((text for check in clock if (text := check(moment))), "")
            if not misfit:
                return (*lines, f"rule {rule.name} fits: {effects(rule)}")
            lines.append(f"rule {rule.name} does not fit: {misfit}")
        return tuple(lines) if lines else ("the site has no rules",)


class _Sieve:
    """
    What all rules say of one property of jobs. A long queue has few different values of each.
    """

    def __init__(self, name: str, checks: Sequence[_Check | None]) -> None:
        """Take the check of each rule; ``None``: the rule does not look at it."""
        self._value = _VALUES[name]
        self._checks = [(1 << index, check) for index, check in enumerate(checks) if check is not None]
        self._others = sum(1 << index for index, check in enumerate(checks) if check is None)
        self._fitting: dict[object, int] = {}

    def fitting(self, job: Job) -> int:
        """Give the rules that fit, bit by bit, the first one the lowest."""
        value = self._value(job)
        found = self._fitting.get(value)
        if found is None:
            if len(self._fitting) >= _REMEMBERED:
                self._fitting.clear()
            found = self._fitting[value] = self._others + sum(bit for bit, check in self._checks if not check(value))
        return found


def effects(rule: Rule) -> str:
    """Say what a rule does."""
    words = [
        f"denies ({rule.deny})" if rule.deny else "",
        f"flags as {rule.flag}" if rule.flag else "",
        f"target {', '.join(rule.targets)}" if rule.targets else "",
        f"min_gain {duration(rule.min_gain)}" if rule.min_gain is not None else "",
        f"max_wait {duration(rule.max_wait)}" if rule.max_wait is not None else "",
    ]
    return ", ".join(filter(None, words))


#: Properties of rules that are shell patterns, …
PATTERNS = ("account", "qos", "user", "partition", "reservation", "gpu_type")
#: … and that are spans.
SPANS = ("nodes", "cpus", "gpus", "time_limit")
#: What of a job a rule's property of that name looks at.
_VALUES: dict[str, Callable[[Job], Any]] = {
    **{name: operator.attrgetter(name) for name in PATTERNS},
    "nodes": lambda job: max(job.min_nodes, 1),
    "cpus": lambda job: max(job.requested.cpus, 1),
    "gpus": lambda job: job.requested.gpus,
    "time_limit": lambda job: job.time_limit_min,
}


def _checks(rule: Rule) -> Iterator[tuple[str, _Check]]:
    for name in PATTERNS:
        if patterns := getattr(rule, name):
            yield name, functools.partial(_misnamed, name, patterns, _matcher(patterns))
    for name in ("nodes", "cpus", "gpus"):
        span = getattr(rule, name)
        if span is not None:
            yield name, functools.partial(_sized, name, span)
    if rule.time_limit is not None:
        yield "time_limit", functools.partial(_limited, rule.time_limit)


def _clock_checks(rule: Rule) -> Iterator[_ClockCheck]:
    if rule.weekdays:
        yield functools.partial(_on_days, rule.weekdays, rule.hours)
    if rule.hours:
        yield functools.partial(_in_hours, rule.hours)


def _matcher(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))


def _misnamed(name: str, patterns: tuple[str, ...], matcher: re.Pattern[str], value: str) -> str:
    if any(matcher.match(one) for one in (value.split(",") if name == "partition" else (value,)) if one):
        return ""
    return f"{name} {value or '(none)'} is not {' or '.join(patterns)}"


def _sized(name: str, span: Span, value: int) -> str:
    if (span.min is None or value >= span.min) and (span.max is None or value <= span.max):
        return ""
    return f"{value} {name}, not {_bounds(span.min, span.max)}"


def _limited(span: TimeSpan, limit_min: int | None) -> str:
    limit_s = None if limit_min is None else limit_min * 60
    if limit_s is None:
        return "" if span.max is None else f"no time limit, not {_times(span)}"
    if (span.min is None or limit_s >= span.min) and (span.max is None or limit_s <= span.max):
        return ""
    return f"time limit {duration(limit_s)}, not {_times(span)}"


def _times(span: TimeSpan) -> str:
    low = None if span.min is None else duration(span.min)
    return _bounds(low, None if span.max is None else duration(span.max))


def _bounds(low: object, high: object) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"


def _on_days(days: tuple[str, ...], hours: str, moment: datetime) -> str:
    """Hours over midnight are those of the day on which they began: a Friday's night goes on in Saturday's morning."""
    begin, end = hours.split("-") if hours else ("", "")
    after_midnight = begin >= end and moment.strftime("%H:%M") < end
    day = WEEKDAYS[(moment.weekday() - after_midnight) % 7]
    today = f"today is {day}" if not after_midnight else f"this is {day}'s night"
    return "" if day in days else f"{today}, not {', '.join(days)}"


def _in_hours(hours: str, moment: datetime) -> str:
    begin, end = hours.split("-")
    clock = moment.strftime("%H:%M")
    inside = begin <= clock < end if begin < end else clock >= begin or clock < end
    return "" if inside else f"it is {clock}, not {hours}"
