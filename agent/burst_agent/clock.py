"""
Clock over the machine's time.
"""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """
    Time as it passes.
    """

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        """Wait until the event is set, at most this long; say whether it was set."""
        try:
            async with asyncio.timeout(timeout_s):
                return await event.wait()
        except TimeoutError:
            return False
