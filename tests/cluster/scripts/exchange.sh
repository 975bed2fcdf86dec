#!/bin/bash
# Exchanges through Slurm without end, by PMI-2 and by PMIx, and beside them one MPI program after the other starts.
#SBATCH --job-name=exchange
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --mem-per-cpu=700M
id=$SLURM_JOB_ID
for way in pmi2 pmix; do
    srun --overlap --mpi=$way python3 exchange.py $way > $way-$id &
done
until [ -e enough-$id ]; do
    srun --overlap --mpi=pmi2 ./allreduce || exit 1
done > programs-$id
wait -n && wait -n
