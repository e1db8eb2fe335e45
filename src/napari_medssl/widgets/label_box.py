"""From similarity to annotation: a threshold, its outline, and labels to be corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QDoubleSlider

from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.copying import DONE
from napari_medssl.widgets.fold import Fold
from napari_medssl.widgets.folder_labels import FolderLabels, Rule
from napari_medssl.widgets.folder_search import FolderSearch
from napari_medssl.widgets.outline import Outline
from napari_medssl.widgets.problem import Problem
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medssl.explore.ranking import Match
    from napari_medssl.widgets.explorer import Explorer
    from napari_medssl.widgets.folder_search import Search
    from napari_medssl.widgets.session import Session

__all__ = ["LabelBox"]


class LabelBox(QWidget):
    """The controls of `Outline`, and the buttons that make labels of it.

    Parameters
    ----------
    session : Session
        Whose images are labelled.
    explorer : Explorer
        Whose map is outlined.
    """

    def __init__(self, session: Session, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._explorer = explorer
        self._outline = Outline.of(session)
        self._search = FolderSearch.of(session)
        self._labels = FolderLabels.of(session)
        self._showing = False
        self._said = ""
        self.box: QMessageBox | None = None
        """The question that is open."""
        self._counting = False
        self._build()
        self._lay_out()
        self._connect()
        self.refresh()

    def _build(self) -> None:
        self.slider = QDoubleSlider(Qt.Orientation.Horizontal)  # type: ignore[no-untyped-call]
        self.slider.setAccessibleName("Threshold")
        self.slider.setToolTip("The green outline in the image follows.")
        self.number = QDoubleSpinBox()
        self.number.setAccessibleName("Threshold, as a number")
        self.number.setRange(-1.0, 1.0)
        self.number.setDecimals(3)
        self.number.setSingleStep(0.005)
        self.number.setKeyboardTracking(False)
        self.number.setButtonSymbols(
            QDoubleSpinBox.ButtonSymbols.NoButtons
        )  # the slider is beside it
        self.number.setMaximumWidth(64)
        self.automatic = QCheckBox("automatic")
        self.automatic.setAccessibleName("Automatic threshold")
        self.automatic.setToolTip("For each map anew: halfway between the similarities shown.")
        self.smoothing = QDoubleSpinBox()
        self.smoothing.setAccessibleName("Smoothing")
        self.smoothing.setRange(0.0, 50.0)
        self.smoothing.setSingleStep(0.5)
        self.smoothing.setDecimals(1)
        self.smoothing.setSuffix(" px")
        self.smoothing.setToolTip("Of the map before: a Gaussian of this standard deviation.")
        self.area = QSpinBox()
        self.area.setAccessibleName("Smallest area")
        self.area.setRange(0, 1_000_000)
        self.area.setSingleStep(8)
        self.area.setSuffix(" px")
        self.area.setToolTip("Smaller pieces are left out, smaller holes filled.")
        self.classes = QComboBox()
        self.classes.setAccessibleName("Class")
        self.overwrite = QCheckBox("also over what is annotated")
        self.overwrite.setToolTip(
            "Off: pixels that are annotated already stay as they are.\n"
            "On: they are replaced, what you painted by hand too."
        )
        self.this = QPushButton("Label this image")
        self.this.setToolTip("What is outlined in green becomes annotation, to be corrected.")
        set_role(self.this, "primary")
        self.undo = QPushButton("Undo (Ctrl+Z)")
        self.undo.setToolTip("Take back the last change of this image's annotation.")
        self.all = QPushButton()
        self.stop = QPushButton("Stop")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.text = QLabel()
        self.text.setWordWrap(True)
        set_role(self.text, "hint")

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        grid.addWidget(QLabel("Threshold"), 0, 0)
        grid.addWidget(self.automatic, 0, 1, 1, 2, Qt.AlignmentFlag.AlignRight)
        grid.addWidget(self.slider, 1, 0, 1, 2)
        grid.addWidget(self.number, 1, 2)
        choice = QHBoxLayout()
        choice.addWidget(QLabel("Class"))
        choice.addWidget(self.classes, 1)
        form = QFormLayout()
        form.addRow("Smoothing", self.smoothing)
        form.addRow("Smallest area", self.area)
        form.addRow(self.overwrite)
        self.fine = Fold("Smoothing, smallest area, overwriting")
        self.fine.set_content_layout(form)
        row = QHBoxLayout()
        row.addWidget(self.this, 1)
        row.addWidget(self.undo)
        progress = QHBoxLayout()
        progress.addWidget(self.bar, 1)
        progress.addWidget(self.stop)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(grid)
        column.addLayout(choice)
        column.addWidget(self.fine)
        column.addLayout(row)
        column.addWidget(self.all)
        column.addLayout(progress)
        column.addWidget(self.text)

    def _connect(self) -> None:
        outline = self._outline
        self.slider.valueChanged.connect(self._on_threshold)
        self.number.valueChanged.connect(self._on_threshold)
        self.automatic.clicked.connect(self._on_automatic)
        self.smoothing.valueChanged.connect(outline.set_smoothing)
        self.area.valueChanged.connect(outline.set_minimum_area)
        self.overwrite.toggled.connect(outline.set_overwrite)
        self.this.clicked.connect(self._on_this)
        self.undo.clicked.connect(self._on_undo)
        self.all.clicked.connect(self._on_all)
        self.stop.clicked.connect(self._labels.stop)
        outline.changed.connect(self.refresh)
        self._search.changed.connect(self.refresh)
        self._labels.changed.connect(self._on_labels)
        self._session.project_changed.connect(self.refresh)
        self._session.image_changed.connect(self._on_image)

    # -- showing ---------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show what is true now."""
        outline, labels = self._outline, self._labels
        self._showing = True
        low, high = self._explorer.view.limits
        threshold = outline.threshold
        self.slider.setRange(min(low, threshold), max(high, threshold))
        self.slider.setSingleStep((high - low) / 200)
        self.slider.setValue(threshold)
        self.number.setValue(threshold)
        self.automatic.setChecked(outline.chosen is None)
        self.smoothing.setValue(outline.smoothing)
        self.area.setValue(outline.minimum_area)
        self.overwrite.setChecked(outline.overwrite)
        self._showing = False
        self._show_classes()
        found = outline.mask is not None and bool(outline.mask.any())
        self.this.setEnabled(found)
        self.undo.setEnabled(self._session.labels_layer is not None)
        matches = self._above()
        self.all.setText(f"Label {_images(len(matches))} above {threshold:.3f} ...")
        busy = labels.running or self._search.running or self._counting
        self.all.setEnabled(bool(matches) and not busy)
        self.all.setToolTip(
            "Every image whose best pixel reaches the threshold, as the gallery has them.\n"
            "You are asked before anything changes."
        )
        self.bar.setVisible(labels.running)
        self.stop.setVisible(labels.running)
        self.bar.setRange(0, labels.total)
        self.bar.setValue(labels.done)
        self.text.setText(self._stand())
        self.text.setVisible(bool(self.text.text()))

    def _stand(self) -> str:
        if self._labels.running:
            return f"Labelled {self._labels.done} of {self._labels.total} images ..."
        if self._said:
            return self._said
        mask = self._outline.mask
        if mask is None:
            return "Give an example first: press Explore and click in the image."
        share = f"{100 * mask.mean():.1f} % of this image is within the outline."
        if self._search.search is None:
            return f"{share} For other images, find in all images first."
        if self._search.outdated:
            return f"{share} For other images, find in all images again: the question has changed."
        return share

    def _above(self) -> Sequence[Match]:
        if self._search.outdated:
            return []
        return self._search.above(self._outline.threshold)

    def _show_classes(self) -> None:
        project = self._session.project
        classes = project.settings.classes if project is not None else ()
        shown = [
            (self.classes.itemText(i), self.classes.itemData(i))
            for i in range(self.classes.count())
        ]
        if shown != [(info.name, info.value) for info in classes]:
            chosen = self.classes.currentData()
            self.classes.clear()
            for info in classes:
                self.classes.addItem(info.name, info.value)
            place = self.classes.findData(chosen)
            self.classes.setCurrentIndex(place if place >= 0 else min(1, len(classes) - 1))

    # -- acting ----------------------------------------------------------------------------------

    def _on_threshold(self, threshold: float) -> None:
        if not self._showing:
            self._said = ""
            self._outline.set_threshold(threshold)
            self.refresh()

    def _on_automatic(self, on: bool) -> None:
        self._said = ""
        self._outline.set_threshold(None if on else self._outline.threshold)
        self.refresh()

    def _on_this(self) -> None:
        if not self._explorer.answered:
            self._said = "The map of the former question was still shown. Press again when the new one is here."
            self.refresh()
            return
        if Annotator.of(self._session).locked:
            self._said = DONE
            self.refresh()
            return
        changed = self._outline.label(self.classes.currentData())
        name = self.classes.currentText()
        if changed is None:
            Annotator.of(self._session).reopen()
            self._said = "The annotation of this image was not open; it is now. Press again."
        elif changed:
            self._said = f"{changed:,} pixels are {name} now: correct them in the step Annotate."
        else:
            self._said = f"Nothing changed: what is outlined is annotated already, or {name}."
        self.refresh()

    def _on_undo(self) -> None:
        annotator = Annotator.of(self._session)
        if annotator.layer is not None:
            annotator.undo()
            self._said = "The last change of this image's annotation is taken back."
            self.refresh()

    def _on_all(self) -> None:
        matches, search, project = self._above(), self._search.search, self._session.project
        if search is None or project is None or not matches or self.box or self._counting:
            return
        outline = self._outline
        rule = Rule(
            self.classes.currentData(),
            outline.threshold,
            outline.smoothing,
            outline.minimum_area,
            outline.overwrite,
        )
        names, word = [match.image for match in matches], self.classes.currentText()
        annotator = Annotator.of(self._session)
        annotator.save()
        waiting = {name: annotator.store.waiting(project, name) for name in names}
        unsaved = {name: found for name, found in waiting.items() if found is not None}
        written = [name for name in names if name not in unsaved]
        count = sum(found.status != "none" for found in unsaved.values())
        self._counting = True

        def look() -> int:
            return count + sum(project.annotations.status(name) != "none" for name in written)

        def ask(known: str) -> None:
            self._counting = False
            if self._session.project is project:
                self._ask(search, names, rule, word, known)
            self.refresh()

        def failed(error: BaseException) -> None:
            why = Problem.of(error, doing="reading the annotations").sentence
            fate = _fate(rule.overwrite)
            ask(
                f"How many of them are annotated already is not known: {why} What is annotated {fate}."
            )

        self._session.background(
            look, on_result=lambda found: ask(_kept(found, rule.overwrite)), on_failed=failed
        )
        self.refresh()

    def _ask(self, search: Search, names: list[str], rule: Rule, word: str, known: str) -> None:
        box = QMessageBox(self)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Label many images")
        box.setText(
            f"Label what reaches {rule.threshold:.3f} as {word!r}, in {_images(len(names))}?"
        )
        box.setInformativeText(
            f"{known} Images that are marked done stay as they are. The labels are a guess, to be corrected. In the "
            "open image Ctrl+Z takes them back, in the others that is not possible."
        )
        label = box.addButton(f"Label {_images(len(names))}", QMessageBox.ButtonRole.AcceptRole)
        leave = box.addButton("Change nothing", QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(leave)
        box.setEscapeButton(leave)

        def answered(_: int) -> None:
            self.box = None
            if box.clickedButton() is label:
                self._said = ""
                self._labels.start(search, names, rule)

        box.finished.connect(answered)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.box = box
        box.open()

    def _on_labels(self) -> None:
        if not self._labels.running:
            self._said = self._labels.outcome
        self.refresh()

    def _on_image(self) -> None:
        self._said = ""
        self.refresh()


def _kept(annotated: int, overwrite: bool) -> str:
    if not annotated:
        return "None of them is annotated yet."
    return f"What is annotated already, in {annotated} of them, {_fate(overwrite)}."


def _fate(overwrite: bool) -> str:
    return "is covered, drawn by hand or not" if overwrite else "stays as it is"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
