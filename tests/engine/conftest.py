"""Fixtures for everything that runs without a viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from napari_medssl.project import Project
from napari_medssl.synthetic import nuclei


@pytest.fixture
def tiny_network() -> dict[str, Any]:
    """A network small enough for a test."""
    return {"encoder": "mobilenet_v2", "encoder_depth": 3}


@pytest.fixture
def tiny_training() -> dict[str, Any]:
    """A training short enough for a test."""
    return {"steps": 6, "batch_size": 2, "patch_size": 32}


@pytest.fixture
def nuclei_folder(tmp_path: Path) -> Path:
    """Six synthetic 64 x 64 images in ``images/`` and their instance masks in ``masks/``."""
    rng = np.random.default_rng(7)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for number in range(6):
        field = nuclei(rng, shape=(64, 64))
        cv2.imwrite(str(tmp_path / "images" / f"field_{number}.png"), field.image)
        cv2.imwrite(str(tmp_path / "masks" / f"field_{number}.png"), field.labels)
    return tmp_path


@pytest.fixture
def project(nuclei_folder: Path) -> Project:
    """A project on the six images, without annotations."""
    return Project.create(nuclei_folder / "images")


@pytest.fixture
def annotated_project(nuclei_folder: Path) -> Project:
    """A project on the six images, all annotated."""
    return Project.create(
        nuclei_folder / "images", masks=nuclei_folder / "masks", masks_as="instances"
    )
