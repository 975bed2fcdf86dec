"""
libslurm in a worker process: loading it, its errors, and records copied into values.

Calls block for as long as libslurm does, and libslurm may end the process (see worker.py). What asks slurmctld is in
lists.py and jobs.py.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import importlib
import os
import pwd
import time
from collections.abc import Sequence
from typing import Any

from burst_agent.errors import BurstError, SlurmRefused
from burst_agent.model import Job
from burst_agent.slurm.records import JobRecord, to_job
from burst_agent.slurm.refusals import ERRORS, Refusal, error_of

#: How long slurmctld's configuration is taken to be what it was.
CONFIGURATION_HOLDS_S = 60
#: The bit of select_type_param, which newer slurm.h call otherwise.
CR_MEMORY = 1 << 4

JOB_FIELDS = tuple(field.name for field in dataclasses.fields(JobRecord))


@functools.cache
def libslurm() -> Any:
    """Load libslurm, once, and give the compiled module."""
    # Array lists in full; libslurm reads this at the first list and would cut at 64 characters.
    os.environ["SLURM_BITSTR_LEN"] = "0"
    try:
        module = importlib.import_module("burst_agent.slurm._libslurm")
    except ImportError as e:
        msg = f"the agent was built without libslurm, install it where slurm/slurm.h and libslurm are: {e}"
        raise SlurmRefused(msg) from e
    module.lib.burst_init(module.ffi.NULL)
    return module


@functools.cache
def code_names() -> dict[int, str]:
    """Map the numbers of the codes that the agent knows to their names."""
    lib = libslurm().lib
    return {getattr(errno if name[0] == "E" and name[1] != "S" else lib, name): name for name in ERRORS}


def failure(code: int, tried: str, words: str = "") -> BurstError:
    """Make the error for a code other than 0."""
    return error_of(refusal(code, words), tried)


def refusal(code: int, words: str = "") -> Refusal:
    """Name a code."""
    module = libslurm()
    sentence = text(module.ffi, module.lib.burst_strerror(code))
    return Refusal(name=code_names().get(code, ""), code=code, sentence=sentence, words=words)


def text(ffi: Any, pointer: Any) -> str:
    """Copy a C string; NULL is empty."""
    return ffi.string(pointer).decode(errors="replace") if pointer else ""


def fields(ffi: Any, view: Any, names: Sequence[str]) -> dict[str, Any]:
    """Copy fields of a C record."""
    values = ((name, getattr(view, name)) for name in names)
    return {name: value if isinstance(value, int) else text(ffi, value) for name, value in values}


def expand(hosts: str) -> tuple[str, ...]:
    """Expand a Slurm host list."""
    module = libslurm()
    names = []
    hostlist = module.lib.slurm_hostlist_create(hosts.encode())
    while name := module.lib.slurm_hostlist_shift(hostlist):
        names.append(text(module.ffi, name))
        module.lib.free(name)
    module.lib.slurm_hostlist_destroy(hostlist)
    return tuple(names)


def job_record(view: Any) -> JobRecord:
    """Copy one job_info_t."""
    return JobRecord(**fields(libslurm().ffi, view, JOB_FIELDS))


def job_value(view: Any) -> Job:
    """Translate one job_info_t. Raises ValueError for one that can't be read."""
    module = libslurm()
    record = job_record(view)
    return to_job(
        record,
        job_id=module.lib.burst_job_id(view),
        user=record.user_name or user_name(record.user_id),
        nodes=expand(record.nodes),
        excluded=expand(record.exc_nodes) if record.exc_nodes else (),
        reason=text(module.ffi, module.lib.burst_reason(view)),
        tracks_memory=tracks_memory(int(time.monotonic()) // CONFIGURATION_HOLDS_S),
    )


@functools.lru_cache(maxsize=1)
def tracks_memory(_period: int) -> bool:
    """Ask slurmctld, once in a period, whether memory is among what it shares out (SelectTypeParameters)."""
    module = libslurm()
    pointer = module.ffi.new("slurm_conf_t **")
    if module.lib.slurm_load_ctl_conf(0, pointer):
        raise failure(module.ffi.errno, "load slurmctld's configuration")
    try:
        return bool(pointer[0].select_type_param & CR_MEMORY)
    finally:
        module.lib.slurm_free_ctl_conf(pointer[0])


def user_name(uid: int) -> str:
    """Look a user's name up; slurmctld does not always send it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
