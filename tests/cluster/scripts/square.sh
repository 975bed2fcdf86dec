#!/bin/bash
# One task of parallel.sh: the first four wait for each other, so that both nodes must have their share.
mkdir -p "met-$SLURM_JOB_ID"
touch "met-$SLURM_JOB_ID/$1"
until [ "$(ls "met-$SLURM_JOB_ID" | wc -l)" -ge 4 ]; do sleep 0.1; done
echo "$1 squared is $(($1 * $1)) $SLURMD_NODENAME"
