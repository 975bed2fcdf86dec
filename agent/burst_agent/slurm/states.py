"""
Slurm's state words of jobs and nodes, from the numbers in slurm.h.

Base states and flags keep their numbers from version to version: slurm.h marks a bit that is given up as empty.
"""

from __future__ import annotations

from burst_agent.model import JobState

#: enum job_states, in its order.
JOB_STATES = (
    JobState.PENDING,
    JobState.RUNNING,
    JobState.SUSPENDED,
    JobState.COMPLETED,
    JobState.CANCELLED,
    JobState.FAILED,
    JobState.TIMEOUT,
    JobState.NODE_FAIL,
    JobState.PREEMPTED,
    JobState.BOOT_FAIL,
    JobState.DEADLINE,
    JobState.OUT_OF_MEMORY,
)
#: enum node_states, in its order.
NODE_STATES = ("UNKNOWN", "DOWN", "IDLE", "ALLOCATED", "ERROR", "MIXED", "FUTURE")
#: Base states in which slurmctld places jobs.
USABLE = frozenset({"IDLE", "ALLOCATED", "MIXED"})
#: Bit numbers of node state flags, and the word for each; all of them keep new jobs away.
BARRING_FLAGS = {
    4: "EXTERNAL",
    5: "RESERVED",
    9: "DRAIN",
    11: "NOT_RESPONDING",
    12: "POWERED_DOWN",
    13: "FAIL",
    14: "POWERING_UP",
    15: "MAINTENANCE",
    16: "REBOOT_REQUESTED",
    18: "POWERING_DOWN",
    20: "REBOOT_ISSUED",
    22: "INVALID_REG",
    23: "POWER_DOWN",
    25: "POWER_DRAIN",
    27: "BLOCKED",
}
#: Those that do not.
OTHER_FLAGS = {10: "COMPLETING", 21: "PLANNED"}

BASE_MASK = 0xF


def job_state(number: int) -> JobState:
    """Name a job's base state, its flags masked off already. Raises ValueError for a state of a newer Slurm."""
    try:
        return JOB_STATES[number]
    except IndexError:
        msg = f"job state {number} is none that this agent knows"
        raise ValueError(msg) from None


def node_state(number: int) -> str:
    """Write a node's state with its flags, as ``IDLE+DRAIN``."""
    base = number & BASE_MASK
    words = [NODE_STATES[base] if base < len(NODE_STATES) else f"STATE{base}"]
    words += [word for bit, word in sorted((BARRING_FLAGS | OTHER_FLAGS).items()) if number >> bit & 1]
    return "+".join(words)


def node_usable(number: int) -> bool:
    """Whether slurmctld would place a job on a node in this state."""
    base = number & BASE_MASK
    barred = any(number >> bit & 1 for bit in BARRING_FLAGS)
    return not barred and base < len(NODE_STATES) and NODE_STATES[base] in USABLE
