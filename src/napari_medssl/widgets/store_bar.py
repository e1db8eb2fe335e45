"""One line on the stored features of the folder, and the button that makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.explore.store_plan import size_text
from napari_medssl.widgets.explorer import Explorer
from napari_medssl.widgets.feature_store import FeatureStore
from napari_medssl.widgets.fold import Fold
from napari_medssl.widgets.run_monitor import duration
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from qtpy.QtGui import QShowEvent

    from napari_medssl.widgets.feature_store import Standing
    from napari_medssl.widgets.session import Session

__all__ = ["StoreBar"]

_SOURCES = {
    "mix": "all decoder stages",
    "decoder-1": "decoder, coarsest stage",
    "decoder-2": "decoder, stage 2",
    "decoder-3": "decoder, stage 3",
    "decoder-4": "decoder, stage 4",
    "encoder-1": "encoder, finest stage",
    "encoder-2": "encoder, stage 2",
    "encoder-3": "encoder, stage 3",
    "encoder-4": "encoder, stage 4",
    "projector": "projector of the pretraining",
}
_MEGABYTE = 1_000_000


class StoreBar(QWidget):
    """Says what is stored and what storing the rest takes; stores, shows the progress, stops.

    Parameters
    ----------
    session : Session
        Whose project and current run.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._explorer = Explorer.of(session)
        self._store = FeatureStore.of(session)
        self.text = QLabel()
        self.text.setWordWrap(True)
        set_role(self.text, "hint")
        self.start = QPushButton()
        self.start.setToolTip(
            "Computes the features of every image once, and keeps them in the project.\n"
            "Images that are stored and have not changed are left alone."
        )
        self.stop = QPushButton("Stop")
        self.stop.setToolTip("What is stored by then is kept.")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self._build_settings()
        self._lay_out()
        self.start.clicked.connect(self._store.start)
        self.stop.clicked.connect(self._store.stop)
        self._store.changed.connect(self.refresh)
        self._explorer.changed.connect(self._show_source)
        self.refresh()

    def _build_settings(self) -> None:
        self.source = QComboBox()
        self.source.setAccessibleName("Features from")
        self.source.setToolTip(
            "What of the network is compared: all decoder stages together see fine and coarse at once.\n"
            "This goes for the map of the open image too."
        )
        for key, text in _SOURCES.items():
            self.source.addItem(text, key)
        self.source.activated.connect(self._on_source)
        self.budget = QSpinBox()
        self.budget.setAccessibleName("Disk budget")
        self.budget.setRange(0, 10_000_000)
        self.budget.setSuffix(" MB")
        self.budget.setSpecialValueText("as the decoded images")
        self.budget.setToolTip("The features are made as fine as fits into so much.")
        self.budget.setKeyboardTracking(False)
        self.budget.valueChanged.connect(self._on_budget)
        self.settings = Fold("Advanced")
        form = QFormLayout()
        form.addRow("Features from", self.source)
        form.addRow("Disk budget", self.budget)
        self.settings.set_content_layout(form)

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.start)
        row.addWidget(self.bar, 1)
        row.addWidget(self.stop)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.text)
        column.addLayout(row)
        column.addWidget(self.settings)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Have the files looked at, which takes a while in a large folder."""
        super().showEvent(event)
        self._store.watch()

    def refresh(self) -> None:
        """Show what is true now."""
        standing, job, active = self._store.standing, self._store.job, self._session.active
        self.bar.setVisible(job is not None)
        self.stop.setVisible(job is not None)
        complete = standing is not None and not standing.missing and not standing.differs
        self.start.setVisible(job is None and not complete)
        self.start.setEnabled(standing is not None and standing.plan is not None and active is None)
        self._show_source()
        self._show_budget()
        if job is not None:
            self.bar.setRange(0, job.total if job.step else 0)
            self.bar.setValue(job.step)
            self.stop.setEnabled(job.state in ("running", "paused"))
            left = f", {duration(job.eta)} left" if job.rate else ""
            stand = f"{job.step} of {job.total} images{left}" if job.total else "starting"
            self.text.setText(f"Storing features: {stand}.")
        elif standing is None:
            self.text.setText("Looking for stored features ...")
        else:
            self.text.setText(_sentence(standing))
            self.start.setText(_offer(standing))
            if active is not None:
                self.text.setText(f"{_sentence(standing)} Wait until {active.name} is over.")

    def _show_source(self) -> None:
        self.source.setCurrentIndex(self.source.findData(self._explorer.source))

    def _show_budget(self) -> None:
        megabytes = (self._store.budget or 0) // _MEGABYTE
        if megabytes != self.budget.value():  # set in another tab
            self.budget.blockSignals(True)
            self.budget.setValue(megabytes)
            self.budget.blockSignals(False)

    def _on_source(self) -> None:
        self._explorer.set_source(self.source.currentData())

    def _on_budget(self, megabytes: int) -> None:
        self._store.set_budget(megabytes * _MEGABYTE or None)


def _offer(standing: Standing) -> str:
    if standing.differs or standing.damaged:
        return "Store all anew"
    if not standing.stored:
        return "Store features of the folder"
    return f"Store the other {len(standing.missing)}"


def _sentence(standing: Standing) -> str:
    plan, store = standing.plan, standing.store
    if plan is None or standing.damaged:
        return standing.why
    size = f"{size_text(plan.bytes)} on disk: {_fineness(plan.stride, plan.dimensions)}"
    count = len(standing.stored) + len(standing.missing)
    if standing.differs and store is not None:
        return (
            f"The features of {len(standing.stored)} of {count} images are stored, "
            f"{_fineness(store.stride, store.dimensions)}. Within the disk budget all would take {size}."
        )
    if not standing.missing:
        return f"The features of all {count} images are stored ({size})."
    if not standing.stored:
        return f"No features are stored yet. {count} images take {size}."
    return (
        f"The features of {len(standing.stored)} of {count} images are stored; the others are not, or have "
        f"changed. All take {size}."
    )


def _fineness(stride: int, dimensions: int) -> str:
    return f"{dimensions} features per {stride} x {stride} pixels"
