#!/bin/bash
# Exchanges through Slurm without end, and beside them one MPI program after the other starts.
#SBATCH --job-name=exchange
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --mem-per-cpu=700M
id=$SLURM_JOB_ID
srun --overlap --mpi=pmi2 python3 exchange.py > rounds-$id &
until [ -e enough-$id ]; do
    srun --overlap --mpi=pmi2 ./allreduce || exit 1
done > programs-$id
wait -n
