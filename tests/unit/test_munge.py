"""
MUNGE credentials, with a stand-in for libmunge.
"""

import asyncio
import threading

import pytest
from burst_agent.errors import BurstError, NotAuthenticated, SlurmUnavailable
from burst_agent.munge import AWAY, MAX_CREDENTIAL, REFUSALS, Decoded, Munge


class MungeSays:
    """
    A libmunge that gives one answer, and remembers what it was asked.
    """

    def __init__(self, code: int, payload: bytes = b"") -> None:
        self.code = code
        self.payload = payload
        self.asked: list[bytes] = []

    def __call__(self, credential: bytes) -> Decoded:
        self.asked.append(credential)
        return Decoded(self.code, 2001, 100, self.payload, f"words for {self.code}")


class MungeHangs:
    """
    A munged that does not answer.
    """

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def __call__(self, credential: bytes) -> Decoded:
        self.let_go.wait()
        return Decoded(0, 0, 0, credential, "")


def no_library(credential: bytes) -> Decoded:
    msg = f"cannot load library for {len(credential)} bytes"
    raise OSError(msg)


async def test_a_good_credential_names_its_user_and_its_payload() -> None:
    library = MungeSays(0, b"digest")

    assert await Munge(decoder=library).decode("MUNGE:AwQ=:") == (2001, 100, b"digest")
    assert library.asked == [b"MUNGE:AwQ=:"]


@pytest.mark.parametrize(
    ("code", "sort", "sentence"),
    [
        (15, NotAuthenticated, "has expired"),
        (16, NotAuthenticated, "comes from the future"),
        (17, NotAuthenticated, "was used before"),
        (14, NotAuthenticated, "is none, or comes from a host with another munge.key"),
        (8, NotAuthenticated, "is none, or comes from a host with another munge.key"),
        (1, NotAuthenticated, "is none"),
        (6, SlurmUnavailable, "munged of the agent's host does not answer"),
        (7, SlurmUnavailable, "munged of the agent's host does not answer"),
    ],
)
async def test_each_refusal_has_its_own_sentence(code: int, sort: type[BurstError], sentence: str) -> None:
    with pytest.raises(sort, match=sentence) as caught:
        await Munge(decoder=MungeSays(code, b"whatever it says")).decode("MUNGE:x:")
    assert f"words for {code}" in str(caught.value)


def test_no_refusal_is_both_for_good_and_for_later() -> None:
    assert not AWAY & set(REFUSALS)


@pytest.mark.parametrize("credential", ["x" * (MAX_CREDENTIAL + 1), "MUNGE:\0:"])
async def test_what_can_be_no_credential_does_not_reach_munged(credential: str) -> None:
    library = MungeSays(0)

    with pytest.raises(NotAuthenticated):
        await Munge(decoder=library).decode(credential)
    assert library.asked == []


async def test_a_munged_that_hangs_is_left_at_the_deadline() -> None:
    library = MungeHangs()
    try:
        with pytest.raises(SlurmUnavailable, match=r"within 0\.01 s"):
            await Munge(timeout_s=0.01, decoder=library).decode("MUNGE:x:")
    finally:
        library.let_go.set()


async def test_a_host_without_libmunge_is_told_what_to_install() -> None:
    with pytest.raises(SlurmUnavailable, match="install libmunge2"):
        await Munge(decoder=no_library).decode("MUNGE:x:")


async def test_credentials_are_checked_beside_each_other() -> None:
    answers = await asyncio.gather(*(Munge(decoder=MungeSays(0, bytes([n]))).decode("MUNGE:x:") for n in range(8)))

    assert [payload for _, _, payload in answers] == [bytes([n]) for n in range(8)]
