"""
The adapters against a live slurmctld, slurmdbd and munged, on a host whose slurm.conf names them, as root.

::

    /opt/k8s-burst/bin/python -m pytest tests/slurm          on such a host
    PYTHONPATH=containers:. python -m tests.slurm            on the gateway of a sandbox, see __main__.py

The cluster has a default partition with a GPU, and the burst partition with two idle virtual nodes that have GPUs;
:mod:`tests.slurm.cluster` says which names count. The burst agent must not run meanwhile: it would act on these jobs
too. Nothing is skipped: where Slurm is missing the tests fail.
"""
