"""The Python interface of comparisons: two evaluated runs, image by image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.engine.calls import opened
from napari_medssl.evaluate.paired import paired_difference, scores_of
from napari_medssl.project.units import units_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medssl.evaluate.paired import PairedDifference
    from napari_medssl.project import Project

__all__ = ["compare_scores"]


def compare_scores(
    project: Project | str | Path, *, before: str, after: str, measure: str = "dice"
) -> PairedDifference:
    """Compare two evaluated runs by the differences on the images that both were scored on.

    Images differ more than runs do, so the mean difference is far surer than the difference of two means.

    Parameters
    ----------
    project : Project or path
        The project.
    before, after : str
        Names of the runs; both were evaluated, by `evaluate` or in the viewer.
    measure : {"dice", "iou", "aji_plus", "panoptic_quality", "f1"}
        What is compared: the first two are means over the classes, the others are of objects.

    Returns
    -------
    PairedDifference
        Both scores of each image, the mean difference with its 95% bootstrap interval (over groups where there are
        some), and the images left out with the reason.

    Raises
    ------
    MedsslError
        If a run was not evaluated, or they have fewer than 3 images with the same truth in common.
    """
    project = opened(project)
    first, second = (scores_of(project.run(name)) for name in (before, after))
    return paired_difference(first, second, measure=measure, groups=units_of(project))
