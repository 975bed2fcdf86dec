"""
Commands in a throw-away root file system made of layers; what they change becomes a new layer.

Used for all builds that need the sandbox's own compiler, Python or Slurm. The commands run in their own PID and mount
namespaces: they end with the builder, however that ends, and leave no mount. With `network`, the machine's resolver,
certificates and pip settings are lent.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import BuildError
from .namespaces import boot_command, boot_environment

#: Variables that tell programs how to reach the network from this machine.
_NETWORK_PREFIXES = (
    "PIP_",
    "SSL_",
    "REQUESTS_",
    "CURL_",
    "HTTP_",
    "HTTPS_",
    "NO_",
    "ALL_",
    "http_",
    "https_",
    "no_",
    "all_",
)
_LENT_PIP_SETTINGS = "/run/pip.conf"

#: Prefix of a command that shall not outlive this process.
_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


def network_environment() -> dict[str, str]:
    """The variables of this process that a program needs to reach package registries."""
    return {name: value for name, value in os.environ.items() if name.startswith(_NETWORK_PREFIXES)}


def _network_binds() -> dict[str, Path]:
    binds = {"/etc/resolv.conf": Path("/etc/resolv.conf").resolve(), "/etc/ssl/certs": Path("/etc/ssl/certs")}
    settings = [
        os.environ.get("PIP_CONFIG_FILE"),
        Path.home() / ".config/pip/pip.conf",
        Path.home() / ".pip/pip.conf",
        "/etc/pip.conf",
    ]
    for path in (Path(candidate) for candidate in settings if candidate):
        if path.is_file():
            binds[_LENT_PIP_SETTINGS] = path
            break
    return {target: source for target, source in binds.items() if source.exists()}


def build(
    layers: Sequence[Path],
    scratch: Path,
    script: str,
    what: str,
    *,
    binds: Mapping[str, Path] | None = None,
    environment: Mapping[str, str] | None = None,
    network: bool = False,
    name: str = "build",
    aloud: bool = False,
) -> Path:
    """
    Run a shell script on top of `layers` and give the directory with all that it changed.

    `scratch` is an empty or missing directory on a real disk; the result is in it, and remains the caller's to move
    or delete. Raises BuildError with the tail of the script's output, naming `what`; with `aloud` the output goes to
    standard output instead.
    """
    store = scratch / "store"
    lent = _network_binds() if network else {}
    command = boot_command(["sh", "-euc", script], network=network)
    env = boot_environment(name, scratch / "root", layers, store, {**lent, **(binds or {})})
    if network:
        env.update(network_environment())
        if _LENT_PIP_SETTINGS in lent:
            env["PIP_CONFIG_FILE"] = _LENT_PIP_SETTINGS
    env.update({"HOME": "/root", **(environment or {})})
    run(command, what, env=env, aloud=aloud)
    (scratch / "root").rmdir()
    shutil.rmtree(store / "work")
    return store / "upper"


def keep(changed: Path, directory: Path, names: Sequence[str]) -> None:
    """Move the named parts of a result into `directory`, and remove the rest with the scratch directory in there."""
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (changed / name).rename(directory / name)
    shutil.rmtree(directory / "scratch")


def run(
    command: Sequence[str],
    what: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    *,
    aloud: bool = False,
) -> str:
    """
    Run a command that ends with this process, and give its output; raises BuildError with the tail of it.

    With `aloud` the output goes to standard output instead.
    """
    done = subprocess.run(
        [*_DIE_WITH_PARENT, *command],
        env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=None if aloud else subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", check=False,
    )  # fmt: skip
    output = done.stdout or ""
    if done.returncode != 0:
        tail = "\n".join("    " + line for line in output.splitlines()[-30:])
        msg = f"{what} failed (exit code {done.returncode}):\n{tail}"
        raise BuildError(msg)
    return output
