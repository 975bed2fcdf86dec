"""
Writes OCI image archives, without a registry or an image builder.

The result is what `ctr images import` reads: the OCI image layout (oci-layout, index.json, blobs/sha256/…) in a tar
file. See https://github.com/opencontainers/image-spec/blob/main/image-layout.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

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


def write_archive(output: Path, reference: str, layers: Sequence[Path], entrypoint: Sequence[str] = ()) -> None:
    """Write the image `reference`, whose content is the uncompressed tar files `layers`, the lowest first."""
    contents = [Blob.of(layer) for layer in layers]
    config = _json(
        {
            "architecture": architecture(),
            "os": "linux",
            "config": {"Env": [f"PATH={_PATH}"], **({"Entrypoint": list(entrypoint)} if entrypoint else {})},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{content.digest}" for content in contents]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_TYPE}.manifest.v1+json",
            "config": config.descriptor("config.v1+json"),
            "layers": [content.descriptor("layer.v1.tar") for content in contents],
        }
    )
    names = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference.rpartition(":")[2]}
    index = _json({"schemaVersion": 2, "manifests": [manifest.descriptor("manifest.v1+json", annotations=names)]})
    with tarfile.open(output, "w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", index)
        for blob in (config, manifest, *contents):
            _add(archive, f"blobs/sha256/{blob.digest}", blob)


def layers_of(archive: Path, directory: Path) -> list[Path]:
    """Take the layers out of an archive as `write_archive` makes it, the lowest first, as files in `directory`."""
    with tarfile.open(archive) as image:
        index = json.load(_member(image, "index.json"))
        manifest = json.load(_member(image, _blob(index["manifests"][0]["digest"])))
        layers = []
        for number, layer in enumerate(manifest["layers"]):
            layers.append(directory / f"{number}.tar")
            with layers[-1].open("wb") as file:
                shutil.copyfileobj(_member(image, _blob(layer["digest"])), file)
    return layers


def read_file(layer: Path, path: str) -> bytes:
    """The content of a file in a layer."""
    with tarfile.open(layer) as files:
        return _member(files, path).read()


def _blob(digest: str) -> str:
    """Where a blob is in the image layout."""
    return f"blobs/{digest.replace(':', '/')}"


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    if file is None:
        msg = f"{name} of an image is no file"
        raise LookupError(msg)
    return file


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
