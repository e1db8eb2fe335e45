"""What the engine can do, as ``engine describe`` printed it, kept on disk between sessions."""

from __future__ import annotations

import hashlib
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from qtpy.QtCore import QObject, QTimer

import napari_medssl
from napari_medssl.engine.protocol import Description
from napari_medssl.widgets.engine_client import DescribeProcess
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from napari_medssl.widgets.session import Session

__all__ = ["DescriptionCache"]


class DescriptionCache(QObject):
    """Fetches the description once per version of the code and the machine.

    Parameters
    ----------
    session : Session
        Told by its `description_changed` signal.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.description: Description | None = None
        self._process: DescribeProcess | None = None
        self._path = session.folder() / "cache" / f"describe-{_key(session.engine_command)}.json"
        QTimer.singleShot(0, self._load)

    def shut_down(self) -> None:
        """End the child: for the closing window."""
        process, self._process = self._process, None
        if process is not None:
            process.described.disconnect()
            process.failed.disconnect()
            process.shut_down(patience=100)

    def fetch(self) -> None:
        """Ask the engine; returns at once."""
        if self._process is not None:
            return
        log = self._session.folder() / "logs" / "describe.log"
        self._process = DescribeProcess(self._session.engine_command, log=log, parent=self)
        self._process.described.connect(self._on_described)
        self._process.failed.connect(self._on_failed)
        self._process.start()

    def _load(self) -> None:
        if self._path.is_file():
            try:
                self.description = Description.model_validate_json(self._path.read_bytes())
            except ValidationError:  # written by another version or torn: ask again
                self.fetch()
                return
            self._session.description_changed.emit()
        else:
            self.fetch()

    def _on_described(self, description: Description) -> None:
        self._forget_process()
        self.description = description
        self._path.parent.mkdir(parents=True, exist_ok=True)
        for old in self._path.parent.glob("describe-*.json"):
            old.unlink(missing_ok=True)
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(description.model_dump_json(), encoding="utf-8")
        temporary.replace(self._path)
        self._session.description_changed.emit()

    def _on_failed(self, problem: Problem) -> None:
        self._forget_process()
        self._session.problem.emit(
            Problem(
                f"The engine could not say which methods it has: {problem.sentence}",
                "Run `medssl doctor` in a terminal, or look into the log.",
                problem.details,
                problem.log,
            )
        )

    def _forget_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.deleteLater()


def _key(command: list[str]) -> str:
    """Name what the description depends on: the code, the methods of other packages, the device."""
    parts = [napari_medssl.__version__, sys.version, *command]
    parts.append(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    driver = Path("/proc/driver/nvidia/version")
    parts.append(driver.read_text() if driver.is_file() else "")
    package = Path(napari_medssl.__file__).parent
    for folder in ("engine", "learn"):
        for path in sorted((package / folder).rglob("*.py")):
            state = path.stat()
            parts.append(f"{path.name} {state.st_mtime_ns} {state.st_size}")
    for point in sorted(entry_points(group="napari_medssl.pretext"), key=lambda item: item.name):
        version = point.dist.version if point.dist is not None else ""
        parts.append(f"{point.name} {point.value} {version}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
