#!/bin/bash
# More small tasks than there is room for at once: GNU parallel starts each as a step, wherever there is room.
#SBATCH --job-name=parallel
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
parallel --will-cite --keep-order --jobs $SLURM_NTASKS --joblog parallel-$SLURM_JOB_ID.log \
    srun --nodes=1 --ntasks=1 --exact ./square.sh ::: {1..8}
echo "$? failed, $(tail -n +2 parallel-$SLURM_JOB_ID.log | awk '$7 == 0' | wc -l) succeeded"
