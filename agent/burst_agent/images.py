"""
Image references: Enroot's notation, which users of pyxis write, to the one that Kubernetes takes.

``[docker://][REGISTRY#]IMAGE[:TAG|@DIGEST]`` becomes ``[REGISTRY/]IMAGE[:TAG|@DIGEST]``. Enroot's ``USER@`` names whose
credential pulls the image; pods pull with the site's, so it is refused with a sentence that says so.
"""

from __future__ import annotations

import re

from burst_agent.errors import ImageError

#: Longest reference that is accepted: it has to fit into admin_comment.
MAX_IMAGE_CHARS = 255

_SCHEME = "docker://"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REGISTRY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")
_IMAGE = re.compile(
    rf"(?:(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{{1,5}})?)/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


def oci_reference(text: str) -> str:
    """
    Turn a reference as users write it into the one for a pod's ``image``. Raises ImageError.
    """
    if len(text) > MAX_IMAGE_CHARS:
        msg = f"image reference is longer than {MAX_IMAGE_CHARS} characters"
        raise ImageError(msg)
    rest = text.removeprefix(_SCHEME)
    if "://" in rest or rest.startswith((".", "/")) or rest.endswith(".sqsh"):
        msg = (
            f"image {text!r}: only images in a registry can be used ([REGISTRY#]IMAGE[:TAG]), no files or other sources"
        )
        raise ImageError(msg)
    registry, hash_sign, image = rest.rpartition("#")
    user_part = registry if hash_sign else image.partition("@sha256:")[0]
    if "@" in user_part:
        msg = (
            f"image {text!r}: USER@ can't be used here; images are pulled with the site's credentials, so leave it out"
        )
        raise ImageError(msg)
    if (hash_sign and not _REGISTRY.fullmatch(registry)) or not _IMAGE.fullmatch(image):
        msg = f"image {text!r} is no [REGISTRY#]IMAGE[:TAG], such as nvcr.io#nvidia/pytorch:24.10-py3"
        raise ImageError(msg)
    return f"{registry}/{image}" if hash_sign else image
