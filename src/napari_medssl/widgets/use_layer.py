"""An open napari layer becomes an image of the project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.errors import MedsslError
from napari_medssl.widgets.layer_source import MEANINGS, LayerSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medssl.widgets.session import Session

__all__ = ["AxesDialog", "use_layer"]


class AxesDialog(QDialog):
    """Asks what the axes are that the layer does not name.

    Parameters
    ----------
    source : LayerSource
        The layer.
    on_accept : callable
        Receives the letters of all axes.
    """

    def __init__(
        self,
        source: LayerSource,
        on_accept: Callable[[str], None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._source = source
        self._on_accept = on_accept
        self.setWindowTitle("Axes of the layer")
        words = QLabel(
            f"{source.name} has the shape {' x '.join(map(str, source.data.shape))}. Each image of"
            " the project is one plane of rows and columns. What are the other axes?"
        )
        words.setWordWrap(True)
        self.choices: dict[int, QComboBox] = {}
        form = QFormLayout()
        free = [letter for letter in MEANINGS if letter not in source.axes]
        for place, number in enumerate(source.unknown):
            choice = QComboBox()
            for letter in free:
                choice.addItem(MEANINGS[letter], letter)
            choice.setCurrentIndex(min(place, len(free) - 1))
            choice.currentIndexChanged.connect(self._check)
            choice.setAccessibleName(f"Axis {number}")
            self.choices[number] = choice
            form.addRow(f"Axis {number} ({source.data.shape[number]} long)", choice)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        self.ok = buttons.button(QDialogButtonBox.StandardButton.Ok)
        buttons.accepted.connect(self._accept)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(words)
        column.addLayout(form)
        column.addWidget(buttons)
        self.resize(420, self.sizeHint().height())
        self._check()

    @property
    def axes(self) -> str:
        """The letters of all axes."""
        letters = list(self._source.axes)
        for number, choice in self.choices.items():
            letters[number] = str(choice.currentData() or "")
        return "".join(letters)

    def _check(self) -> None:
        if self.ok is not None:
            whole = len(self.axes) == len(self._source.axes) == len(set(self.axes))
            self.ok.setEnabled(whole)
            self.ok.setToolTip("" if whole else "Each meaning can be given once.")

    def _accept(self) -> None:
        self.accept()
        self._on_accept(self.axes)


def use_layer(session: Session, parent: QWidget | None = None) -> AxesDialog | None:
    """Put the selected layer into the open project; without one, ask for a folder to make one in.

    Returns
    -------
    AxesDialog or None
        The question for its axes, if it had to be asked.
    """
    layer = session.viewer.layers.selection.active
    why_not = LayerSource.why_not(layer)
    if why_not:
        session.show_error(MedsslError(why_not))
        return None
    source = LayerSource.of(layer)

    def put(axes: str) -> None:
        try:
            if session.project is not None:
                session.opening.add_layer(source, axes)
                return
            folder = QFileDialog.getExistingDirectory(parent, "Choose a folder for the new project")
            if folder:
                session.opening.create_for_layer(Path(folder), source, axes)
        except MedsslError as error:
            session.show_error(error)

    if not source.unknown:
        put("".join(source.axes))
        return None
    dialog = AxesDialog(source, put, parent)
    dialog.open()
    return dialog
