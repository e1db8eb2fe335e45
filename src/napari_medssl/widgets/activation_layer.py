"""What in the open image a network's decision for a class rests on, as a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tifffile
from napari.layers import Image
from qtpy.QtCore import Signal

from napari_medssl.widgets.gl_guard import guard_canvas
from napari_medssl.widgets.over_image import OverImage
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.placement import transforms
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_medssl.widgets.session import Session

__all__ = ["ActivationLayer"]

_ROLE = "activation"
_CHANNEL = "activate"


class ActivationLayer(PerSession):
    """One per session; get it with `ActivationLayer.of`. Follows the open image while a class is chosen.

    Parameters
    ----------
    session : Session
        Whose open image.
    """

    changed = Signal()
    """`value`, `asking` or `text` differ."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.value: int | None = None
        """Label value of the class that is mapped; None for nothing."""
        self.asking = False
        """Whether a map is awaited."""
        self.text = ""
        """What to say of the map that is shown, or why there is none, as a sentence."""
        guard_canvas(session.viewer)
        self._wanted: tuple[object, ...] | None = None
        self._over = OverImage(session)
        session.image_closing.connect(self._on_closing)
        session.image_changed.connect(self._refresh)
        session.runs_changed.connect(self._refresh)

    def show(self, value: int | None) -> None:
        """Map this class from now on, in every image that is opened, or (None) nothing; returns at once."""
        self.value = value
        self._refresh()

    def _refresh(self) -> None:
        session = self._session
        key = (session.project, session.image, session.current_run, self.value)
        if key == self._wanted:
            return
        self._wanted = key
        self._over.remove()
        project = session.project
        self.asking = None not in key
        self.text = "Computing the map ..." if self.asking else ""
        self.changed.emit()
        if project is None or not self.asking:
            return

        def failed(problem: Problem) -> None:
            if self._wanted == key:  # the next image would fail, too
                self.show(None)
                session.problem.emit(problem)

        def unreadable(error: BaseException) -> None:
            failed(Problem.of(error, doing=f"reading the class activation map of {key[1]}"))

        def answered(data: dict[str, Any]) -> None:
            if self._wanted == key:
                path, begin = project.path / data["path"], (data["top"], data["left"])
                session.background(
                    lambda: tifffile.imread(path),
                    on_result=lambda values: show(values, begin),
                    on_failed=unreadable,
                )

        def show(values: NDArray[np.float32], begin: tuple[int, int]) -> None:
            if self._wanted == key:
                self._show(values, begin)

        session.request(
            "activate", value=self.value, on_result=answered, on_failed=failed, channel=_CHANNEL
        )

    def _show(self, values: NDArray[np.float32], begin: tuple[int, int]) -> None:
        session, picture = self._session, self._session.image_layer
        if picture is None:
            return
        most = float(values.max())
        layer = Image(
            values,
            name="class activation",
            colormap="inferno",
            contrast_limits=(0.0, most if most > 0 else 1.0),
            blending="translucent_no_depth",
            opacity=0.6,
            **transforms(picture, begin),
        )
        self._over.put(layer, _ROLE, run=session.current_run, begin=begin)
        if most == 0:
            self._tell("The network predicts no pixel of this class here, so the map is empty.")
        elif values.shape != picture.data.shape[:2]:
            height, width = values.shape
            self._tell(f"Of large images the middle is mapped, {width} x {height} pixels.")
        else:
            self._tell("Bright is what the decision for the class rests on.")

    def _tell(self, text: str) -> None:
        self.asking, self.text = False, text
        self.changed.emit()

    def _on_closing(self) -> None:
        self._wanted = None
