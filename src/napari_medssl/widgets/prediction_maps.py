"""Shows the probability of a class, or the uncertainty, over the open image; made where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from napari.layers import Image
from qtpy.QtCore import Signal

from napari_medssl.project.predicted_maps import read_predicted_map
from napari_medssl.widgets.over_image import OverImage
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.placement import transforms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_medssl.project.project import PredictedMap
    from napari_medssl.widgets.session import Session

__all__ = ["MapChoice", "PredictionMaps"]

_COLOURS: dict[PredictedMap, str] = {"probability": "viridis", "uncertainty": "magma"}
"""Their brightness rises all along, which every eye can tell."""


class MapChoice(NamedTuple):
    """What to show."""

    which: PredictedMap
    label: str
    """In the layer list."""
    value: int | None = None
    """Label value of the class; None for the uncertainty."""


class PredictionMaps(PerSession):
    """One map over the open image; one per session, see `PredictionMaps.of`.

    Parameters
    ----------
    session : Session
        Whose open image.
    """

    changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.choice: MapChoice | None = None
        """What is shown of every image that is opened; None for nothing."""
        self._shown: tuple[object, ...] | None = None
        self._asked: tuple[object, ...] | None = None
        self._over = OverImage(session)
        session.image_changed.connect(self.refresh)
        session.runs_changed.connect(self.refresh)
        session.predictions.applied_changed.connect(self.refresh)
        session.saved_prediction.connect(self._on_saved)

    def show(self, choice: MapChoice | None) -> None:
        """Show this from now on; returns at once."""
        self.choice = choice
        self._asked = None
        self.refresh()
        self.changed.emit()

    def refresh(self) -> None:
        """Show what is on disk, or have it made; returns at once."""
        session, choice = self._session, self.choice
        project, image, name = session.project, session.image, session.predictions.name
        if project is None or image is None or name is None or choice is None:
            self._remove()
            return
        key = (project, image, name, choice)
        if self._shown == key and self._over.layer is not None:
            return
        self._remove()
        path = project.predicted_map_path(name, image, choice.which)
        if not path.is_file():
            if self._asked != key:  # once: what failed is not asked for again and again
                self._asked = key
                session.predictions.predict(maps=(choice.which,))
            return

        def show(values: NDArray[np.float32]) -> None:
            now = (session.project, session.image, session.predictions.name, self.choice)
            if now == key:
                self._remove()
                self._show(choice, values)
                self._shown = key

        session.background(
            lambda: read_predicted_map(path, choice.value),
            on_result=show,
            doing=f"reading the {choice.which} of {image}",
        )

    def _show(self, choice: MapChoice, values: NDArray[np.float32]) -> None:
        session = self._session
        picture = session.image_layer
        if picture is None:
            return
        layer = Image(
            values,
            name=choice.label,
            colormap=_COLOURS[choice.which],
            contrast_limits=(0.0, 1.0),
            blending="translucent_no_depth",
            interpolation2d="nearest",
            opacity=0.75,
            **transforms(picture),
        )
        layer.colorbar.visible = True
        self._over.put(layer, choice.which, run=session.predictions.name)

    def _remove(self) -> None:
        self._shown = None
        self._over.remove()

    def _on_saved(self, name: str, image: str) -> None:
        if (name, image) == (self._session.predictions.name, self._session.image):
            self._shown = None
            self.refresh()
