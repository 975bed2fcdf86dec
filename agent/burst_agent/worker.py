"""
A child process that makes blocking calls into C libraries, one at a time, and can be killed.

libslurm ends the process on what it calls fatal, retries for as long as it likes and holds no lock of ours: so it lives
in a child. A call names a function of one module; arguments and result cross as pickles over a socket of the parent and
its own child, never from elsewhere. What the function raises is raised in the parent.

The child starts at the first call and again after it died. A call that outlives its deadline kills the child: what the
call did meanwhile is unknown, as with any RPC. A caller that is cancelled leaves its call to finish by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import pickle
import signal
import socket
import struct
import sys
from collections import deque
from typing import Any

LENGTH = struct.Struct("!Q")
#: Lines of the child's stderr that are kept to say why it died.
LAST_WORDS = 5
#: Seconds for which they are waited for, once the child is dead.
LAST_WORDS_S = 1.0

log = logging.getLogger(__name__)


class WorkerLost(Exception):  # noqa: N818 - named for what happened
    """The child died, hung or could not be started; the text says which, and its last words."""


class Worker:
    """
    One child process that has imported one module.
    """

    def __init__(self, module: str, *, name: str) -> None:
        """Describe the child; ``name`` is for messages and logs."""
        self._module = module
        self._name = name
        self._turn = asyncio.Lock()
        self._calls: set[asyncio.Task[Any]] = set()
        self._child: _Child | None = None
        self._last_words = ""

    async def call(self, function: str, *arguments: Any, timeout_s: float) -> Any:
        """Run a function of the module in the child. Raises WorkerLost, and whatever the function raises."""
        task = asyncio.create_task(self._call(function, arguments, timeout_s))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End the child and every call under way."""
        for task in tuple(self._calls):
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._drop()

    async def _call(self, function: str, arguments: tuple[Any, ...], timeout_s: float) -> Any:
        begun = False
        try:
            async with asyncio.timeout(timeout_s), self._turn:
                begun = True
                raised, value = await self._exchange(function, arguments)
        except TimeoutError as e:
            if not begun:
                msg = f"{self._name} was busy for {timeout_s:g} s with earlier calls"
                raise WorkerLost(msg) from e
            msg = f"{self._name} did not answer within {timeout_s:g} s and was ended{_said(self._last_words)}"
            raise WorkerLost(msg) from e
        if raised:
            raise value
        return value

    async def _exchange(self, function: str, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
        try:
            if self._child is None or self._child.dead:
                await self._drop()
                self._child = await _Child.start(self._module, self._name)
            return await self._child.exchange((function, arguments))
        except (OSError, EOFError) as e:
            await self._drop()
            msg = f"{self._name} died during {function}{_said(self._last_words)}"
            raise WorkerLost(msg) from e
        except BaseException:
            # A call cut short leaves a child that would answer the next call with this one's result.
            await self._drop()
            raise

    async def _drop(self) -> None:
        child, self._child = self._child, None
        if child:
            self._last_words = await child.kill()


class _Child:
    """
    The running process and the parent's ends of its socket and of its stderr.
    """

    _process: asyncio.subprocess.Process
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    _stderr: asyncio.ReadTransport
    _log_task: asyncio.Task[None]

    def __init__(self, name: str) -> None:
        self._name = name
        self._words: deque[str] = deque(maxlen=LAST_WORDS)

    @classmethod
    async def start(cls, module: str, name: str) -> _Child:
        """Start it. Raises OSError."""
        child = cls(name)
        ours, theirs = socket.socketpair()
        stderr, their_stderr = os.pipe()
        try:
            child._process = await asyncio.create_subprocess_exec(
                # -P: the working directory is no place to import from.
                *(sys.executable, "-P", "-m", __name__, module, str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=their_stderr,
                pass_fds=(theirs.fileno(),),
                # It imports what its parent would.
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        except BaseException:
            ours.close()
            os.close(stderr)
            raise
        finally:
            theirs.close()
            os.close(their_stderr)
        try:
            await child._connect(ours, stderr)
        except BaseException:
            child._process.kill()
            ours.close()
            raise
        return child

    async def _connect(self, ours: socket.socket, stderr: int) -> None:
        # Neither waits for anything outside of this process.
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        lines = asyncio.StreamReader()
        self._stderr, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(stderr, "rb")
        )
        self._log_task = asyncio.create_task(self._log_stderr(lines))

    @property
    def dead(self) -> bool:
        """Whether the process has ended."""
        return self._process.returncode is not None

    async def exchange(self, request: object) -> tuple[bool, Any]:
        """Send a request and wait for its answer. Raises OSError, EOFError."""
        self._words.clear()
        data = pickle.dumps(request)
        self._writer.write(LENGTH.pack(len(data)) + data)
        await self._writer.drain()
        (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
        answer: tuple[bool, Any] = pickle.loads(await self._reader.readexactly(length))  # noqa: S301 - our own child
        return answer

    async def kill(self) -> str:
        """End the process, wait for it, and give its last words."""
        self._writer.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        # A process that the child left behind may hold its stderr open for as long as it likes.
        await asyncio.wait({self._log_task}, timeout=LAST_WORDS_S)
        self._log_task.cancel()
        self._stderr.close()
        return " ".join(self._words)

    async def _log_stderr(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            text = line.decode(errors="replace").rstrip()
            self._words.append(text)
            log.info("%s: %s", self._name, text)


def _said(words: str) -> str:
    return f"; it said: {words}" if words else ""


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at the outcome of a call whose caller has gone, so that asyncio does not report it as lost."""
    if not task.cancelled():
        task.exception()


def serve(module: str, fd: int) -> None:
    """Answer calls, in the child, until the parent closes its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; the parent decides.
    # Held by a process of the child's own, the socket would hide the child's death from the parent.
    os.set_inheritable(fd, False)
    # Slurm's plugins look for libslurm's symbols in the process.
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
    functions = importlib.import_module(module)
    with socket.socket(fileno=fd) as sock, sock.makefile("rwb") as stream:
        while header := stream.read(LENGTH.size):
            function, arguments = pickle.loads(stream.read(*LENGTH.unpack(header)))  # noqa: S301 - our own parent
            try:
                answer = (False, getattr(functions, function)(*arguments))
            except Exception as e:  # noqa: BLE001 - raised again in the parent
                answer = (True, e)
            data = pickle.dumps(answer)
            stream.write(LENGTH.pack(len(data)) + data)
            stream.flush()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
