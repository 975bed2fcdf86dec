"""
The end of a sandbox, when something goes wrong with that.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sandbox import teardown
from sandbox.steps import Steps


def test_a_removal_that_was_ended_half_way_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark without which no directory is touched goes last."""
    directory = tmp_path / "half"
    (directory / "home/alice").mkdir(parents=True)
    (directory / teardown.MARK).touch()

    def ended(path: Path, **_: object) -> None:
        for file in path.iterdir():
            if file.is_file():
                file.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", ended)
        with pytest.raises(KeyboardInterrupt):
            teardown.down(directory, "half", Steps())
    teardown.down(directory, "half", Steps())
    assert not directory.exists()
