"""
The one room of Kubernetes: an adapter of KubePort over ``kubernetes.aio``. Nothing else imports the client.
"""

from burst_agent.kube.adapter import Kube

__all__ = ["Kube"]
