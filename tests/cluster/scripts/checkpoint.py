"""Long work that can be interrupted: told USR1, it keeps how far it is, and goes on from there when started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

kept = Path(f"checkpoint-{os.environ['SLURM_JOB_ID']}")
asked = []
signal.signal(signal.SIGUSR1, lambda *_: asked.append(True))
step = int(kept.read_text()) if kept.exists() else 0
restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
print(f"restart {restarts} begins at {'a checkpoint' if step else 'nothing'}", flush=True)
# Nearly done where there is a checkpoint, far from it where there is none.
goal = step + 10 if step else sys.maxsize
while step < goal:
    time.sleep(0.05)
    step += 1
    if asked:
        kept.write_text(str(step))
        print("kept a checkpoint", flush=True)
        if "requeue" in sys.argv:
            subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)
            signal.pause()
        sys.exit(3)
print(f"done: {step == goal and int(kept.read_text()) + 10 == goal}", flush=True)
