"""
Ranks of a step exchange values through Slurm, round after round, as MPI libraries do at their start: by PMI-2 or by
PMIx, which is the argument. In a round each publishes a value, all meet, and each reads every other's and checks it. The
rank and the round are printed; the first rank ends it for all when the file enough-JOBID is there.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
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


class Name(ctypes.Structure):
    """pmix_proc_t: whose value it is."""

    _fields_ = (("space", ctypes.c_char * 256), ("rank", ctypes.c_uint32))


class Value(ctypes.Structure):
    """pmix_value_t of a string."""

    _fields_ = (("type", ctypes.c_uint16), ("text", ctypes.c_char_p), ("rest", ctypes.c_char * 16))


class Flag(ctypes.Structure):
    """pmix_info_t of a bool."""

    _fields_ = (
        ("key", ctypes.c_char * 512),
        ("flags", ctypes.c_uint64),
        ("type", ctypes.c_uint64),
        ("on", ctypes.c_char * 24),
    )


BOOL, STRING, GLOBAL = 1, 3, 3


class Pmix:
    """PMIx by its library, which connects to the port that slurmstepd has told of."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libpmix.so.2")
        self.me = Name()
        self.call("Init", ctypes.byref(self.me), None, ctypes.c_size_t(0))
        self.rank, self.size = self.me.rank, int(os.environ["SLURM_NTASKS"])

    def call(self, name: str, *arguments: object) -> None:
        status = self.library[f"PMIx_{name}"](*arguments)
        assert status == 0, f"{name}: {status}"

    def publish(self, key: str, value: str) -> None:
        self.call("Put", ctypes.c_uint8(GLOBAL), key.encode(), ctypes.byref(Value(STRING, value.encode(), b"")))
        self.call("Commit")
        with_values = Flag(b"pmix.collect", 0, BOOL, b"\1")
        self.call("Fence", None, ctypes.c_size_t(0), ctypes.byref(with_values), ctypes.c_size_t(1))

    def read(self, rank: int, key: str) -> str:
        value = ctypes.POINTER(Value)()
        whose = Name(self.me.space, rank)
        self.call("Get", ctypes.byref(whose), key.encode(), None, ctypes.c_size_t(0), ctypes.byref(value))
        return value.contents.text.decode()

    def end(self) -> None:
        self.call("Finalize", None, ctypes.c_size_t(0))


way = {"pmi2": Pmi2, "pmix": Pmix}[sys.argv[1]]()
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
