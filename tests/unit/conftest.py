"""
What all unit tests share: speed is measured in tests/bench, never asserted here.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")
