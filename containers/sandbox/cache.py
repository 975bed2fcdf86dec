"""
The cache of built things: KIND/KEY directories that are either whole or not there.

A build fills a directory of another name, which is renamed when all of it is on the disk; one lock a key lets
concurrent builders wait for the first. What an interrupted build left behind is removed by the next one. The key is a
hash of all that the content depends on.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import PrerequisiteError
from .steps import Steps


def default_root() -> Path:
    """$K8S_BURST_CACHE, else slurm-k8s-burst in the user's cache directory."""
    chosen = os.environ.get("K8S_BURST_CACHE")
    if chosen:
        return Path(chosen).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").resolve() / "slurm-k8s-burst"


def key_of(*parts: object) -> str:
    """A short key for the given parts; other parts, other key."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


def key_of_files(root: Path, files: list[Path]) -> str:
    """A key for names, modes and contents of files."""
    parts: list[object] = []
    for path in sorted(files):
        parts += [path.relative_to(root), path.stat().st_mode & 0o111, path.read_bytes()]
    return key_of(*parts)


class Cache:
    """
    Content-addressed directories below one root.
    """

    def __init__(self, root: Path, steps: Steps) -> None:
        if set(str(root)) & set(":,\\\n"):
            msg = (
                f"{root} can't hold the cache: overlay mounts take no ':', ',' or '\\'; set K8S_BURST_CACHE to another"
            )
            raise PrerequisiteError(msg)
        self.root = root
        self.steps = steps

    def entry(self, kind: str, key: str, what: str, build: Callable[[Path], None]) -> Path:
        """Give the directory KIND/KEY; when it is missing, let `build` fill it first, saying `what`."""
        final = self.root / kind / key
        if final.is_dir():
            os.utime(final)
            return final
        with locked(self.root / kind / f".{key}.lock"):
            if final.is_dir():
                return final
            temporary = self.root / kind / f".{key}.unfinished"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            try:
                with self.steps.step(what):
                    build(temporary)
                os.sync()
                temporary.rename(final)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        return final

    def forget(self, unused_days: float = 14.0) -> None:
        """Remove entries that nobody has asked for in so many days, but for those that a running sandbox stands on."""
        limit = time.time() - unused_days * 86400
        mounted = _mounted_layers()
        for path in self.root.glob("*/[!.]*"):
            if path.is_dir() and path.stat().st_mtime < limit and str(path) not in mounted:
                with locked(path.with_name(f".{path.name}.lock")):
                    # Under another name first, so that a removal that is cut short leaves nothing that looks whole.
                    shutil.rmtree(path.rename(path.with_name(f".{path.name}.unfinished")), ignore_errors=True)


def _mounted_layers() -> str:
    """The mount tables of all processes: overlays name their layers there."""
    tables = []
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        with suppress(OSError):
            tables.append(path.read_text())
    return "\n".join(tables)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file that is made when missing; the kernel frees it with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
