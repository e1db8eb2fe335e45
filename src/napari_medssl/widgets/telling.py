"""Every problem of a session: written to the viewer's log, and seen somewhere even if no banner is."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QFrame

from napari_medssl.widgets.banner import BANNER
from napari_medssl.widgets.crashes import catch_crashes
from napari_medssl.widgets.logs import write_viewer_log

if TYPE_CHECKING:
    from napari_medssl.widgets.problem import Problem
    from napari_medssl.widgets.session import Session

__all__ = ["Telling"]

_log = logging.getLogger(__name__)


class Telling(QObject):
    """Listens to a session's problems.

    Parameters
    ----------
    session : Session
        Whose problems these are; its exceptions that nobody catches become some, too.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.log = session.folder() / "logs" / "viewer.log"
        write_viewer_log(self.log)
        session.problem.connect(self._on_problem)
        session.crashed.connect(self._on_crashed)
        catch_crashes(session)

    def _on_problem(self, problem: Problem) -> None:
        level = logging.INFO if problem.level == "good" else logging.WARNING
        _log.log(level, "%s", "\n".join(filter(None, (problem.text, problem.details))))
        if self._session.closed:
            return
        window = self._session.viewer.window._qt_window
        banners = window.findChildren(QFrame, BANNER)
        if not any(banner.parentWidget().isVisible() for banner in banners):
            show_error(problem.text)  # no widget of ours is open, or another dock lies over it

    def _on_crashed(self, problem: Problem) -> None:
        self._session.problem.emit(replace(problem, log=self.log))
