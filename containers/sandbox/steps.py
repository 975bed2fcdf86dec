"""
Tells what is being done and how long it took, one line a step.

On a terminal the line of the steps under way is rewritten in place; elsewhere each finished step is one plain line,
so that a log stays readable. Steps may run in several threads at once.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Steps:
    """
    Prints steps to a stream; quiet when the stream is None.
    """

    def __init__(self, stream: TextIO | None = sys.stderr) -> None:
        self._stream = stream
        self._live = bool(stream and stream.isatty())
        self._lock = threading.Lock()
        self._running: list[str] = []
        self._began = time.monotonic()

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show `what` while the block runs, then its duration; a block that raises is shown as failed."""
        began = time.monotonic()
        with self._lock:
            self._running.append(what)
            self._show_running()
        outcome = "failed"
        try:
            yield
            outcome = "ok"
        finally:
            with self._lock:
                self._running.remove(what)
                self._line(f"{time.monotonic() - began:7.2f} s  {what}" + ("" if outcome == "ok" else f": {outcome}"))
                self._show_running()

    def say(self, text: str) -> None:
        """Print a line of its own."""
        with self._lock:
            self._line(text)
            self._show_running()

    def elapsed_s(self) -> float:
        """Seconds since this object was made."""
        return time.monotonic() - self._began

    def _line(self, text: str) -> None:
        if self._stream:
            print(("\r\033[K" if self._live else "") + text, file=self._stream, flush=True)

    def _show_running(self) -> None:
        if self._live and self._stream:
            names = ", ".join(self._running)
            self._stream.write("\r\033[K" + (f"        …  {names}"[:110] if names else ""))
            self._stream.flush()
