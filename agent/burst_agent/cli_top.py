"""
burstctl top: flagged jobs, live. In a terminal the screen is painted anew each time; into a pipe go one table, or with
--json one line of JSON, after the other.

An agent that does not answer ends nothing: that is said, and it is asked again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.json_format import MessageToDict

from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent.amounts import clock_time, duration
from burst_agent.cli_text import table

#: What is shown, in this order: what runs, what will soon, what waits, what never will.
_STATES = ("lost", "running", "moved", "provisioning", "waiting", "refused")
_HEAD = ("JOB", "UID", "STATE", "PARTITION", "TARGET", "SINCE", "SO FAR", "TO COME", "REASON")
_LEFT = "\x1b[?1049l\x1b[?25h"  # the screen as it was, with its cursor
_ENTERED = "\x1b[?1049h\x1b[?25l"
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"


@dataclass(frozen=True, slots=True)
class Asked:
    """
    What ``burstctl top`` was asked for.
    """

    once: bool
    as_json: bool
    every_s: float


def run(look: Callable[[], pb.StatusResponse], asked: Asked, explain: Callable[[grpc.RpcError], str]) -> None:
    """
    Look and print until interrupted, or once. Raises grpc.RpcError where the only look fails.

    ``explain`` says what a failed call means.
    """
    live = sys.stdout.isatty() and not asked.once and not asked.as_json
    with _screen() if live else contextlib.nullcontext(), contextlib.suppress(KeyboardInterrupt):
        while True:
            try:
                answer, problem = look(), ""
            except grpc.RpcError as e:
                if asked.once:
                    raise
                answer, problem = pb.StatusResponse(), explain(e)
            answer.problems.extend([problem] if problem else [])
            if not _said(_painted(answer) if live else _line(answer, asked) + "\n"):
                return
            if asked.once:
                return
            time.sleep(asked.every_s)


def _said(words: str) -> bool:
    """Print; say whether anybody still reads."""
    try:
        sys.stdout.write(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


@contextlib.contextmanager
def _screen() -> Iterator[None]:
    _said(_ENTERED)
    try:
        yield
    finally:
        _said(_LEFT)


def _painted(answer: pb.StatusResponse) -> str:
    columns, rows = shutil.get_terminal_size()
    lines = text(answer, time.time()).splitlines()
    if len(lines) > rows:
        lines = [*lines[: rows - 1], f"… and {len(lines) - rows + 1} more"]
    # Painted over what stood there: a screen that is cleared first flickers.
    return _HOME + "\n".join(line[:columns] + _REST_OF_LINE for line in lines) + _REST


def _line(answer: pb.StatusResponse, asked: Asked) -> str:
    if not asked.as_json:
        return text(answer, time.time()) + ("" if asked.once else "\n")
    known = MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    known["jobs"] = [job for job in known["jobs"] if job["burst_state"] in _STATES]
    del known["usage"], known["usage_error"]
    return json.dumps({"now": round(time.time(), 3)} | known)


def text(answer: pb.StatusResponse, now: float) -> str:
    """Write what is seen at one moment for people."""
    jobs = sorted(
        (job for job in answer.jobs if job.burst_state in _STATES),
        key=lambda job: (_STATES.index(job.burst_state), job.since, job.job_id),
    )
    counts = [f"{sum(job.burst_state == state for job in jobs)} {state}" for state in _STATES[1:]]
    money = [
        f"{sum(job.cost_so_far for job in jobs):.2f} {answer.currency} so far",
        f"{sum(job.cost_to_come for job in jobs):.2f} to come at most",
    ]
    head = f"{time.strftime('%H:%M:%S', time.localtime(now))}  {', '.join(counts)}; {', '.join(money)}"
    parts = [head, *(f"problem: {problem}" for problem in answer.problems)]
    return "\n".join([*parts, "", table(_HEAD, [_row(job, now) for job in jobs])])


def _row(job: pb.JobStatus, now: float) -> Sequence[str]:
    since = f"{clock_time(job.since, now, None)} ({duration(max(now - job.since, 0))})" if job.since else "-"
    return (
        str(job.job_id),
        str(job.uid),
        job.burst_state,
        job.partition,
        job.target or "-",
        since,
        f"{job.cost_so_far:.2f}",
        f"{job.cost_to_come:.2f}",
        job.reason,
    )
