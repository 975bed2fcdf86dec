"""
This host's users.
"""

from __future__ import annotations

import os
import pwd
import threading

import pytest
from burst_agent.errors import NoSuchUser, UsersUnavailable
from burst_agent.users import HostUsers


async def test_the_one_who_runs_the_test() -> None:
    """As the passwd database has it, with all groups."""
    entry = pwd.getpwuid(os.getuid())
    user = await HostUsers(deadline_s=30).user(os.getuid())
    assert (user.name, user.gid, user.home, user.shell) == (entry.pw_name, entry.pw_gid, entry.pw_dir, entry.pw_shell)
    assert [group.gid for group in user.groups] == sorted(set(os.getgrouplist(entry.pw_name, entry.pw_gid)))
    assert all(group.name for group in user.groups)


async def test_nobody() -> None:
    """With what to do about it."""
    with pytest.raises(NoSuchUser, match="uid 3999999999: its name service must know"):
        await HostUsers(deadline_s=30).user(3999999999)


async def test_a_directory_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on; the job is tried again."""
    answer = threading.Event()
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: answer.wait(60))
    users = HostUsers(deadline_s=0.05)
    try:
        with pytest.raises(UsersUnavailable, match=r"did not answer within 0\.05 s for uid 1000"):
            await users.user(1000)
    finally:
        answer.set()
        await users.close()
