"""
Arguments in plugstack.conf: each wrong one is named, in whichever program reads the line.
"""

from __future__ import annotations

import pytest

from tests.spank.program import GATEWAY, LOGIN, Plugin

WRONG: dict[tuple[str, ...], str] = {
    (): "role=: missing",
    ("agent=gateway:6821",): "role=: missing",
    ("role=compute",): "role=compute: must be login or gateway",
    ("role=",): "role=: must be login or gateway",
    ("rôle=login",): "rôle=login: unknown argument",
    (*LOGIN, "role=login"): "role: given twice",
    (*LOGIN, "ca=/b"): "ca: given twice",
    (*LOGIN, "deadline"): "deadline: unknown argument",
    (*LOGIN, "socket=/run/x"): "socket: has no meaning with role=login",
    (*LOGIN, "give_up_s=3"): "give_up_s: has no meaning with role=login",
    (*LOGIN, "deadline_ms=9"): "deadline_ms=9: must be a number from 10 to 10000",
    (*LOGIN, "deadline_ms=10001"): "deadline_ms=10001: must be a number from 10 to 10000",
    (*LOGIN, "deadline_ms=1s"): "deadline_ms=1s: must be a number from 10 to 10000",
    (*LOGIN, "deadline_ms= 50"): "deadline_ms= 50: must be a number from 10 to 10000",
    (*LOGIN, "deadline_ms=-1"): "deadline_ms=-1: must be a number from 10 to 10000",
    (*LOGIN, "deadline_ms=99999999999999999999"): "deadline_ms=99999999999999999999: must be a number",
    (*LOGIN, "runner=k8s-burst-run"): "runner=k8s-burst-run: must be an absolute path",
    (*LOGIN, "runner=/"): "runner=/: must be an absolute path",
    (*LOGIN, f"runner=/{'r' * 4095}"): "must be an absolute path of at most 4095 bytes",
    LOGIN[:2]: "ca=: missing",
    (LOGIN[0], LOGIN[2]): "agent=: missing",
    (LOGIN[0], "ca=ca.crt", LOGIN[1]): "ca=ca.crt: must be an absolute path",
    **{
        (LOGIN[0], f"agent={agent}", LOGIN[2]): f"agent={agent[:64]}: must be HOST:PORT"
        for agent in (
            "",
            "gateway",
            "gateway:",
            ":6821",
            "gateway:0",
            "gateway:65536",
            "gateway:http",
            "a b:1",
            "[]:1",
            "[::1:1",
            "::1:1",
            f"{'h' * 254}:1",
        )
    },
    ("role=gateway", "agent=gateway:6821"): "agent: has no meaning with role=gateway",
    ("role=gateway", "ca=/ca"): "ca: has no meaning with role=gateway",
    ("role=gateway", "deadline_ms=500"): "deadline_ms: has no meaning with role=gateway",
    ("role=gateway", "give_up_s=0"): "give_up_s=0: must be a number from 1 to 604800",
    ("role=gateway", "give_up=1"): "give_up=1: unknown argument",
    ("role=gateway", "commands=bin"): "commands=bin: must be an absolute path",
    ("role=gateway", "socket=gatewayd.sock"): "socket=gatewayd.sock: must be an absolute path",
    ("role=gateway", f"socket=/{'s' * 107}"): "must be an absolute path of at most 107 bytes",
}


@pytest.mark.parametrize("program", ["sbatch", "srun", "slurmd"])
@pytest.mark.parametrize(
    ("line", "named"), WRONG.items(), ids=lambda value: value[:40] if isinstance(value, str) else ""
)
def test_wrong_argument_is_named(program: str, line: tuple[str, ...], named: str) -> None:
    """Slurm is told that the plugin can't be used, and the administrator which word is wrong."""
    plugin = Plugin(program)
    assert plugin._call("slurm_spank_init", 0, line) == -1
    (said,) = plugin.log
    assert said.startswith("error: k8s-burst: plugstack.conf: ")
    assert named in said


@pytest.mark.parametrize(
    "line",
    [
        LOGIN,
        LOGIN[::-1],
        (*LOGIN, "deadline_ms=10", "runner=/r"),
        (*LOGIN, f"runner=/{'r' * 4094}"),
        *(
            (LOGIN[0], f"agent={agent}", LOGIN[2])
            for agent in ("a.b-c.example:1", "192.0.2.1:65535", "[2001:db8::1]:6821", f"{'h' * 253}:1")
        ),
        GATEWAY,
        ("socket=/run/s", "give_up_s=604800", "runner=/r", "role=gateway"),
        (f"socket=/{'s' * 106}", "role=gateway"),
    ],
)
@pytest.mark.parametrize("program", ["sbatch", "srun", "slurmd", "slurmstepd"])
def test_right_arguments_are_taken(program: str, line: tuple[str, ...]) -> None:
    """A proper line is accepted silently, whatever the order of its words."""
    plugin = Plugin(program)
    assert plugin.init(*line) == 0
    assert plugin.log == []
