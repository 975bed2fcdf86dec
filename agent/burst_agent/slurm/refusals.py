"""
What slurmctld's error codes mean to the agent.

One table, by the codes' names in slurm_errno.h: ``_libslurm`` knows their numbers from the header it was compiled with.
"""

from __future__ import annotations

from dataclasses import dataclass

from burst_agent.errors import BurstError, JobRefusesMove, NoSuchJob, SlurmRefused, SlurmUnavailable

#: Nobody answered, or somebody who can't decide now.
AGAIN = (
    "EAGAIN",
    "EINTR",
    "ECONNREFUSED",
    "ECONNRESET",
    "EPIPE",
    "ETIMEDOUT",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ESLURM_IN_STANDBY_MODE",
    "ESLURM_IN_STANDBY_USE_BACKUP",
    "ESLURM_TRANSITION_STATE_NO_UPDATE",
    "ESLURM_DB_CONNECTION",
    "ESLURM_PROTOCOL_INCOMPLETE_PACKET",
    # munged is down on one of the two hosts, or their clocks differ: it is the site that is ill, not the request.
    "SLURM_PROTOCOL_AUTHENTICATION_ERROR",
    "SLURM_PROTOCOL_SOCKET_IMPL_TIMEOUT",
    "SLURM_PROTOCOL_SOCKET_ZERO_BYTES_SENT",
    "SLURM_COMMUNICATIONS_CONNECTION_ERROR",
    "SLURM_COMMUNICATIONS_SEND_ERROR",
    "SLURM_COMMUNICATIONS_RECEIVE_ERROR",
    "SLURM_COMMUNICATIONS_SHUTDOWN_ERROR",
    "SLURMCTLD_COMMUNICATIONS_CONNECTION_ERROR",
    "SLURMCTLD_COMMUNICATIONS_SEND_ERROR",
    "SLURMCTLD_COMMUNICATIONS_RECEIVE_ERROR",
    "SLURMCTLD_COMMUNICATIONS_SHUTDOWN_ERROR",
    "SLURMCTLD_COMMUNICATIONS_BACKOFF",
)

#: The job is past changing, or this job may not go there.
JOB_REFUSES = (
    "ESLURM_JOB_NOT_PENDING",
    "ESLURM_JOB_NOT_RUNNING",
    "ESLURM_JOB_NOT_PENDING_NOR_RUNNING",
    "ESLURM_JOB_STARTED",
    "ESLURM_JOB_FINISHED",
    "ESLURM_ALREADY_DONE",
    "ESLURM_JOB_SUSPENDED",
    "ESLURM_REQUESTED_PART_CONFIG_UNAVAILABLE",
    "ESLURM_REQUESTED_NODES_NOT_IN_PARTITION",
    "ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE",
    "ESLURM_TOO_MANY_REQUESTED_CPUS",
    "ESLURM_INVALID_NODE_COUNT",
    "ESLURM_INVALID_TIME_LIMIT",
    "ESLURM_INVALID_ACCOUNT",
    "ESLURM_INVALID_QOS",
    "ESLURM_ACCOUNTING_POLICY",
    "ESLURM_PARTITION_NOT_AVAIL",
    "ESLURM_PARTITION_DOWN",
    "ESLURM_PARTITION_ASSOC",
    "ESLURM_JOB_MISSING_REQUIRED_PARTITION_GROUP",
    "ESLURM_QOS_THRES",
    "ESLURM_RESERVATION_ACCESS",
    "ESLURM_RESERVATION_INVALID",
    "ESLURM_RESERVATION_NOT_USABLE",
    "ESLURM_CANNOT_MODIFY_CRON_JOB",
    # An arbitrary task distribution (-m arbitrary) pins its own nodes.
    "ESLURM_NOT_SUPPORTED",
)

#: The request is wrong, or the agent's user may not make it.
REFUSED = (
    "ESLURM_INVALID_PARTITION_NAME",
    "ESLURM_INVALID_NODE_NAME",
    "ESLURM_ACCESS_DENIED",
    "ESLURM_USER_ID_MISSING",
    # Requeue: the job was submitted with --no-requeue, or has no batch script.
    "ESLURM_DISABLED",
    "ESLURM_BATCH_ONLY",
)

ERRORS: dict[str, type[BurstError]] = {
    # Asked for what it has, a job that pends has nothing yet.
    "ESLURM_JOB_PENDING": SlurmRefused,
    "ESLURM_INVALID_JOB_ID": NoSuchJob,
    **dict.fromkeys(AGAIN, SlurmUnavailable),
    **dict.fromkeys(JOB_REFUSES, JobRefusesMove),
    **dict.fromkeys(REFUSED, SlurmRefused),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    One answer of slurmctld or libslurm that is not success.
    """

    #: Name in slurm_errno.h or errno.h; empty for a code that the agent does not know.
    name: str
    code: int
    #: Slurm's sentence for the code.
    sentence: str
    #: What slurmctld added, often from job_submit.lua; may be empty.
    words: str = ""


def error_of(refusal: Refusal, tried: str) -> BurstError:
    """Make the error that says what was tried and what slurmctld answered."""
    sort = ERRORS.get(refusal.name, SlurmRefused)
    name = refusal.name or f"code {refusal.code}"
    added = f" — {refusal.words}" if refusal.words else ""
    return sort(f"could not {tried}: {refusal.sentence} ({name}){added}")
