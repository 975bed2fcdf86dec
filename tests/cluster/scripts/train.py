"""Distributed training as PyTorch's users write it: each rank has data of its own, all have the same weights."""

import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

rank = int(os.environ.get("RANK", os.environ["SLURM_PROCID"]))
world = int(os.environ.get("WORLD_SIZE", os.environ["SLURM_NTASKS"]))
dist.init_process_group("gloo", rank=rank, world_size=world)
torch.manual_seed(rank)
torch.set_num_threads(1)
truth = torch.tensor([[1.0], [-2.0], [3.0]])
inputs = torch.randn(64, 3)
targets = inputs @ truth
model = DistributedDataParallel(torch.nn.Linear(3, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
losses = []
for _ in range(60):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(inputs), targets)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
weights = [torch.zeros(1, 3) for _ in range(world)]
dist.all_gather(weights, model.module.weight.detach())
if rank == 0:
    same = all(torch.equal(weights[0], other) for other in weights)
    learned = bool(torch.allclose(weights[0], truth.T, atol=0.05))
    print(
        f"{world} ranks, loss fell {losses[-1] < losses[0] / 100}, same weights {same}, learned {learned}", flush=True
    )
dist.destroy_process_group()
