"""Which working scale suits a folder, and the picture of what the network then sees."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from skimage.morphology import skeletonize

from napari_medssl.errors import MedsslError
from napari_medssl.learn.folder_facts import look_at
from napari_medssl.learn.pretext.base import Layer
from napari_medssl.project.working_scale import ScaledImages, ScaleRule

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from napari_medssl.plan import FolderFacts
    from napari_medssl.project import Project

__all__ = [
    "ScaleChoice",
    "annotated_thickness",
    "choose_scale",
    "network_view",
    "patch_at",
]

SIDES = (256, 512, 1024)
"""Network pixels along the longer side that are considered for whole images."""
STRUCTURE = 12.0
"""So many network pixels across a structure are enough, however much an image is shrunk."""
SHRINK = 2.0
"""Up to this factor shrinking gains context and hardly loses detail, also of thin structures.

Both by validation Dice on four sets (docs/explanation/measurements.md)."""
LARGEST_PATCH = 256
"""Whole images up to this size are one patch; of larger ones parts are seen."""
DENSE = 0.5
"""Annotated share of an image from which on the sizes of its structures are measured."""
MOST_IMAGES = 16


class ScaleChoice(NamedTuple):
    """A working scale, and why."""

    rule: ScaleRule
    patch: int
    """Side of a patch, network pixels."""
    why: str
    """In a sentence or two."""


def choose_scale(
    project: Project,
    facts: FolderFacts | None = None,
    *,
    images: Collection[str] | None = None,
) -> ScaleChoice:
    """Choose the coarsest scale that still shows structures: the whole image where that is possible.

    Structures are as large as those that are annotated; before any is, as what gives the images most of their contrast.
    An image is never enlarged.

    Parameters
    ----------
    project : Project
        Looked at; nothing of it is changed.
    facts : FolderFacts, optional
        What is known of the folder already.
    images : collection of str, optional
        Annotated images to measure structures in; unset means all of them.

    Raises
    ------
    MedsslError
        If no image can be read.
    """
    facts = facts or look_at(project)
    longer = max(facts.height, facts.width)
    annotated = project.annotations.annotated() if images is None else images
    thickness = annotated_thickness(project, annotated)
    if thickness is None:
        structure, what = facts.structure, "what gives the images most contrast"
    else:
        structure, what = thickness, "what is annotated"
    size = f"{what[0].upper()}{what[1:]} is about {structure:.0f} px across"
    for side in SIDES:
        factor = longer / side
        if factor > 1 and (factor <= SHRINK or structure / factor >= STRUCTURE):
            patch = _patch(side)
            seen = "whole images" if patch == side else "several structures at once"
            return ScaleChoice(
                ScaleRule(rule="fit", value=side),
                patch,
                f"{size} in images of {longer} px, so {side} px for the whole image still show its outline;"
                f" the network sees {seen}.",
            )
    patch = _patch(longer)
    if longer <= SIDES[0]:
        return ScaleChoice(ScaleRule(), patch, f"Images of {longer} px are seen as they are.")
    return ScaleChoice(
        ScaleRule(),
        patch,
        f"The images are {longer} px: the network sees {'whole images' if patch >= longer else 'parts of them'}.",
    )


def patch_at(project: Project, rule: ScaleRule) -> int:
    """Return the side of a patch at a scale, network pixels: whole images up to `LARGEST_PATCH`."""
    scaled = ScaledImages(project, rule)
    sides = [max(scaled.shape(name)) for name in project.images[:MOST_IMAGES]]
    return _patch(statistics.median(sides))


def _patch(longer: float) -> int:
    return min(LARGEST_PATCH, 32 * math.ceil(longer / 32))


def annotated_thickness(project: Project, images: Collection[str]) -> float | None:
    """Measure how thick annotated structures are, file pixels: the median width along their medial axes.

    Returns
    -------
    float or None
        None where no image is annotated for the most part, for a scribble tells nothing of sizes.
    """
    widths: list[NDArray[np.float32]] = []
    for name in list(images)[:MOST_IMAGES]:
        try:
            labels = project.annotations.read(name)
        except MedsslError:  # told where it is to be learned from
            continue
        if (labels > 0).mean() < DENSE:
            continue
        for value in np.unique(labels[labels > 1]):
            inside = (labels == value).astype(np.uint8)
            distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
            along = distance[skeletonize(inside > 0)]
            if along.size:
                widths.append(2 * along)
    return statistics.median(float(np.median(part)) for part in widths) if widths else None


def network_view(scaled: ScaledImages, name: str, *, patch: int, why: str = "") -> Layer:
    """Draw an image as the network sees it, with the frame of a patch where it sees a part.

    Parameters
    ----------
    scaled : ScaledImages
        The folder at the working scale.
    name : str
        The image.
    patch : int
        Side of a patch, network pixels.
    why : str
        What the scale was chosen by, as a sentence.
    """
    factor, planes = scaled.factor(name), scaled.planes(name)
    shown = planes if len(planes) == 3 else np.repeat(planes.mean(0, keepdims=True), 3, axis=0)
    picture = (255 * shown.clip(0, 1)).astype(np.uint8).transpose(1, 2, 0).copy()
    height, width = picture.shape[:2]
    each = "those of the file" if factor == 1 else f"{factor:.3g} file pixels each"
    text = f"What the network sees: {width} x {height} pixels, {each}"
    if max(height, width) > patch:
        top, left = max(0, (height - patch) // 2), max(0, (width - patch) // 2)
        thick = max(1, round(max(height, width) / 400))  # or it is lost where the picture is shrunk
        corner = (left + patch - 1, top + patch - 1)
        cv2.rectangle(picture, (left, top), corner, (255, 220, 0), thick)
        text += f", in parts of {patch} x {patch} (the frame)"
    else:
        text += ", the whole image at once"
    return Layer(
        name="what the network sees",
        kind="image",
        data=picture,
        text=f"{text}. {why}".strip(),
        pixel=factor,
    )
