#!/bin/bash
# The task itself is told and puts the job back into the queue, as Lightning and submitit do.
#SBATCH --job-name=requeue-by-task
#SBATCH --time=10
#SBATCH --signal=USR1@60
#SBATCH --requeue
#SBATCH --open-mode=append
srun -n1 python3 checkpoint.py requeue
