"""A Ray program: waits until both nodes are there, and has each compute."""

import sys
import time

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

for _ in range(60):
    try:
        ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
        break
    except ConnectionError:
        time.sleep(1)


@ray.remote(num_cpus=1)
def add(numbers: list[int]) -> int:
    """Their sum."""
    return sum(numbers)


while len(nodes := [node for node in ray.nodes() if node["Alive"]]) < 2:
    time.sleep(0.2)
halves = [
    add.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(list(numbers))
    for node, numbers in zip(nodes, (range(50), range(50, 101)), strict=True)
]
names = sorted(node["NodeManagerHostname"] for node in nodes)
print(f"{len(nodes)} nodes, sum {ray.get(add.remote(ray.get(halves)))}, on {' '.join(names)}", flush=True)
