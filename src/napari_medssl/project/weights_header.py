"""What a weights file tells of itself, read without torch: `medssl runs` and the viewer need no more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medssl.project.run import Run

__all__ = ["EXPORT_KEY", "SPEC_KEY", "ancestry", "answer_of", "descent", "read_header"]

SPEC_KEY = "napari_medssl"
"""Entry of a ``.safetensors`` header that describes the network, as JSON."""
EXPORT_KEY = "napari_medssl_export"
"""Entry that an exported file has besides, as JSON: which part it holds, and under which names."""


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """Read what we wrote into the header of a ``.safetensors`` file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict
        `SPEC_KEY` and `EXPORT_KEY`, each where the file has it; empty for a file of another program.

    Raises
    ------
    MedsslError
        If the file cannot be read, or an entry is not the JSON object it should be.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise MedsslError(f"{path} cannot be read as a model: {error}") from error
    header = {}
    for key in (SPEC_KEY, EXPORT_KEY):
        if key not in metadata:
            continue
        try:
            header[key] = json.loads(metadata[key])
        except ValueError as error:
            raise MedsslError(f"{path} is damaged: its header is no JSON ({error}).") from error
        if not isinstance(header[key], dict):
            raise MedsslError(f"{path} is damaged: its header holds no JSON object.")
    return header


def descent(path: Path) -> tuple[str, ...]:
    """Say what a ``.safetensors`` file descends from, oldest first, the run that made it last.

    Parameters
    ----------
    path : Path
        The file; one of another program tells nothing.

    Raises
    ------
    MedsslError
        If it cannot be read, or is damaged.
    """
    known = read_header(path).get(SPEC_KEY, {}).get("ancestry", [])
    if not isinstance(known, list):
        raise MedsslError(f"{path} is damaged: its ancestry is {known!r}.")
    return tuple(str(name) for name in known)


def ancestry(run: Run) -> tuple[str, ...]:
    """Say what a run's network descends from, oldest first: weights of others, then runs; empty for a fresh start.

    Parameters
    ----------
    run : Run
        Empty as well as long as it has no weights.

    Raises
    ------
    MedsslError
        If its weights cannot be read.
    """
    weights = run.weights("best")
    return descent(weights)[:-1] if weights is not None else ()


def answer_of(run: Run) -> str:
    """Say what predicts in a run: ``network``, ``forest`` or ``mean``.

    Parameters
    ----------
    run : Run
        One without weights, or with those of an earlier version, has its network alone.

    Raises
    ------
    MedsslError
        If its weights cannot be read.
    """
    weights = run.weights("best")
    spec = read_header(weights).get(SPEC_KEY, {}) if weights is not None else {}
    return str(spec.get("answer", "network"))
