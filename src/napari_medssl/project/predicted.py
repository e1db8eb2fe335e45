"""Which images are predicted, and by which runs: names only, no file is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.errors import MedsslError
from napari_medssl.project.image_files import label_files

if TYPE_CHECKING:
    from napari_medssl.project.project import Project

__all__ = ["predicted_by_run"]

_OTHER_KINDS = (".probability", ".uncertainty", ".objects", ".distance")
"""Folders beside a run's, with something else than labels."""


def predicted_by_run(project: Project) -> dict[str, frozenset[str]]:
    """Give name of the run -> the images that have a prediction of it.

    Parameters
    ----------
    project : Project
        Whose images. Predictions of images that are gone are left out.

    Raises
    ------
    MedsslError
        If the folder of predictions cannot be read.
    """
    folder = project.path / "predictions"
    images = frozenset(project.images)
    try:
        runs = [item for item in folder.iterdir() if item.is_dir()] if folder.is_dir() else []
    except OSError as error:
        raise MedsslError(
            f"The predictions in {folder} cannot be read: {error.strerror}."
        ) from error
    return {
        run.name: images.intersection(name for name, _ in label_files(run))
        for run in runs
        if run.suffix not in _OTHER_KINDS
    }
