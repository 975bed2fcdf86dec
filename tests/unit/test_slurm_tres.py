"""
Slurm's ways of writing resources.
"""

import pytest
from burst_agent.model import Tres
from burst_agent.slurm.tres import (
    gpu_indices,
    gpu_type,
    gpus_by_type,
    memory_mib,
    parse_gres_gpus,
    parse_tres,
    requested_gpus,
)


@pytest.mark.parametrize(
    ("text", "tres"),
    [
        ("cpu=4,mem=16G,node=2,billing=4,gres/gpu=2", Tres(cpus=4, memory_mib=16384, nodes=2, gpus=2)),
        ("cpu=1,mem=2048M,node=1,billing=1", Tres(cpus=1, memory_mib=2048, nodes=1)),
        ("cpu=2,gres/gpu=3,gres/gpu:a100=1,gres/gpu:h100=2", Tres(cpus=2, gpus=3)),
        ("cpu=2,gres/gpu:a100=1,gres/gpu:h100=2", Tres(cpus=2, gpus=3)),
        ("gres/gpumem=80G,gres/gpuutil=50,gres/shard=4", Tres()),
        ("license/matlab=2,cpu=1", Tres(cpus=1)),
        ("", Tres()),
    ],
)
def test_a_tres_string_is_read(text: str, tres: Tres) -> None:
    assert parse_tres(text) == tres


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("0", 0),
        ("100", 100),
        ("512K", 1),
        ("1025K", 2),
        ("100M", 100),
        ("1.50T", 1572864),
        ("2.5G", 2560),
        ("1P", 1 << 30),
    ],
)
def test_memory_is_in_mib_and_rounded_up(text: str, mib: int) -> None:
    assert memory_mib(text) == mib


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("gpu:2", 2),
        ("gpu:a100:4(S:0-1)", 4),
        ("gpu:a100:4(S:0-1),gpu:h100:2(S:2),shard:8", 6),
        ("gpu:a100:2(IDX:0,3),gpu:h100:0(IDX:N/A)", 2),
        ("gres/gpu:2", 2),
        ("gres/gpu:a100:2", 2),
        ("gres/gpu=2", 2),
        ("gres:gpu:2", 2),
        ("gres/gpu", 1),
        ("gres/gpu:a100", 1),
        ("gres/shard:4", 0),
        ("(null)", 0),
        ("", 0),
    ],
)
def test_gpus_of_a_gres_string_are_counted(text: str, gpus: int) -> None:
    assert parse_gres_gpus(text) == gpus


def test_gpus_are_counted_by_type() -> None:
    assert gpus_by_type("gpu:a100:2(IDX:0,3),gpu:h100:0(IDX:N/A),gpu:4(S:0-1),shard:8") == {"a100": 2, "h100": 0, "": 4}


def test_gpus_of_a_request_are_summed_over_nodes_and_tasks() -> None:
    def ask(per_job: str = "", per_node: str = "", per_task: str = "") -> int:
        return requested_gpus(per_job=per_job, per_node=per_node, per_task=per_task, nodes=3, tasks=8)

    assert ask(per_job="gres/gpu:5") == 5
    assert ask(per_node="gres/gpu:2") == 6
    assert ask(per_task="gres/gpu:1") == 8
    assert ask() == 0


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (("cpu=4,gres/gpu=2,gres/gpu:a100=2",), "a100"),
        (("gres:gpu:a100:2",), "a100"),
        (("gpu:h100_80gb:4(S:0-1)",), "h100_80gb"),
        (("", "gres/gpu:4", "gres:gpu:v100"), "v100"),
        (("gres/gpu=4",), ""),
    ],
)
def test_the_type_of_a_gpu(texts: tuple[str, ...], kind: str) -> None:
    """In every notation; a bare count names none."""
    assert gpu_type(*texts) == kind


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("", ()),
        ("gpu:2(IDX:0-1)", (0, 1)),
        ("gpu:a100:2(IDX:3,0),gpu:v100:1(IDX:5)", (0, 3, 5)),
        ("gpu(IDX:4)", (4,)),
        ("shard:8(2/8,6/8),gpu:1(IDX:7)", (7,)),
        ("tmpgpu:1(IDX:9)", ()),
        ("gpu:2", ()),
        ("gpu:0(IDX:)", ()),
    ],
)
def test_gpus_are_numbered(text: str, indices: tuple[int, ...]) -> None:
    assert gpu_indices(text) == indices
