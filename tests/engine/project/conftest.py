from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_medssl import Project


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve grey images, two of them in a folder, of two sizes."""
    rng = np.random.default_rng(3)
    root = tmp_path / "images"
    for name in [*(f"cell{i}.png" for i in range(1, 11)), "more/cell1.png", "more/wide.png"]:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (24, 48) if "wide" in name else (32, 40)
        Image.fromarray(rng.integers(0, 200, shape, dtype=np.uint8)).save(path)
    return root


@pytest.fixture
def project(folder: Path) -> Project:
    return Project.create(folder)
