"""
What somebody would do who wants in, or wants others out. Its text is run on a host of the sandbox, by the agent's own
Python: ``python -c TEXT VERB ARGUMENT…``.

It speaks to the real sockets without our own clients, which are too well behaved for this.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import grpc
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent._pb.burst.v1 import agent_pb2_grpc as rpc

GATEWAYD = "/run/k8s-burst/gatewayd.sock"
HELLO_AT_MOST = 4096


def attach(job_id: str, node: str, uid: str) -> None:
    """As root, ask the agent as gatewayd does; print where the pod is and its token."""
    with grpc.insecure_channel("unix:///run/k8s-burst/agent.sock") as channel:
        request = pb.AttachRequest(job_id=int(job_id), node_name=node, uid=int(uid))
        ready = rpc.GatewayServiceStub(channel).Attach(request, timeout=60).ready
    print(ready.api_server, ready.token)


def api(server: str, token: str, *requests: str) -> None:
    """Use a token: for each METHOD:PATH print the status of the answer. EXEC opens a stream as an exec does."""
    host = server.removeprefix("https://")
    for word in requests:
        method, _, path = word.partition(":")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, timeout=60, context=context)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        if method == "EXEC":
            headers |= {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
            headers |= {"Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==", "Sec-WebSocket-Protocol": "v5.channel.k8s.io"}
            path += "/exec?command=/bin/true&stdout=true"
        body = "{}" if method == "POST" else None
        connection.request("GET" if method == "EXEC" else method, path, body, headers)
        print(connection.getresponse().status)
        connection.close()


def announce() -> None:
    """Announce with credentials of many kinds; print a name and the answer for each."""
    submission = pb.Submission(cluster="sandbox", mode=pb.BURST_MODE_NOW).SerializeToString()
    digest = hashlib.sha256(submission).hexdigest()
    credentials = grpc.ssl_channel_credentials(Path("/etc/k8s-burst/ca.crt").read_bytes())
    channel = grpc.secure_channel("gateway:6821", credentials)

    def munge(payload: str, *options: str) -> str:
        return subprocess.run(["munge", "-s", payload, *options], check=True, capture_output=True, text=True).stdout

    good = munge(digest).strip()
    middle = len(good) // 2
    forged = good[:middle] + ("A" if good[middle] != "A" else "B") + good[middle + 1 :]
    expired = munge(digest, "--ttl=1").strip()
    time.sleep(3)  # it is expired by then
    for name, credential in (
        ("expired", expired),
        ("forged", forged),
        ("other-submission", munge("0" * 64).strip()),
        ("none", ""),
        ("good", good),
        ("replayed", good),
    ):
        try:
            request = pb.AnnounceRequest(munge_credential=credential, submission=submission)
            rpc.SubmitServiceStub(channel).Announce(request, timeout=60)
            print(name, "OK")
        except grpc.RpcError as e:
            print(name, e.code().name, e.details())


def hello(job_id: int, node: str) -> bytes:
    """Write a Hello as a launcher does: its size, job_id = 1, node_name = 2."""
    text = node.encode()
    body = b"\x08" + _varint(job_id) + b"\x12" + _varint(len(text)) + text
    return _varint(len(body)) + body


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def _connect() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(GATEWAYD)
    return connection


def garbage() -> None:
    """Say what no launcher says, and read what comes back until the end; print one line a connection."""
    words: dict[str, bytes] = {
        "oversized": _varint(HELLO_AT_MOST + 1) + b"x" * 10,
        "enormous": b"\xff" * 9 + b"\x01",
        "endless-size": b"\xff" * 64,
        "no-message": _varint(64) + b"\xff" * 64,
        "job-0": hello(0, "k8s-0"),
        "path-in-node": hello(1, "../../etc"),
        "newline-in-node": hello(1, "k8s-0\nk8s-1"),
        "long-node": hello(1, "k" * 300),
        "random": os.urandom(4096),
    }
    for name, text in words.items():
        with _connect() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(text)
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(65536):
                    answer += part
            print(name, len(answer))


def flood(count: str, *kinds: str) -> None:
    """
    Hold so many connections, or as many as the kernel gives: silent ones, slow ones, ones that ask for jobs that there
    are not. Print "ready" and their number, then hold them until standard input ends.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 20000), most))
    held = []
    with contextlib.suppress(OSError):
        for number in range(int(count)):
            connection = _connect()
            held.append(connection)
            kind = kinds[number % len(kinds)]
            if kind == "slow":
                connection.send(b"\x20")
            if kind == "asking":
                connection.send(hello(3_000_000 + number, "k8s-0"))
    print("ready", len(held), flush=True)
    sys.stdin.read()


VERBS: dict[str, Callable[..., None]] = {
    "attach": attach,
    "api": api,
    "announce": announce,
    "garbage": garbage,
    "flood": flood,
}

if __name__ == "__main__":
    VERBS[sys.argv[1]](*sys.argv[2:])
