"""
Credentials against a live munged.
"""

from __future__ import annotations

import pwd

import pytest
from burst_agent.errors import NotAuthenticated
from burst_agent.munge import Munge

from tests.slurm.cluster import USER, as_user


async def test_a_credential_names_who_made_it_and_holds_once() -> None:
    credential = as_user("munge", "--string", "digest")
    user = pwd.getpwnam(USER)

    assert await Munge().decode(credential) == (user.pw_uid, user.pw_gid, b"digest")
    with pytest.raises(NotAuthenticated, match="was used before"):
        await Munge().decode(credential)


async def test_a_changed_credential_proves_nothing() -> None:
    credential = as_user("munge", "--string", "digest")
    middle = len(credential) // 2
    changed = credential[:middle] + ("A" if credential[middle] != "A" else "B") + credential[middle + 1 :]

    with pytest.raises(NotAuthenticated, match="is none"):
        await Munge().decode(changed)


@pytest.mark.parametrize("text", ["", "MUNGE:", "not a credential"])
async def test_what_is_no_credential_is_refused(text: str) -> None:
    with pytest.raises(NotAuthenticated, match="is none"):
        await Munge().decode(text)
