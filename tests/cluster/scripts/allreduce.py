"""An MPI program: every rank's number summed, and who is where gathered at rank 0."""

import os

from mpi4py import MPI

world = MPI.COMM_WORLD
total = world.allreduce(world.rank + 1)
where = world.gather(os.environ.get("SLURMD_NODENAME", MPI.Get_processor_name()))
data = world.bcast(bytes(range(256)) * 4096 if world.rank == 0 else None)
assert data == bytes(range(256)) * 4096
if where is not None:
    print(f"{world.size} ranks, sum {total}, on {' '.join(sorted(set(where)))}", flush=True)
