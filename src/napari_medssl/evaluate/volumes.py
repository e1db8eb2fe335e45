"""Scores of whole volumes: all slices of a patient counted together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.class_scores import BACKGROUND, ClassScore
from napari_medssl.evaluate.intervals import Interval, bootstrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_medssl.evaluate.class_scores import Labels

__all__ = ["VolumeEvaluation", "VolumeScore", "volume_scores"]


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


class VolumeEvaluation(Config):
    """The volumes of a set of images (the groups of a project, such as patients), scored."""

    background: bool
    """Whether background counts as a class."""
    volumes: tuple[VolumeScore, ...]
    mean: dict[str, float]
    """Per class the mean of Dice over volumes: every volume counts the same."""
    intervals: dict[str, Interval]
    """Per class its 95% bootstrap interval; empty where there is one volume."""

    @classmethod
    def of(
        cls,
        pairs: Iterable[tuple[str, Labels, Labels]],
        groups: Mapping[str, str],
        *,
        classes: Mapping[int, str],
        background: bool = False,
    ) -> VolumeEvaluation:
        """Score predictions against truth, as `volume_scores` does.

        Raises
        ------
        MedsslError
            If no volume has an annotated pixel, or as `volume_scores` does.
        """
        found = volume_scores(pairs, groups, classes=classes, background=background)
        if not found:
            raise MedsslError("There are no volumes with annotated pixels to score.")
        scores = {
            label: [volume.classes[label].dice for volume in found] for label in found[0].classes
        }
        intervals = {label: bootstrap(own) for label, own in scores.items()}
        return cls(
            background=background,
            volumes=found,
            mean={label: math.fsum(own) / len(own) for label, own in scores.items()},
            intervals={label: own for label, own in intervals.items() if own is not None},
        )

    @property
    def mean_dice(self) -> float:
        """The mean over classes, background among them if it counts."""
        return math.fsum(self.mean.values()) / len(self.mean)

    def lines(self) -> list[str]:
        """Say in a line each what the volumes come to."""
        lines = [f"volumes: {len(self.volumes)} groups of images, each counted as one"]
        for label, mean in self.mean.items():
            line = f"  {label}: mean 3-D Dice {mean:.4f}"
            if label in self.intervals:
                interval = self.intervals[label]
                line += f" (95% interval from {interval.low:.4f} to {interval.high:.4f})"
            lines.append(line)
        if len(self.mean) > 1:
            with_it = ", background among them" if self.background else ""
            lines.append(f"  mean over classes{with_it}: {self.mean_dice:.4f}")
        return lines
