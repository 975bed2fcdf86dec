"""
The people of the sandbox, and the files that make them known on a host.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Group:
    """
    A group of users.
    """

    name: str
    gid: int
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class User:
    """
    A user, with a primary group and the account that jobs are charged to.
    """

    name: str
    uid: int
    gid: int
    account: str

    @property
    def home(self) -> str:
        """The home directory, the same on all hosts and in pods."""
        return f"/home/{self.name}"


PHYSICS = Group("physics", 2001, ("alice", "bob"))
USERS = (
    User("alice", 1001, 1001, "physics"),
    User("bob", 1002, 1002, "physics"),
    User("carol", 1003, PHYSICS.gid, "physics"),
)
GROUPS = (Group("alice", 1001), Group("bob", 1002), PHYSICS)


def write_accounts(root_file_system: Path, etc: Path) -> None:
    """Write passwd and group of a host into `etc`: those of the root file system and the users'."""
    people = [f"{user.name}:x:{user.uid}:{user.gid}::{user.home}:/bin/bash" for user in USERS]
    groups = [f"{group.name}:x:{group.gid}:{','.join(group.members)}" for group in GROUPS]
    for name, lines in (("passwd", people), ("group", groups)):
        text = (root_file_system / "etc" / name).read_text()
        (etc / name).write_text(text + "".join(line + "\n" for line in lines))


def make_homes(directory: Path) -> None:
    """Make the users' home directories."""
    for user in USERS:
        home = directory / user.name
        home.mkdir(parents=True, exist_ok=True)
        os.chown(home, user.uid, user.gid)
        home.chmod(0o750)


def ids_of(root_file_system: Path, name: str) -> tuple[int, int]:
    """The uid and gid of a system user, such as slurm, which Debian's packages choose."""
    for line in (root_file_system / "etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if fields[0] == name:
            return int(fields[2]), int(fields[3])
    msg = f"{root_file_system}/etc/passwd has no user {name}"
    raise LookupError(msg)
