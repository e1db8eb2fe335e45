"""Shared by the engine's and the viewer's tests: imports neither torch nor Qt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real image sets, each with ``images/`` and ``masks/``."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("MEDSSL_TEST_DATA", default)).resolve()
    if not (folder / "dsb2018_fluo" / "images").is_dir():
        pytest.skip(f"no real images in {folder}; MEDSSL_TEST_DATA names their folder")
    return folder
