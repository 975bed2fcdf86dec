"""
One sandbox: a real Slurm and a real Kubernetes in namespaces of their own, from `up` to `down`.

`Sandbox` is what programs use; the command line is a thin layer over it.
"""

from __future__ import annotations

from typing import Self

from . import clusters, teardown
from .handle import Handle
from .start import Start


class Sandbox(Handle):
    """
    A sandbox by its name, which can be brought up and taken down.
    """

    def up(self, burst: bool = True, programs: bool = False, second_cluster: bool = False) -> None:
        """
        Build what is missing in the cache, start everything and wait until it can be used.

        Without `burst`: Slurm and Kubernetes alone. With `programs`: MPI, PyTorch and more on the hosts and in an
        image, for the tests. Raises SandboxError when it is up already or can't start; what has been started by then
        stays for a look, until `down`.
        """
        Start(self, burst, programs).run()
        if second_cluster:
            self.add_cluster()

    def add_cluster(self) -> None:
        """
        Start a second Kubernetes in the sandbox, or what has ended of it: host node1, users' homes shared, no GPUs.

        The agent's kubeconfig then has it as context `second`. It stays until `down`, or until its host is crashed.
        """
        clusters.add(self)

    def down(self) -> None:
        """End everything, remove the directory, and make sure that nothing is left; no error when there is nothing."""
        teardown.down(self.directory, self.name, self.steps)

    def __enter__(self) -> Self:
        """Start it unless it is up."""
        if not self.is_up:
            self.up()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        self.down()
