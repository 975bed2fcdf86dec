"""
From a Pod object as JSON has it to our value. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from burst_agent import names
from burst_agent.model import Pod, PodPhase

Json = Mapping[str, Any]

#: Exit code of a supervisor that was told to end: why it was, other fields say.
_TERMINATED = 128 + 15

#: Exit code of a supervisor that found itself in groups that its user is not in.
_FOREIGN_GROUPS = 77

#: Conditions by which Kubernetes and Kueue say why they take a pod away.
_TAKEN_AWAY = ("DisruptionTarget", names.KUEUE_EVICTION)

#: Kubernetes' reason for a pod with gates.
_GATED = "SchedulingGated"

#: What a container that is on its way says: no reason at all.
_ON_ITS_WAY = frozenset({"PodInitializing", "ContainerCreating"})


def read_pod(thing: Json, target: str, gpu_resource: str) -> Pod | None:
    """
    Read a pod of a target; ``None`` for one without our labels, which is none of ours.
    """
    meta, status = thing["metadata"], thing.get("status", {})
    labels, annotations = meta.get("labels", {}), meta.get("annotations", {})
    try:
        job_id, restart, user_uid = (
            int(labels[key]) for key in (names.JOB_LABEL, names.RESTART_LABEL, names.UID_LABEL)
        )
        node = str(labels[names.NODE_LABEL])
    except (KeyError, ValueError):
        return None
    gates = [str(gate.get("name")) for gate in thing.get("spec", {}).get("schedulingGates", ())]
    terminating = "deletionTimestamp" in meta
    reason, message = next(_reasons(status, gates, terminating=terminating), ("", ""))
    return Pod(
        target=target,
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        job_id=job_id,
        restart=restart,
        node=node,
        user_uid=user_uid,
        phase=PodPhase(status.get("phase", "Pending")),
        running="running" in _job_container(status).get("state", {}),
        terminating=terminating,
        address=_address(status),
        size=names.parse_size(annotations.get(names.SIZE_ANNOTATION, "")),
        nodes=tuple(filter(None, annotations.get(names.NODES_ANNOTATION, "").split(","))),
        ends_by=datetime.fromisoformat(ends).timestamp() if (ends := meta.get("deletionTimestamp")) else 0.0,
        created=datetime.fromisoformat(meta["creationTimestamp"]).timestamp(),
        gpus=_gpus(thing, gpu_resource),
        started=_started(_job_container(status)),
        terms=annotations.get(names.TERMS_ANNOTATION, ""),
        limit_min=names.parse_limit(annotations.get(names.LIMIT_ANNOTATION, "")),
        gated=bool(gates),
        group=labels.get(names.KUEUE_GROUP_LABEL, ""),
        reason=reason,
        message=" ".join(message.split())[:300],
    )


def _job_container(status: Json) -> Json:
    found = (one for one in status.get("containerStatuses", ()) if one.get("name") == names.CONTAINER)
    return next(found, {})


def _started(container: Json) -> float:
    began = container.get("state", {}).get("running", {}).get("startedAt")
    return datetime.fromisoformat(began).timestamp() if began else 0.0


def _address(status: Json) -> str:
    """IPv4 before IPv6: programs of a job take the first address they find, and not all of them speak IPv6."""
    addresses = [one.get("ip", "") for one in status.get("podIPs", ())] or [status.get("podIP", "")]
    return str(min(addresses, key=lambda address: ":" in address))


def _gpus(thing: Json, gpu_resource: str) -> int:
    containers = thing.get("spec", {}).get("containers", ())
    return sum(int(one.get("resources", {}).get("limits", {}).get(gpu_resource, 0)) for one in containers)


def _reasons(status: Json, gates: Sequence[str], *, terminating: bool) -> Iterator[tuple[str, str]]:
    """Why it does not run, or no longer: the most telling first."""
    for condition in status.get("conditions", ()):
        if condition.get("type") in _TAKEN_AWAY and condition.get("status") == "True":
            yield condition.get("reason", condition["type"]), condition.get("message", "")
    if status.get("reason"):
        yield status["reason"], status.get("message", "")
    if terminating and gates:
        # Kueue's finalizer keeps it for a while: that it was gated is not why it goes.
        return
    if names.KUEUE_GATE in gates:
        yield _GATED, "Kueue has not admitted it yet"
    elif gates:
        yield _GATED, f"waits for {', '.join(gates)}"
    for one in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        yield from _container_reason(one)
    for condition in status.get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            if condition.get("reason") == _GATED:
                return  # no longer: the scheduler has yet to look at it
            yield condition.get("reason", "Unschedulable"), condition.get("message", "")


def _container_reason(one: Json) -> Iterator[tuple[str, str]]:
    state = one.get("state", {})
    waiting, ended = state.get("waiting"), state.get("terminated")
    if waiting and waiting.get("reason") not in _ON_ITS_WAY:
        yield waiting.get("reason", ""), waiting.get("message", "")
    if ended and ended.get("exitCode") not in (None, 0, _TERMINATED):
        said = ended.get("message") or f"container {one.get('name')} ended with exit code {ended['exitCode']}"
        foreign = ended["exitCode"] == _FOREIGN_GROUPS and one.get("name") == names.CONTAINER
        yield names.FOREIGN_GROUPS if foreign else ended.get("reason", "Error"), said
