"""
Every name that the agent gives or reads: namespaces, pods, labels, its own files, and the one line in admin_comment.

admin_comment is written by job_submit.lua (``k8s-burst=MODE[ image=IMAGE][ max-cost=AMOUNT][ signal=SIGNAL]
nodes=MIN-MAX``) and by the agent, which adds what it has to remember and what users want to see. Only operators can
write it. The reason comes last and runs to the line's end.
"""

from __future__ import annotations

import functools
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from burst_agent.model import BurstMode, EndWarning, Job, Tres

PREFIX = "k8s-burst.slurm"
CLUSTER_LABEL = f"{PREFIX}/cluster"
JOB_LABEL = f"{PREFIX}/job-id"
RESTART_LABEL = f"{PREFIX}/restart"
NODE_LABEL = f"{PREFIX}/node"
UID_LABEL = f"{PREFIX}/uid"
TARGET_LABEL = f"{PREFIX}/target"
NODES_ANNOTATION = f"{PREFIX}/nodes"
SIZE_ANNOTATION = f"{PREFIX}/size"
LIMIT_ANNOTATION = f"{PREFIX}/time-limit-min"
TERMS_ANNOTATION = f"{PREFIX}/terms"

#: Kueue's own names (kueue.x-k8s.io), of the API that pods without an owner use.
KUEUE_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
KUEUE_GROUP_LABEL = "kueue.x-k8s.io/pod-group-name"
KUEUE_COUNT_ANNOTATION = "kueue.x-k8s.io/pod-group-total-count"
KUEUE_RETRIABLE_ANNOTATION = "kueue.x-k8s.io/retriable-in-group"
KUEUE_GATE = "kueue.x-k8s.io/admission"
#: The condition by which Kueue says why it deletes a pod.
KUEUE_EVICTION = "TerminationTarget"

#: The agent's own settings, and its socket unless they name another one.
AGENT_SETTINGS = Path("/etc/k8s-burst/agent.toml")
AGENT_SOCKET = Path("/run/k8s-burst/agent.sock")

#: Our own reason of pods: the image puts their user into groups that Slurm does not know of.
FOREIGN_GROUPS = "ImageGrantsGroups"

SERVICE_ACCOUNT = "k8s-burst"
CONTAINER = "job"

#: Longest admin_comment that the agent writes; what is too long is cut off the reason.
MAX_COMMENT_CHARS = 1024

MARKER = "k8s-burst="
#: The same of a job that is not flagged, where a rule may do that later.
SIGNAL_MARKER = "k8s-burst-signal="
_KEYS = ("image", "max-cost", "signal", "by", "from", "nodes", "state", "restart", "target", "pod-start")
_AMOUNT = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_COUNT = re.compile(r"[0-9]{1,9}")
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
_DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SIZE = re.compile(r"cpus=([0-9]{1,9}),memory-mib=([0-9]{1,12}),gpus=([0-9]{1,9})")
_SIGNAL = re.compile(r"(?:([RB]+):)?(?:SIG)?([A-Z0-9]+)(?:@([0-9]{1,5}))?", re.IGNORECASE)
#: Slurm's, where --signal names no time.
_WARN_BEFORE_S = 60
_LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


def valid_cluster(cluster: str) -> bool:
    """Whether namespaces can be named after this ClusterName."""
    return len(cluster) <= 40 and _LABEL_VALUE.fullmatch(cluster) is not None and _is_label(_slug(cluster))


def valid_node(node: str) -> bool:
    """Whether pods can be named after this node: their host name is the node's name."""
    return len(node) <= 63 and _is_label(node)


def namespace(cluster: str, uid: int) -> str:
    """Name the namespace of a user. ClusterName may have an underscore, which no namespace can: it becomes a hyphen."""
    return f"{_slug(cluster)}-u{uid}"


def pod_name(job_id: int, restart: int, node: str) -> str:
    """Name the pod of one incarnation of a job on one node: made twice, it is the same pod."""
    return f"k8s-burst-{job_id}-{restart}-{node}"


def labels(*, cluster: str, target: str, job_id: int, restart: int, node: str, uid: int) -> dict[str, str]:
    """Give the labels of a pod."""
    return {
        CLUSTER_LABEL: cluster,
        TARGET_LABEL: target,
        JOB_LABEL: str(job_id),
        RESTART_LABEL: str(restart),
        NODE_LABEL: node,
        UID_LABEL: str(uid),
    }


def terms(job: Job) -> str:
    """Write what of a job, beside its size and time limit, rules, caps and prices look at."""
    return f"account={job.account} qos={job.qos} partition={job.partition} gpu-type={job.gpu_type}"


def pod_annotations(*, job: Job, size: Tres, nodes: Sequence[str]) -> dict[str, str]:
    """
    Give the annotations of a pod: what it was made for, what policy agreed to then, and the nodes of all pods that are
    made with it.
    """
    return {
        SIZE_ANNOTATION: f"cpus={size.cpus},memory-mib={size.memory_mib},gpus={size.gpus}",
        TERMS_ANNOTATION: terms(job),
        **({} if job.time_limit_min is None else {LIMIT_ANNOTATION: str(job.time_limit_min)}),
        NODES_ANNOTATION: ",".join(nodes),
    }


def kueue_group(job_id: int, restart: int, once: str) -> str:
    """
    Name the group of pods that are made together; ``once`` tells this try from others of the same run of the job, whose
    Workload of that name Kueue may have finished already.
    """
    return f"k8s-burst-{job_id}-{restart}-{once}"


def kueue_labels(queue: str, group: str) -> dict[str, str]:
    """Give the labels by which Kueue queues a pod: alone, or together with the others of a group."""
    return {KUEUE_QUEUE_LABEL: queue, **({KUEUE_GROUP_LABEL: group} if group else {})}


def kueue_annotations(pods: int) -> dict[str, str]:
    """
    Give the annotations that go with a group: how many pods are admitted together. A group whose pod is lost is never
    completed again: the pods of the job's next try are another group.
    """
    return {KUEUE_COUNT_ANNOTATION: str(pods), KUEUE_RETRIABLE_ANNOTATION: "false"}


def parse_size(text: str) -> Tres | None:
    """Read a pod's size annotation; ``None`` for one that can't be read."""
    match = _SIZE.fullmatch(text)
    return match and Tres(cpus=int(match[1]), memory_mib=int(match[2]), nodes=1, gpus=int(match[3]))


def parse_limit(text: str) -> int | None:
    """Read a pod's annotation of its job's time limit, in minutes; ``None`` for no limit, or one that can't be read."""
    return _count(text)


def namespace_labels(cluster: str, uid: int) -> dict[str, str]:
    """Give the labels by which a namespace is known to be ours."""
    return {CLUSTER_LABEL: cluster, UID_LABEL: str(uid)}


def selector(wanted: Mapping[str, str]) -> str:
    """Write a label selector."""
    return ",".join(f"{key}={value}" for key, value in wanted.items())


def _slug(cluster: str) -> str:
    return cluster.lower().replace("_", "-")


def _is_label(text: str) -> bool:
    return _DNS_LABEL.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Comment:
    """
    What admin_comment says of a flagged job.
    """

    mode: BurstMode
    #: The image as the user wrote it; empty for the site's default.
    image: str = ""
    #: Partitions the job was taken from, as Slurm writes them; empty while it is in its own.
    origin: str = ""
    #: Node count that the job asks for in its own queue, lowest and highest (0: no limit): its record tells less before
    #: slurmctld has tried to place it, and a move overwrites it.
    asked_nodes: tuple[int, int] | None = None
    #: The state last written; empty: none yet.
    state: str = ""
    #: Restart count that the state was written for; ``None`` where it does not matter.
    restart: int | None = None
    #: Name of the Kubernetes cluster.
    target: str = ""
    reason: str = ""
    #: Words that somebody else wrote, kept as they are.
    extra: tuple[str, ...] = field(default=())
    #: The most that the user wants it to cost, in the site's currency; ``None``: no limit.
    max_cost: float | None = None
    #: The job's --signal as it was typed; empty: none.
    signal: str = ""
    #: The site's rule that flagged it; empty where its user did.
    flagged_by: str = ""
    #: Seconds from the creation of its last pod until that ran; ``None``: not measured.
    pod_start_s: int | None = None


@functools.lru_cache(maxsize=1 << 16)  # each job's is read at each look, and seldom changes
def parse_comment(text: str) -> Comment | None:
    """
    Read an admin_comment; ``None`` for a job that is not flagged, or whose mode is none we know.
    """
    line = text.split("\n", 1)[0].strip()
    if not line.startswith(MARKER):
        return None
    head, _, reason = line.partition(" reason=")
    first, *words = head.split()
    try:
        mode = BurstMode(first.removeprefix(MARKER))
    except ValueError:
        return None
    known: dict[str, str] = {}
    extra = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key in _KEYS and key not in known:
            known[key] = value
        else:
            extra.append(word)
    asked = _RANGE.fullmatch(known.get("nodes", ""))
    return Comment(
        mode=mode,
        image=known.get("image", ""),
        max_cost=_max_cost(known.get("max-cost")),
        signal=known.get("signal", ""),
        flagged_by=known.get("by", ""),
        origin=known.get("from", ""),
        asked_nodes=(int(asked[1]), int(asked[2])) if asked else None,
        state=known.get("state", ""),
        restart=_count(known.get("restart")),
        target=known.get("target", ""),
        pod_start_s=_count(known.get("pod-start")),
        reason=reason.strip(),
        extra=tuple(extra),
    )


def parse_max_cost(text: str) -> float:
    """Read an amount of money as --k8s-burst-max-cost takes it: digits, and a point. Raises ValueError."""
    if _AMOUNT.fullmatch(text) is None:
        msg = f"{text!r} is no amount of money; write for example 2.50"
        raise ValueError(msg)
    return float(text)


def parse_signal(text: str) -> EndWarning | None:
    """Read a --signal, ``[{R|B}:]SIGNAL[@SECONDS]``; ``None`` for none, or for one that Slurm would not take either."""
    match = _SIGNAL.fullmatch(text)
    if match is None:
        return None
    flags, word, before = (match[1] or "").upper(), match[2].upper(), match[3]
    number = int(word) if word.isdigit() else getattr(signal, f"SIG{word}", 0)
    if not 0 < number < signal.NSIG:
        return None
    return EndWarning(int(number), int(before) if before else _WARN_BEFORE_S, "B" in flags)


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and _COUNT.fullmatch(text) else None


def _max_cost(text: str | None) -> float | None:
    """Read what stands in a comment; what can't be read allows nothing, as the user wanted a limit."""
    try:
        return None if text is None else parse_max_cost(text)
    except ValueError:
        return 0.0


def format_comment(comment: Comment) -> str:
    """
    Write an admin_comment: one line of at most MAX_COMMENT_CHARS, in which mode, image and origin are always whole.
    """
    pairs = (
        ("image", comment.image),
        ("max-cost", "" if comment.max_cost is None else f"{comment.max_cost:.10g}"),
        ("signal", comment.signal),
        ("by", comment.flagged_by),
        ("from", comment.origin),
        ("nodes", "" if comment.asked_nodes is None else f"{comment.asked_nodes[0]}-{comment.asked_nodes[1]}"),
        ("state", comment.state),
        ("restart", "" if comment.restart is None else str(comment.restart)),
        ("target", comment.target),
        ("pod-start", "" if comment.pod_start_s is None else str(comment.pod_start_s)),
    )
    line = " ".join([f"{MARKER}{comment.mode}", *(f"{key}={value}" for key, value in pairs if value)])
    for word in comment.extra:
        if len(line) + 1 + len(word) <= MAX_COMMENT_CHARS:
            line = f"{line} {word}"
    reason = " ".join(comment.reason.split())
    room = MAX_COMMENT_CHARS - len(line) - len(" reason=")
    if not reason or room < 1:
        return line
    return f"{line} reason={reason if len(reason) <= room else reason[: room - 1] + '…'}"
