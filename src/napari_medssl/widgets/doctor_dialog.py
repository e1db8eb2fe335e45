"""`medssl doctor` behind a button: what this installation can do, and the command that mends what it cannot."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar

from qtpy.QtCore import QProcess, QTimer
from qtpy.QtWidgets import QProgressBar

from napari_medssl.widgets.text_dialog import TextDialog

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

__all__ = ["DoctorDialog"]


class DoctorDialog(TextDialog):
    """Runs the doctor in a child process, and shows what it says.

    Parameters
    ----------
    project : str
        A project folder to look at, too; may be empty.
    """

    command: ClassVar[list[str]] = [sys.executable, "-m", "napari_medssl.cli", "doctor"]

    def __init__(self, project: str = "", *, parent: QWidget | None = None) -> None:
        super().__init__(
            "Check of the installation",
            heading="Looking at torch, the graphics card, Qt, memory and disk ...",
            copy="Copy report",
            parent=parent,
        )
        self.resize(1000, 480)  # its lines are long
        self.bar = QProgressBar()
        self.bar.setRange(0, 0)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        layout = self.layout()
        if layout is not None:
            layout.addWidget(self.bar)
        self.copy.setEnabled(False)
        self.process = QProcess(self)
        self.process.setProgram(self.command[0])
        self.process.setArguments([*self.command[1:], *([project] if project else [])])
        self.process.finished.connect(self._on_finished)
        self.process.errorOccurred.connect(self._on_error)
        self.finished.connect(self._on_closed)
        QTimer.singleShot(0, self.process.start)

    def _on_finished(self) -> None:
        said = bytes(self.process.readAllStandardOutput().data()).decode(errors="replace").strip()
        errors = bytes(self.process.readAllStandardError().data()).decode(errors="replace").strip()
        if said:
            healthy = self.process.exitCode() == 0
            self._show(
                "Everything that is needed works."
                if healthy
                else "Something does not work; the lines with an arrow tell how to mend it.",
                said,
            )
        else:  # it fell over itself, which is a finding, too
            self._show("The check ended without a report. Copy this and send it to us.", errors)

    def _on_error(self, error: QProcess.ProcessError) -> None:
        # Qt sends no `finished` for a program that never started
        if error == QProcess.ProcessError.FailedToStart:
            self._show(
                f"The check could not be started ({self.process.program()}).",
                self.process.errorString(),
            )

    def _show(self, heading: str, text: str) -> None:
        self.bar.setVisible(False)
        self.heading.setText(heading)
        self.text.setPlainText(text)
        self.copy.setEnabled(True)

    def _on_closed(self) -> None:
        if self.process.state() != QProcess.ProcessState.NotRunning:
            self.process.finished.disconnect()
            self.process.errorOccurred.disconnect()
            self.process.kill()
            self.process.waitForFinished(3000)
