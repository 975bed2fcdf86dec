"""
A real Slurm and a real Kubernetes on one machine, in namespaces, for tests and for trying things out.

    with Sandbox("mine") as sandbox: ...    # up and down
"""

from .errors import SandboxError
from .sandbox import Sandbox

__all__ = ["Sandbox", "SandboxError"]
