"""
What an administrator installs and edits agrees with itself: the files that come with the project name each other, and the
same things, rightly.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from burst_agent import settings

CHECKOUT = Path(__file__).parents[2]
FENCE = list(yaml.safe_load_all((CHECKOUT / "containers/kubernetes/fence.yaml").read_text(encoding="utf-8")))


def test_the_fence_lists_the_volumes_of_the_settings() -> None:
    """What agent.toml has pods mount, fence.yaml lets the agent make, and nothing else."""
    policy = next(thing["spec"] for thing in FENCE if thing["metadata"]["name"] == "k8s-burst-agent-volumes")
    expressions = {variable["name"]: variable["expression"] for variable in policy["variables"]}
    listed = yaml.safe_load(expressions["volumes"])
    shown = settings.load(CHECKOUT / "slurm-conf/agent.toml").pods.volumes
    assert listed == [f"hostPath {volume.host_path['path']}" for volume in shown if volume.host_path]
    assert len(listed) == len(shown)


def test_all_fences_around_the_agent_know_it_by_the_same_right() -> None:
    """It is in the role that agent.yaml binds to the agent, whoever that is."""
    role = next(yaml.safe_load_all((CHECKOUT / "containers/kubernetes/agent.yaml").read_text(encoding="utf-8")))
    assert {"apiGroups": ["k8s-burst.slurm"], "resources": ["agents"], "verbs": ["fenced"]} in role["rules"]
    policies = [thing["spec"] for thing in FENCE if thing["kind"] == "ValidatingAdmissionPolicy"]
    conditions = [one for policy in policies for one in policy["matchConditions"] if one["name"] == "is-the-agent"]
    assert len(conditions) == 4
    right = 'authorizer.group("k8s-burst.slurm").resource("agents")'
    wanted = f'{right}.check("fenced").allowed() && !{right}.check("unfenced").allowed()'
    assert {condition["expression"] for condition in conditions} == {wanted}
