"""The open image as a network sees it, and what a pretext method would learn from, before any training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from napari.layers import Image, Labels, Points
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from napari_medssl.widgets.job_schema import job_of
from napari_medssl.widgets.layers import mark, remove_layer
from napari_medssl.widgets.placement import transforms
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Layer

    from napari_medssl.widgets.form import Form
    from napari_medssl.widgets.session import Session

__all__ = ["Preview"]

_ROLE = "preview"


class Preview(QWidget):
    """Asks for a preview, shows its layers, says in words what they are, removes them again.

    Parameters
    ----------
    session : Session
        Asks the warm engine.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._beside = False  # whether something is shown beside the image
        self.text = QLabel()
        self.text.setWordWrap(True)
        set_role(self.text, "hint")
        self.close_button = QPushButton("Remove preview")
        self.close_button.clicked.connect(self.clear)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.close_button)
        column.addWidget(self.text)
        self.setVisible(False)
        session.image_changed.connect(self.clear)

    def ask(
        self,
        form: Form,
        *,
        run: str | None = None,
        method: str = "",
        config: dict[str, Any] | None = None,
    ) -> None:
        """Ask for the open image; returns at once.

        Parameters
        ----------
        form : Form
            Of the training: has its working scale and patch size.
        run : str, optional
            What the training starts from.
        method : str
            Key of the pretext method, if what that learns from is wanted, too.
        config : dict, optional
            Its settings.

        Raises
        ------
        napari_medssl.config.ConfigError
            If the form has a text that its type does not allow.
        """
        job = form.values() if run else job_of(form)
        self._say("Loading PyTorch ...", done=False)
        image = self._session.image
        self._session.request(
            "preview",
            run=run or "",
            method=method,
            method_config=config or {},
            scale=job["scale"],
            patch_size=job["training"].get("patch_size"),
            on_result=lambda data: self._read(image, data),
            on_failed=self._failed,
        )

    def clear(self) -> None:
        """Remove the layers and the words."""
        remove_layer(self._session.viewer, _ROLE)
        if self._beside:
            self._session.viewer.reset_view()
        self._beside = False
        self.setVisible(False)

    def _failed(self, problem: object) -> None:
        self.clear()
        self._session.problem.emit(problem)

    def _read(self, image: str | None, data: dict[str, Any]) -> None:
        project = self._session.project
        if project is None or self._session.image != image:
            return

        def read() -> list[tuple[dict[str, Any], np.ndarray]]:
            return [(item, _load(project.path / item["path"])) for item in data["layers"]]

        def show(loaded: list[tuple[dict[str, Any], np.ndarray]]) -> None:
            if self._session.image == image:
                self._show(loaded)

        self._session.background(read, on_result=show, doing="reading the preview")

    def _show(self, loaded: list[tuple[dict[str, Any], np.ndarray]]) -> None:
        viewer = self._session.viewer
        remove_layer(viewer, _ROLE)
        active, image = viewer.layers.selection.active, self._session.image_layer
        for item, array in loaded:
            place = {} if image is None else transforms(image, pixel=item["pixel"])
            layer = _layer(item, array, place)
            mark(layer, _ROLE, image=self._session.image)
            viewer.add_layer(layer)
        if active is not None and active in viewer.layers:  # one goes on painting where one was
            viewer.layers.selection.active = active
        self._beside = image is not None and any(
            item["kind"] == "image" and (array.shape[1] - 1) * item["pixel"] > image.data.shape[1]
            for item, array in loaded
        )
        if self._beside:
            viewer.reset_view()
        self._say(" ".join(item["text"] for item, _ in loaded), done=True)

    def _say(self, text: str, *, done: bool) -> None:
        self.text.setText(text)
        self.close_button.setVisible(done)
        self.setVisible(True)


def _load(path: Path) -> np.ndarray:
    return np.load(path) if path.suffix == ".npy" else tifffile.imread(path)


def _layer(item: dict[str, Any], array: np.ndarray, place: dict[str, Any]) -> Layer:
    if item["kind"] == "labels":
        return Labels(array, name=item["name"], opacity=0.5, **place)
    if item["kind"] == "points":
        return Points(array, name=item["name"], size=8, face_color="transparent", **place)
    return Image(
        array,
        name=item["name"],
        interpolation2d="nearest",  # the network's pixels are to be seen
        rgb=array.ndim == 3,
        **place,
    )
