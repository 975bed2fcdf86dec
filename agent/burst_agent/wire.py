"""
Between the messages of proto/burst/v1 and our values. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from burst_agent import images, names, podspec
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent.attach import Gone, Ready, Waiting
from burst_agent.errors import BadRequest, ImageError
from burst_agent.model import BurstMode, JobUsage
from burst_agent.plan import Entry

_MODES = {
    pb.BURST_MODE_AUTO: BurstMode.AUTO,
    pb.BURST_MODE_NOW: BurstMode.NOW,
    pb.BURST_MODE_NEVER: BurstMode.NEVER,
}


def submission(data: bytes, *, cluster: str) -> tuple[BurstMode, str]:
    """
    Read a serialised Submission and give mode and image. Raises BadRequest, which names the field.
    """
    try:
        message = pb.Submission.FromString(data)
    except DecodeError as e:
        msg = "submission: can't be read"
        raise BadRequest(msg) from e
    if message.cluster != cluster:
        msg = f"submission.cluster: this is the agent of cluster {cluster}, not of {message.cluster!r}"
        raise BadRequest(msg)
    mode = _MODES.get(message.mode)
    if mode is None:
        msg = "submission.mode: must be auto, now or never"
        raise BadRequest(msg)
    try:
        if message.image:
            images.oci_reference(message.image)
    except ImageError as e:
        msg = f"submission.image: {e}"
        raise BadRequest(msg) from e
    return mode, message.image


def attach_response(outcome: Ready | Waiting | Gone) -> pb.AttachResponse:
    """Write what a launcher gets."""
    match outcome:
        case Waiting(message, retry_after_ms):
            return pb.AttachResponse(pending=pb.Pending(message=message, retry_after_ms=retry_after_ms))
        case Gone(message):
            return pb.AttachResponse(lost=pb.Lost(message=message))
        case Ready(endpoint, pod, token, hosts, gpu_indices):
            expires = Timestamp()
            expires.FromSeconds(int(token.expires))
            return pb.AttachResponse(
                ready=pb.PodEndpoint(
                    api_server=endpoint.url,
                    certificate_authority_pem=endpoint.ca_pem,
                    tls_server_name=endpoint.tls_server_name,
                    namespace=pod.namespace,
                    pod=pod.name,
                    pod_uid=pod.uid,
                    container=names.CONTAINER,
                    command=podspec.attach_command(hosts),
                    token=token.secret,
                    token_expires=expires,
                    gpu_indices=gpu_indices,
                )
            )


def job_status(entry: Entry) -> pb.JobStatus:
    """Write one job."""
    job, step = entry.seen.job, entry.step
    return pb.JobStatus(
        job_id=job.job_id,
        uid=job.uid,
        job_state=job.state.value,
        partition=job.partition,
        burst_state=step.state.value,
        reason=step.reason,
        pods=[
            pb.PodStatus(
                namespace=pod.namespace,
                name=pod.name,
                node_name=pod.node,
                phase="Terminating" if pod.terminating else pod.phase.value,
            )
            for pod in entry.seen.pods
        ],
    )


def explanation(entry: Entry, rules: Iterable[str]) -> pb.ExplainResponse:
    """Write what is known and thought of one job, with what the site's rules say of it."""
    *looked, conclusion = entry.reasons
    return pb.ExplainResponse(job=job_status(entry), reasons=[*looked, *rules, conclusion])


def usage(jobs: Iterable[JobUsage]) -> list[pb.JobUsage]:
    """Write what finished jobs used."""
    return [
        pb.JobUsage(
            job_id=job.job_id,
            user=job.user,
            account=job.account,
            job_state=job.state,
            elapsed_s=job.elapsed_s,
            gpus=job.gpus,
            gpu_hours=job.gpu_hours,
        )
        for job in jobs
    ]
