"""
A picture of a simulation, as SVG: mean wait by day, and money by day. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from burst_agent.simulate import Outcome

_WIDTH, _PANEL, _LEFT, _TOP, _GAP = 960, 200, 70, 50, 70
_COLOURS = ("#7f7f7f", "#d17a22", "#2a6fb0")


def svg(outcomes: Mapping[str, Outcome], currency: str) -> str:
    """Draw up to three outcomes, by name, over the same history."""
    days = sorted({day for outcome in outcomes.values() for day in outcome.by_day})
    waits = {
        name: [outcome.by_day[day].mean_wait_s / 3600 if day in outcome.by_day else 0.0 for day in days]
        for name, outcome in outcomes.items()
    }
    costs = {
        name: [outcome.by_day[day].cost if day in outcome.by_day else 0.0 for day in days]
        for name, outcome in outcomes.items()
    }
    height = _TOP + 2 * (_PANEL + _GAP)
    font = 'font-family="sans-serif" font-size="12"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {font}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        *_legend(list(outcomes)),
        *_panel(_TOP, "mean wait of the jobs submitted on a day, hours", days, waits),
        *_panel(_TOP + _PANEL + _GAP, f"money for the jobs submitted on a day, {currency}", days, costs),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    for index, name in enumerate(names):
        x = _LEFT + index * 220
        parts.append(f'<rect x="{x}" y="12" width="12" height="12" fill="{_COLOURS[index]}"/>')
        parts.append(f'<text x="{x + 18}" y="22">{escape(name)}</text>')
    return parts


def _panel(top: int, title: str, days: Sequence[str], series: Mapping[str, Sequence[float]]) -> list[str]:
    """Draw one panel: a line for each series, its peak on the axis, some days below."""
    peak = max((value for values in series.values() for value in values), default=0.0) or 1.0
    bottom, width = top + _PANEL, _WIDTH - _LEFT - 20
    step = width / max(len(days) - 1, 1)
    parts = [
        f'<text x="{_LEFT}" y="{top - 6}" font-weight="bold">{escape(title)}</text>',
        f'<path d="M{_LEFT} {top}V{bottom}H{_LEFT + width}" fill="none" stroke="black"/>',
        f'<text x="{_LEFT - 6}" y="{top + 10}" text-anchor="end">{peak:.3g}</text>',
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
    ]
    parts.extend(
        f'<text x="{_LEFT + index * step:.0f}" y="{bottom + 16}">{days[index]}</text>'
        for index in range(0, len(days), max(len(days) // 8, 1))
    )
    for colour, values in zip(_COLOURS, series.values(), strict=False):
        points = " ".join(
            f"{_LEFT + index * step:.1f},{bottom - value / peak * _PANEL:.1f}" for index, value in enumerate(values)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return parts
