"""
UserDirectory over the name service of this host (NSS): it must know the users as the login nodes do.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd

from burst_agent.errors import NoSuchUser
from burst_agent.model import Group, User


class HostUsers:
    """
    The passwd and group databases. A lookup may go to a directory server, so it is made in a thread.
    """

    async def user(self, uid: int) -> User:
        """Look a user up. Raises NoSuchUser."""
        return await asyncio.to_thread(_user, uid)


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
