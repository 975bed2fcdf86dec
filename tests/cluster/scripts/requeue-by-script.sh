#!/bin/bash
# The script is told before its time is over, tells its step, and puts the job back into the queue.
#SBATCH --job-name=requeue-by-script
#SBATCH --time=10
#SBATCH --signal=B:USR1@60
#SBATCH --requeue
#SBATCH --open-mode=append
trap 'kill -USR1 $step' USR1
srun -n1 python3 checkpoint.py &
step=$!
wait $step # ends early where the trap is called
wait $step
code=$?
[ $code = 3 ] || exit $code
scontrol requeue $SLURM_JOB_ID
sleep infinity
