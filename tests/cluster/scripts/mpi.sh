#!/bin/bash
# MPI programs started in the four ways that scripts know, one after the other.
#SBATCH --job-name=mpi
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --mem-per-cpu=700M
echo "srun, PMIx:"
srun --mpi=pmix python3 allreduce.py
echo "srun, PMI-2:"
srun --mpi=pmi2 ./allreduce
echo "mpirun of Open MPI:"
mpirun python3 allreduce.py
echo "mpirun of MPICH:"
mpirun.mpich ./allreduce
