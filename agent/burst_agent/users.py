"""
UserDirectory over the name service of this host (NSS): it must know the users as the login nodes do.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
from concurrent.futures import ThreadPoolExecutor

from burst_agent.errors import NoSuchUser, UsersUnavailable
from burst_agent.model import Group, User

_THREADS = 4


class HostUsers:
    """
    The passwd and group databases. A lookup may go to a directory server, so it is made in a thread of few: those that
    hang must not take all others.
    """

    def __init__(self, *, deadline_s: float) -> None:
        """Prepare; ``deadline_s`` is the deadline of each lookup."""
        self._deadline_s = deadline_s
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="users")

    async def user(self, uid: int) -> User:
        """Look a user up. Raises NoSuchUser, UsersUnavailable."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, _user, uid)
        except TimeoutError as e:
            msg = f"this host's name service did not answer within {self._deadline_s:g} s for uid {uid}"
            raise UsersUnavailable(msg) from e

    async def close(self) -> None:
        """End the threads; one that hangs is not waited for here."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _user(uid: int) -> User:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError as e:
        msg = f"this host knows no user with uid {uid}: its name service must know the users of the login nodes"
        raise NoSuchUser(msg) from e
    gids = sorted(set(os.getgrouplist(entry.pw_name, entry.pw_gid)))
    return User(
        name=entry.pw_name,
        uid=uid,
        gid=entry.pw_gid,
        full_name=entry.pw_gecos,
        home=entry.pw_dir,
        shell=entry.pw_shell,
        groups=tuple(Group(_group_name(gid), gid) for gid in gids),
    )


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"group{gid}"
