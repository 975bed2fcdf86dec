"""
The sandbox's cache: an entry is whole or not there, whoever builds it and however that ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sandbox.cache import Cache, key_of, key_of_files
from sandbox.errors import PrerequisiteError
from sandbox.steps import Steps


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path, Steps(None))


def test_an_entry_is_built_once(cache: Cache) -> None:
    built = []

    def build(directory: Path) -> None:
        built.append(directory)
        (directory / "content").write_text("whole")

    paths = {cache.entry("kind", "key", "it", build) for _ in range(3)}
    assert len(built) == 1
    assert [(path / "content").read_text() for path in paths] == ["whole"]


def test_a_build_that_fails_leaves_nothing_and_can_be_repeated(cache: Cache) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.entry("kind", "key", "it", fail)
    assert [path.name for path in (cache.root / "kind").iterdir()] == [".key.lock"]
    assert cache.entry("kind", "key", "it", lambda _: None).is_dir()


def test_what_a_killed_builder_left_is_not_taken_for_whole(cache: Cache) -> None:
    """kill -9 of a process half-way through a build: the next builder begins with an empty directory."""
    program = f"""
import os, signal
from pathlib import Path
from sandbox.cache import Cache
from sandbox.steps import Steps
def build(directory):
    (directory / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)
Cache(Path({str(cache.root)!r}), Steps(None)).entry("kind", "key", "it", build)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": ":".join(sys.path)}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert list((cache.root / "kind").glob(".key.unfinished/half")), "the build had not begun"
    seen: list[list[Path]] = []
    cache.entry("kind", "key", "it", lambda directory: seen.append(list(directory.iterdir())))
    assert seen == [[]]


def test_concurrent_builders_wait_for_the_first(cache: Cache) -> None:
    begun, go_on = threading.Event(), threading.Event()
    built = []

    def build(_: Path) -> None:
        built.append(1)
        begun.set()
        assert go_on.wait(60)

    threads = [threading.Thread(target=cache.entry, args=("kind", "key", "it", build)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    go_on.set()
    for thread in threads:
        thread.join()
    assert built == [1]


def test_entries_that_nobody_asks_for_are_forgotten(cache: Cache) -> None:
    """Asking for an entry keeps it; the others go once they are old, and can be built anew."""
    for key in ("asked", "old"):
        path = cache.entry("kind", key, "it", lambda directory: (directory / "content").touch())
        os.utime(path, (0, 0))
    cache.entry("kind", "asked", "it", lambda _: None)
    cache.forget()
    assert sorted(path.name for path in (cache.root / "kind").glob("[!.]*")) == ["asked"]
    assert cache.entry("kind", "old", "it", lambda _: None).is_dir()


def test_paths_that_overlay_mounts_cannot_take_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="K8S_BURST_CACHE"):
        Cache(tmp_path / "a:b", Steps(None))


def test_keys_differ_where_content_differs(tmp_path: Path) -> None:
    assert key_of("ab", "c") != key_of("a", "bc")
    file = tmp_path / "file"
    file.write_text("x")
    keys = {key_of_files(tmp_path, [file])}
    file.chmod(0o755)
    keys.add(key_of_files(tmp_path, [file]))
    file.write_text("y")
    keys.add(key_of_files(tmp_path, [file]))
    keys.add(key_of_files(tmp_path, [file.rename(tmp_path / "other")]))
    assert len(keys) == 4
