"""One line about the active run, under whatever step is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QProgressBar, QToolButton, QVBoxLayout, QWidget

from napari_medssl.widgets.loop import Loop
from napari_medssl.widgets.run_handle import title_of
from napari_medssl.widgets.run_monitor import duration
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.widgets.session import Session

__all__ = ["RunStrip"]

_STEPS = {"embed": "Explore", "export": "Predict", "assess": "Evaluate", "compare": "Pretrain"}
"""Steps that are not called as the kind of job that they run."""


class RunStrip(QFrame):
    """Name, progress and time left of the active run; a click goes to its step.

    Parameters
    ----------
    session : Session
        Whose run this is.
    """

    wanted = Signal(str)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        set_role(self, "strip")
        self.text = QToolButton()
        self.text.setStyleSheet("QToolButton { border: none; background: transparent; }")
        self.text.setToolTip("Go to this run")
        self.stop = QToolButton()
        self.stop.setText("Stop and keep")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        row = QHBoxLayout()
        row.addWidget(self.text)
        row.addStretch(1)
        row.addWidget(self.stop)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 3, 6, 4)
        column.setSpacing(2)
        column.addLayout(row)
        column.addWidget(self.bar)
        self.text.clicked.connect(self._on_clicked)
        self.stop.clicked.connect(session.stop)
        self.setVisible(False)

    def refresh(self, open_step: str) -> None:
        """Bring up to date; hidden while the run's own step is open."""
        active = self._session.active
        step = "" if active is None else _step_of(active.kind)
        loop = Loop.find(self._session)
        in_loop = open_step == "Annotate" and loop is not None and loop.job is not None
        self.setVisible(active is not None and step != open_step and not in_loop)
        if active is None:
            return
        begun = active.total or active.state != "starting"
        percent = f"{100 * active.step // max(active.total, 1)} %" if begun else "starting"
        words = {"paused": "paused", "stopping": "stopping"}.get(active.state, "")
        left = f"{duration(active.eta)} left" if active.rate and not words else words
        self.text.setText(
            " · ".join(part for part in (title_of(active.kind), percent, left) if part)
        )
        self.bar.setRange(0, active.total)
        self.bar.setValue(active.step)
        self.stop.setEnabled(active.state in ("running", "paused"))

    def _on_clicked(self) -> None:
        active = self._session.active
        if active is not None:
            self.wanted.emit(_step_of(active.kind))


def _step_of(kind: str) -> str:
    return _STEPS.get(kind, kind.capitalize())
