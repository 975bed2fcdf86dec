"""
Names that others rely on, and the one line that must never lose what it carries.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from burst_agent import names
from burst_agent.model import BurstMode, EndWarning
from burst_agent.names import MAX_COMMENT_CHARS, Comment, format_comment, parse_comment, parse_signal
from hypothesis import given
from hypothesis import strategies as st

WORD = st.from_regex(r"[a-z0-9][a-z0-9.:/#_-]{0,60}", fullmatch=True)
COMMENTS = st.builds(
    Comment,
    mode=st.sampled_from(BurstMode),
    image=st.one_of(st.just(""), WORD),
    origin=st.one_of(st.just(""), WORD),
    signal=st.sampled_from(["", "B:USR1@60", "10"]),
    asked_nodes=st.one_of(st.none(), st.tuples(st.integers(0, 99), st.integers(0, 99))),
    state=st.sampled_from(["", "waiting", "running"]),
    restart=st.one_of(st.none(), st.integers(0, 99)),
    target=st.one_of(st.just(""), WORD),
    reason=st.text(),
    extra=st.lists(WORD.filter(lambda word: "=" not in word), max_size=3).map(tuple),
)


def test_names_of_things() -> None:
    """What administrators look for."""
    assert names.namespace("Sun_Grid", 1000) == "sun-grid-u1000"
    assert names.pod_name(123, 2, "k8s-0") == "k8s-burst-123-2-k8s-0"
    assert names.labels(cluster="c1", target="east", job_id=123, restart=2, node="k8s-0", uid=1000) == {
        "k8s-burst.slurm/cluster": "c1",
        "k8s-burst.slurm/target": "east",
        "k8s-burst.slurm/job-id": "123",
        "k8s-burst.slurm/restart": "2",
        "k8s-burst.slurm/node": "k8s-0",
        "k8s-burst.slurm/uid": "1000",
    }


@pytest.mark.parametrize("cluster", ["", "-a", "a b", "../etc", "a" * 41, "ä", "a_"])
def test_clusters_that_can_name_nothing(cluster: str) -> None:
    """No name of a namespace can be made of them."""
    assert not names.valid_cluster(cluster)


@pytest.mark.parametrize("node", ["", "k8s.1", "K8S-1", "k8s_1", "-k", "../k", "n" * 64])
def test_nodes_that_can_name_no_pod(node: str) -> None:
    """A pod's host name is a DNS label."""
    assert not names.valid_node(node)
    assert names.valid_node("k8s-1")


def test_comment_as_the_submit_plugin_wrote_it() -> None:
    """Mode, image, nothing else."""
    assert parse_comment("k8s-burst=now") == Comment(BurstMode.NOW)
    assert parse_comment("k8s-burst=auto image=nvcr.io#nvidia/pytorch:24.10") == Comment(
        BurstMode.AUTO, image="nvcr.io#nvidia/pytorch:24.10"
    )


def test_comment_in_full() -> None:
    """Every field, the reason to the end of the line."""
    text = "k8s-burst=auto image=a:1 from=gpu,cpu nodes=1-0 state=lost restart=2 target=east reason=pod x: from=moon"
    comment = Comment(
        BurstMode.AUTO, "a:1", "gpu,cpu", (1, 0), "lost", restart=2, target="east", reason="pod x: from=moon"
    )
    assert parse_comment(text) == comment
    assert format_comment(comment) == text


@pytest.mark.parametrize(
    "text", ["", "see ticket", "x k8s-burst=now", "k8s-burst=sometimes", "k8s-burst=", "k8s-burst"]
)
def test_not_flagged(text: str) -> None:
    """The marker stands at the beginning, with a mode that exists."""
    assert parse_comment(text) is None


def test_what_an_administrator_adds_stays() -> None:
    """Words that are not ours are kept when ours change; only the first line counts."""
    comment = parse_comment("k8s-burst=now state=waiting VIP ticket=4 reason=cap\nsecond line")
    assert comment is not None
    assert comment.extra == ("VIP", "ticket=4")
    assert format_comment(replace(comment, state="moved", reason="")) == "k8s-burst=now state=moved VIP ticket=4"


def test_the_first_of_two_keys_counts() -> None:
    """What comes later can't overwrite what the agent wrote."""
    comment = parse_comment("k8s-burst=now from=gpu from=secret state=waiting nodes=x-y restart=-1")
    assert comment is not None
    assert (comment.origin, comment.asked_nodes, comment.restart) == ("gpu", None, None)


@given(COMMENTS)
def test_written_and_read_it_is_the_same(comment: Comment) -> None:
    """Whatever the reason holds, the line is one, short, and carries the rest whole."""
    text = format_comment(comment)
    assert len(text) <= MAX_COMMENT_CHARS
    assert len(text.splitlines()) == 1
    read = parse_comment(text)
    assert read is not None
    assert replace(read, reason="") == replace(comment, reason="")


@given(st.text(max_size=200))
def test_reading_never_fails(text: str) -> None:
    """Administrators may write what they like."""
    parse_comment(text)
    parse_comment(f"k8s-burst=now {text}")


def test_a_long_reason_is_cut_not_the_rest() -> None:
    """Mode, image and origin are needed; the reason is for reading."""
    text = format_comment(Comment(BurstMode.NOW, image="i" * 255, origin="gpu", reason="r" * 5000))
    assert len(text) == MAX_COMMENT_CHARS
    assert f"image={'i' * 255} from=gpu" in text
    assert text.endswith("r…")


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("B:USR1@60", EndWarning(10, 60, batch_only=True)),
        ("USR2", EndWarning(12, 60, batch_only=False)),
        ("sigterm@5", EndWarning(15, 5, batch_only=False)),
        ("rb:10@0", EndWarning(10, 0, batch_only=True)),
        ("R:HUP@120", EndWarning(1, 120, batch_only=False)),
        ("", None),
        ("@60", None),
        ("NAL", None),
        ("0@60", None),
        ("65", None),
        ("B:USR1@", None),
        ("X:USR1", None),
    ],
)
def test_signal(text: str, warning: EndWarning | None) -> None:
    """As sbatch takes it."""
    assert parse_signal(text) == warning
