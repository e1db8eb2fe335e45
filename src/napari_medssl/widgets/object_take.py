"""Objects from the prediction, or from what is painted: where from, how, and a look before they are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSpinBox, QVBoxLayout, QWidget

from napari_medssl.config import ConfigError
from napari_medssl.instances.finding import SPECK
from napari_medssl.widgets.object_editor import ObjectEditor
from napari_medssl.widgets.object_preview import ObjectPreview
from napari_medssl.widgets.object_sources import SOURCES, ObjectSettings
from napari_medssl.widgets.rows import button, equal_row
from napari_medssl.widgets.slider_row import SliderRow
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.widgets.session import Session

__all__ = ["TakeObjects"]

_MOST = 100_000_000
_STEP = 5
_AUTOMATIC = -_STEP  # what stands below 0 in the field of the smallest area


class TakeObjects(QWidget):
    """The controls of `ObjectPreview`; it shows its objects while this is visible.

    Parameters
    ----------
    session : Session
        Whose open image.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._preview = ObjectPreview.of(session)
        self._editor = ObjectEditor.of(session)
        self.source = QComboBox()
        self.source.setAccessibleName("Where the objects come from")
        self.source.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        for source, words in SOURCES.items():
            self.source.addItem(words, source)
        self.body = SliderRow(
            "Objects above", low=0, high=1, step=0.01,
            tip="Objects are where the distance map is above this: lower makes them larger.",
        )  # fmt: skip
        self.seeds = SliderRow(
            "Seeds above", low=0, high=1, step=0.01,
            tip="Every piece of the distance map above this is an object of its own:\n"
            "higher separates more, and loses faint objects.",
        )  # fmt: skip
        self.neck = SliderRow(
            "Separate less", low=0, high=0.95, step=0.01,
            tip="Two bulges are two objects where the neck between them is narrower than the smaller one\n"
            "by at least this share.",
        )  # fmt: skip
        self.smoothing = SliderRow(
            "Smoothing", low=0, high=10, step=0.1, decimals=1, suffix=" px",
            tip="Of the map of distances before: more of it separates less.",
        )  # fmt: skip
        self.smallest, self.largest = QSpinBox(), QSpinBox()
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.add = button(
            "Add where none is",
            "Take the objects that lie, for more than half, where no object is yet.\n"
            "Those that are there stay as they are. Ctrl+Z takes it back.",
        )
        self.replace = button(
            "Replace all",
            "These take the place of all objects of this image, corrected ones too.\n"
            "Ctrl+Z takes it back.",
        )
        self._areas()
        self._lay_out()
        self._connect()
        self.refresh()

    def _areas(self) -> None:
        for box, name in ((self.smallest, "Smallest area"), (self.largest, "Largest area")):
            box.setAccessibleName(name)
            box.setRange(0, _MOST)
            box.setSingleStep(_STEP)
            box.setSuffix(" px")
            box.setKeyboardTracking(False)
        self.smallest.setMinimum(_AUTOMATIC)
        self.smallest.setSpecialValueText("auto")
        self.smallest.setToolTip(
            "Smaller objects are left out. Automatic (below 0) leaves out specks, as predicting a folder does:\n"
            f"what has less than {SPECK:.0%} of the typical area of the objects of its class in this image.\n"
            "Objects that a run has stored are taken as they are. 0 leaves out nothing."
        )
        self.largest.setToolTip("Larger objects are left out; 0 for no limit.")
        self.largest.setSpecialValueText("no limit")

    def _lay_out(self) -> None:
        areas = QHBoxLayout()
        areas.setSpacing(4)
        areas.addWidget(QLabel("Area from"))
        areas.addWidget(self.smallest, 1)
        areas.addWidget(QLabel("to"))
        areas.addWidget(self.largest, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.source)
        for row in (self.body, self.seeds, self.neck, self.smoothing):
            column.addWidget(row)
        column.addLayout(areas)
        column.addWidget(self.text)
        column.addLayout(equal_row(self.add, self.replace))

    def _connect(self) -> None:
        self.source.activated.connect(self._on_source)
        for row in (self.body, self.seeds, self.neck, self.smoothing):
            row.changed.connect(self._on_settings)
        for box in (self.smallest, self.largest):
            box.valueChanged.connect(self._on_settings)
        self.add.clicked.connect(lambda: self._take(replace=False))
        self.replace.clicked.connect(lambda: self._take(replace=True))
        self._preview.changed.connect(self.refresh)
        self._editor.state_changed.connect(self.refresh)

    def showEvent(self, event: object) -> None:  # noqa: N802
        """Show the objects."""
        super().showEvent(event)  # type: ignore[arg-type]
        self._preview.set_on(True)

    def hideEvent(self, event: object) -> None:  # noqa: N802
        """Show them no longer."""
        super().hideEvent(event)  # type: ignore[arg-type]
        self._preview.set_on(False)

    def refresh(self) -> None:
        """Show what is true now."""
        preview, settings = self._preview, self._preview.settings
        source = preview.source
        self.source.setCurrentIndex(list(SOURCES).index(source))
        items = self.source.model()
        for row, choice in enumerate(SOURCES):
            missing = preview.missing(choice)
            self.source.setItemData(row, missing, Qt.ItemDataRole.ToolTipRole)
            item = items.item(row) if isinstance(items, QStandardItemModel) else None
            if item is not None:
                item.setEnabled(not missing)
        self.body.set_value(settings.seeds.mask_threshold)
        self.seeds.set_value(settings.seeds.seed_threshold)
        self.neck.set_value(settings.separation.neck)
        smooth = settings.seeds if source == "distance" else settings.separation
        self.smoothing.set_value(smooth.smoothing)
        self.body.setVisible(source == "distance")
        self.seeds.setVisible(source == "distance")
        self.neck.setVisible(source not in ("distance", "stored"))
        self.smoothing.setVisible(source != "stored")
        smallest = _AUTOMATIC if settings.smallest is None else settings.smallest
        for box, value in ((self.smallest, smallest), (self.largest, settings.largest or 0)):
            box.blockSignals(True)
            box.setValue(value)
            box.blockSignals(False)
        found, why = preview.found, self._editor.why_not or preview.why_not
        if not why and found is not None and not found.number:
            why = "No object is found like this."
        self.add.setEnabled(not why and found is not None)
        self.replace.setEnabled(not why and found is not None)
        self.replace.setText(
            "Replace all" if why or found is None else f"Replace all by {_objects(found.number)}"
        )
        self.text.setText(why or ("" if found is not None else "Looking ..."))
        self.text.setVisible(bool(self.text.text()))
        set_role(self.text, "warning" if why else "hint")

    def _on_source(self, index: int) -> None:
        self._preview.choose(self.source.itemData(index))

    def _on_settings(self) -> None:
        settings = self._preview.settings
        smoothing = {"smoothing": self.smoothing.value}
        distance = self._preview.source == "distance"
        smallest, largest = self.smallest.value(), self.largest.value() or None
        changed = {
            "seeds": settings.seeds.model_dump()
            | {
                "mask_threshold": self.body.value,
                # a seed below what an object is would be none
                "seed_threshold": max(self.seeds.value, self.body.value),
            }
            | (smoothing if distance else {}),
            "separation": settings.separation.model_dump()
            | {"neck": self.neck.value}
            | ({} if distance else smoothing),
            "smallest": smallest if smallest >= 0 else None,
            "largest": largest,
        }
        try:
            self._preview.set_settings(ObjectSettings.parse(changed))
        except ConfigError as error:
            self.text.setText(error.message)
            self.text.show()
            set_role(self.text, "error")

    def _take(self, *, replace: bool) -> None:
        taken = self._preview.take(replace=replace)
        if taken:
            self._editor.say(f"{_objects(taken)} taken. Ctrl+Z takes it back.")
        else:
            self._editor.say("Nothing was taken: every one lies on an object that is there.")


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count:,} objects"
