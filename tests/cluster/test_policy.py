"""
The site's policy as users meet it: denied, foretold, explained, limited, changed while the agent runs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sandbox import Sandbox

from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser, until

BURSTCTL = "/opt/k8s-burst/bin/burstctl"
SETTINGS = "/etc/k8s-burst/agent.toml"

#: A moment, with its day where that is another one.
CLOCK = r"(?:\d\d \w{3} )?\d\d:\d\d"

#: Jobs named by their QOS or their limit fall under one rule each. An hour costs 2, a month may cost 3.
POLICY = """
[policy]
wait_s = 0
max_cost_per_month = {budget}

[policy.prices.default]
pod_hour = 2

[[policy.rules]]
name = "short-only"
time_limit = {{ min = "5 h" }}
deny = "jobs of five hours and more stay here"

[[policy.rules]]
name = "large"
partition = "gpu"
cpus = {{ min = 3, max = 3 }}
flag = "now"
"""


@pytest.fixture
def policy(sandbox: Sandbox, root: SlurmUser) -> Iterator[Callable[[float], None]]:
    """Make the agent go by the policy above, with this budget; the sandbox's own comes back at the end."""
    file = sandbox.path("gateway", SETTINGS)
    before = file.read_text()
    begin, end = before.index("[policy]"), before.index("[listen]")

    def reload(text: str, budget: float | None) -> None:
        file.write_text(text)
        sandbox.service("k8s-burst-agent").kill("HUP")
        until("the agent to go by its new settings", lambda: (money(root) or {}).get("cap") == budget)

    yield lambda budget: reload(before[:begin] + POLICY.format(budget=budget) + before[end:], budget)
    reload(before, None)


def money(root: SlurmUser) -> dict[str, float] | None:
    """What burstctl says of the month's budget; ``None``: there is none."""
    answer = json.loads(root.run(BURSTCTL, "budget", "--json").stdout)
    cap = next((cap for cap in answer["caps"] if cap["setting"] == "max_cost_per_month"), None)
    return cap and {**cap, "known": not answer["unknown"]}


def test_budget_stops_at_the_cent(
    alice: SlurmUser, bob: SlurmUser, full: int, root: SlurmUser, pods: Pods, policy: Callable[[float], None]
) -> None:
    """
    Three jobs of an hour take exactly what a month may cost. The fourth waits with the reason, also when one of them has
    ended, as that one's seconds are spent; a shorter one takes what has come free. burstctl top shows it, to users theirs.
    """
    policy(3)
    known = until("slurmdbd to be asked", lambda: (seen := money(root)) and seen["known"] and seen)
    # A third of a second costs more than what this rounds up: the one that ends has spent too much for the fourth.
    spent = math.ceil(10_000 * (known["spent"] + known["committed"])) / 10_000
    policy(spent + 6)
    gated = "until [ -e $HOME/gate-$SLURM_JOB_ID ]; do sleep 0.1; done"
    now = ("--gres=gpu:1", "--k8s-burst=now")
    three = [alice.submit(gated, *now, "--time=60") for _ in range(3)]
    for job_id in three:
        alice.wait_state(job_id, "RUNNING")
    fourth = alice.submit(gated, *now, "--time=60")
    until("the budget to stop it", lambda: "cap on money of a month is reached" in alice.comment(fourth))
    left = money(root)
    assert left
    assert left["spent"] + left["committed"] == pytest.approx(left["cap"], abs=0.02)
    assert left["committed"] >= 6 - 1e-6

    rows = {job["job_id"]: job for job in top(root)}
    assert [(rows[job_id]["burst_state"], rows[job_id]["target"]) for job_id in three] == [("running", "default")] * 3
    assert all(rows[job_id]["cost_so_far"] + rows[job_id]["cost_to_come"] == pytest.approx(2) for job_id in three)
    assert (rows[fourth]["burst_state"], rows[fourth]["cost_to_come"]) == ("waiting", 0)
    assert rows[fourth]["reason"] == "cap on money of a month is reached"
    assert set(rows) >= {*three, fourth}
    assert {job["job_id"] for job in top(alice)} == {*three, fourth}
    assert top(bob) == []
    shown = alice.run(BURSTCTL, "budget").stdout
    assert "pods of this user" in shown
    assert "pods of all users" not in shown
    others = bob.run(BURSTCTL, "budget", "--json").stdout
    assert {cap["committed"] for cap in json.loads(others)["caps"] if "this user" in cap["what"]} == {0}

    alice.shell(f"touch gate-{three[0]}")
    alice.wait_state(three[0], "COMPLETED")
    until("its pod to be gone", lambda: not pods.of(three[0]))
    shorter = alice.submit(gated, *now, "--time=40")
    alice.wait_state(shorter, "RUNNING")
    assert alice.state(fourth) == "PENDING"
    assert "cap on money of a month is reached" in alice.comment(fourth)
    left = money(root)
    assert left
    assert left["spent"] + left["committed"] <= left["cap"]


def top(user: SlurmUser) -> list[dict[str, Any]]:
    """What burstctl top shows, without a terminal."""
    (line,) = user.run(BURSTCTL, "top", "--once", "--json").stdout.splitlines()
    known = json.loads(line)
    assert not known["problems"]
    return list(known["jobs"])


def test_policy(
    alice: SlurmUser, full: int, root: SlurmUser, pods: Pods, policy: Callable[[float], None], sandbox: Sandbox
) -> None:
    """
    One policy, reloaded: a rule's reason at submission, in explain and in admin_comment; a flag by rule and its
    opt-out; a budget that lets one job pass and stops the next.
    """
    policy(3)
    known = until("slurmdbd to be asked", lambda: (seen := money(root)) and seen["known"] and seen)
    spent = round(known["spent"] + known["committed"])
    policy(spent + 3)

    gated = "until [ -e $HOME/gate-$SLURM_JOB_ID ]; do sleep 0.1; done"
    now = ("--gres=gpu:1", "--k8s-burst=now")
    denied = alice.sbatch(gated, *now, "--time=5:00:00")
    assert "will not burst: jobs of five hours and more stay here" in denied.stderr
    limited = alice.sbatch(gated, *now, "--time=60", "--k8s-burst-max-cost=1.5")
    assert "may cost more than its --k8s-burst-max-cost allows (up to 2.00 EUR)" in limited.stderr
    first = alice.sbatch(gated, *now, "--time=60")
    assert "at most 2.00 EUR; will burst" in first.stderr
    unstated = ("sbatch", "--test-only", *now, "--wrap", "true")  # its partition has no limit
    until("the default limit to be known", lambda: "will not burst: jobs of five" in alice.run(*unstated).stderr)
    flagged = alice.submit(gated, "--gres=gpu:1", "-c3", "--time=5")
    never = alice.submit(gated, "--gres=gpu:1", "-c3", "--time=5", "--k8s-burst=never")
    alice.wait_state(first.job_id, "RUNNING")
    alice.wait_state(flagged, "RUNNING")
    assert "k8s-burst=now by=large" in alice.comment(flagged)

    # Behind the one that may not burst, in the user's own time.
    foretold = ("TZ=Etc/GMT-14", "sbatch", "--test-only", "--gres=gpu:1", "--k8s-burst", "--time=30", "--wrap", "true")
    line = rf"k8s-burst: expected here {CLOCK}, in Kubernetes {CLOCK}, at most 1\.00 EUR; will burst"
    until("the queue to be known", lambda: re.search(line, alice.run("env", *foretold).stderr))
    second = alice.submit(gated, *now, "--time=60")
    until("the budget to stop it", lambda: "cap on money of a month is reached" in alice.comment(second))
    until("the rule's reason", lambda: "state=refused reason=jobs of five hours" in alice.comment(denied.job_id))
    until("the limit's reason", lambda: "its --k8s-burst-max-cost allows" in alice.comment(limited.job_id))
    explained = alice.run(BURSTCTL, "explain", str(second)).stdout
    assert "rule short-only does not fit: time limit 1 h, not at least 5 h" in explained
    assert "EUR committed, 2.00 EUR more asked" in explained
    assert "rule short-only fits: denies" in alice.run(BURSTCTL, "explain", str(denied.job_id)).stdout
    assert all(not pods.of(job_id) for job_id in (denied.job_id, limited.job_id, never, second))
    assert alice.state(never) == "PENDING"

    alice.shell("printf '#!/bin/bash\\n#SBATCH --gres=gpu:1 --time=6:00:00 -C fast\\n' > foretell.sh")
    foretold = alice.run(BURSTCTL, "explain", "foretell.sh", "--k8s-burst=now").stdout
    assert "will not burst: " in foretold
    assert "--constraint=fast" in foretold
    assert "refused" in foretold

    policy(spent + 5)
    alice.wait_state(second, "RUNNING")
    alice.shell(f"touch gate-{first.job_id} gate-{flagged} gate-{second}")
    for job_id in (first.job_id, flagged, second):
        alice.wait_state(job_id, "COMPLETED")

    mistake = sandbox.path("gateway", "/tmp/policy.toml")
    mistake.write_text("[policy]\nmin_gain = '5 weeks'\n")
    checked = root.run(BURSTCTL, "policy", "check", "/tmp/policy.toml", check=False)
    assert checked.returncode == 2
    assert "/tmp/policy.toml:2: policy.min_gain = '5 weeks': 'weeks' is no unit" in checked.stderr
