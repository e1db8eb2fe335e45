"""What the buttons and shortcuts of the step "Annotate" do to the open image, and how they lead to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.widgets.classes import BACKGROUND
from napari_medssl.widgets.copying import copy_prediction, refuses
from napari_medssl.widgets.pixel_change import change_pixels

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medssl.widgets.annotator import Annotator

__all__ = [
    "SHORTCUTS",
    "mark_done",
    "next_unannotated",
    "plane",
    "rest_is_background",
    "step",
]


def mark_done(annotator: Annotator, done: bool) -> None:
    """Say that the user is finished with the image, which locks it, or take that back."""
    layer = annotator.layer
    if layer is None or done == annotator.done:
        return
    if done and not layer.data.any():
        annotator.say(
            "Nothing is painted here yet. If the image holds no objects, press "
            "“Rest is background” first."
        )
        return
    annotator.set_done(done)
    annotator.say("" if not done else "Done: the image is locked. Press M to change it.")


def rest_is_background(annotator: Annotator) -> None:
    """Make every pixel that is not annotated background; napari's undo takes it back."""
    layer = annotator.layer
    if layer is None or refuses(annotator):
        return
    count = change_pixels(layer, np.where(layer.data == 0, BACKGROUND, layer.data))
    if not count:
        annotator.say("Every pixel is annotated already.")
        return
    annotator.say(f"{count:,} pixels became background; Ctrl+Z undoes it.")


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


def plane(annotator: Annotator, by: int) -> None:
    """Open the plane of the same stack that many places further on."""
    project, name = annotator.session.project, annotator.session.image
    planes = project.planes_in(name) if project is not None and name is not None else ()
    if name not in planes or len(planes) < 2:
        annotator.say("This image is no plane of a stack.")
        return
    there = planes.index(name) + by
    if 0 <= there < len(planes):
        annotator.session.open_image(planes[there])
    else:
        annotator.say(f"This is the {'last' if by > 0 else 'first'} plane of the stack.")


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
        if session.project is not project or session.image != name:
            return  # the user has gone elsewhere meanwhile
        if found is None:
            annotator.say("Every other image has annotations.")
        else:
            session.open_image(found)

    session.background(work, on_result=show, doing="looking for the next image")


def _toggle_done(annotator: Annotator) -> None:
    mark_done(annotator, not annotator.done)


def _toggle_picking(annotator: Annotator) -> None:
    annotator.picking.set_on(not annotator.picking.on)


def _next_plane(annotator: Annotator) -> None:
    plane(annotator, 1)


def _previous_plane(annotator: Annotator) -> None:
    plane(annotator, -1)


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
    "S": _toggle_picking,
    "PageDown": _next_plane,
    "PageUp": _previous_plane,
    "M": _toggle_done,
}
"""Bound on our own image and labels layers only, and printed on the buttons."""
