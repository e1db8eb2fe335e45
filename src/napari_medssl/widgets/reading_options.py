"""How the files of a project are read: which channels, and what an axis is that the files do not name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.widgets.channel_colours import channel_colour
from napari_medssl.widgets.fold import Fold
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medssl.widgets.session import Session

__all__ = ["ReadingOptions"]

_MEANINGS = {"P": "pages", "T": "time", "Z": "depth", "C": "channels"}
_KNOWN = "XYSCZTP"
_MOST_CHANNELS = 4


class ReadingOptions(Fold):
    """Channels to check, and a choice for each axis that is not known; hidden where there is nothing to choose.

    Parameters
    ----------
    session : Session
        Whose project this is.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__("Channels and axes", parent)
        self._session = session
        self._stored: tuple[str, ...] = ()
        self._used: tuple[int, ...] = ()
        self.channels = QListWidget()
        self.channels.setAccessibleName("Channels that are used")
        self.channels.setToolTip("Networks and views see the checked channels; at least one.")
        self.axes: dict[tuple[str, int], QComboBox] = {}
        """By the axes as stored, and the place of the one that is not known."""
        self._axes_form = QFormLayout()
        self._axes_words = QLabel("Some files do not say what an axis is. What is it?")
        self._axes_words.setWordWrap(True)
        self.apply = QPushButton("Read the images so")
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        set_role(self.hint, "hint")
        inside = QVBoxLayout()
        inside.addWidget(self.channels)
        inside.addWidget(self._axes_words)
        inside.addLayout(self._axes_form)
        inside.addWidget(self.hint)
        inside.addWidget(self.apply)
        self.set_content_layout(inside)
        self.channels.itemChanged.connect(self._check)
        self.apply.clicked.connect(self._apply)
        session.project_changed.connect(self.refresh)
        session.images_changed.connect(self.refresh)
        session.busy_changed.connect(self._check)
        self.refresh()

    @property
    def checked(self) -> tuple[int, ...]:
        """Numbers of the checked channels."""
        items = [self.channels.item(row) for row in range(self.channels.count())]
        on = Qt.CheckState.Checked
        return tuple(
            row for row, item in enumerate(items) if item is not None and item.checkState() == on
        )

    def refresh(self) -> None:
        """Show what the project reads now; what the user is choosing stays while that is the same."""
        project = self._session.project
        stored = project.stored_channels if project is not None else ()
        indices = project.settings.channel_indices if project is not None else None
        if indices is None and len(stored) in (1, 3):  # grey or RGB: nothing to choose
            stored = ()
        unknown = project.unknown_axes if project is not None else ()
        self.setVisible(bool(stored or unknown))
        if (stored, indices or ()) != (self._stored, self._used):
            self._stored, self._used = stored, indices or ()
            self._fill_channels()
        asked = tuple(
            (axes, place)
            for axes in unknown
            for place, letter in enumerate(axes)
            if letter not in _KNOWN
        )
        if asked != tuple(self.axes):
            self._fill_axes(asked, project.settings.axes if project is not None else {})
        self._check()

    def _fill_channels(self) -> None:
        self.channels.blockSignals(True)
        self.channels.clear()
        for number, name in enumerate(self._stored):
            on = number in self._used
            item = QListWidgetItem(name)
            item.setFlags(Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled)
            item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
            if on and len(self._used) > 1:
                item.setIcon(_patch(channel_colour(self._used.index(number))))
            self.channels.addItem(item)
        self.channels.blockSignals(False)
        rows = max(1, min(6, len(self._stored)))
        self.channels.setFixedHeight(rows * max(20, self.channels.sizeHintForRow(0)) + 6)
        self.channels.setVisible(bool(self._stored))

    def _fill_axes(self, asked: tuple[tuple[str, int], ...], now: Mapping[str, str]) -> None:
        while self._axes_form.rowCount():
            self._axes_form.removeRow(0)
        self.axes = {}
        for stored, place in asked:
            choice = QComboBox()
            choice.setAccessibleName(f"Axis {place} of {stored}")
            for letter, words in _MEANINGS.items():
                choice.addItem(words, letter)
            meant = now.get(stored, "")
            choice.setCurrentIndex(max(0, choice.findData(meant[place] if meant else "P")))
            choice.currentIndexChanged.connect(self._check)
            name = "first" if place == 0 else f"{place + 1}."
            self._axes_form.addRow(f"The {name} axis of {stored}", choice)
            self.axes[stored, place] = choice
        self._axes_words.setVisible(bool(asked))

    @property
    def changes(self) -> dict[str, Any]:
        """What of the project's settings is chosen differently here."""
        project = self._session.project
        if project is None:
            return {}
        changes: dict[str, Any] = {}
        if self._stored and self.checked != self._used:
            changes["channel_indices"] = self.checked
            changes["channels"] = tuple(self._stored[number] for number in self.checked)
        axes = dict(project.settings.axes)
        for (stored, place), choice in self.axes.items():
            meant = list(axes.get(stored, stored))
            meant[place] = str(choice.currentData())
            axes[stored] = "".join(meant)
        as_read = {
            stored: "".join(letter if letter in _KNOWN else "P" for letter in stored)
            for stored, _ in self.axes
        }
        if axes != {**as_read, **project.settings.axes}:
            changes["axes"] = axes
        return changes

    def _check(self) -> None:
        session = self._session
        changes = self.changes
        hint = ""
        if self._stored and not self.checked:
            hint = "At least one channel is needed."
        elif "axes" in changes and session.overview.annotated.images:
            hint = "Labels that are drawn already stay with the images as they were read before."
        elif changes and session.usable_runs:
            hint = "Networks that are trained already were made for the channels as they are now."
        self.hint.setText(hint)
        self.hint.setVisible(bool(hint))
        free = session.active is None and not session.working
        self.apply.setEnabled(bool(changes) and free and (bool(self.checked) or not self._stored))

    def _apply(self) -> None:
        project, session = self._session.project, self._session
        if project is None:
            return
        changes = self.changes
        self.apply.setEnabled(False)

        def work() -> None:
            project.update(**changes)
            if not project.images and "channels" not in changes:  # what was a page is a channel now
                project.update(channels=project.stored_channels[:_MOST_CHANNELS])

        def applied(_: object) -> None:
            if session.project is not project:
                return
            session.images.reload()
            session.project_changed.emit()
            session.opening.check()

        def failed(error: BaseException) -> None:
            self._check()
            session.show_error(error, doing="changing how the images are read")

        session.background(work, on_result=applied, on_failed=failed)


def _patch(colour: str) -> QIcon:
    patch = QPixmap(12, 12)
    patch.fill(QColor(colour))
    return QIcon(patch)
