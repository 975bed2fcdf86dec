#!/bin/bash
# The driver of an experiment is a job itself, and submits others.
#SBATCH --job-name=submitit
#SBATCH --mem-per-cpu=300M
source /opt/programs/bin/activate
python3 submit.py "$@"
