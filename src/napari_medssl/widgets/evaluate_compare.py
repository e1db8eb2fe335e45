"""Evaluated runs against one of them: differences on the images that both were scored on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.evaluated import read_evaluation
from napari_medssl.evaluate.paired import PAIRED, PairedDifference, paired_difference
from napari_medssl.events import Done
from napari_medssl.project.units import units_of
from napari_medssl.widgets.one_by_one import OneByOne
from napari_medssl.widgets.pair_views import DifferencePlot, PairTable
from napari_medssl.widgets.rows import row
from napari_medssl.widgets.theme import colors_of, set_role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medssl.evaluate import Evaluation
    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["EvaluatedRuns"]

_TITLES = ("Run", "Images", "Difference", "95% interval")


class _Known(NamedTuple):
    """What was evaluated in a project."""

    runs: dict[str, Evaluation]
    """The newest first."""
    groups: dict[str, str]
    unreadable: dict[str, str]
    """Runs whose scores cannot be read, and why, in a sentence or two."""


class EvaluatedRuns(QWidget):
    """Chooses one evaluated run, and tells how much better every other one is, image by image.

    Parameters
    ----------
    session : Session
        Whose runs; a click on an image opens it.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._known = _Known({}, {}, {})
        self._shown: list[PairedDifference | None] = []  # of each row
        self._why_not: list[str] = []
        self._reading = OneByOne(session, self.refresh)
        self._comparing = OneByOne(session, self._compare)
        self._build()
        self.reference.activated.connect(self._compare)
        self.measure.activated.connect(self._compare)
        self.runs.itemSelectionChanged.connect(self._show_row)
        self.table.chosen.connect(session.open_image)
        self.plot.chosen.connect(session.open_image)
        session.runs_changed.connect(self.refresh)
        session.project_changed.connect(self.refresh)
        session.run_event.connect(self._on_event)
        session.viewer.events.theme.connect(self._on_theme)
        self.refresh()

    def _build(self) -> None:
        self.reference, self.measure = QComboBox(), QComboBox()
        self.reference.setAccessibleName("Run that the others are compared with")
        self.reference.setToolTip("The run that the others are compared with (before)")
        self.measure.setAccessibleName("What is compared")
        self.reference.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        for key, title in PAIRED.items():
            self.measure.addItem(title, key)
        self.runs = QTableWidget(0, len(_TITLES))
        self.runs.setHorizontalHeaderLabels(_TITLES)
        self.runs.setAccessibleName("Runs compared")
        self.runs.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.runs.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.runs.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.runs.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.runs.setTabKeyNavigation(False)
        self.runs.setFixedHeight(110)
        rows, columns = self.runs.verticalHeader(), self.runs.horizontalHeader()
        if rows is not None and columns is not None:
            rows.setVisible(False)
            rows.setDefaultSectionSize(22)
            columns.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            columns.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        set_role(self.text, "hint")
        self.plot = DifferencePlot(colors_of(self._session.viewer.theme))
        self.table = PairTable()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(
            row(QLabel("Against"), self.reference, self.measure, stretch=self.reference)
        )
        for part in (self.runs, self.text, self.plot, self.table):
            column.addWidget(part)

    # -- commands --------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look again which runs were evaluated; returns at once."""
        session, project = self._session, self._session.project
        if project is None:
            self._take(_Known({}, {}, {}))
            return
        if self._reading.postponed():
            return

        def take(known: _Known) -> None:
            if session.project is project:
                self._take(known)

        def failed(error: BaseException) -> None:
            session.show_error(error, doing="looking for evaluated runs")

        self._reading.start(lambda: _read(project), on_result=take, on_failed=failed)

    # -- showing ---------------------------------------------------------------------------------

    def _take(self, known: _Known) -> None:
        self._known = known
        before = self.reference.currentText()
        self.reference.clear()
        self.reference.addItems(list(known.runs))
        # the oldest is what later ones are to be better than
        place = self.reference.findText(before) if before else -1
        self.reference.setCurrentIndex(place if place >= 0 else self.reference.count() - 1)
        self._compare()

    def _compare(self) -> None:
        """Compare the reference with every other run, in a thread; the newest choice is next."""
        if self._comparing.postponed():
            return
        known, reference = self._known, self.reference.currentText()
        measure = str(self.measure.currentData())
        others = {name: scores for name, scores in known.runs.items() if name != reference}
        if not others:
            self._list(known.unreadable)
            return

        def work() -> dict[str, PairedDifference | str]:
            compared = {
                name: _difference(known.runs[reference], scores, measure, known.groups)
                for name, scores in others.items()
            }
            return compared | known.unreadable

        def failed(error: BaseException) -> None:
            self._session.show_error(error, doing="comparing runs")

        self._comparing.start(work, on_result=self._list, on_failed=failed)

    def _list(self, found: Mapping[str, PairedDifference | str]) -> None:
        item = self.runs.item(self.runs.currentRow(), 0)
        chosen = None if item is None else item.text()
        self.runs.blockSignals(True)
        self.runs.setRowCount(len(found))
        self._shown, self._why_not = [], []
        for number, (name, outcome) in enumerate(found.items()):
            known = None if isinstance(outcome, str) else outcome
            self._shown.append(known)
            self._why_not.append(outcome if isinstance(outcome, str) else "")
            for column, text in enumerate((name, *_cells(known))):
                item = QTableWidgetItem(text)
                item.setToolTip(outcome if isinstance(outcome, str) else name)
                self.runs.setItem(number, column, item)
        self.runs.blockSignals(False)
        if found:
            self.runs.selectRow(next((n for n, name in enumerate(found) if name == chosen), 0))
        self._show_row()

    def _show_row(self) -> None:
        number = self.runs.currentRow()
        known = self._shown[number] if 0 <= number < len(self._shown) else None
        for part in (self.plot, self.table):
            part.setVisible(known is not None)
        self.runs.setVisible(bool(self._shown))
        reasons = {} if known is None else known.left_out
        self.text.setToolTip("\n".join(f"{name}: {why}" for name, why in [*reasons.items()][:20]))
        if known is not None:
            self.plot.show_difference(known)
            self.table.show_pairs(known.images)
            count = len(known.left_out)
            left_out = f" {count} {'image is' if count == 1 else 'images are'} not compared."
            self.text.setText(known.sentence() + (left_out if count else ""))
        elif self._shown:
            self.text.setText(self._why_not[number] if number >= 0 else "Choose a run.")
        else:
            there = len(self._known.runs)
            self.text.setText(f"Evaluate two runs to compare them; evaluated so far: {there}.")

    # -- what others change ----------------------------------------------------------------------

    def _on_event(self, event: object) -> None:
        last = self._session.jobs.last
        if isinstance(event, Done) and last is not None and last.kind == "evaluate":
            self.refresh()

    def _on_theme(self) -> None:
        self.plot.set_colors(colors_of(self._session.viewer.theme))


def _read(project: Project) -> _Known:
    known = _Known({}, units_of(project), {})
    for run in project.runs():
        try:
            scores = read_evaluation(run)
        except MedsslError as error:
            known.unreadable[run.name] = str(error)
        else:
            if scores is not None:
                known.runs[run.name] = scores
    return known


def _difference(
    before: Evaluation, after: Evaluation, measure: str, groups: Mapping[str, str]
) -> PairedDifference | str:
    """Compare two runs; a sentence where that cannot be told."""
    try:
        return paired_difference(before, after, measure=measure, groups=groups)
    except MedsslError as error:
        return str(error)


def _cells(found: PairedDifference | None) -> tuple[str, str, str]:
    if found is None:
        return "", "cannot be told", ""
    interval = found.interval
    return (
        str(len(found.images)),
        f"{interval.mean:+.3f}",
        f"{interval.low:+.3f} to {interval.high:+.3f}",
    )
