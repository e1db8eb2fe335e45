"""The measures of an assessment that compare whole images, each one vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.evaluate.assessment import Classification, Neighbourhood, Relatives
from napari_medssl.evaluate.classification import classify
from napari_medssl.evaluate.representation import expected_nqc, nqc
from napari_medssl.explore.labelled import evenly
from napari_medssl.explore.neighbours import Folder
from napari_medssl.project.units import units_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from napari_medssl.project import Project

    Means = Mapping[str, NDArray[np.float32]]

__all__ = ["classification", "neighbourhood", "relatives"]

RELATIVES = 6


def neighbourhood(
    project: Project, means: Means, *, note: Callable[[str], None]
) -> Neighbourhood | None:
    """Say how well classes of whole images lie together; `means` gives the features (D) of each image."""
    features, classes, groups = _labelled(project, means)
    if len(set(classes)) < 2:
        note(
            "The project gives fewer than two classes of whole images (medssl groups --labels-...), so neither their "
            "neighbourhood nor a classifier of them is measured."
        )
        return None
    grouped = 1 < len(set(groups)) < len(groups)  # some belong together, others do not
    return Neighbourhood(
        nqc=nqc(features, classes),
        expected=expected_nqc(classes),
        expected_with_itself=expected_nqc(classes, with_itself=True),
        between_groups=nqc(features, classes, groups) if grouped else None,
        expected_between_groups=expected_nqc(classes, groups) if grouped else None,
        images=len(classes),
        classes=len(set(classes)),
    )


def classification(
    project: Project, means: Means, *, gamma: float, note: Callable[[str], None]
) -> Classification | None:
    """Say how well a linear classifier tells classes of whole images, by the focal loss with exponent `gamma`."""
    features, classes, groups = _labelled(project, means)
    if len(set(classes)) < 2:
        return None  # told with the neighbourhood
    found = classify(features, classes, groups, gamma=gamma)
    if found is None:
        note(
            "No classifier of images: fewer than two of their classes have images of two groups, one to learn from "
            "and one to be tested on."
        )
        return None
    if lone := sorted(set(classes) - set(found.recalls)):
        note(
            f"Left out of the classifier of images, as all of their images are of one group: {', '.join(lone)}."
        )
    return Classification(
        recall=found.recall,
        chance=1 / len(found.recalls),
        recalls=found.recalls,
        gamma=gamma,
        images=found.images,
        folds=found.folds,
    )


def relatives(project: Project, means: Means) -> tuple[Relatives, ...]:
    """Give the images most and least like some images, of which one of each class at least."""
    labels = project.image_labels()
    folder = Folder(tuple(means), np.stack(list(means.values())))
    one_each = {labels[name]: name for name in reversed(list(means)) if name in labels}
    shown = list(dict.fromkeys([*one_each.values(), *evenly(tuple(means), RELATIVES)]))
    found = []
    for image in shown[: max(RELATIVES, len(one_each))]:
        near, far = (folder.nearest(image, 1, farthest=least)[0] for least in (False, True))
        found.append(
            Relatives(
                image=image,
                label=labels.get(image, ""),
                nearest=near.image,
                nearest_label=labels.get(near.image, ""),
                farthest=far.image,
                farthest_label=labels.get(far.image, ""),
            )
        )
    return tuple(found)


def _labelled(project: Project, means: Means) -> tuple[NDArray[np.float32], list[str], list[str]]:
    """Give features (N, D), class and group (see `units_of`) of the images that have a class."""
    labels = project.image_labels()
    names = [name for name in means if name in labels]
    features = np.array([means[name] for name in names])
    groups = units_of(project)
    return features, [labels[x] for x in names], [groups.get(x, x) for x in names]
