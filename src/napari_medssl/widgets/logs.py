"""Logs: a few of about a megabyte are kept of each, and the newest can be opened."""

from __future__ import annotations

import logging
import sys
from itertools import pairwise
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices

from napari_medssl.widgets.text_dialog import TextDialog

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

__all__ = ["log_tail", "open_log", "rotate", "write_viewer_log"]

_BYTES = 1_000_000
_KEPT = 5


def rotate(log: Path) -> None:
    """Put a log that has grown aside, as ``<name>.1``; the oldest of five goes.

    To be called before somebody opens the log, which is then new.
    """
    if not log.is_file() or log.stat().st_size < _BYTES:
        return
    aside = [log, *(log.with_name(f"{log.name}.{number}") for number in range(1, _KEPT))]
    for newer, older in reversed(list(pairwise(aside))):
        if newer.is_file():
            newer.replace(older)


def log_tail(path: Path | None, *, characters: int = 4000) -> str:
    """Return the end of a log file; empty when there is none."""
    if path is None or not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - characters))
        return file.read().decode(errors="replace").strip()


def open_log(path: Path, parent: QWidget | None = None) -> TextDialog | None:
    """Open a log with the desktop's program for text, or in a window of ours where there is none.

    Returns
    -------
    TextDialog or None
        The window, if it was needed.
    """
    if QDesktopServices.openUrl(QUrl.fromLocalFile(str(path))):
        return None
    text = log_tail(path, characters=_BYTES)
    dialog = TextDialog(path.name, text or "The log is empty.", heading=str(path), parent=parent)
    dialog.show()
    dialog.text.moveCursor(dialog.text.textCursor().MoveOperation.End)
    return dialog


class _ViewerLog(RotatingFileHandler):
    """Says in a line on the terminal that it cannot be written: the disk it is on may be the one that is full."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        sys.stderr.write(f"{self.baseFilename} cannot be written: {sys.exc_info()[1]}\n")


def write_viewer_log(path: Path) -> None:
    """Let what the package logs in this process go to a rotating file, and to no other one any more."""
    logger = logging.getLogger("napari_medssl")
    for handler in list(logger.handlers):
        if isinstance(handler, RotatingFileHandler):
            if Path(handler.baseFilename) == path.absolute():
                return
            logger.removeHandler(handler)
            handler.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _ViewerLog(path, maxBytes=_BYTES, backupCount=_KEPT - 1, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
