"""
Ranks of a step exchange values through Slurm by PMI-2, round after round, as MPI libraries do at their start. In a round
each publishes a value, all meet, and each reads every other's and checks it. The rank and the round are printed; the first
rank ends it for all when the file enough-JOBID is there.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path


class Pmi2:
    """PMI-2's messages on the socket that slurmstepd leaves to the task."""

    def __init__(self) -> None:
        self.socket = socket.socket(fileno=int(os.environ["PMI_FD"]))
        self.rank, self.size = int(os.environ["PMI_RANK"]), int(os.environ["PMI_SIZE"])
        self.socket.sendall(b"cmd=init pmi_version=2 pmi_subversion=0\n")
        answer = b""
        while not answer.endswith(b"\n"):
            answer += self.receive(1)
        assert b"rc=0" in answer, answer
        self.ask("fullinit", pmijobid=os.environ["PMI_JOBID"], pmirank=self.rank, threaded="FALSE")

    def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            assert part, "slurmstepd has closed the socket"
            data += part
        return data

    def ask(self, command: str, **words: object) -> dict[str, str]:
        text = "".join(f"{key}={value};" for key, value in {"cmd": command, **words}.items())
        self.socket.sendall(f"{len(text):6d}{text}".encode())
        answer = self.receive(int(self.receive(6))).decode()
        found = dict(word.split("=", 1) for word in answer.rstrip(";").split(";"))
        assert (found["cmd"], found["rc"]) == (f"{command}-response", "0"), answer
        return found

    def publish(self, key: str, value: str) -> None:
        self.ask("kvs-put", key=key, value=value)
        self.ask("kvs-fence")

    def read(self, rank: int, key: str) -> str:
        found = self.ask("kvs-get", jobid=os.environ["PMI_JOBID"], srcid=rank, key=key)
        assert found["found"] == "TRUE", found
        return found["value"]

    def end(self) -> None:
        self.ask("finalize")


way = Pmi2()
number, enough = 0, "go on"
while enough == "go on":
    if Path(f"enough-{os.environ['SLURM_JOB_ID']}").exists():
        enough = "enough"
    way.publish(f"round-{number}-{way.rank}", f"{enough}/{way.rank * 1000003 + number}")
    said = [way.read(rank, f"round-{number}-{rank}").split("/") for rank in range(way.size)]
    assert [int(value) for _, value in said] == [rank * 1000003 + number for rank in range(way.size)], said
    print(way.rank, number, flush=True)
    number, enough = number + 1, said[0][0]
way.end()
