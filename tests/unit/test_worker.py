"""
The child process that makes blocking calls. Modules of the standard library stand for C libraries.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from burst_agent.worker import Worker, WorkerLost

TIMEOUT_S = 20.0


@asynccontextmanager
async def worker_of(module: str) -> AsyncIterator[Worker]:
    worker = Worker(module, name="the library")
    try:
        yield worker
    finally:
        await worker.close()


async def pid_of(worker: Worker) -> int:
    pid: int = await worker.call("getpid", timeout_s=TIMEOUT_S)
    return pid


async def test_calls_run_one_after_another_in_one_other_process() -> None:
    async with worker_of("os") as worker:
        pids = await asyncio.gather(*(pid_of(worker) for _ in range(3)))

    assert len(set(pids)) == 1
    assert pids[0] != os.getpid()


async def test_what_the_function_raises_is_raised_here_and_the_child_lives_on() -> None:
    async with worker_of("operator") as worker:
        with pytest.raises(ZeroDivisionError):
            await worker.call("truediv", 1, 0, timeout_s=TIMEOUT_S)
        assert await worker.call("add", 1, 2, timeout_s=TIMEOUT_S) == 3


async def test_a_child_that_dies_is_named_with_its_last_words_and_replaced() -> None:
    async with worker_of("os") as worker:
        first = await pid_of(worker)
        last = "echo of an earlier call >&2; exec true"
        await worker.call("system", last, timeout_s=TIMEOUT_S)
        last = "echo fatal: no slurm.conf >&2; kill -9 $PPID"
        with pytest.raises(WorkerLost, match=r"^the library died during system; it said: fatal: no slurm\.conf$"):
            await worker.call("system", last, timeout_s=TIMEOUT_S)
        assert await pid_of(worker) != first


async def test_what_the_child_leaves_behind_holds_nobody_up(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with worker_of("os") as worker:
        # The shell keeps the child's stderr open until somebody writes into the fifo.
        with pytest.raises(WorkerLost, match="it said: dying"):
            await worker.call("system", f"echo dying >&2; kill -9 $PPID; read -r _ < {fifo}", timeout_s=TIMEOUT_S)
        assert await pid_of(worker) > 0
    fifo.write_text("go\n")


async def test_a_child_killed_between_two_calls_is_replaced() -> None:
    async with worker_of("os") as worker:
        first = await pid_of(worker)
        os.kill(first, signal.SIGKILL)
        try:
            second = await pid_of(worker)
        except WorkerLost:  # its death was not noticed before the call
            second = await pid_of(worker)
    assert second != first


async def test_a_call_past_its_deadline_ends_the_child_and_the_next_call_gets_a_new_one() -> None:
    async with worker_of("time") as worker:
        await worker.call("time", timeout_s=TIMEOUT_S)
        with pytest.raises(WorkerLost, match=r"did not answer within 0\.1 s"):
            await worker.call("sleep", 3600, timeout_s=0.1)
        assert await worker.call("time", timeout_s=TIMEOUT_S) > 0


async def test_a_call_that_waits_for_its_turn_too_long_leaves_the_child_alone(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with worker_of("os") as worker:
        first = await pid_of(worker)
        # Opening a fifo blocks until the other side opens it too.
        blocked = asyncio.create_task(worker.call("open", str(fifo), os.O_WRONLY, timeout_s=TIMEOUT_S))
        await asyncio.sleep(0)
        with pytest.raises(WorkerLost, match=r"was busy for 0\.05 s"):
            await worker.call("getpid", timeout_s=0.05)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert await blocked > 0
        finally:
            os.close(reader)
        assert await pid_of(worker) == first


async def test_a_cancelled_caller_neither_stops_its_call_nor_mixes_up_answers() -> None:
    async with worker_of("operator") as worker:
        call = asyncio.create_task(worker.call("add", 1, 1, timeout_s=TIMEOUT_S))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await worker.call("add", 20, 3, timeout_s=TIMEOUT_S) == 23


async def test_a_module_that_is_missing_is_named() -> None:
    async with worker_of("no_such_module") as worker:
        with pytest.raises(WorkerLost, match="No module named 'no_such_module'"):
            await worker.call("anything", timeout_s=TIMEOUT_S)


async def test_closing_ends_the_child_and_its_call() -> None:
    worker = Worker("time", name="the library")
    call = asyncio.create_task(worker.call("sleep", 3600, timeout_s=3600))
    await asyncio.sleep(0)
    await worker.close()
    with pytest.raises(asyncio.CancelledError):
        await call
