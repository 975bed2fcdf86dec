"""
The hosts of a sandbox, and how one of them boots, is entered and dies.

A host is a root file system (an overlay with its own upper directory: its disk), a name, a network interface and a
first process, in namespaces of its own. node0 is the first host: its PID namespace holds those of the others, so that
its end is the end of everything, and its network has the bridge that they are plugged into.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import BootError
from .namespaces import SYSTEM_PATH, boot_command, boot_environment, enter_command
from .processes import Process, kill_all, namespace_pids

BRIDGE = "hosts0"
NETWORK_BITS = 24


@dataclass(frozen=True)
class HostPlan:
    """
    What a host is before it boots. `binds` maps paths in the host to paths outside; node0 alone is the `parent` of
    the others.
    """

    name: str
    address: str
    layers: tuple[Path, ...]
    binds: Mapping[str, Path]
    devices: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Write the plan down for `load`."""
        path.write_text(json.dumps(dataclasses.asdict(self), default=str, indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> HostPlan:
        """Read what `save` wrote."""
        saved = json.loads(path.read_text())
        layers = tuple(Path(layer) for layer in saved["layers"])
        binds = {target: Path(source) for target, source in saved["binds"].items()}
        return cls(saved["name"], saved["address"], layers, binds, tuple(saved["devices"]))


NODE = "node0"
SECOND_NODE = "node1"
ADDRESSES = {
    NODE: "10.89.0.1",
    SECOND_NODE: "10.89.0.2",
    "ctl": "10.89.0.11",
    "login": "10.89.0.12",
    "gateway": "10.89.0.13",
    "gpu0": "10.89.0.14",
    "native0": "10.89.0.16",
    "native1": "10.89.0.17",
}

_MAKE_BRIDGE = """
ip link set lo up
ip link add "$1" type bridge
ip address add "$2" dev "$1"
ip link set "$1" up
"""

_PLUG_IN = """
ip link add "$2" type veth peer name eth0 netns "$3"
ip link set "$2" master "$1" up
nsenter --target "$3" --net sh -euc 'ip link set lo up; ip address add "$1" dev eth0; ip link set eth0 up' - "$4"
"""


class Host:
    """
    One host of the sandbox in `directory`.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.sandbox_directory = directory
        self.directory = directory / "hosts" / name
        self._record = self.directory / "init"
        self._plan = self.directory / "plan.json"

    @property
    def disk(self) -> Path:
        """The host's own files: what it has beyond its layers. To be written before it boots only."""
        return self.directory / "store/upper"

    @property
    def init(self) -> Process | None:
        """The host's first process; None while it is down."""
        return Process.load(self._record)

    @property
    def pid(self) -> int:
        """The first process's pid; raises BootError while the host is down."""
        init = self.init
        if init is None:
            msg = f"host {self.name} of the sandbox in {self.sandbox_directory} is down: is the sandbox up?"
            raise BootError(msg)
        return init.pid

    def path(self, path: str | Path) -> Path:
        """Where a file of the host is seen from outside."""
        return Path(f"/proc/{self.pid}/root") / str(path).lstrip("/")

    def enter(self, command: Sequence[str]) -> list[str]:
        """A command line that runs `command` in the host, as root and with this process's environment."""
        return enter_command(self.pid, command)

    def shell(self, script: str, *words: str) -> str:
        """Run a shell script in the host as root and give its output; raises BootError with what it said."""
        done = subprocess.run(
            self.enter(["/bin/sh", "-euc", script, self.name, *words]),
            env={"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "HOME": "/root"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        if done.returncode != 0:
            msg = (
                f"on host {self.name}, this ended with {done.returncode}:\n{script.strip()}\n{done.stdout}{done.stderr}"
            )
            raise BootError(msg)
        return done.stdout

    def boot(self, plan: HostPlan, marker: str, parent: Host | None = None) -> None:
        """
        Start the first process, wait until the host is whole, and connect it to the node, its `parent`.

        `marker` becomes a word of its command line, by which `down` finds it. Raises BootError with what boot.sh said.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        plan.save(self._plan)
        self._start(plan, marker, parent).save(self._record)
        address = f"{plan.address}/{NETWORK_BITS}"
        if parent:
            # The parent's `ip` knows this host by the pid that the parent sees, the last but one of the nested ones.
            parent.shell(_PLUG_IN, BRIDGE, self.name, str(namespace_pids(self.pid)[-2]), address)
        else:
            self.shell(_MAKE_BRIDGE, BRIDGE, address)

    def boot_again(self, marker: str, parent: Host) -> None:
        """Boot as before, after a crash."""
        if self.init is None:
            self.boot(HostPlan.load(self._plan), marker, parent)

    def _start(self, plan: HostPlan, marker: str, parent: Host | None) -> Process:
        """Start the first process and wait until it says that the host is whole."""
        log = self.sandbox_directory / f"log/boot-{self.name}.log"
        first = ["/usr/bin/tini", "--", "sh", "-c", "exec sleep infinity", marker, self.name]
        command = ["setsid", "--fork", *boot_command(first)]
        if parent:
            command = enter_command(parent.pid, command, mount=False)
        root, store = self.directory / "root", self.directory / "store"
        environment = boot_environment(self.name, root, plan.layers, store, plan.binds, plan.devices, say_ready=True)
        with log.open("a") as output:
            starter = subprocess.Popen(
                command,
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
            with starter:
                # The host keeps the other end of this pipe open, so read a line and no more.
                assert starter.stdout
                answer = starter.stdout.readline().split()
        process = Process.of(int(answer[1])) if answer else None
        if process is None:
            msg = f"host {self.name} did not boot; {log} says:\n{tail(log)}"
            raise BootError(msg)
        return process

    def crash(self) -> None:
        """End everything on the host at once, as a power cut would; its disk stays."""
        init = self.init
        if init:
            kill_all([init])


def tail(log: Path, lines: int = 25) -> str:
    """The last lines of a log, indented; a remark when there is none."""
    try:
        text = log.read_text(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return "    (no log)"
    return "\n".join(f"    {line}" for line in text) or "    (nothing)"
