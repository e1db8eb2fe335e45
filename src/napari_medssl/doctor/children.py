"""Trying something in a child process, because it may crash, hang, or not get on with what is loaded here."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any, NamedTuple

__all__ = ["Outcome", "ask_child"]


class Outcome(NamedTuple):
    """What became of a child."""

    answer: dict[str, Any] | None
    """The JSON object it printed last; None where it did not come so far."""
    trouble: str
    """Why there is no answer, in a few words."""


def ask_child(module: str, *, seconds: float) -> Outcome:
    """Run a module that prints one JSON object as its last line.

    Parameters
    ----------
    module : str
        Run as ``python -m module``.
    seconds : float
        How long it may take.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(None, f"it gave no answer within {seconds:.0f} seconds")
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return Outcome(None, _trouble(done))
    try:
        answer = json.loads(lines[-1])
    except ValueError:
        return Outcome(None, f"it answered {lines[-1]!r}, which is no JSON")
    return Outcome(answer, "")


def _trouble(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"the process crashed ({signal.Signals(-done.returncode).name})"
    last = done.stderr.strip().splitlines()[-1:]
    return last[0] if last else f"the process ended with code {done.returncode}"
