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
options="--num-cpus=1 --object-store-memory=100000000 --include-log-monitor=false --disable-usage-stats --block"
# Ray gives a node 30 s to start, most of which it waits for its agents to tell their ports.
options+=" --runtime-env-agent-port=6380 --dashboard-agent-grpc-port=6381 --dashboard-agent-listen-port=6382 --metrics-export-port=6383"
again() { "$@" || "$@"; } # it may not have been enough
again srun --nodes=1 --ntasks=1 --overlap -w "$head" \
    ray start --head --node-ip-address="$address" --port=$port --include-dashboard=false --no-monitor $options &
until ray status --address="$address:$port" > /dev/null 2>&1; do sleep 1; done
for node in "${nodes[@]:1}"; do
    again srun --nodes=1 --ntasks=1 --overlap -w "$node" ray start --address="$address:$port" $options &
done
python3 -u workers.py "$address:$port"
