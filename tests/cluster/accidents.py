"""
What may happen to the way between a gateway and its pods while tasks run. Nothing of it may end a task.
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox import Sandbox

from tests.cluster.user import until

ALL = ("cut_streams", "kill_gatewayd", "kill_agent")


@dataclass(frozen=True)
class Accidents:
    """
    Each of `ALL` is the name of a method.
    """

    sandbox: Sandbox

    def cut_streams(self) -> None:
        """Reset every connection to the API server, on the gateway's side."""
        self.sandbox.run(["ss", "-K", "-tn", "state", "established", "dport", "=", "6443"], host="gateway", check=True)

    def kill_gatewayd(self) -> None:
        """SIGKILL, and another one."""
        self.sandbox.service("k8s-burst-gatewayd").kill("KILL")
        self.sandbox.service("k8s-burst-gatewayd").start()

    def kill_agent(self) -> None:
        """SIGKILL, and the streams are cut before there is another one: nobody tells gatewayd where the pods are."""
        self.sandbox.service("k8s-burst-agent").kill("KILL")
        self.cut_streams()
        self.sandbox.service("k8s-burst-agent").start()

    def opened(self, job_id: int) -> int:
        """How often gatewayd has opened the exec stream of a pod of a job."""
        log = self.sandbox.service("k8s-burst-gatewayd").log.read_text(encoding="utf-8", errors="replace")
        return sum('msg="stream opened"' in line and f" job={job_id} " in line for line in log.splitlines())

    def happen(self, name: str, job_id: int, pods: int) -> None:
        """Let one happen, and wait until all exec streams of the job are there again."""
        before = self.opened(job_id)
        getattr(self, name)()
        until(
            f"all exec streams to be back after {name}",
            lambda: self.opened(job_id) >= before + pods,
            patience_s=180,
        )
