"""
Writes an OCI image archive with one layer, without a registry or an image builder.

The result is what `ctr images import` reads: the OCI image layout (oci-layout, index.json, blobs/sha256/…) in a tar
file. See https://github.com/opencontainers/image-spec/blob/main/image-layout.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_TYPE = "application/vnd.oci.image"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Blob:
    """
    A part of an image: its digest, its size in bytes, and how to read it.
    """

    digest: str
    size: int
    data: bytes | Path

    @classmethod
    def of(cls, data: bytes | Path) -> Blob:
        """Describe bytes or a file."""
        if isinstance(data, bytes):
            return cls(hashlib.sha256(data).hexdigest(), len(data), data)
        with data.open("rb") as file:
            return cls(hashlib.file_digest(file, "sha256").hexdigest(), data.stat().st_size, data)

    def descriptor(self, kind: str, **more: object) -> dict[str, object]:
        """The JSON object by which other parts name this one."""
        return {"mediaType": f"{_TYPE}.{kind}", "digest": f"sha256:{self.digest}", "size": self.size, **more}


def write_archive(output: Path, reference: str, layer: Path, entrypoint: Sequence[str] = ()) -> None:
    """Write the image `reference`, whose whole content is the uncompressed tar file `layer`."""
    content = Blob.of(layer)
    config = _json(
        {
            "architecture": architecture(),
            "os": "linux",
            "config": {"Env": [f"PATH={_PATH}"], **({"Entrypoint": list(entrypoint)} if entrypoint else {})},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{content.digest}"]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_TYPE}.manifest.v1+json",
            "config": config.descriptor("config.v1+json"),
            "layers": [content.descriptor("layer.v1.tar")],
        }
    )
    names = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference.rpartition(":")[2]}
    index = _json({"schemaVersion": 2, "manifests": [manifest.descriptor("manifest.v1+json", annotations=names)]})
    with tarfile.open(output, "w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", index)
        for blob in (config, manifest, content):
            _add(archive, f"blobs/sha256/{blob.digest}", blob)


def write_layer(output: Path, files: Mapping[str, Path]) -> None:
    """Write a layer of executables: `files` maps a path in the image, without its first slash, to a file."""
    with tarfile.open(output, "w") as archive:
        for name, source in files.items():
            member = tarfile.TarInfo(name)
            member.size = source.stat().st_size
            member.mode = 0o755
            with source.open("rb") as file:
                archive.addfile(member, file)


def architecture() -> str:
    """This machine's architecture, as Go and OCI name it."""
    return _MACHINES.get(platform.machine(), platform.machine())


def _json(value: object) -> Blob:
    return Blob.of(json.dumps(value, separators=(",", ":")).encode())


def _add(archive: tarfile.TarFile, name: str, blob: Blob) -> None:
    member = tarfile.TarInfo(name)
    member.size = blob.size
    if isinstance(blob.data, bytes):
        archive.addfile(member, io.BytesIO(blob.data))
    else:
        with blob.data.open("rb") as file:
            archive.addfile(member, file)
