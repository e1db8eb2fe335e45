"""What suits the folder, with reasons, and a button that takes it over."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.widgets.fold import Fold
from napari_medssl.widgets.method_comparison import CompareMethods
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.widgets.session import Session

__all__ = ["PlanCard"]


class PlanCard(QFrame):
    """The recommendation of `Session.planner`; hidden while there is no project.

    Parameters
    ----------
    session : Session
        Whose project this is.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        set_role(self, "strip")
        self.headline = QLabel()
        self.headline.setWordWrap(True)
        self.reasons = QLabel()
        self.reasons.setWordWrap(True)
        self.reasons.setTextFormat(Qt.TextFormat.RichText)
        self.why = Fold("Why")
        self.imagenet = QCheckBox("Start from ImageNet's weights")
        self.imagenet.setToolTip(
            "Plan for an encoder that has learned from photographs; its weights come with medssl"
        )
        self.use = QPushButton("Use this plan")
        self.use.setToolTip("Fill in the Pretrain step; nothing is started")
        self.again = QPushButton("Try again")
        self.compare = CompareMethods(session)
        inside = QVBoxLayout()
        inside.addWidget(self.reasons)
        self.why.set_content_layout(inside)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 6)
        column.setSpacing(4)
        column.addWidget(self.headline)
        column.addWidget(self.imagenet)
        row = QHBoxLayout()
        row.addWidget(self.why.button, 1)  # beside the button: height is scarce on small screens
        row.addWidget(self.use)
        column.addLayout(row)
        column.addWidget(self.why)
        column.addWidget(self.compare)
        column.addWidget(self.again)
        self.imagenet.clicked.connect(self._on_imagenet)
        self.use.clicked.connect(session.planner.accept)
        self.again.clicked.connect(session.planner.ask_again)
        session.planner.changed.connect(self.refresh)
        session.project_changed.connect(self.refresh)
        session.images_changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the plan there is now, or why there is none yet."""
        project, planner = self._session.project, self._session.planner
        plan, trouble = planner.plan, planner.trouble
        self.setVisible(project is not None and bool(project.images))
        self.why.button.setVisible(plan is not None)
        self.why.setVisible(plan is not None)
        self.use.setVisible(plan is not None)
        self.again.setVisible(trouble is not None)
        start = planner.start
        if start is None and plan is not None:
            start = plan.job["network"]["encoder_weights"]
        self.imagenet.setVisible(start is not None)
        self.imagenet.setChecked(start == "imagenet")
        set_role(self.headline, "heading" if plan is not None else "hint")
        if plan is not None:
            self.headline.setText(f"Recommended: {plan.headline()}")
            lines = [
                f"<b>{escape(item.name.capitalize())}: {escape(item.value)}.</b> {escape(item.why)}"
                for item in plan.advice
            ]
            self.reasons.setText("<br>".join(lines))
        elif trouble is not None:
            self.headline.setText(f"There is no recommendation: {trouble.text}")
        else:
            self.headline.setText(
                "What suits these images is worked out when all were looked at ..."
            )

    def _on_imagenet(self, checked: bool) -> None:
        self._session.planner.plan_from("imagenet" if checked else "none")
