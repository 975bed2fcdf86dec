#!/bin/bash
# A cluster of Ray for one job: the head on the first node, a worker on each other, the program beside the head.
#SBATCH --job-name=ray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --mem=2G
source /opt/programs/bin/activate
nodes=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))
head=${nodes[0]}
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address)
port=6379
options="--num-cpus=1 --disable-usage-stats --block"
srun --nodes=1 --ntasks=1 --overlap -w "$head" \
    ray start --head --node-ip-address="$address" --port=$port --include-dashboard=false $options &
until ray status --address="$address:$port" > /dev/null 2>&1; do sleep 1; done
srun --nodes=1 --ntasks=1 --overlap -w "${nodes[1]}" ray start --address="$address:$port" $options &
python3 -u workers.py "$address:$port"
