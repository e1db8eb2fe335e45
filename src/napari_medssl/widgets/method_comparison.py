"""The button that compares pretraining methods on the user's own annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QMessageBox, QPushButton, QWidget

from napari_medssl.cli.listing import table
from napari_medssl.errors import MedsslError
from napari_medssl.events import Done
from napari_medssl.project.method_comparison import HEAD, newest_comparison
from napari_medssl.widgets.text_dialog import TextDialog

if TYPE_CHECKING:
    from napari_medssl.events import AnyEvent
    from napari_medssl.widgets.problem import Problem
    from napari_medssl.widgets.session import Session

__all__ = ["CompareMethods"]


class CompareMethods(QPushButton):
    """Tells how long a comparison takes, starts it, and shows what came of it.

    Parameters
    ----------
    session : Session
        Whose project this is.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__("Compare methods on my annotations", parent)
        self.setToolTip(
            "Pretrain shortly, fine-tune with and without it, and score both on annotated images that are left out in"
            " turn. You are told first how long it takes."
        )
        self._session = session
        self._asked = False
        self.box: QMessageBox | None = None
        """The question before it starts."""
        self.clicked.connect(self._on_clicked)
        session.run_event.connect(self._on_event)
        session.busy_changed.connect(self._enable)
        self._enable()

    def _enable(self) -> None:
        self.setEnabled(not self._asked and self._session.active is None)

    def _on_clicked(self) -> None:
        project = self._session.project
        assert project is not None  # the card is hidden without one

        def arrived(data: dict[str, Any]) -> None:
            settle()
            self._ask({"kind": "compare", "project": str(project.path)}, data["text"])

        def failed(problem: Problem) -> None:
            settle()
            self._session.problem.emit(problem)

        def settle() -> None:
            self._asked = False
            self._enable()

        self._asked = True
        self._enable()
        self._session.request("compare", on_result=arrived, on_failed=failed)

    def _ask(self, job: dict[str, Any], text: str) -> None:
        box = self.box = QMessageBox(self)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Compare methods")
        box.setText("Compare methods on your annotations?")
        box.setInformativeText(f"{text} It can be stopped, and goes on when it is started again.")
        start = box.addButton("Start", QMessageBox.ButtonRole.AcceptRole)
        box.setEscapeButton(box.addButton("Not now", QMessageBox.ButtonRole.RejectRole))

        def answered() -> None:
            self.box = None
            if box.clickedButton() is start:
                self._start(job)
            box.deleteLater()

        box.finished.connect(answered)
        box.open()

    def _start(self, job: dict[str, Any]) -> None:
        try:
            self._session.start_job(job)
        except MedsslError as error:
            self._session.show_error(error)

    def _on_event(self, event: AnyEvent) -> None:
        last, project = self._session.jobs.last, self._session.project
        if (
            not isinstance(event, Done)
            or event.stopped
            or last is None
            or last.kind != "compare"
            or project is None
            or last.job["project"] != str(project.path)
        ):
            return
        found = newest_comparison(project)
        if found is not None:
            rows = table(HEAD, found.rows())
            TextDialog("Methods compared", rows, heading=event.summary, parent=self).show()
