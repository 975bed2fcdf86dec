"""
Slurm's ways of writing trackable resources, as numbers.

Two notations: a TRES string as accounting has it (``cpu=4,mem=1.50T,node=2,billing=4,gres/gpu=2,gres/gpu:a100=2``), and
GRES strings of nodes (``gpu:a100:4(S:0-1),shard:8``) and requests (``gres/gpu:a100:2``, ``gres:gpu:2``). A TRES string
tells of GPUs only where AccountingStorageTRES names gres/gpu; elsewhere the GRES strings do.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

from burst_agent.amounts import MEMORY_UNITS
from burst_agent.model import Tres
from burst_agent.slurm.arrays import parse_array_tasks

#: Large counts of a GRES are written with units, of 1024 too.
COUNT_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}

NUMBER = re.compile(r"(\d+(?:\.\d+)?)([KMGTP]?)")

#: In all notations: gres/gpu:a100=2, gres/gpu:a100:2, gpu:a100:4(S:0-1), gres:gpu:a100.
GPU_TYPE = re.compile(r"\bgpu:([A-Za-z_][^:=,(\s]*)")


def parse_tres(text: str) -> Tres:
    """Read a TRES string; a resource that it does not name counts 0."""
    amounts = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    typed = sum(count(value) for name, value in amounts.items() if name.startswith("gres/gpu:"))
    return Tres(
        cpus=count(amounts.get("cpu", "0")),
        memory_mib=memory_mib(amounts.get("mem", "0")),
        nodes=count(amounts.get("node", "0")),
        # With types, gres/gpu is their sum; a site may account for the types only.
        gpus=count(amounts["gres/gpu"]) if "gres/gpu" in amounts else typed,
    )


def count(text: str) -> int:
    """Read a count; what is no number counts 0."""
    match = NUMBER.fullmatch(text)
    return int(Decimal(match[1]) * COUNT_UNITS[match[2]]) if match else 0


def memory_mib(text: str) -> int:
    """Read an amount of memory, in MiB, rounded up: a pod with less than the job was promised would be killed."""
    match = NUMBER.fullmatch(text)
    return math.ceil(Decimal(match[1]) * MEMORY_UNITS[match[2]]) if match else 0


def parse_gres_gpus(text: str) -> int:
    """Count the GPUs in a GRES string, summed over their types."""
    return sum(gpus_by_type(text).values())


def gpus_by_type(text: str) -> dict[str, int]:
    """Count the GPUs in a GRES string by their types; those of no type are under the empty name."""
    found: dict[str, int] = {}
    # What is in parentheses says which devices and may hold commas: gpu:2(IDX:0,3).
    for part in re.sub(r"\([^)]*\)", "", text).split(","):
        words = re.split("[:=]", part.strip().removeprefix("gres/").removeprefix("gres:"))
        if words[0] == "gpu":
            # --gres=gpu and --gres=gpu:a100 ask for one.
            number = words.pop() if NUMBER.fullmatch(words[-1]) else "1"
            name = words[1] if len(words) > 1 else ""
            found[name] = found.get(name, 0) + count(number)
    return found


def gpu_type(*texts: str) -> str:
    """Name the first type of GPU in TRES or GRES strings; empty where none is named."""
    for text in texts:
        if match := GPU_TYPE.search(text):
            return match[1]
    return ""


def gpu_indices(text: str) -> tuple[int, ...]:
    """Read the numbers of GPUs in a GRES string with details, ascending: ``gpu:a100:2(IDX:0,3),gpu:v100:1(IDX:5)``."""
    found: set[int] = set()
    for numbers in re.findall(r"(?:^|,)gpu(?::[^()]*)?\(IDX:([0-9,-]*)\)", text):
        found.update(parse_array_tasks(numbers))
    return tuple(sorted(found))


def requested_gpus(*, per_job: str, per_node: str, per_task: str, nodes: int, tasks: int) -> int:
    """Count the GPUs of a request that no TRES string tells: --gpus, --gpus-per-node or --gres, --gpus-per-task."""
    return max(
        parse_gres_gpus(per_job),
        parse_gres_gpus(per_node) * nodes,
        parse_gres_gpus(per_task) * tasks,
    )
