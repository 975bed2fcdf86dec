"""
Burst or wait, within budget, and why. Small pure modules: values in, values out.
"""

from burst_agent.policy.budget import Budget, Caps
from burst_agent.policy.decide import decide

__all__ = ["Budget", "Caps", "decide"]
