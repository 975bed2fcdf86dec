"""
Services of a sandbox: daemons on its hosts, started in the foreground, logged to one file each, and known by pid and
start time.

A service starts when the directories that it needs exist, and counts as started when its `ready` probe says so. One
that ends before is an error with the tail of its log.
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ServiceError
from .hosts import Host, tail
from .processes import Process, inside, wait_until

#: Where a host has the directory of logs.
LOGS = "/var/log/sandbox"

#: Seconds that a service may take on a busy machine.
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0

_ENDING = (signal.SIGKILL, signal.SIGTERM)

#: Words: log file, then the command. Prints the daemon's pid in the host's PID namespace.
_START = """
log=$1; shift
setsid sh -c 'echo $$ >&3; exec 3>&-; exec "$@"' - "$@" 3>&1 < /dev/null >> "$log" 2>&1 &
"""


@dataclass(frozen=True)
class ServicePlan:
    """
    What a service is. `directories` maps a path on the host to owner and mode, as `install -d` takes them;
    `private_tmp` is the directory on the host that the service and its children see as /tmp, and `host_name` what they
    take for the host's name; `hint` says what to look at when it doesn't start.
    """

    name: str
    host: str
    argv: tuple[str, ...]
    ready: Callable[[Host], bool]
    user: str = "root"
    directories: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    private_tmp: str | None = None
    host_name: str | None = None
    hint: str = ""


class Service:
    """
    One service of a sandbox.
    """

    def __init__(self, plan: ServicePlan, host: Host, directory: Path) -> None:
        self.plan = plan
        self.name = plan.name
        self.host = host
        self.log = directory / "log" / f"{plan.name}.log"
        self._record = directory / "services" / plan.name

    @property
    def process(self) -> Process | None:
        """The daemon; None while it is down."""
        return Process.load(self._record)

    @property
    def alive(self) -> bool:
        """Whether the daemon runs."""
        return self.process is not None

    def start(self) -> None:
        """Start the daemon unless it runs, and wait until it is ready; raises ServiceError."""
        if not self.alive:
            self._launch()
        self.expect(f"{self.name} on {self.host.name} to be ready", lambda: self.plan.ready(self.host))

    def expect(self, what: str, look: Callable[[], bool]) -> None:
        """
        Wait for something that this service brings about; raises ServiceError with its log's tail when it ends or
        takes too long.
        """

        def look_while_alive() -> bool:
            if not self.alive:
                msg = f"{self.name} on {self.host.name} ended while I waited for {what}"
                raise ServiceError(msg)
            return look()

        try:
            wait_until(what, look_while_alive, START_TIMEOUT_S, ServiceError)
        except ServiceError as error:
            msg = f"{error}; {self.log} ends:\n{tail(self.log)}" + (f"\n{self.plan.hint}" if self.plan.hint else "")
            raise ServiceError(msg) from None

    def kill(self, sig: str | int = "TERM") -> None:
        """
        Send a signal, by name or number; after KILL and TERM wait for the end. Raises ServiceError for a service that
        is down.
        """
        number = signal_number(sig)
        process = self.process
        if process is None or not process.send(number):
            msg = f"{self.name} on {self.host.name} is down: there is nothing to send {sig} to"
            raise ServiceError(msg)
        if number in _ENDING and not process.wait(STOP_TIMEOUT_S):
            msg = (
                f"{self.name} on {self.host.name} still runs {STOP_TIMEOUT_S:.0f} s after {signal.Signals(number).name}"
            )
            raise ServiceError(msg)

    def stop(self) -> None:
        """End the daemon with TERM, if it runs."""
        if self.alive:
            self.kill("TERM")

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def _launch(self) -> None:
        plan = self.plan
        script = "".join(
            f"install -d -o {owner} -g {owner} -m {mode} {shlex.quote(path)}\n"
            for path, (owner, mode) in plan.directories.items()
        )
        printed = self.host.shell(script + _START, f"{LOGS}/{self.log.name}", *self._command())
        process = inside(self.host.pid, int(printed))
        if process is None:
            msg = f"{plan.name} on {plan.host} ended at once; {self.log} ends:\n{tail(self.log)}"
            raise ServiceError(msg)
        process.save(self._record)

    def _command(self) -> list[str]:
        plan = self.plan
        command = list(plan.argv)
        if plan.user != "root":
            command = ["setpriv", "--reuid", plan.user, "--regid", plan.user, "--init-groups", "--", *command]
        if plan.environment:
            command = ["env", *(f"{name}={value}" for name, value in plan.environment.items()), *command]
        if plan.private_tmp:
            bind = 'mkdir -p -m 1777 "$1"; mount --bind "$1" /tmp; shift; exec "$@"'
            command = ["unshare", "--mount", "--", "sh", "-euc", bind, plan.name, plan.private_tmp, *command]
        if plan.host_name:
            name = 'echo "$1" > /proc/sys/kernel/hostname; shift; exec "$@"'
            command = ["unshare", "--uts", "--", "sh", "-euc", name, plan.name, plan.host_name, *command]
        return command


def signal_number(sig: str | int) -> int:
    """The number of a signal given as number, as `KILL`, as `SIGKILL`, as `9` or as `-9`."""
    if isinstance(sig, int):
        return sig
    word = sig.lstrip("-").upper()
    if word.isdecimal():
        return int(word)
    try:
        return signal.Signals[word if word.startswith("SIG") else f"SIG{word}"]
    except KeyError:
        msg = f"{sig} is no signal"
        raise ServiceError(msg) from None
