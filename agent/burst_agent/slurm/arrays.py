"""
The indices that a pending array record stands for.
"""

from __future__ import annotations

import re

#: One index, or a span with or without a step.
PART = re.compile(r"(\d+)(?:-(\d+)(?::([1-9]\d*))?)?")


def parse_array_tasks(text: str) -> tuple[int, ...]:
    """
    Expand ``0-3,7``, ``0-30:5`` and ``1-8%2`` (at most two at a time), ascending.

    Raises ValueError for a list that libslurm cut short (``1,3,...``): it does so above the length that
    SLURM_BITSTR_LEN allows, and half a list would lose tasks silently.
    """
    indices: set[int] = set()
    for part in text.partition("%")[0].strip("[]").split(","):
        if not part:
            continue
        match = PART.fullmatch(part)
        if not match:
            msg = f"the array list {text!r} can't be read at {part!r}"
            raise ValueError(msg)
        first, last, step = match.groups()
        indices.update(range(int(first), int(last or first) + 1, int(step or 1)))
    return tuple(sorted(indices))
