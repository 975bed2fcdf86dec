"""
The sandbox's cgroup in both kinds of hierarchy, on plain directories that stand for cgroup file systems.
"""

from __future__ import annotations

from pathlib import Path

from sandbox import cgroups
from sandbox.cgroups import Hierarchy

HYBRID = """\
31 25 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 31 0:29 / /sys/fs/cgroup/cpuset rw,relatime shared:9 - cgroup cgroup rw,cpuset
34 31 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
PURE = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_hierarchies_are_found_in_both_layouts(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(HYBRID)
    assert cgroups.hierarchies(mountinfo) == [
        Hierarchy(Path("/sys/fs/cgroup/memory"), unified=False),
        Hierarchy(Path("/sys/fs/cgroup/cpuset"), unified=False),
        Hierarchy(Path("/sys/fs/cgroup/unified"), unified=True),
    ]
    mountinfo.write_text(PURE)
    assert cgroups.hierarchies(mountinfo) == [Hierarchy(Path("/sys/fs/cgroup"), unified=True)]


def test_v2_passes_missing_controllers_on(tmp_path: Path) -> None:
    """Controllers that children can't use yet are enabled, those that they can are left alone."""
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("memory\n")
    own = tmp_path / "mine"
    own.mkdir()
    # The kernel makes these files; the new cgroup has what its parent passes on.
    (own / "cgroup.controllers").write_text("cpuset cpu memory pids\n")
    (own / "cgroup.subtree_control").write_text("")
    cgroups.create("mine", [Hierarchy(tmp_path, unified=True)])
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpuset +cpu +pids"
    assert (own / "cgroup.subtree_control").read_text() == "+cpuset +cpu +memory +pids"


def test_v1_cpuset_takes_over_what_the_root_has(tmp_path: Path) -> None:
    """An empty cpuset would take no process."""
    for directory in (tmp_path, tmp_path / "mine"):
        directory.mkdir(exist_ok=True)
        (directory / "cpuset.cpus").write_text("0-1\n" if directory == tmp_path else "\n")
        (directory / "cpuset.mems").write_text("0\n" if directory == tmp_path else "\n")
    cgroups.create("mine", [Hierarchy(tmp_path, unified=False)])
    assert (tmp_path / "mine/cpuset.cpus").read_text() == "0-1\n"
    assert (tmp_path / "mine/cpuset.mems").read_text() == "0\n"


def test_removal_is_from_the_bottom_in_all_hierarchies_and_can_be_repeated(tmp_path: Path) -> None:
    among = [Hierarchy(tmp_path / name, unified=False) for name in ("memory", "pids")]
    for hierarchy in among:
        (hierarchy.root / "mine/kubepods/besteffort/pod1").mkdir(parents=True)
        (hierarchy.root / "other").mkdir()
    for _ in range(2):
        cgroups.remove("mine", among)
        assert cgroups.existing("mine", among) == []
        assert len(cgroups.existing("other", among)) == 2
