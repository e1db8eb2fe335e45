"""One run as it goes, or as it went: progress, curve, time left, device, and the buttons to steer it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.errors import MedsslError
from napari_medssl.events import Progress
from napari_medssl.widgets.curves import Curves
from napari_medssl.widgets.theme import colors_of, set_role

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_medssl.events import AnyEvent
    from napari_medssl.project import Run
    from napari_medssl.widgets.run_handle import RunHandle
    from napari_medssl.widgets.session import Session

__all__ = ["RunMonitor", "duration"]

_REDRAW_MS = 400


def duration(seconds: float) -> str:
    """Write a time in words: ``45 s``, ``3 min``, ``2 h 05 min``."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class RunMonitor(QWidget):
    """Shows the active run if it is of one of these kinds, else the chosen earlier run.

    Parameters
    ----------
    session : Session
        Whose runs these are.
    kinds : collection of str
        ``pretrain``, ``finetune``.
    """

    def __init__(
        self, session: Session, kinds: Collection[str], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._kinds = frozenset(kinds)
        self._handle: RunHandle | None = None
        self._dirty = False

        self.runs = QComboBox()
        self.runs.setAccessibleName("Run to show")
        self.runs.setToolTip("Runs of this project, newest first")
        self.runs.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.title = QLabel()
        self.title.setWordWrap(True)
        set_role(self.title, "heading")
        self.device = QLabel()
        self.device.setWordWrap(True)
        set_role(self.device, "hint")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.note = QLabel()
        self.note.setWordWrap(True)
        set_role(self.note, "hint")
        self.curves = Curves(colors_of(session.viewer.theme))
        self.pause = QPushButton("Pause")
        self.stop = QPushButton("Stop and keep")
        self.stop.setToolTip(
            "Save a checkpoint and end; what was learned is kept and can be used. Can be resumed later."
        )
        self.resume = QPushButton("Resume")
        self.resume.setToolTip("Go on from the last checkpoint of this run")

        top = QHBoxLayout()
        top.addWidget(self.runs, 1)
        top.addWidget(self.resume)
        buttons = QHBoxLayout()
        buttons.addWidget(self.pause)
        buttons.addWidget(self.stop)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.setSpacing(4)
        column.addLayout(top)
        column.addWidget(self.title)
        column.addWidget(self.bar)
        column.addWidget(self.text)
        column.addWidget(self.curves, 1)
        column.addLayout(buttons)
        column.addWidget(self.device)
        column.addWidget(self.note)

        self.pause.clicked.connect(self._on_pause)
        self.stop.clicked.connect(self._session.stop)
        self.resume.clicked.connect(self._on_resume)
        self.runs.activated.connect(self._on_chosen)
        session.run_event.connect(self._on_event)
        session.runs_changed.connect(self._on_runs)
        session.busy_changed.connect(self.refresh)
        session.viewer.events.theme.connect(self._on_theme)
        self._timer = QTimer(self)
        self._timer.setInterval(_REDRAW_MS)
        self._timer.timeout.connect(self._redraw)
        self._timer.start()
        self._on_runs()

    @property
    def handle(self) -> RunHandle | None:
        """The active (or just ended) run that is shown; None when an earlier one is."""
        return self._handle

    def refresh(self) -> None:
        """Bring everything up to date."""
        active = self._session.active
        if active is not None and self._shows(active):
            self._handle = active
        handle = self._handle
        running = handle is not None and not handle.over
        self.setVisible(handle is not None or self.runs.count() > 0)
        self.runs.setEnabled(not running)
        self.bar.setVisible(running)
        self.device.setVisible(running and handle is not None and handle.device is not None)
        self.pause.setVisible(running)
        self.stop.setVisible(running)
        if handle is not None:
            self._show_handle(handle)
        else:
            self._show_earlier()
        self.resume.setVisible(not running)
        run = self._chosen()
        can = not running and run is not None and run.status in ("stopped", "failed")
        self.resume.setEnabled(can and active is None)

    def _shows(self, handle: RunHandle) -> bool:
        if handle.kind == "resume":
            return any(run.name == handle.run and run.kind in self._kinds for run in self._runs())
        return handle.kind in self._kinds

    def _runs(self) -> list[Run]:
        return [run for run in self._session.runs if run.kind in self._kinds]

    def _chosen(self) -> Run | None:
        name = self.runs.currentData()
        return next((run for run in self._session.runs if run.name == name), None)

    def _show_handle(self, handle: RunHandle) -> None:
        words = {
            "starting": "Starting the engine; its first seconds go into loading torch.",
            "paused": "Paused.",
            "stopping": "Stopping: a checkpoint is being saved ...",
            "failed": "",
        }
        self.title.setText(handle.title or "Starting")
        self.title.setVisible(True)
        self.bar.setRange(0, handle.total if handle.step else 0)
        self.bar.setValue(handle.step)
        place = f"Step {handle.step} of {handle.total}"
        if handle.doing:
            place = f"{handle.doing}: {place[0].lower()}{place[1:]}"
        if handle.state == "running":
            self.text.setText(f"{place} · {_speed(handle)}")
        elif handle.over:
            self.text.setText(handle.outcome or place)
        else:
            self.text.setText(words[handle.state] + (f" {place}." if handle.step else ""))
        set_role(self.text, "error" if handle.state == "failed" else "")
        self.pause.setText("Continue" if handle.state == "paused" else "Pause")
        self.pause.setEnabled(handle.state in ("running", "paused"))
        self.stop.setEnabled(handle.state in ("running", "paused"))
        if handle.device is not None:
            self.device.setText(f"On {handle.device.label}: {handle.device.reason}.")
        self.note.setToolTip("\n".join(note.text for note in handle.notes))
        self.note.setText(handle.notes[-1].text if handle.notes else "")
        self.note.setVisible(bool(handle.notes))
        set_role(
            self.note, "warning" if handle.notes and handle.notes[-1].level == "warning" else "hint"
        )
        self.curves.setVisible(bool(handle.metrics))
        self.curves.show_series(handle.metrics)

    def _show_earlier(self) -> None:
        run = self._chosen()
        self.note.setVisible(False)
        self.curves.setVisible(run is not None)
        self.title.setVisible(False)
        if run is None:
            self.text.setText("")
            return
        self.text.setText(f"{run.name}: {run.status}.")
        set_role(self.text, "error" if run.status == "failed" else "")
        self.curves.show_series({name: points for name, points in run.metrics().items() if points})

    def _on_runs(self) -> None:
        names = [run.name for run in self._runs()]
        chosen = self.runs.currentData()
        handle = self._handle
        self.runs.clear()
        for run in self._runs():
            self.runs.addItem(f"{run.name} ({run.status})", run.name)
        if handle is not None and handle.run in names:
            self.runs.setCurrentIndex(names.index(handle.run))
        elif chosen in names:
            self.runs.setCurrentIndex(names.index(chosen))
        project = self._session.project
        if handle is not None and (project is None or handle.job["project"] != str(project.path)):
            self._handle = None
        self.refresh()

    def _on_chosen(self) -> None:
        self._handle = None
        self.refresh()

    def _on_event(self, event: AnyEvent) -> None:
        if isinstance(event, Progress):
            self._dirty = True
        else:
            self.refresh()

    def _redraw(self) -> None:
        if self._dirty and self.isVisible():
            self._dirty = False
            self.refresh()

    def _on_pause(self) -> None:
        handle = self._session.active
        if handle is not None and handle.state == "paused":
            self._session.resume()
        else:
            self._session.pause()

    def _on_resume(self) -> None:
        run, project = self._chosen(), self._session.project
        if run is None or project is None:
            return
        try:
            self._handle = self._session.start_job(
                {"kind": "resume", "project": str(project.path), "run": run.name}
            )
        except MedsslError as error:
            self._session.show_error(error)
        self.refresh()

    def _on_theme(self) -> None:
        self.curves.set_colors(colors_of(self._session.viewer.theme))


def _speed(handle: RunHandle) -> str:
    if not handle.rate:
        return "preparing"
    slow = handle.rate < 0.5
    speed = f"{1 / handle.rate:.2g} s a step" if slow else f"{handle.rate:.3g} steps/s"
    return f"{speed} · {duration(handle.eta)} left"
