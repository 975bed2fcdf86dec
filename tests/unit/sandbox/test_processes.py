"""
Processes as the sandbox names them: a pid that is used again is another process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox.errors import ServiceError
from sandbox.processes import Process, kill_all, wait_until, with_argument
from sandbox.services import signal_number
from sandbox.steps import Steps


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing, with a word of its own on its command line."""
    word = f"word-{os.urandom(8).hex()}"
    program = "import signal; print('up', flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", program, word], stdout=subprocess.PIPE) as process:
        # While it is being executed, the kernel has no command line of it.
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def test_a_process_is_found_by_a_whole_word_of_its_command_line(child: subprocess.Popen[bytes]) -> None:
    assert isinstance(child.args, list)
    word = str(child.args[-1])
    assert [process.pid for process in with_argument(word)] == [child.pid]
    assert with_argument(word[:-1]) == []


def test_another_process_with_the_same_pid_is_not_taken_for_it(child: subprocess.Popen[bytes]) -> None:
    process = Process.of(child.pid)
    assert process
    earlier = Process(child.pid, process.start_ticks - 1)
    assert process.alive
    assert not earlier.alive
    assert not earlier.send(signal.SIGKILL)
    assert process.alive, "a signal went to the wrong process"


def test_the_end_of_a_process_is_noticed_before_its_parent_notices(child: subprocess.Popen[bytes]) -> None:
    process = Process.of(child.pid)
    assert process
    assert not process.wait(0)
    assert kill_all([process]) == []
    assert not process.alive, "a zombie counts as alive"
    assert process.wait(0)


#: Its first thread ends, and leaves a zombie, while another reads; then that one ends too.
LAST_THREAD = """
import ctypes, sys, threading
threading.Thread(target=sys.stdin.buffer.read).start()
ctypes.CDLL(None).syscall({exit})
"""


def test_a_process_lives_as_long_as_one_of_its_threads() -> None:
    program = LAST_THREAD.format(exit={"x86_64": 60, "aarch64": 93}[os.uname().machine])
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as child:
        stat = Path(f"/proc/{child.pid}/stat")
        wait_until("its first thread to end", lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", 60)
        process = Process.of(child.pid)
        assert process, "what still has files open counts as gone"
        assert not process.wait(0)
        assert child.stdin
        child.stdin.close()
        assert process.wait(60)
        assert not process.alive


def test_a_process_is_saved_and_loaded_while_it_lives(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    record = tmp_path / "services/name"
    assert Process.load(record) is None
    process = Process.of(child.pid)
    assert process
    process.save(record)
    assert Process.load(record) == process
    kill_all([process])
    assert Process.load(record) is None


def test_a_half_written_record_is_no_process(tmp_path: Path) -> None:
    (tmp_path / "name").write_text("12")
    assert Process.load(tmp_path / "name") is None


@pytest.mark.parametrize("word", ["KILL", "SIGKILL", "kill", "9", "-9", "-KILL", 9])
def test_signals_are_named_in_all_usual_ways(word: str | int) -> None:
    assert signal_number(word) == signal.SIGKILL


def test_a_misspelt_signal_is_named() -> None:
    with pytest.raises(ServiceError, match="KLIL"):
        signal_number("KLIL")


def test_steps_are_one_plain_line_each_where_there_is_no_terminal(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        steps = Steps(stream)
        with steps.step("first"):
            pass
        with pytest.raises(RuntimeError), steps.step("second"):
            raise RuntimeError
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split(" s  ")[1] for line in lines] == ["first", "second: failed"]
