"""A viewer that is killed while somebody paints loses at most six seconds (often: benchmarks/kill_painting.py)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill_painting.py"


def test_a_killed_viewer_loses_at_most_six_seconds() -> None:
    # this seed holds the button down all the time
    options = ["--kills", "1", "--seed", "1", "--shortest", "11", "--longest", "12"]
    child = subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stdout + child.stderr
    kill = json.loads(child.stdout.splitlines()[0])
    assert kill["held"]
    assert kill["pixels"] > 50
    assert kill["lost"] <= 6
