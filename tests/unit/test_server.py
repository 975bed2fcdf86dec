"""
The listeners as clients see them: a real unix socket, and real TLS on the loopback interface.
"""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import grpc
import pytest
import trustme
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent._pb.burst.v1 import agent_pb2_grpc as pb_grpc
from burst_agent.errors import SettingsError
from burst_agent.server import Server

from .house import FakeUsers, make_house
from .serving import FakeMunge, announcement, refused, serving

Code = grpc.StatusCode


async def test_the_socket_is_roots(tmp_path: Path) -> None:
    """Nobody else may connect, not for a moment; it goes with the server."""
    async with serving(tmp_path) as desk:
        mode = desk.socket.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert not desk.socket.exists()


async def test_each_listener_serves_only_its_callers(tmp_path: Path) -> None:
    """The login port answers no gateway, the gateway port no user."""
    async with serving(tmp_path) as desk:
        async with desk.tls(desk.login) as channel:
            attach = pb_grpc.GatewayServiceStub(channel).Attach(pb.AttachRequest(job_id=7))
            assert (await refused(attach))[0] is Code.UNIMPLEMENTED
            status = pb_grpc.AdminServiceStub(channel).Status(pb.StatusRequest())
            assert (await refused(status))[0] is Code.UNIMPLEMENTED
        async with desk.tls(desk.gateway, desk.ca.issue_cert("gateway")) as channel:
            announce = pb_grpc.SubmitServiceStub(channel).Announce(announcement())
            assert (await refused(announce))[0] is Code.UNIMPLEMENTED
            attach = pb_grpc.GatewayServiceStub(channel).Attach(pb.AttachRequest(job_id=7))
            assert (await refused(attach))[0] is Code.PERMISSION_DENIED


async def test_the_gateway_port_wants_a_certificate_of_its_authority(tmp_path: Path) -> None:
    """None, or one of another authority, gets no answer."""
    async with serving(tmp_path) as desk:
        for client in (None, trustme.CA().issue_cert("gateway")):
            async with desk.tls(desk.gateway, client) as channel:
                attach = pb_grpc.GatewayServiceStub(channel).Attach(pb.AttachRequest(job_id=7), timeout=60)
                assert (await refused(attach))[0] is Code.UNAVAILABLE


async def test_messages_are_capped(tmp_path: Path) -> None:
    """What is too large is refused before it is read."""
    async with serving(tmp_path) as desk, desk.tls(desk.login) as channel:
        request = pb.AnnounceRequest(submission=b"x" * 300_000)
        refusal = await refused(pb_grpc.SubmitServiceStub(channel).Announce(request))
        assert refusal[0] is Code.RESOURCE_EXHAUSTED


async def test_a_second_agent_does_not_start(tmp_path: Path) -> None:
    """Two loops would fight over the same jobs; a socket that nobody answers is left over and taken."""
    async with serving(tmp_path) as desk:
        with pytest.raises(SettingsError, match="another agent"):
            async with serving(tmp_path):
                pass
        assert desk.socket.exists()
    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(str(tmp_path / "run" / "agent.sock"))
    async with serving(tmp_path):
        pass


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """Named, with its section."""
    async with serving(tmp_path) as desk:
        other = tmp_path / "other"
        other.mkdir()
        taken = desk.house.settings.listen.login
        house = make_house()
        async with serving(other, house):
            settings = house.settings.model_copy(
                update={"listen": house.settings.listen.model_copy(update={"login": taken, "socket": other / "s"})}
            )
            server = Server(
                settings=settings,
                loop=house.loop,
                attacher=None,  # type: ignore[arg-type]
                munge=FakeMunge(),
                users=FakeUsers(),
                accounting=house.accounting,
                clock=house.clock,
            )
            with pytest.raises(SettingsError, match=r"listen\.login: can't listen on"):
                await server.start()
            await server.stop(0)
