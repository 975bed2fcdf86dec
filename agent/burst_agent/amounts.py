"""
How people write times and money in settings and read them in answers, and Slurm its amounts. Pure.

A duration is a number and a unit (``90s``, ``10 min``, ``1h30min``, ``2 d``): a bare number is refused, because Slurm's
is minutes and everybody else's is seconds.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal

UNITS_S = {"s": 1, "min": 60, "h": 3600, "d": 86400}
#: Slurm's, in MiB, which is what a number of memory without a unit means.
MEMORY_UNITS = {
    "K": Decimal(1) / 1024,
    "": Decimal(1),
    "M": Decimal(1),
    "G": Decimal(1 << 10),
    "T": Decimal(1 << 20),
    "P": Decimal(1 << 30),
}
#: Seconds between ticks of the simulator's clock.
SLOT_S = 60
_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")


def parse_duration(text: str) -> float:
    """Read a duration, in seconds. Raises ValueError, whose text names the units."""
    total, rest = 0.0, text.rstrip()
    while rest:
        match = _PART.match(rest)
        if match is None or match[2] not in UNITS_S:
            unit = match[2] if match else ""
            problem = f"{unit!r} is no unit" if unit else "a number and its unit are needed"
            msg = f"{problem}: write for example '90 s', '10 min', '1h30min' or '2 d' ({', '.join(UNITS_S)})"
            raise ValueError(msg)
        total += float(match[1]) * UNITS_S[match[2]]
        rest = rest[match.end() :]
    if not text.strip():
        msg = "is empty: write for example '10 min'"
        raise ValueError(msg)
    return total


def duration(seconds: float) -> str:
    """Write seconds in at most two units: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    whole = round(abs(seconds))
    sign = "-" if seconds < 0 and whole else ""
    if whole < 60:
        return f"{sign}{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{sign}{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{sign}{hours} h {minutes} min" if minutes else f"{sign}{hours} h"
    days, hours = divmod(hours, 24)
    return f"{sign}{days} d {hours} h" if hours else f"{sign}{days} d"


def clock_time(moment: float, now: float, zone: tzinfo | None) -> str:
    """Write a moment as people say it today: the time, with the date where it is another day."""
    then, today = datetime.fromtimestamp(moment, zone), datetime.fromtimestamp(now, zone)
    return then.strftime("%H:%M" if then.date() == today.date() else "%d %b %H:%M")


def day_start(now: float, zone: tzinfo | None) -> float:
    """Give the moment in which this day began; ``None`` is the host's own time zone."""
    return _midnight(now, zone).timestamp()


def next_day_start(now: float, zone: tzinfo | None) -> float:
    """Give the moment in which the next day begins: 23 to 25 hours after this one did."""
    return (_midnight(now, zone) + timedelta(days=1)).timestamp()


def month_start(now: float, zone: tzinfo | None) -> float:
    """Give the moment in which this month began."""
    return _midnight(now, zone).replace(day=1).timestamp()


def _midnight(now: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)


def slurm_minutes(text: str) -> int | None:
    """
    Read a time limit as Slurm takes it (``90``, ``1:30:00``, ``2-12``, …), in minutes rounded up; ``None``: no limit.

    Raises ValueError.
    """
    if text.strip().upper() in ("UNLIMITED", "INFINITE", "-1"):
        return None
    days, dash, clock = text.strip().rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if len(parts) > 3 or min(parts) < 0:
        msg = f"{text!r} is no time limit"
        raise ValueError(msg)
    if dash:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, (*parts, 0)[:2]
    total_s = (int(days or 0) * 24 + hours) * 3600 + minutes * 60 + seconds
    return -(-total_s // 60)
