"""
Command lines that make and enter Linux namespaces, and sockets inside them.

A *host* is a set of namespaces with a first process (tini). Commands enter it with nsenter; the kernel ends all of it
with that process.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from .processes import Process, children, wait_until

BOOT = Path(__file__).with_name("boot.sh")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CLONE_NEWNET = 0x40000000

#: Flags of a unix socket that listens, in /proc/net/unix: __SO_ACCEPTCON.
_LISTENING = "00010000"


def boot_environment(
    name: str,
    root: Path,
    layers: Sequence[Path],
    store: Path,
    binds: Mapping[str, Path],
    devices: Sequence[str] = (),
    say_ready: bool = False,
) -> dict[str, str]:
    """The environment that boot.sh reads. `binds` maps a path in the host to the path outside that is bound there."""
    return {
        "PATH": SYSTEM_PATH,
        "LANG": "C.UTF-8",
        "BOOT_NAME": name,
        "BOOT_ROOT": str(root),
        "BOOT_LAYERS": ":".join(str(layer) for layer in layers),
        "BOOT_STORE": str(store),
        "BOOT_DEVICES": " ".join(devices),
        "BOOT_BINDS": "\n".join(f"{source} {target}" for target, source in binds.items()),
        "BOOT_READY": "yes" if say_ready else "",
    }


def boot_command(command: Sequence[str], network: bool = False) -> list[str]:
    """
    A command line that boots a root file system and runs `command` as its PID 1.

    When the process started by it is killed, everything in the namespaces is. With `network` it keeps the caller's
    network.
    """
    namespaces = ["--mount", "--pid", "--ipc", "--uts"] + ([] if network else ["--net"])
    return ["unshare", *namespaces, "--fork", "--kill-child", "--", "sh", str(BOOT), *command]


def enter_command(init_pid: int, command: Sequence[str], mount: bool = True) -> list[str]:
    """
    A command line that runs `command` in the namespaces of a host; without `mount` on the caller's own file system.
    """
    return [
        "nsenter",
        "--target",
        str(init_pid),
        *(["--mount"] if mount else []),
        "--uts",
        "--ipc",
        "--net",
        "--pid",
        "--",
        *command,
    ]


def connect(init_pid: int, address: str, port: int, timeout_s: float) -> socket.socket:
    """
    Connect by TCP from within a host's network; raises OSError as `socket.create_connection` does.

    A socket belongs to the network namespace that it was made in, so a short-lived thread enters the namespace, and
    the caller stays out.
    """
    made: list[socket.socket | OSError] = []

    def work() -> None:
        try:
            handle = os.open(f"/proc/{init_pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(handle, _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"cannot enter the network namespace of process {init_pid}")
            finally:
                os.close(handle)
            made.append(socket.create_connection((address, port), timeout_s))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    result = made[0]
    if isinstance(result, OSError):
        raise result
    return result


def listens(init_pid: int, port: int) -> bool:
    """Whether something listens on a TCP port in a host's network."""
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{init_pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *_ = line.split()
            if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


def serves(init_pid: int, path: str) -> bool:
    """
    Whether something listens on a unix socket of a host. Only looks: a connection would show in the service's log.
    """
    try:
        lines = Path(f"/proc/{init_pid}/net/unix").read_text().splitlines()[1:]
    except OSError:
        return False
    return any(fields[3] == _LISTENING and fields[-1] == path for fields in (line.split() for line in lines))


class HostProcess(subprocess.Popen[str]):
    """
    A command that runs in a host. Signals go to the command itself, not to the nsenter that waits for it.
    """

    def send_signal(self, sig: int) -> None:
        """Send a signal to the command in the host; may be called from a signal handler while `wait` waits."""

        def entered_or_ended() -> bool:
            return bool(children(self.pid)) or Process.of(self.pid) is None

        if self.returncode is None:
            wait_until(f"process {self.pid} to enter its host", entered_or_ended, 10)
            for pid in children(self.pid):
                os.kill(pid, sig)
