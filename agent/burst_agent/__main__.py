"""
k8s-burst-agent: read the settings, run until told to stop.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from burst_agent import app, names, settings
from burst_agent.errors import SettingsError


def main() -> int:
    """
    Run the agent. Exit status 0 after SIGTERM or SIGINT, 2 where the settings can't be used.
    """
    parser = argparse.ArgumentParser(
        prog="k8s-burst-agent", description="Makes Kubernetes pods for flagged Slurm jobs."
    )
    parser.add_argument(
        "--config", type=Path, default=names.AGENT_SETTINGS, help="settings file (default: %(default)s)"
    )
    parser.add_argument("--check", action="store_true", help="only check the settings file")
    arguments = parser.parse_args()
    try:
        loaded = settings.load(arguments.config)
        if not arguments.check:
            app.collect_rarely()
            asyncio.run(app.run(loaded, arguments.config))
    except SettingsError as e:
        print(f"k8s-burst-agent: {e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
