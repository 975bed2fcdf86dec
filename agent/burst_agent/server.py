"""
The agent's gRPC listeners.

Which listener serves which service is the first line of defence: the TLS port answers users, who prove who they are
with MUNGE; the mutual-TLS port answers gateways; the unix socket, for root alone, answers all.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import grpc

from burst_agent._pb.burst.v1 import agent_pb2_grpc as pb_grpc
from burst_agent.attach import Attacher
from burst_agent.errors import SettingsError
from burst_agent.ports import AccountingPort, Clock, MungePort, UserDirectory
from burst_agent.reconcile import Reconciler
from burst_agent.services import AdminService, GatewayService, SubmitService
from burst_agent.settings import MutualTlsListener, Settings, TlsListener

#: A command line can be long, everything else is short; larger messages are refused before they are read.
_MAX_MESSAGE_BYTES = 256 * 1024
_MAX_CALLS = 64


class Server:
    """
    All listeners. Raises SettingsError from :meth:`start` where one can't be opened.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        loop: Reconciler,
        attacher: Attacher,
        munge: MungePort,
        users: UserDirectory,
        accounting: AccountingPort,
        clock: Clock,
    ) -> None:
        """Take what answers are made of; nothing listens yet."""
        self._settings = settings
        self._gateway = GatewayService(attacher)
        self._admin = AdminService(settings=settings, loop=loop, accounting=accounting, clock=clock)
        self._submit = SubmitService(loop=loop, munge=munge, users=users, clock=clock, root_only=False)
        self._submit_root = SubmitService(loop=loop, munge=munge, users=users, clock=clock, root_only=True)
        self._servers: list[grpc.aio.Server] = []

    async def start(self) -> None:
        """Listen everywhere."""
        listen = self._settings.listen
        local = self._new_server()
        pb_grpc.add_SubmitServiceServicer_to_server(self._submit_root, local)
        pb_grpc.add_GatewayServiceServicer_to_server(self._gateway, local)
        pb_grpc.add_AdminServiceServicer_to_server(self._admin, local)
        await _start_on_socket(local, listen.socket)
        if listen.login is not None:
            login = self._new_server()
            pb_grpc.add_SubmitServiceServicer_to_server(self._submit, login)
            await _start_on_port(login, listen.login, "listen.login")
        if listen.gateway is not None:
            gateway = self._new_server()
            pb_grpc.add_GatewayServiceServicer_to_server(self._gateway, gateway)
            await _start_on_port(gateway, listen.gateway, "listen.gateway")

    async def stop(self, grace_s: float) -> None:
        """Answer what was asked, for so long, then close."""
        for server in self._servers:
            await server.stop(grace_s)
        self._settings.listen.socket.unlink(missing_ok=True)

    def _new_server(self) -> grpc.aio.Server:
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),  # a second agent must fail, not share
            ],
            maximum_concurrent_rpcs=_MAX_CALLS,
        )
        self._servers.append(server)
        return server


async def _start_on_socket(server: grpc.aio.Server, path: Path) -> None:
    """Listen for root alone: the mode is set by the umask, so that there is no moment in which others may connect."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and _answers(path):
        msg = f"listen.socket {path}: another agent listens there"
        raise SettingsError(msg)
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
        await server.start()
    except (RuntimeError, OSError) as e:
        msg = f"listen.socket {path}: can't listen there: {e}"
        raise SettingsError(msg) from e
    finally:
        os.umask(before)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


async def _start_on_port(server: grpc.aio.Server, listener: TlsListener, section: str) -> None:
    try:
        pair = (listener.key.read_bytes(), listener.certificate.read_bytes())
        ca = listener.client_ca.read_bytes() if isinstance(listener, MutualTlsListener) else None
        credentials = grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)
        server.add_secure_port(listener.address, credentials)
        await server.start()
    except (RuntimeError, OSError) as e:
        msg = f"{section}: can't listen on {listener.address}: {e}"
        raise SettingsError(msg) from e
