"""
A door in front of slurmctld, for tests of its absence that leave the real one alone.

A copy of slurm.conf names the door as slurmctld. Open, it passes every connection on; shut, nobody listens there; mute,
connections are taken and nothing is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from pathlib import Path

from tests.slurm.cluster import run


def slurmctld() -> tuple[str, int, Path]:
    """Give host name and port of the first slurmctld, and this host's slurm.conf."""
    lines = (line.partition("=") for line in run("scontrol", "show", "config").splitlines())
    config = {name.strip(): value.strip() for name, _, value in lines}
    return config["SlurmctldHost[0]"], int(config["SlurmctldPort"].split("-")[0]), Path(config["SLURM_CONF"])


class Gate:
    """
    The door. Open it before use; ``conf`` is the slurm.conf that leads to it.
    """

    def __init__(self, folder: Path) -> None:
        host, self._real_port, real_conf = slurmctld()
        match = re.fullmatch(r"([^(]+)(?:\((.+)\))?", host)
        assert match is not None
        self._name, self._address = match[1], match[2] or match[1]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        text = re.sub(r"(?im)^(SlurmctldHost|SlurmctldPort)\s*=.*$", "", real_conf.read_text())
        self.conf = folder / "slurm.conf"
        self.conf.write_text(f"{text}\nSlurmctldHost={self._name}(127.0.0.1)\nSlurmctldPort={self.port}\n")
        self._server: asyncio.Server | None = None
        self._mute = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, *, mute: bool = False) -> None:
        """Listen."""
        self._mute = mute
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def shut(self) -> None:
        """Listen no more, and end every connection."""
        if self._server:
            self._server.close()
            self._server = None
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                if self._mute:
                    await asyncio.Event().wait()
                await self._pass_on(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection(self._address, self._real_port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, here))
                group.create_task(_copy(there, writer))
        finally:
            here.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
