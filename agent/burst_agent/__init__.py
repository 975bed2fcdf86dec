"""
The burst agent: makes Kubernetes pods for flagged Slurm jobs and moves the jobs onto the virtual nodes behind them.
"""
