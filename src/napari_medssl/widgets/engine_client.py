"""The engine as a child process: started, listened to and told what to do, without ever waiting for it.

The viewer's process never imports torch. Everything here is `QProcess` and JSON lines
(`napari_medssl.engine.protocol`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pydantic import ValidationError
from qtpy.QtCore import QObject, QProcess, Signal

from napari_medssl.engine.protocol import Command, Description
from napari_medssl.events import Done, Failed, parse_event
from napari_medssl.widgets.logs import log_tail, rotate
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Literal

    from napari_medssl.events import AnyEvent

__all__ = [
    "DescribeProcess",
    "EngineProcess",
    "Lines",
    "RunProcess",
    "default_command",
]

_SIGKILL = 9


def default_command() -> list[str]:
    """How the engine is started: with the Python that runs napari."""
    return [sys.executable, "-m", "napari_medssl.engine"]


class Lines:
    """Cuts a stream of bytes into whole lines; what has no line end yet waits for the rest."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes, return the lines that are now complete (without their ends, none empty)."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line for line in (part.strip() for part in whole) if line]

    @property
    def torn(self) -> bytes:
        """What came after the last line end."""
        return self._rest.strip()


class EngineProcess(QObject):
    """One child process that prints events.

    Parameters
    ----------
    command : sequence of str
        Program and first arguments, usually `default_command()`.
    arguments : sequence of str
        What this process is to do.
    log : pathlib.Path
        Where its standard error goes.
    """

    arrived = Signal(object)
    # (a signal called `event` would replace QObject.event, which Qt itself calls)
    finished = Signal()

    def __init__(
        self,
        command: Sequence[str],
        arguments: Sequence[str],
        *,
        log: Path,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.log = log
        self._lines = Lines()
        self._over = False
        self.process = QProcess(self)
        self.process.setProgram(command[0])
        self.process.setArguments([*command[1:], *arguments])
        log.parent.mkdir(parents=True, exist_ok=True)
        rotate(log)
        self.process.setStandardErrorFile(str(log), QProcess.OpenModeFlag.Append)
        self.process.readyReadStandardOutput.connect(self._read)
        self.process.finished.connect(self._on_finished)
        self.process.errorOccurred.connect(self._on_error)

    def start(self) -> None:
        """Start the child; returns at once."""
        self.process.start()

    @property
    def running(self) -> bool:
        """Whether the child lives (or is being started)."""
        return self.process.state() != QProcess.ProcessState.NotRunning

    @property
    def pid(self) -> int:
        """The child's process id; 0 when there is none."""
        return int(self.process.processId())

    def write_line(self, text: str) -> None:
        """Send one line to the child's standard input."""
        self.process.write(text.encode() + b"\n")

    def close_input(self) -> None:
        """End the child's standard input, which tells it that the viewer has gone."""
        self.process.closeWriteChannel()

    def shut_down(self, *, patience: int) -> None:
        """End the child now, waiting at most about `patience` milliseconds: for the closing window only."""
        if not self.running:
            return
        self.close_input()
        if not self.process.waitForFinished(patience):
            self.process.kill()
            self.process.waitForFinished(
                3000
            )  # a killed process goes as fast as the machine lets it

    def how_it_ended(self) -> Problem:
        """Say in a sentence how the child ended, for an end that was not announced by an event."""
        code = self.process.exitCode()
        tail = log_tail(self.log)
        if self.process.error() == QProcess.ProcessError.FailedToStart:
            return Problem(
                f"The engine could not be started ({self.process.program()}).",
                "Check that this Python still exists, then start napari again.",
                f"{self.process.errorString()}\n{tail}",
                self.log,
            )
        crashed = self.process.exitStatus() == QProcess.ExitStatus.CrashExit
        if crashed and code == _SIGKILL:
            return Problem(
                "The engine was killed, most likely because the computer ran out of memory.",
                "What was saved is kept: resume the run, or start again with a smaller batch or patch.",
                tail,
                self.log,
            )
        how = f"by signal {code}" if crashed else f"with exit code {code}"
        return Problem(
            f"The engine ended unexpectedly {how}.",
            "What was saved is kept. The log says what happened last.",
            tail,
            self.log,
        )

    def _read(self) -> None:
        for line in self._lines.feed(bytes(self.process.readAllStandardOutput().data())):
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            event = parse_event(line)
        except ValidationError:
            self._note_in_log(b"not an event: " + line)
            return
        self._deliver(event)

    def _deliver(self, event: AnyEvent) -> None:
        self.arrived.emit(event)

    def _note_in_log(self, line: bytes) -> None:
        # a library printed to standard output; nothing is lost, and the log shows it
        with self.log.open("ab") as file:
            file.write(line + b"\n")

    def _on_error(self, error: QProcess.ProcessError) -> None:
        # Qt sends no `finished` for a program that never started
        if error == QProcess.ProcessError.FailedToStart:
            self._finish()

    def _on_finished(self) -> None:
        self._read()
        if self._lines.torn:
            self._take(self._lines.torn)
        self._finish()

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            self.finished.emit()


class RunProcess(EngineProcess):
    """The engine running one job: ends with exactly one `Done` or `Failed` event, whatever happens.

    Parameters
    ----------
    command : sequence of str
        How the engine is started.
    job : pathlib.Path
        The job file.
    log : pathlib.Path
        Where the engine's standard error goes.
    """

    def __init__(
        self, command: Sequence[str], job: Path, *, log: Path, parent: QObject | None = None
    ) -> None:
        super().__init__(command, ["run", str(job), "--control"], log=log, parent=parent)
        self._said_how = False

    def tell(self, command: Literal["pause", "resume", "stop"]) -> None:
        """Pass a command on to the job."""
        self.write_line(Command(command=command).model_dump_json())

    def _deliver(self, event: AnyEvent) -> None:
        if self._said_how:
            return
        if isinstance(event, Done | Failed):
            self._said_how = True
            self.close_input()
        super()._deliver(event)

    def _finish(self) -> None:
        if not self._over and not self._said_how:
            problem = self.how_it_ended()
            self._deliver(
                Failed(error=problem.sentence, advice=problem.advice, details=problem.details)
            )
        super()._finish()


class DescribeProcess(EngineProcess):
    """``engine describe``: the methods and their settings, read without importing any of them.

    Parameters
    ----------
    command : sequence of str
        How the engine is started.
    log : pathlib.Path
        Where the engine's standard error goes.
    """

    described = Signal(object)
    failed = Signal(object)

    def __init__(self, command: Sequence[str], *, log: Path, parent: QObject | None = None) -> None:
        super().__init__(command, ["describe"], log=log, parent=parent)

    def _read(self) -> None:
        """Leave everything to the end: it is one document."""

    def _finish(self) -> None:
        super()._finish()
        text = bytes(self.process.readAllStandardOutput().data())
        try:
            description = Description.model_validate_json(text)
        except ValidationError:
            self.failed.emit(self.how_it_ended())
            return
        self.described.emit(description)
