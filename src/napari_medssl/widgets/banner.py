"""The one place where failures are shown: a sentence, advice, and the details behind a button."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices, QFontDatabase
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.widgets.engine_client import log_tail
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.widgets.problem import Problem
    from napari_medssl.widgets.session import Session

__all__ = ["Banner", "DetailsDialog"]


class Banner(QFrame):
    """Shows the newest problem until it is dismissed.

    Parameters
    ----------
    session : Session
        Whose problems these are.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.problem: Problem | None = None
        self.dialog: DetailsDialog | None = None
        set_role(self, "banner")
        self.sentence = QLabel()
        self.sentence.setWordWrap(True)
        set_role(self.sentence, "error")
        self.advice = QLabel()
        self.advice.setWordWrap(True)
        self.details = QPushButton("Details and log ...")
        self.dismiss = QPushButton("Dismiss")
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(self.details)
        row.addWidget(self.dismiss)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 6)
        column.setSpacing(4)
        column.addWidget(self.sentence)
        column.addWidget(self.advice)
        column.addLayout(row)
        self.details.clicked.connect(self._on_details)
        self.dismiss.clicked.connect(self.clear)
        session.problem.connect(self.show_problem)
        session.busy_changed.connect(self._on_busy)
        self.setVisible(False)

    def show_problem(self, problem: Problem) -> None:
        """Show this one; an older one goes."""
        self.problem = problem
        self.sentence.setText(problem.sentence)
        self.sentence.setAccessibleName(problem.sentence)
        self.advice.setText(problem.advice)
        self.advice.setVisible(bool(problem.advice))
        self.details.setVisible(bool(problem.details) or problem.log is not None)
        self.setVisible(True)

    def clear(self) -> None:
        """Dismiss the problem."""
        self.problem = None
        self.setVisible(False)

    def _on_busy(self) -> None:
        # starting the next thing is an answer to the problem
        active = self._session.active
        if active is not None and active.state == "starting":
            self.clear()

    def _on_details(self) -> None:
        if self.problem is not None:
            self.dialog = DetailsDialog(self.problem, self)
            self.dialog.show()


class DetailsDialog(QDialog):
    """Traceback and log of a problem, to read and to copy.

    Parameters
    ----------
    problem : Problem
        What failed.
    """

    def __init__(self, problem: Problem, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._problem = problem
        self.setWindowTitle("What happened")
        self.resize(720, 420)
        heading = QLabel(f"{problem.sentence} {problem.advice}".strip())
        heading.setWordWrap(True)
        tail = log_tail(problem.log, characters=20_000)
        parts = [problem.details]
        if tail and tail not in problem.details:
            parts.append(f"--- end of {problem.log} ---\n{tail}")
        self.text = QPlainTextEdit("\n\n".join(part for part in parts if part))
        self.text.setReadOnly(True)
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.text.setAccessibleName("Details")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        copy = buttons.addButton("Copy", QDialogButtonBox.ButtonRole.ActionRole)
        if copy is not None:
            copy.clicked.connect(self._copy)
        if problem.log is not None and problem.log.is_file():
            log = buttons.addButton("Open log", QDialogButtonBox.ButtonRole.ActionRole)
            if log is not None:
                log.setToolTip(str(problem.log))
                log.clicked.connect(self._open_log)
        buttons.rejected.connect(self.close)
        column = QVBoxLayout(self)
        column.addWidget(heading)
        column.addWidget(self.text, 1)
        column.addWidget(buttons)

    def _copy(self) -> None:
        self.text.selectAll()
        self.text.copy()

    def _open_log(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._problem.log)))
