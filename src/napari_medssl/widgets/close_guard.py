"""Asks before the window closes while a run is active, and ends the children when it does close."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

from qtpy.QtCore import QCoreApplication, QEvent, QObject, QTimer
from qtpy.QtWidgets import QMessageBox, QWidget

if TYPE_CHECKING:
    from napari._qt.qt_main_window import _QtMainWindow

    from napari_medssl.widgets.session import Session

__all__ = ["CloseGuard"]


class CloseGuard(QObject):
    """Watches the main window of a viewer.

    Parameters
    ----------
    session : Session
        Whose run and children these are.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        window: _QtMainWindow = session.viewer.window._qt_window
        self._reference = ref(window)  # the window must not live on with a widget that someone kept
        self._closing = False
        self._leaving = False
        self.box: QMessageBox | None = None
        window.installEventFilter(self)
        window.destroyed.connect(session.shut_down)
        app = QCoreApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(session.shut_down)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """See the close events of the main window."""
        window = self._reference()
        if event is None or window is None or watched is not window:
            return False
        if event.type() == QEvent.Type.Close:
            if self._session.active is not None and _by_user(window, event):
                event.ignore()
                self._ask(window)
                return True
            # napari may still refuse; hidden means that it did not
            self._closing = True
            QTimer.singleShot(0, self._closed_or_not)
        elif event.type() == QEvent.Type.Hide and self._closing:
            self._session.shut_down()
        return False

    def _closed_or_not(self) -> None:
        self._closing = False

    def _ask(self, window: _QtMainWindow) -> None:
        run = self._session.active
        if run is None or self.box is not None:
            return
        quits = bool(getattr(window, "_quit_app", False))
        box = QMessageBox(window)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("A run is active")
        box.setText(f"{run.name} is still running.")
        box.setInformativeText(
            "Stop it and keep what it has learned so far? It can be resumed at any time."
        )
        stop = box.addButton("Stop, keep and close", QMessageBox.ButtonRole.AcceptRole)
        stay = box.addButton("Stay", QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(stay)
        box.setEscapeButton(stay)
        self.box = box

        def answered() -> None:
            leave = box.clickedButton() is stop
            self.box = None
            box.deleteLater()
            if leave:
                self._stop_then_close(quits)

        box.finished.connect(answered)
        box.open()  # not exec: events of the run keep coming

    def _stop_then_close(self, quits: bool) -> None:
        session = self._session
        if session.jobs.quiet:
            self._close(quits)
            return
        session.jobs.idle.connect(lambda: self._close(quits))
        QTimer.singleShot(
            20_000, lambda: self._close(quits)
        )  # a hung engine must not hold the window
        session.stop()
        session.busy_changed.emit()

    def _close(self, quits: bool) -> None:
        if not self._leaving:
            self._leaving = True
            if self._session.active is not None:
                self._session.shut_down()
            window = self._reference()
            if window is not None:
                window.close(quit_app=quits)


def _by_user(window: _QtMainWindow, event: QEvent) -> bool:
    """Whether the window manager or the menu closes; a program that calls viewer.close() is not asked."""
    if event.spontaneous():
        return True
    # viewer.close() takes the canvas down first, the menu does not
    central = window.centralWidget()
    return central is not None and any(
        child.isVisible() for child in central.children() if isinstance(child, QWidget)
    )
