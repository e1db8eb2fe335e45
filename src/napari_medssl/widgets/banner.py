"""The one place where failures are shown: a sentence, advice, and the details behind a button."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

import napari_medssl
from napari_medssl.widgets.logs import log_tail, open_log
from napari_medssl.widgets.text_dialog import TextDialog
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.widgets.problem import Action, Problem
    from napari_medssl.widgets.session import Session

__all__ = ["BANNER", "Banner", "DetailsDialog"]

BANNER = "medssl-banner"
"""Name of the object, by which a session finds out whether one is seen."""


class Banner(QFrame):
    """Shows the newest problem until it is dismissed, then the one before it.

    Parameters
    ----------
    session : Session
        Whose problems these are.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._problems: list[Problem] = []
        self.dialog: DetailsDialog | None = None
        self.setObjectName(BANNER)
        self.sentence, self.advice = QLabel(), QLabel()
        for label in (self.sentence, self.advice):
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.PlainText)
        self.details = QPushButton("Details and log ...")
        self.dismiss = QPushButton("Dismiss")
        self._actions = QHBoxLayout()
        row = QHBoxLayout()
        row.addLayout(self._actions)
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
        session.settled.connect(self.settle)
        session.busy_changed.connect(self._on_busy)
        self.setVisible(False)

    @property
    def problem(self) -> Problem | None:
        """What is shown."""
        return self._problems[-1] if self._problems else None

    def show_problem(self, problem: Problem) -> None:
        """Show this one; one about the same thing goes, others wait behind it."""
        self._problems = [older for older in self._problems if not _same(older, problem)]
        self._problems.append(problem)
        self._refresh()

    def settle(self, about: str) -> None:
        """Take away what is about this: it is no problem any more."""
        self._problems = [problem for problem in self._problems if problem.about != about]
        self._refresh()

    def clear(self) -> None:
        """Dismiss the problem that is shown."""
        self._problems = self._problems[:-1]
        self._refresh()

    def _refresh(self) -> None:
        problem = self.problem
        self.setVisible(problem is not None)
        while self._actions.count():
            item = self._actions.takeAt(0)
            widget = item.widget() if item is not None else None
            if widget is not None:
                widget.hide()  # at once; deleted when Qt gets to it
                widget.deleteLater()
        if problem is None:
            return
        set_role(self, f"banner-{problem.level}")
        set_role(self.sentence, problem.level)
        self.sentence.setText(problem.sentence)
        self.sentence.setAccessibleName(problem.sentence)
        self.advice.setText(problem.advice)
        self.advice.setVisible(bool(problem.advice))
        self.details.setVisible(bool(problem.details) or problem.log is not None)
        waiting = len(self._problems) - 1
        self.dismiss.setText(f"Dismiss ({waiting} more)" if waiting else "Dismiss")
        for action in problem.actions:
            self._actions.addWidget(self._button(action))

    def _button(self, action: Action) -> QPushButton:
        button = QPushButton(action.text)
        button.clicked.connect(lambda: action.do())
        return button

    def _on_busy(self) -> None:
        # starting the next thing is an answer to what went wrong before, but not to what lasts
        active = self._session.active
        if active is not None and active.state == "starting":
            self.settle("")

    def _on_details(self) -> None:
        if self.problem is not None:
            self.dialog = DetailsDialog(self.problem, self)
            self.dialog.show()


class DetailsDialog(TextDialog):
    """Traceback and log of a problem, to read and to copy.

    Parameters
    ----------
    problem : Problem
        What failed.
    """

    def __init__(self, problem: Problem, parent: QWidget | None = None) -> None:
        tail = log_tail(problem.log, characters=20_000)
        parts = [problem.details]
        if tail and tail not in problem.details:
            parts.append(f"--- end of {problem.log} ---\n{tail}")
        super().__init__(
            "What happened",
            "\n\n".join(part for part in parts if part),
            heading=problem.text,
            copy="Copy report",
            parent=parent,
        )
        log = problem.log
        if log is not None and log.is_file():
            button = self.add_button("Open log", lambda: open_log(log, self))
            button.setToolTip(str(log))

    def report(self) -> str:
        """Return what is copied: with the versions that a maintainer asks for first."""
        versions = f"napari-medssl {napari_medssl.__version__}, Python {platform.python_version()}"
        return f"{super().report()}\n\n{versions}, {platform.platform()}"


def _same(one: Problem, other: Problem) -> bool:
    return bool(one.about and one.about == other.about) or one.sentence == other.sentence
