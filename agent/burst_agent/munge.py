"""
MungePort: checks MUNGE credentials through libmunge, called with CFFI without a compiler (ABI mode).

libmunge is opened at the first credential: an agent without login nodes over TLS needs none. munged answers in under a
millisecond, or not at all while it is stopped; so each check runs in a thread, under a deadline, and few at once: a
caller that floods the agent must not take threads from others.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from cffi import FFI

from burst_agent.errors import BurstError, NotAuthenticated, SlurmUnavailable

LIBRARY = "libmunge.so.2"
THREADS = 4
#: munged answers at once or not at all; libmunge itself would go on trying for longer.
TIMEOUT_S = 5.0
#: munged's own cap is 1 MiB (MUNGE_MAXIMUM_REQ_LEN); a credential of ours holds a digest.
MAX_CREDENTIAL = 16 * 1024

CDEF = """
typedef uint32_t uid_t;
typedef uint32_t gid_t;
int munge_decode(const char *cred, void *ctx, void **buf, int *len, uid_t *uid, gid_t *gid);
const char *munge_strerror(int e);
void free(void *ptr);
"""

#: munge_err_t of munge.h.
SUCCESS = 0
SOCKET = 6
TIMEOUT = 7
CRED_EXPIRED = 15
CRED_REWOUND = 16
CRED_REPLAYED = 17

#: What each refusal means to the user who sent the credential; any other code is a credential that is none.
REFUSALS = {
    CRED_EXPIRED: "the MUNGE credential has expired; is the clock of the submitting host right?",
    CRED_REWOUND: "the MUNGE credential comes from the future; is the clock of the submitting host right?",
    CRED_REPLAYED: "the MUNGE credential was used before",
}
AWAY = frozenset({SOCKET, TIMEOUT})


@dataclass(frozen=True, slots=True)
class Decoded:
    """
    What libmunge said of one credential.
    """

    code: int
    uid: int
    gid: int
    payload: bytes
    #: libmunge's own words for the code.
    words: str


class Decoder(Protocol):
    """
    Checks one credential; blocks on munged.
    """

    def __call__(self, credential: bytes) -> Decoded:
        """Check it. Raises OSError where libmunge can't be opened."""


@cache
def libmunge() -> tuple[Any, Any]:
    """Open libmunge. Raises OSError."""
    ffi = FFI()
    ffi.cdef(CDEF)
    return ffi, ffi.dlopen(LIBRARY)


def decode(credential: bytes) -> Decoded:
    """Check a credential with libmunge and the munged of this host."""
    ffi, lib = libmunge()
    payload, length = ffi.new("void **"), ffi.new("int *")
    uid, gid = ffi.new("uid_t *"), ffi.new("gid_t *")
    code = lib.munge_decode(credential, ffi.NULL, payload, length, uid, gid)
    try:
        # An expired or replayed credential is decoded all the same; what it says is nobody's business then.
        data = ffi.buffer(payload[0], length[0])[:] if code == SUCCESS and payload[0] else b""
    finally:
        if payload[0]:
            lib.free(payload[0])
    return Decoded(code, uid[0], gid[0], data, ffi.string(lib.munge_strerror(code)).decode())


def error_of(decoded: Decoded) -> BurstError:
    """Make the error for a code other than success."""
    if decoded.code in AWAY:
        return SlurmUnavailable(f"munged of the agent's host does not answer: {decoded.words}")
    sentence = REFUSALS.get(decoded.code, "the MUNGE credential is none, or comes from a host with another munge.key")
    return NotAuthenticated(f"{sentence} ({decoded.words})")


class Munge:
    """
    munged on the agent's host.
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S, decoder: Decoder = decode) -> None:
        """Describe it; ``timeout_s`` is the deadline of a check."""
        self._timeout_s = timeout_s
        self._decoder = decoder
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="munge")

    async def decode(self, credential: str) -> tuple[int, int, bytes]:
        """Check a credential and give uid, gid and payload. Raises NotAuthenticated, SlurmUnavailable."""
        data = credential.encode()
        if len(data) > MAX_CREDENTIAL or b"\0" in data:
            msg = f"the MUNGE credential is none: {len(data)} bytes, or a NUL in it"
            raise NotAuthenticated(msg)
        loop = asyncio.get_running_loop()
        try:
            decoded = await asyncio.wait_for(loop.run_in_executor(self._threads, self._decoder, data), self._timeout_s)
        except TimeoutError as e:
            msg = f"munged of the agent's host did not answer within {self._timeout_s:g} s"
            raise SlurmUnavailable(msg) from e
        except OSError as e:
            msg = f"{LIBRARY} can't be opened on the agent's host, install libmunge2 or munge-libs: {e}"
            raise SlurmUnavailable(msg) from e
        if decoded.code != SUCCESS:
            raise error_of(decoded)
        return decoded.uid, decoded.gid, decoded.payload
