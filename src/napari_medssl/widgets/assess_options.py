"""What an assessment of features compares with, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QLabel, QSpinBox, QWidget

from napari_medssl.widgets.fold import Fold

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_medssl.project import Run
    from napari_medssl.widgets.session import Session

__all__ = ["AssessOptions"]

_KINDS = {
    "unbiased": (
        "unbiased",
        "Whole stages, in few large batches: also of few images, independent encoders come out at about 0",
    ),
    "paper": (
        "as in the paper",
        "Biased, in batches of 12 images, the mean over the layers of a stage: comparable with published figures, but"
        " it calls small sets of images alike. Takes two runs with the same encoder",
    ),
}
"""Kind of CKA -> in words, and more of them."""
_FOCAL = (
    "Of the linear classifier of whole images: the higher, the more it learns from those that it gets wrong; 0 is"
    " cross-entropy"
)


class AssessOptions(Fold):
    """Other runs, and details that mostly stay as they are, under a heading.

    Parameters
    ----------
    session : Session
        Whose runs.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__("Compare with another run, details", parent)
        self._session = session
        self.against = _box()
        self.kind = _box()
        for number, (key, (words, more)) in enumerate(_KINDS.items()):
            self.kind.addItem(words, key)
            self.kind.setItemData(number, more, Qt.ItemDataRole.ToolTipRole)
        self.rival = _box()
        self.most = QSpinBox()
        self.most.setRange(4, 1_000_000)
        self.most.setValue(200)
        self.focal = QDoubleSpinBox()
        self.focal.setRange(0.0, 10.0)
        self.focal.setDecimals(1)
        self.focal.setSingleStep(0.5)
        self.focal.setValue(2.0)
        rows = QFormLayout()
        for text, widget, tip in (
            (
                "Encoder, with",
                self.against,
                "CKA: how alike both encoders see images, such as one fine-tuned on all annotations",
            ),
            ("CKA", self.kind, "How encoders are compared"),
            ("Time, with", self.rival, "RQC: which of two pretrainings had settled sooner"),
            ("Images, at most", self.most, "Of more, so many are looked at, evenly spread"),
            ("Focal exponent", self.focal, _FOCAL),
        ):
            title = QLabel(text)
            title.setBuddy(widget)
            title.setToolTip(tip)
            widget.setToolTip(tip)
            widget.setAccessibleName(text)
            rows.addRow(title, widget)
        self.set_content_layout(rows)
        self.against.currentIndexChanged.connect(self._on_against)
        self._on_against()

    def refresh(self, run: str | None) -> None:
        """Offer what goes with a run; what was chosen stays."""
        usable, project = self._session.usable_runs, self._session.project
        runs = [other for other in usable if other.name != run]
        pretrained = any(own.name == run and own.kind == "pretrain" for own in usable)
        _fill(self.against, runs)
        _fill(self.rival, [other for other in runs if pretrained and other.kind == "pretrain"])
        labelled = project is not None and project.settings.image_labels is not None
        self.focal.setEnabled(labelled)
        self.focal.setToolTip(
            _FOCAL
            if labelled
            else "Say which classes whole images have: step Project, Image labels"
        )

    def fields(self) -> dict[str, Any]:
        """Give the fields of a job."""
        rival = self.rival.currentData()
        return {
            "against": self.against.currentData(),
            "cka": self.kind.currentData(),
            "rivals": [] if rival is None else [rival],
            "most": self.most.value(),
            "focal": self.focal.value(),
        }

    def _on_against(self) -> None:
        self.kind.setEnabled(self.against.currentData() is not None)


def _box() -> QComboBox:
    box = QComboBox()
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)
    return box


def _fill(box: QComboBox, runs: Iterable[Run]) -> None:
    """Offer these runs; what was chosen stays."""
    chosen = box.currentData()
    box.clear()
    box.addItem("none", None)
    for run in runs:
        box.addItem(run.name, run.name)
    box.setCurrentIndex(max(0, box.findData(chosen)) if chosen is not None else 0)
    box.setEnabled(box.count() > 1)
