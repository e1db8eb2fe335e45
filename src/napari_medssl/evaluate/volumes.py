"""Scores of whole volumes: all slices of a patient counted together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.metrics import BACKGROUND, ClassScore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_medssl.evaluate.metrics import Labels

__all__ = ["VolumeScore", "volume_scores"]


class VolumeScore(Config):
    """The scores of one group of images, their pixels counted together."""

    group: str
    images: tuple[str, ...]
    """Its slices that were scored."""
    classes: dict[str, ClassScore]

    @property
    def dice(self) -> float:
        """The mean over classes."""
        return math.fsum(score.dice for score in self.classes.values()) / len(self.classes)


def volume_scores(
    pairs: Iterable[tuple[str, Labels, Labels]],
    groups: Mapping[str, str],
    *,
    classes: Mapping[int, str],
    background: bool = False,
) -> tuple[VolumeScore, ...]:
    """Score each group of slices as one volume.

    Parameters
    ----------
    pairs : iterable of (name, prediction, truth)
        Labels of shape (Y, X) each, 0 = not annotated, 1 = background; read one after the other.
    groups : mapping of str to str
        Image -> group (a patient); an image without one is a volume of its own.
    classes : mapping of int to str
        The classes to score, value to name.
    background : bool
        Score background as one more class. It is large and easy and lifts every mean; papers that
        count it must be compared with it.

    Returns
    -------
    tuple of VolumeScore
        By name of the group. A class that neither prediction nor truth of a whole volume holds scores
        1 there. Volumes without an annotated pixel are left out.

    Raises
    ------
    MedsslError
        If there is no class, or shapes differ.

    References
    ----------
    The 3-D Dice of the evaluation in Pix2Rep: that of the slices of a patient, stacked.
    """
    wanted = {BACKGROUND: "background", **classes} if background else dict(classes)
    if not wanted:
        raise MedsslError("There is no class to score.", advice="Name at least one.")
    found: dict[str, list[tuple[str, dict[str, ClassScore]]]] = {}
    for name, prediction, truth in pairs:
        if not truth.any():
            continue
        counted = {
            label: ClassScore.count(prediction, truth, value) for value, label in wanted.items()
        }
        found.setdefault(groups.get(name, name), []).append((name, counted))
    return tuple(
        VolumeScore(
            group=group,
            images=tuple(name for name, _ in slices),
            classes={
                label: ClassScore.pooled(counted[label] for _, counted in slices)
                for label in wanted.values()
            },
        )
        for group, slices in sorted(found.items())
    )
