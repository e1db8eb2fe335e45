"""What the buttons and shortcuts of the step "Annotate" do."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import read_labels
from napari_medssl.widgets import classes as class_changes
from napari_medssl.widgets.label_store import Annotation, counts_of
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_medssl.project import ClassInfo
    from napari_medssl.widgets.annotator import Annotator

__all__ = [
    "SHORTCUTS",
    "change_classes",
    "copy_prediction",
    "images_with",
    "mark_done",
    "next_unannotated",
    "remove_class",
    "rest_is_background",
    "step",
    "why_no_prediction",
]


def mark_done(annotator: Annotator, done: bool) -> None:
    """Say that the user is finished with the image, or take that back."""
    layer = annotator.layer
    if layer is None or done == annotator.done:
        return
    if done and not layer.data.any():
        annotator.say(
            "Nothing is painted here yet. If the image holds no objects, press "
            "“Rest is background” first."
        )
        return
    annotator.done = done
    annotator.save()


def rest_is_background(annotator: Annotator) -> None:
    """Make every pixel that is not annotated background; napari's undo takes it back."""
    layer = annotator.layer
    if layer is None:
        return
    free = np.nonzero(layer.data == 0)
    if free[0].size == 0:
        annotator.say("Every pixel is annotated already.")
        return
    layer.data_setitem(free, class_changes.BACKGROUND)
    annotator.say(f"{free[0].size:,} pixels became background. Ctrl+Z takes it back.")


def why_no_prediction(annotator: Annotator) -> str:
    """Say why there is no prediction to copy; empty when there is one."""
    session = annotator.session
    project, name, run = session.project, session.image, session.current_run
    if project is None or name is None or annotator.layer is None:
        return "Open an image first."
    if run is None:
        return "There is no prediction yet: fine-tune and predict first."
    if not project.prediction_path(run, name).is_file():
        return f"{run} has not predicted this image yet: do so in the step Predict."
    return ""


def copy_prediction(annotator: Annotator) -> None:
    """Fill pixels with the current run's prediction; napari's undo takes it back.

    Only pixels that are not annotated, unless `Annotator.overwrite` is set.
    """
    why = why_no_prediction(annotator)
    layer, session = annotator.layer, annotator.session
    project, name, run = session.project, session.image, session.current_run
    if why or layer is None or project is None or name is None or run is None:
        annotator.say(why)
        return
    path = project.prediction_path(run, name)
    session.background(
        lambda: read_labels(path),
        on_result=partial(_fill, annotator, layer, run, annotator.overwrite),
        doing=f"reading the prediction of {name}",
    )


def _fill(
    annotator: Annotator, layer: Labels, run: str, overwrite: bool, prediction: NDArray[np.uint16]
) -> None:
    if annotator.layer is None or annotator.layer is not layer:  # another image is open by now
        return
    if prediction.shape != layer.data.shape:
        annotator.say(
            f"The prediction has {prediction.shape[0]} x {prediction.shape[1]} pixels, the image "
            f"{layer.data.shape[0]} x {layer.data.shape[1]}: predict it again."
        )
        return
    wanted = np.isin(prediction, [item.value for item in annotator.classes])
    wanted &= layer.data != prediction
    if not overwrite:
        wanted &= layer.data == 0
    where = np.nonzero(wanted)
    layer.data_setitem(where, prediction[where].astype(layer.data.dtype))
    annotator.say(f"{where[0].size:,} pixels were taken from {run}. Ctrl+Z takes them back.")


# -- classes -------------------------------------------------------------------------------------


def change_classes(
    annotator: Annotator, change: Callable[[tuple[ClassInfo, ...]], tuple[ClassInfo, ...]]
) -> bool:
    """Apply one of the functions of `classes`; False, with a message shown, when it was refused."""
    session = annotator.session
    project = session.project
    if project is None:
        return False
    try:
        project.update(classes=change(project.settings.classes))
    except (MedsslError, OSError) as error:
        session.problem.emit(Problem.of(error, doing="changing the classes"))
        return False
    session.project_changed.emit()
    return True


def images_with(
    annotator: Annotator, value: int, *, on_result: Callable[[list[str]], None]
) -> None:
    """Find the images on which a class is painted; calls back in the GUI thread."""
    annotator.save()
    project = annotator.session.project
    if project is None:
        return
    newer = {
        name: entry.counts
        for name in project.images
        if (entry := annotator.store.waiting(project, name)) is not None
    }

    def work() -> list[str]:
        annotations = project.annotations
        candidates = dict.fromkeys([*annotations.annotated(), *newer])
        return [
            name
            for name in candidates
            if (newer[name] if name in newer else annotations.counts(name)).get(value)
        ]

    annotator.session.background(work, on_result=on_result, doing="reading the annotations")


def remove_class(annotator: Annotator, value: int, names: list[str]) -> None:
    """Take the last class away, making its pixels on these images not annotated first."""
    session = annotator.session
    project = session.project
    if project is None:
        return
    layer = annotator.layer
    if layer is not None:
        where = np.nonzero(layer.data == value)
        if where[0].size:
            layer.data_setitem(where, 0)
        annotator.reload()  # with undo, pixels of a class that is gone could come back
    others = [name for name in names if name != annotator.image]

    def cleared(_: object) -> None:
        change_classes(annotator, lambda old: class_changes.remove(old, value))
        session.labels_changed.emit()

    def work() -> None:
        for name in others:
            labels = project.annotations.read(name)
            done = project.annotations.status(name) == "done"
            labels[labels == value] = 0
            annotator.store.write_now(project, name, Annotation(labels, done, counts_of(labels)))

    session.background(work, on_result=cleared, doing="removing the class")


# -- other images --------------------------------------------------------------------------------


def step(annotator: Annotator, by: int) -> None:
    """Open the image that many places further on."""
    project, name = annotator.session.project, annotator.session.image
    if project is None or name not in project.images:
        return
    there = project.images.index(name) + by
    if 0 <= there < len(project.images):
        annotator.session.open_image(project.images[there])
    else:
        annotator.say(f"This is the {'last' if by > 0 else 'first'} image.")


def next_unannotated(annotator: Annotator) -> None:
    """Open the next image without any annotation: from here to the end, then from the start."""
    annotator.save()
    session = annotator.session
    project, name = session.project, session.image
    if project is None:
        return
    images = project.images
    here = images.index(name) if name in images else -1
    order = [*images[here + 1 :], *images[: max(here, 0)]]
    waiting = {key for key in order if annotator.store.waiting(project, key) is not None}

    def work() -> str | None:
        for candidate in order:
            if candidate not in waiting and project.annotations.status(candidate) == "none":
                return candidate
        return None

    def show(found: str | None) -> None:
        if found is None:
            annotator.say("Every other image has annotations.")
        elif session.project is project:
            session.open_image(found)

    session.background(work, on_result=show, doing="looking for the next image")


def _toggle_done(annotator: Annotator) -> None:
    mark_done(annotator, not annotator.done)


def _next(annotator: Annotator) -> None:
    step(annotator, 1)


def _previous(annotator: Annotator) -> None:
    step(annotator, -1)


SHORTCUTS: dict[str, Callable[[Annotator], None]] = {
    "N": _next,
    "Shift-N": _previous,
    "U": next_unannotated,
    "R": rest_is_background,
    "C": copy_prediction,
    "M": _toggle_done,
}
"""Bound on our own image and labels layers only, and printed on the buttons."""
