"""
A running server, and what its clients need: credentials, certificates, announcements.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent.errors import NotAuthenticated
from burst_agent.server import Server

from .house import FakeAccounting, FakeUsers, House, make_house


class FakeMunge:
    """
    Credentials are ``UID:PAYLOAD``, and good once.
    """

    def __init__(self) -> None:
        self.seen: set[str] = set()

    async def decode(self, credential: str) -> tuple[int, int, bytes]:
        uid, colon, payload = credential.partition(":")
        if not colon or credential in self.seen:
            msg = "the MUNGE credential is forged or was used before"
            raise NotAuthenticated(msg)
        self.seen.add(credential)
        return int(uid), int(uid), payload.encode()


@dataclass
class Desk:
    """
    A running server.
    """

    house: House
    socket: Path
    login: str
    gateway: str
    ca: trustme.CA

    @asynccontextmanager
    async def local(self) -> AsyncIterator[grpc.aio.Channel]:
        async with grpc.aio.insecure_channel(f"unix:{self.socket}") as channel:
            yield channel

    @asynccontextmanager
    async def tls(self, address: str, client: trustme.LeafCert | None = None) -> AsyncIterator[grpc.aio.Channel]:
        key = client.private_key_pem.bytes() if client else None
        chain = client.cert_chain_pems[0].bytes() if client else None
        credentials = grpc.ssl_channel_credentials(self.ca.cert_pem.bytes(), key, chain)
        async with grpc.aio.secure_channel(address, credentials) as channel:
            yield channel


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def serving(
    tmp_path: Path, house: House | None = None, accounting: FakeAccounting | None = None, more: str = ""
) -> AsyncIterator[Desk]:
    """Serve what a house knows on a socket and two ports, with more TOML of its policy."""
    ca = trustme.CA()
    certificate = ca.issue_cert("localhost")
    (tmp_path / "key").write_bytes(certificate.private_key_pem.bytes())
    (tmp_path / "crt").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    (tmp_path / "ca").write_bytes(ca.cert_pem.bytes())
    login, gateway = (f"localhost:{_free_port()}" for _ in range(2))
    listen = f"""
        [listen]
        socket = "{tmp_path}/run/agent.sock"
        metrics = ""
        [listen.login]
        address = "{login}"
        certificate = "{tmp_path}/crt"
        key = "{tmp_path}/key"
        [listen.gateway]
        address = "{gateway}"
        certificate = "{tmp_path}/crt"
        key = "{tmp_path}/key"
        client_ca = "{tmp_path}/ca"
    """
    house = house or make_house()
    house.settings = make_house(more=more + listen).settings
    house.restart()
    server = Server(
        settings=house.settings,
        loop=house.loop,
        attacher=house.attacher(),
        munge=FakeMunge(),
        users=FakeUsers(),
        accounting=accounting or house.accounting,
        clock=house.clock,
    )
    await server.start()
    try:
        yield Desk(house, tmp_path / "run" / "agent.sock", login, gateway, ca)
    finally:
        await server.stop(0)


def announcement(uid: int = 1000, **changes: object) -> pb.AnnounceRequest:
    """A submission that a user proves to be his."""
    fields = {"cluster": "c1", "mode": pb.BURST_MODE_AUTO, "command_line": ["sbatch", "x"], **changes}
    submission = pb.Submission(**fields).SerializeToString()  # type: ignore[arg-type]
    digest = hashlib.sha256(submission).hexdigest()
    return pb.AnnounceRequest(munge_credential=f"{uid}:{digest}", submission=submission)


async def refused(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> tuple[grpc.StatusCode, str]:
    """The status that a call is refused with, and its words."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""
