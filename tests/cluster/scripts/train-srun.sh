#!/bin/bash
# Slurm starts the ranks, which find each other through the first node of the list.
#SBATCH --job-name=train-srun
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --mem-per-cpu=800M
export MASTER_ADDR=$(scontrol show hostnames $SLURM_JOB_NODELIST | head -n 1)
export MASTER_PORT=29501
export USE_LIBUV=0 # Debian's PyTorch is built without
srun python3 train.py
