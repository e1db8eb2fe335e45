"""How far the active job is, with a button to end it, where the step has no monitor of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.widgets.long_work import ProgressRow
from napari_medssl.widgets.run_monitor import duration

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_medssl.widgets.session import Session

__all__ = ["JobProgress"]


class JobProgress(ProgressRow):
    """Shown while a job of this kind runs.

    Parameters
    ----------
    session : Session
        Whose job.
    kind : str
        ``evaluate``, ``assess``, ...
    unit : str
        What it counts.
    """

    def __init__(
        self, session: Session, kind: str, *, unit: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._kind, self._unit = kind, unit
        self.stop_clicked.connect(session.stop)
        session.busy_changed.connect(self.refresh)
        session.run_event.connect(self.refresh)
        self.refresh()

    @property
    def running(self) -> bool:
        """Whether such a job is active."""
        active = self._session.active
        return active is not None and active.kind == self._kind

    def refresh(self, _: object = None) -> None:
        """Show what is true now."""
        active = self._session.active
        if active is None or active.kind != self._kind:
            self.end()
            return
        if not active.step:
            self.begin("Starting ...")
            return
        left = f", {duration(active.eta)} left" if active.rate else ""
        stopping = ", stopping" if active.state == "stopping" else left
        self.begin(f"{active.step} of {active.total} {self._unit}{stopping}")
        self.advance(active.step, active.total)
