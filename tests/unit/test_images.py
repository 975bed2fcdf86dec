"""
Enroot's notation in, Kubernetes' out.
"""

from __future__ import annotations

import pytest
from burst_agent.errors import ImageError
from burst_agent.images import oci_reference

from tests.images import REFUSED, TAKEN


@pytest.mark.parametrize(("written", "meant"), TAKEN.items())
def test_references(written: str, meant: str) -> None:
    """What users of pyxis write reaches the kubelet as it understands it."""
    assert oci_reference(written) == meant


@pytest.mark.parametrize(("written", "said"), REFUSED.items())
def test_what_is_refused(written: str, said: str) -> None:
    """With a sentence that says why."""
    with pytest.raises(ImageError, match=said):
        oci_reference(written)
