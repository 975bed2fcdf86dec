"""
Image archives, read back as the OCI image layout describes them.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from sandbox import oci

Members = dict[str, bytes]


@pytest.fixture
def members(tmp_path: Path) -> Members:
    """The content of an archive with one program."""
    program = tmp_path / "hello"
    program.write_bytes(b"\x7fELF program")
    oci.write_layer(tmp_path / "layer.tar", {"bin/hello": program})
    oci.write_archive(tmp_path / "image.tar", "localhost/some/image:1.2", [tmp_path / "layer.tar"], ["/bin/hello"])
    with tarfile.open(tmp_path / "image.tar") as archive:
        return {member.name: read(archive, member) for member in archive}


def read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file
    return file.read()


def test_blobs_are_named_by_their_digests(members: Members) -> None:
    blobs = {name: data for name, data in members.items() if name.startswith("blobs/")}
    assert len(blobs) == 3
    for name, data in blobs.items():
        assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"


def test_the_index_leads_to_config_and_layer(members: Members, tmp_path: Path) -> None:
    assert json.loads(members["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(members["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/some/image:1.2"
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "1.2"
    manifest = follow(members, entry)
    config = follow(members, manifest["config"])
    (layer,) = manifest["layers"]
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    assert config["config"]["Entrypoint"] == ["/bin/hello"]
    assert members[f"blobs/sha256/{layer['digest'].removeprefix('sha256:')}"] == (tmp_path / "layer.tar").read_bytes()


def follow(members: Members, descriptor: Any) -> Any:
    """Read what a descriptor names, and hold it against the size that it says."""
    data = members["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")]
    assert len(data) == descriptor["size"]
    return json.loads(data)


def test_a_layer_holds_executables(tmp_path: Path) -> None:
    program = tmp_path / "hello"
    program.write_bytes(b"x")
    oci.write_layer(tmp_path / "layer.tar", {"bin/hello": program})
    with tarfile.open(tmp_path / "layer.tar") as layer:
        (member,) = layer
        assert (member.name, member.mode, member.uid) == ("bin/hello", 0o755, 0)
