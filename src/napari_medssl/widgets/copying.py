"""Takes a prediction of the open image into its annotation: all of it, one class, or one object."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from napari.layers import Labels
from scipy import ndimage

from napari_medssl.project import read_labels
from napari_medssl.widgets.layers import marked
from napari_medssl.widgets.pixel_change import change_pixels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.project import Project
    from napari_medssl.widgets.annotator import Annotator

    Region = NDArray[np.bool_]
    _Open = tuple[Project | None, str | None]

__all__ = [
    "DONE",
    "Source",
    "copy_class",
    "copy_object",
    "copy_prediction",
    "refuses",
    "source_of",
    "why_no_prediction",
]

DONE = "This image is marked done, so it is locked. Press M to change it."

_BACKGROUND = 1


@dataclass(frozen=True)
class Source:
    """A prediction of the open image."""

    words: str
    """What it is, for sentences."""
    kept: Path | Labels
    """The file of a stored prediction, or the layer of the live one."""
    run: str | None = None
    """The run that made it; None for the live one, which learns from the annotations themselves."""

    def as_it_is(self) -> Callable[[], NDArray[np.uint16]]:
        """Return what gives the label values (Y, X) of this moment; to be called in a background thread."""
        if isinstance(self.kept, Labels):
            shown = np.array(
                self.kept.data
            )  # the next live prediction is drawn into the same array
            return lambda: shown
        return partial(read_labels, self.kept)


class _Taken(NamedTuple):
    prediction: NDArray[np.uint16]
    region: Region


def refuses(annotator: Annotator) -> bool:
    """Say that a done image is locked, where it is."""
    if annotator.locked:
        annotator.say(DONE)
    return annotator.locked


def source_of(annotator: Annotator) -> Source | None:
    """Give the prediction to take from: the live one while it is seen, else the stored one of the applied run."""
    session = annotator.session
    project, name, run = session.project, session.image, session.predictions.name
    if project is None or name is None or annotator.layer is None:
        return None
    live = session.layer("live")
    if isinstance(live, Labels) and live.visible and marked(live).get("image") == name:
        return Source("the live prediction", live)
    if run is None:
        return None
    path = project.prediction_path(run, name)
    return Source(run, path, run) if path.is_file() else None


def why_no_prediction(annotator: Annotator) -> str:
    """Say why there is no prediction to copy; empty when there is one."""
    session = annotator.session
    if session.image is None or annotator.layer is None:
        return "Open an image first."
    if annotator.locked:
        return DONE
    if source_of(annotator) is not None:
        return ""
    if session.predictions.name is None:
        return "There is no prediction yet: turn on the live prediction, or fine-tune and predict."
    return (
        f"{session.predictions.name} has not predicted this image yet: do so in the step Predict."
    )


def copy_prediction(annotator: Annotator) -> None:
    """Fill pixels with the prediction; napari's undo takes it back.

    Only pixels that are not annotated, unless `Annotator.overwrite` is set. So do the others of this file.
    """
    _take(annotator, lambda prediction: prediction > 0, nothing="The prediction is empty.")


def copy_class(annotator: Annotator, value: int) -> None:
    """Fill pixels with what is predicted to be of one class."""
    name = next(item.name for item in annotator.classes if item.value == value)
    _take(
        annotator,
        lambda prediction: prediction == value,
        nothing=f"Nothing here is predicted to be {name}.",
    )


def copy_object(annotator: Annotator, y: int, x: int) -> None:
    """Fill pixels with the predicted object at a pixel: the connected pixels of its class."""

    def under(prediction: NDArray[np.uint16]) -> Region:
        value = prediction[y, x]
        if value <= _BACKGROUND:
            return np.zeros(prediction.shape, bool)
        pieces, _ = ndimage.label(prediction == value)
        found: Region = pieces == pieces[y, x]
        return found

    _take(annotator, under, nothing="There is background in the prediction: click an object.")


def _open(annotator: Annotator) -> _Open:
    return annotator.session.project, annotator.image


def _take(
    annotator: Annotator, choose: Callable[[NDArray[np.uint16]], Region], *, nothing: str
) -> None:
    why = why_no_prediction(annotator)
    layer, source = annotator.layer, source_of(annotator)
    if why or layer is None or source is None:
        annotator.say(why)
        return
    shape, read = layer.data.shape, source.as_it_is()

    def work() -> _Taken | str:
        prediction = read()
        if prediction.shape != shape:
            sizes = [" x ".join(str(side) for side in sides) for sides in (prediction.shape, shape)]
            return f"The prediction has {sizes[0]} pixels, the image {sizes[1]}: predict it again."
        region = choose(prediction)
        return _Taken(prediction, region) if region.any() else nothing

    annotator.session.background(
        work,
        on_result=partial(_fill, annotator, _open(annotator), source, annotator.overwrite),
        doing=f"reading the prediction of {annotator.image}",
    )


def _fill(
    annotator: Annotator, asked: _Open, source: Source, overwrite: bool, found: _Taken | str
) -> None:
    layer = annotator.layer
    if layer is None or _open(annotator) != asked:  # another image is open by now
        return
    if isinstance(found, str):
        annotator.say(found)
        return
    if refuses(annotator):  # marked done meanwhile
        return
    prediction, region = found
    known = np.isin(prediction, [item.value for item in annotator.classes])
    removed = int(np.count_nonzero(region & ~known))
    wanted = region & known
    if not overwrite:
        wanted &= layer.data == 0
    project, name = asked
    if source.run is not None and project is not None and name is not None and wanted.any():
        project.annotations.take_from(name, source.run)  # before it is saved
    count = change_pixels(layer, np.where(wanted, prediction, layer.data))
    left_out = f" {removed:,} pixels of removed classes were left out." if removed else ""
    if not count:
        annotator.say(f"Nothing to take: all of it is annotated already.{left_out}")
        return
    annotator.say(f"{count:,} pixels taken from {source.words}. Ctrl+Z undoes it.{left_out}")
