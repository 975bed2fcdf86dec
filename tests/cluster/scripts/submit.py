"""A driver that submits functions as jobs and collects what they give: an array of two, to where its arguments say."""

import os
import sys

import submitit


def square(number: int) -> tuple[int, str]:
    """The result, and where it was computed."""
    return number * number, os.environ["SLURMD_NODENAME"]


executor = submitit.AutoExecutor(folder="submitit")
options = dict(argument.split("=", 1) for argument in sys.argv[1:])
executor.update_parameters(timeout_min=5, slurm_mem="300M", slurm_additional_parameters=options)
with submitit.helpers.clean_env():  # of this job's own SLURM_… variables
    jobs = executor.map_array(square, [3, 4])
print([job.result() for job in jobs], flush=True)
