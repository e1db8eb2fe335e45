"""The features that live prediction lacks: made by the warm engine, image by image."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_medssl.explore.live_project import SOURCE
from napari_medssl.widgets.activity import Activity
from napari_medssl.widgets.problem import Problem
from napari_medssl.widgets.run_features import Network, RunFeatures, RunState, Stored, Wanted

if TYPE_CHECKING:
    from napari_medssl.explore.live_project import LiveProject
    from napari_medssl.project import Run
    from napari_medssl.widgets.session import Session

__all__ = ["LiveFeatures"]

_ABOUT = "live features"


class LiveFeatures(QObject):
    """Asks for what is missing, says so in words, and asks no more once the engine could not.

    Parameters
    ----------
    session : Session
        Whose engine.
    """

    changed = Signal()
    """`working` or `refused` differ."""
    arrived = Signal()
    """There are features of one more image, or there will be none."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.working = ""
        """What is being computed, in words; empty when nothing is."""
        self.refused = ""
        """Why the engine cannot make them; empty if it can."""
        self._asked: tuple[str, ...] = ()
        self._activity: Activity | None = None
        self._requests = RunFeatures(session, self, channel="live")
        self._requests.advanced.connect(self._on_advanced)
        self._requests.finished.connect(self._on_finished)
        self._requests.failed.connect(self._on_failed)

    def ask(
        self, live: LiveProject, run: Run, missing: tuple[str, ...], stride: int | None
    ) -> None:
        """Have them made, unless that is under way or the engine said why it cannot."""
        if missing == self._asked or self.refused:
            return
        self._end()
        self._asked = missing
        if not missing:
            self.changed.emit()
            return
        text = f"computing the features of {_images(len(missing))}"
        self._activity = Activity(self._session, text, len(missing))
        network = Network.of(run, RunState(run.name), SOURCE)
        self._requests.ask(
            Wanted(
                network,
                image,
                read=lambda stored: stored,
                take=partial(self._take, live, image),
                stride=stride,
            )
            for image in missing
        )

    def stop(self) -> None:
        """Ask for nothing more for now."""
        self._end()
        self.changed.emit()

    def try_again(self) -> None:
        """Forget that the engine could not: something has changed."""
        self.refused = ""

    def _take(self, live: LiveProject, image: str, stored: Stored) -> None:
        live.add(image, stored.path, stored.stride)
        self._asked = tuple(name for name in self._asked if name != image)
        self.arrived.emit()

    def _on_advanced(self, done: int, total: int) -> None:
        so_far = f", {done} done" if done else ""
        self.working = f"computing the features of {_images(total)}{so_far}"
        if self._activity is not None:
            self._activity.advance(done)
        self.changed.emit()

    def _on_finished(self) -> None:
        self._end()
        self._session.settled.emit(_ABOUT)
        self.arrived.emit()

    def _on_failed(self, problem: Problem) -> None:
        self._end()
        self.refused = problem.sentence
        self._session.problem.emit(
            Problem(problem.sentence, problem.advice, problem.details, problem.log, about=_ABOUT)
        )
        self.arrived.emit()

    def _end(self) -> None:
        self._requests.stop()
        self._asked, self.working = (), ""
        if self._activity is not None:
            self._activity.close()
            self._activity = None


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
