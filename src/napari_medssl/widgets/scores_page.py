"""Evaluate, tab "Images": what the scores come to, every image, and its errors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLabel, QVBoxLayout, QWidget

from napari_medssl.evaluate.error_map import Outcome
from napari_medssl.evaluate.objects import MEASURES
from napari_medssl.widgets.error_overlay import COLOURS, KEY, WORDS, ErrorOverlay
from napari_medssl.widgets.evaluations import Evaluations
from napari_medssl.widgets.fold import Fold
from napari_medssl.widgets.rows import button, equal_row, row
from napari_medssl.widgets.score_plot import ScorePlot
from napari_medssl.widgets.score_table import ScoreTable, families
from napari_medssl.widgets.theme import colors_of, set_role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_medssl.evaluate import Evaluation
    from napari_medssl.evaluate.intervals import Interval
    from napari_medssl.widgets.session import Session

__all__ = ["ScoresPage", "summary"]

_TIPS = {
    Outcome.RIGHT: "The class in the prediction and in the truth",
    Outcome.TOO_MUCH: "The class in the prediction alone (false positive)",
    Outcome.MISSED: "The class in the truth alone (false negative)",
    Outcome.CONFUSED: "One class in place of another one",
}


class ScoresPage(QWidget):
    """The scores of the current run, and the errors of the open image.

    Parameters
    ----------
    session : Session
        Whose run.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._evaluations = Evaluations.of(session)
        self.overlay = ErrorOverlay.of(session)
        self.summary = QLabel()
        self.notes = QLabel()
        set_role(self.notes, "warning")
        self.why_not = QLabel()
        set_role(self.why_not, "hint")
        for label in (self.summary, self.notes, self.why_not):
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.PlainText)
        self.summary.setToolTip(
            "In brackets: where 95% of the means of other such images would lie; of fewer than ten images (or groups)"
            " it is too narrow. Pooled: all pixels of all images counted together. With background: as one more class,"
            " so with one class the two-class mean"
        )
        self.classes = QComboBox()
        self.classes.setAccessibleName("Class")
        self.classes.setToolTip("Whose scores are listed, and whose errors are shown")
        self.families = QComboBox()
        self.families.setAccessibleName("Scores of")
        self.families.setToolTip("What the columns of the table score")
        self.table = ScoreTable()
        self.errors = QCheckBox("Errors")
        self.errors.setToolTip(
            f"Show over the open image what is right, too much and missed ({KEY.replace('-', '+')})"
        )
        self.outcomes: dict[Outcome, QCheckBox] = {}
        for outcome, word in WORDS.items():
            box = QCheckBox(word)
            box.setChecked(True)
            box.setToolTip(_TIPS[outcome])
            box.toggled.connect(self._on_outcomes)
            self.outcomes[outcome] = box
        self.plot = ScorePlot(colors_of(session.viewer.theme))
        self.spread = Fold("Spread")
        self.report = button("Open report", "Everything on one page, in the browser")
        self.folder = button("Open folder", "The run's folder: scores, report, maps")
        self.details = QWidget()
        self._lay_out()
        self.classes.activated.connect(self._on_class)
        self.families.activated.connect(self._on_class)
        self.table.chosen.connect(session.open_image)
        self.errors.toggled.connect(self.overlay.set_visible)
        self.report.clicked.connect(self._on_report)
        self.folder.clicked.connect(self._on_folder)
        self._evaluations.changed.connect(self.refresh)
        self.overlay.changed.connect(self._on_overlay)
        session.image_changed.connect(self._on_image)
        session.viewer.events.theme.connect(self._on_theme)
        self.refresh()

    def refresh(self) -> None:
        """Show the scores that are there now."""
        evaluation = self._evaluations.evaluation
        labels = [] if evaluation is None else list(evaluation.mean)
        if labels != [self.classes.itemText(i) for i in range(1, self.classes.count())]:
            self.classes.clear()
            self.classes.addItem("All classes", None)
            for label in labels:
                self.classes.addItem(label, label)
        self.classes.setVisible(len(labels) > 1)
        found = list(families(evaluation))
        if found != [self.families.itemData(i) for i in range(self.families.count())]:
            self.families.clear()
            for family in found:
                self.families.addItem(family.capitalize(), family)
        self.families.setVisible(len(found) > 1)
        self.details.setVisible(evaluation is not None)
        if evaluation is None:
            self.summary.setText("This run has no scores yet.")
            self.notes.setText("")
        else:
            self.summary.setText("\n".join(summary(evaluation)))
            self.notes.setText(
                "\n".join([*_outdated(self._evaluations.outdated), *evaluation.notes])
            )
        self.notes.setVisible(bool(self.notes.text()))
        page = self._evaluations.report
        self.report.setEnabled(page is not None)
        self.report.setToolTip(
            "Everything on one page, in the browser"
            if page is not None
            else "These scores were made without a report; Evaluate writes one"
        )
        self._on_class()
        self._on_overlay()

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Show the errors of the images from now on."""
        super().showEvent(event)
        self.overlay.set_on(True)

    def hideEvent(self, event: Any) -> None:  # noqa: N802
        """Take the errors away: another page or step is open, or the window closes."""
        super().hideEvent(event)
        if self._session.on_screen:
            self.overlay.set_on(False)

    @property
    def label(self) -> str | None:
        """The class that is looked at; None for all."""
        labels = [self.classes.itemData(i) for i in range(1, self.classes.count())]
        chosen: str | None = self.classes.currentData()
        return labels[0] if len(labels) == 1 else chosen

    def _lay_out(self) -> None:
        legend = QGridLayout()
        legend.setHorizontalSpacing(3)
        legend.setVerticalSpacing(2)
        for number, (outcome, box) in enumerate(self.outcomes.items()):
            swatch = QLabel()
            swatch.setFixedSize(11, 11)
            swatch.setStyleSheet(f"background: {COLOURS[outcome]}; border: 1px solid #808080;")
            line, place = divmod(number, 3)  # all four in a line are wider than the panel
            legend.addWidget(swatch, line, 2 * place)
            legend.addWidget(box, line, 2 * place + 1, 1, 5 if line else 1)
            if outcome is Outcome.CONFUSED:
                self._confused = swatch
        legend.setColumnStretch(6, 1)
        spread = QVBoxLayout()
        spread.addWidget(self.plot)
        self.spread.set_content_layout(spread)
        inner = QVBoxLayout(self.details)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.setSpacing(4)
        inner.addLayout(row(self.classes, self.families, stretch=self.classes))
        inner.addWidget(self.table)
        inner.addLayout(legend)
        inner.addWidget(self.why_not)
        inner.addWidget(self.spread)
        last = equal_row(self.report, self.folder)
        last.insertWidget(0, self.errors)
        inner.addLayout(last)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.summary)
        column.addWidget(self.notes)
        column.addWidget(self.details)

    def _on_class(self) -> None:
        evaluation, label, project = self._evaluations.evaluation, self.label, self._session.project
        classes = () if project is None else project.settings.classes
        value = next((info.value for info in classes if info.name == label), None)
        self.table.show_scores(evaluation, label, self.families.currentData() or "pixels")
        self.table.mark(self._session.image)
        self.plot.show_scores(
            [] if evaluation is None else _dice(evaluation, label),
            None if evaluation is None else evaluation.objects,
        )
        confused = value is None
        for widget in (self._confused, self.outcomes[Outcome.CONFUSED]):
            widget.setVisible(confused)
        self.overlay.compare_class(value)

    def _on_outcomes(self) -> None:
        self.overlay.show_outcomes([key for key, box in self.outcomes.items() if box.isChecked()])

    def _on_overlay(self) -> None:
        self.errors.setChecked(self.overlay.visible)
        self.why_not.setText(self.overlay.why_not)
        self.why_not.setVisible(bool(self.overlay.why_not))

    def _on_image(self) -> None:
        self.table.mark(self._session.image)

    def _on_report(self) -> None:
        page = self._evaluations.report
        if page is not None:
            self._open(page)

    def _on_folder(self) -> None:
        project, run = self._session.project, self._evaluations.run
        if project is not None and run is not None:
            self._open(project.run(run).path)

    def _open(self, path: Path) -> None:
        if not QDesktopServices.openUrl(QUrl.fromLocalFile(str(path))):
            self.why_not.setText(f"This desktop has no program to open it with: {path}")
            self.why_not.setVisible(True)

    def _on_theme(self) -> None:
        self.plot.set_colors(colors_of(self._session.viewer.theme))


def summary(evaluation: Evaluation) -> Iterator[str]:
    """Say in a line each what scores come to."""
    count = len(evaluation.images)
    images = f"{count} image{'' if count == 1 else 's'}, "
    for label, mean in evaluation.mean.items():
        own = evaluation.intervals.get(label, {})
        yield (
            f"{images}{label}: Dice {mean['dice']:.3f}{_between(own.get('dice'))}, "
            f"IoU {mean['iou']:.3f}{_between(own.get('iou'))}"
        )
        images = ""
    pooled = {label: f"{score.dice:.3f}" for label, score in evaluation.pooled.items()}
    each = ", ".join(f"{label} {dice}" for label, dice in pooled.items())
    line = f"pooled Dice: {each}" if len(pooled) > 1 else f"pooled Dice {''.join(pooled.values())}"
    if (both := evaluation.iou_with_background) is not None:
        line += f"; mean IoU with background {both:.3f}"
    yield line
    if (objects := evaluation.objects) is not None:
        parts = (
            f"{told} {objects.mean[key]:.3f}{_between(objects.intervals.get(key))}"
            for key, told in MEASURES.items()
        )
        yield f"objects: {', '.join(parts)}"
    if (outlines := evaluation.outlines) is not None:
        for label, near in outlines.surface_dice.items():
            median = outlines.median_hd95[label]
            off = "" if median is None else f", median HD95 {median:.1f} px"
            off += "".join(f", {why}" for why in outlines.without(label))
            yield f"outline of {label}: {near:.3f} within {outlines.tolerance:g} px{off}"
    if (volumes := evaluation.volumes) is not None:
        for label, dice in volumes.mean.items():
            between = _between(volumes.intervals.get(label))
            groups = len(volumes.volumes)
            yield (
                f"volumes: {label} 3-D Dice {dice:.3f}{between} "
                f"({groups} group{'' if groups == 1 else 's'})"
            )


def _outdated(images: Sequence[str]) -> Iterator[str]:
    if images:
        what = "an image was" if len(images) == 1 else f"{len(images)} images were"
        named = ", ".join(images[:3]) + (", ..." if len(images) > 3 else "")
        yield f"Since these scores {what} annotated or predicted anew ({named}): evaluate again."


def _between(interval: Interval | None) -> str:
    return "" if interval is None else f" ({interval.low:.3f} to {interval.high:.3f})"


def _dice(evaluation: Evaluation, label: str | None) -> list[float]:
    labels = list(evaluation.mean) if label is None else [label]
    return [
        math.fsum(row.classes[name].dice for name in labels) / len(labels)
        for row in evaluation.images
    ]
