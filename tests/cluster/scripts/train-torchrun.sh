#!/bin/bash
# PyTorch's own launcher, once a node; it starts the ranks.
#SBATCH --job-name=train-torchrun
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --mem-per-cpu=800M
# Debian's PyTorch is built without libuv, which the launcher's meeting by TCP needs: the launchers meet by a file.
export USE_LIBUV=0 TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
srun bash -c 'python3 -m torch.distributed.run --nnodes="$SLURM_NNODES" --nproc-per-node=2 --local-addr="$SLURMD_NODENAME" \
    --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d --rdzv-endpoint="$PWD/meeting-$SLURM_JOB_ID" \
    --rdzv-conf=store_type=file,join_timeout=600 train.py'
