"""
slurmctld, through the public API of libslurm: :class:`~burst_agent.slurm.controller.SlurmController` fits SlurmPort.

Rooms, from the top: controller (asyncio, deadlines, error tree) · lists, jobs (what it calls, each in a worker process)
· library (the only place that loads ``_libslurm``) · records, refusals, states, arrays, tres (pure) · controller.c,
pick.c, ffi_build.py (C and its build).
"""

from burst_agent.slurm.controller import SlurmController

__all__ = ["SlurmController"]
