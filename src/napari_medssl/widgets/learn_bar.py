"""Two rows for training from the loop: one button, and how it will start, goes, or went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAction,
    QActionGroup,
    QProgressBar,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_medssl.widgets.loop import Loop
from napari_medssl.widgets.menu_button import MenuButton
from napari_medssl.widgets.rows import button, row
from napari_medssl.widgets.run_monitor import duration
from napari_medssl.widgets.shortcuts import bind_on_our_layers
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.widgets.session import Session

__all__ = ["LearnBar"]


class LearnBar(QWidget):
    """Trains on all annotations, then shows the next image with its prediction.

    Parameters
    ----------
    session : Session
        Whose annotations and runs.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.loop = Loop.of(session)
        self.train = button("Train and show next (Shift+T)", "")
        set_role(self.train, "primary")
        self._build_menu()
        self.text = QElidingLabel()
        self.text.setElideMode(Qt.TextElideMode.ElideRight)
        self.text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        set_role(self.text, "hint")
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Progress of the training")
        self.bar.setTextVisible(False)
        self.bar.setFixedSize(110, 8)
        self.stop = button("Stop", "Ends the training; what was learned is kept.")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(row(self.train, self.start_from, stretch=self.train))
        column.addLayout(row(self.bar, self.text, self.stop, stretch=self.text))
        self.train.clicked.connect(self.loop.start)
        self.stop.clicked.connect(self.loop.stop)
        self.loop.changed.connect(self.refresh)
        session.run_event.connect(self.refresh)
        end = bind_on_our_layers(session.viewer, {"Shift-T": self._on_key})
        self.destroyed.connect(lambda: end())
        self.refresh()

    def _build_menu(self) -> None:
        self.start_from = MenuButton("From", "What training starts from.")
        group = QActionGroup(self.start_from)
        self.choices: dict[bool, QAction] = {}
        for anew, text, tip in (
            (
                False,
                "The last fine-tuned run, where few labels were added",
                "Where at least one image was added, and a third of all at most was added or changed, that run\n"
                "learns on in fewer steps; else training starts from the pretrained network.",
            ),
            (
                True,
                "The pretrained network, every time",
                "Takes longer; nothing of an earlier fine-tuning stays.",
            ),
        ):
            action = QAction(text, self.start_from)
            action.setToolTip(tip)
            action.setCheckable(True)
            action.setChecked(anew == self.loop.anew)
            action.triggered.connect(lambda _=False, anew=anew: self.loop.choose(anew=anew))
            group.addAction(action)
            self.start_from.popup.addAction(action)
            self.choices[anew] = action
        self.objects = QAction("Learn drawn objects, too", self.start_from)
        self.objects.setToolTip(
            "Where objects are drawn, the network also learns which object a pixel is of.\n"
            "That needs an object that is annotated all around; switch it off to train without."
        )
        self.objects.setCheckable(True)
        self.objects.triggered.connect(lambda on: self.loop.choose(objects=on))
        self.start_from.popup.addSeparator()
        self.start_from.popup.addAction(self.objects)

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Have the annotations looked at."""
        super().showEvent(event)
        self.loop.watch()

    def refresh(self) -> None:
        """Show what is true now."""
        loop, job = self.loop, self.loop.job
        why_not, plan = loop.why_not, loop.plan
        self.train.setEnabled(not why_not)
        self.start_from.setEnabled(job is None)
        self.choices[loop.anew].setChecked(True)
        self.objects.setChecked(loop.objects)
        self.bar.setVisible(job is not None)
        self.stop.setVisible(job is not None)
        reasons = () if plan is None else (plan.why_objects, plan.why)
        about = "\n".join(reason for reason in reasons if reason)
        self.train.setToolTip(
            f"Saves, trains on all annotations, and opens the next image with its prediction.\n{about}".strip()
        )
        if job is not None:
            self.bar.setRange(0, job.total)
            self.bar.setValue(job.step)
            self.stop.setEnabled(job.state in ("running", "paused"))
            left = f"{duration(job.eta)} left" if job.rate else "starting"
            words = {"paused": "paused", "stopping": "stopping"}.get(job.state, left)
            text = f"{job.step} of {job.total} steps, {words}" if job.total else words
            if job.doing:
                text = f"{job.doing}: {text}"
        elif loop.said:
            text = loop.said
        elif why_not:
            text = why_not
        else:
            text = "" if plan is None else f"{plan.why_objects} {plan.why}".strip()
        self.text.setText(text)
        self.text.setToolTip(f"{text}\n{about}" if about and about not in text else text)

    def _on_key(self, _: object) -> None:
        self.loop.start()
