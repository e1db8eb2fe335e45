"""Live prediction: after every stroke the open image is predicted anew from all that is painted."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer, Signal

from napari_medssl.explore.live_project import SOURCE, LiveProject, Strokes
from napari_medssl.explore.store import weights_of
from napari_medssl.project.listing import identity_of
from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.live_features import LiveFeatures
from napari_medssl.widgets.live_layers import LiveLayers
from napari_medssl.widgets.one_by_one import OneByOne
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.problem import Problem
from napari_medssl.widgets.shortcuts import bind_on_our_layers

if TYPE_CHECKING:
    from collections.abc import Hashable

    from napari.layers import Labels

    from napari_medssl.explore.live_probe import LivePrediction
    from napari_medssl.explore.live_project import LiveAnswer
    from napari_medssl.project import Run
    from napari_medssl.widgets.session import Session

__all__ = ["LivePredictor"]

_QUIET_MS = 100
"""After a change that is no stroke, of which several may come at once: undo, another image, a new run."""
_ABOUT = "live prediction"


class LivePredictor(PerSession):
    """One per session; get it with `LivePredictor.of`.

    It learns from all annotated images: from their brightness, edges and texture, and from the features of the current
    run if there is one. Those that are not stored are asked of the warm engine, and tell as soon as they come.

    Parameters
    ----------
    session : Session
        Whose open image is predicted.
    """

    changed = Signal()
    """`on`, `result`, `why_not`, `images` or what `features` says differ."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.on = False
        self.why_not = ""
        """Why there is no prediction; empty when there is one or it is about to come."""
        self.images = 0
        """Annotated images that `result` learned from."""
        self.layers = LiveLayers(session)
        self.features = LiveFeatures(session)
        self._annotator = Annotator.of(session)
        self._live: tuple[Hashable, LiveProject] | None = None
        self._result: LivePrediction | None = None
        self._once = False
        self._layer: Labels | None = None
        self._strokes: Strokes | None = None
        self._touched = True
        self._versions = count(1)
        self._work = OneByOne(session, self._look)
        self._told = ""
        self._soon, self._quiet = QTimer(self), QTimer(self)
        for timer, milliseconds in ((self._soon, 0), (self._quiet, _QUIET_MS)):
            timer.setSingleShot(True)
            timer.setInterval(milliseconds)
            timer.timeout.connect(self._look)
        self._connect()
        bind_on_our_layers(
            session.viewer,
            {"L": lambda _: self.set_on(not self.on), "Shift-L": lambda _: self.update_once()},
        )

    def _connect(self) -> None:
        session = self.session
        session.image_closing.connect(self._on_closing)
        session.images_changed.connect(self._on_images)
        for moved in (
            session.image_changed,
            session.project_changed,
            session.runs_changed,
            session.labels_changed,
        ):
            moved.connect(self._quiet.start)
        self._annotator.layer_changed.connect(self._on_layer)
        self.features.changed.connect(self.changed)
        self.features.arrived.connect(self._quiet.start)
        self._on_layer()

    # -- what there is ---------------------------------------------------------------------------

    @property
    def result(self) -> LivePrediction | None:
        """The prediction of the open image that is shown; None when none is."""
        found = self._result
        return found if found is not None and found.image == self.session.image else None

    @property
    def with_features(self) -> bool:
        """Whether a network helps; without one it learns from brightness, edges and texture alone."""
        return self._run() is not None

    # -- what can be asked -----------------------------------------------------------------------

    def set_on(self, on: bool) -> None:
        """Predict after every stroke from now on, or no longer."""
        if on == self.on:
            return
        self.on, self._once = on, False
        self._told = ""
        self.features.try_again()
        if on:
            self._look()
        else:
            self._stop()
            self._result, self.why_not = None, ""
            self.layers.close()
        self.changed.emit()

    def update_once(self) -> None:
        """Predict the open image from what is painted now."""
        self._once = True
        self.features.try_again()
        self._look()

    # -- looking ---------------------------------------------------------------------------------

    def _look(self) -> None:
        """Begin what is due: called after whatever may have changed the answer."""
        self._soon.stop()
        self._quiet.stop()
        session, image = self.session, self.session.image
        if not (self.on or self._once) or session.closed:
            return
        live = self._live_project()
        if live is None or image is None:
            self._say("Open an image first.")
            return
        if self._annotator.image != image:  # its annotation is being read: `layer_changed` follows
            return
        if self._work.postponed():
            live.cancel()  # what is painted by now is what counts
            return
        strokes = self._snapshot()

        def awaited() -> bool:
            current = self._live is not None and self._live[1] is live
            return (self.on or self._once) and current and session.image == image

        def done(answer: LiveAnswer | None) -> None:
            if answer is not None and awaited():
                self._take(answer)

        def failed(error: BaseException) -> None:
            if awaited():
                self._on_failed(Problem.of(error, doing=f"predicting {image} live"))

        self._work.start(
            lambda: live.answer(image, strokes), on_result=done, on_failed=failed, lane="live"
        )

    def _take(self, answer: LiveAnswer) -> None:
        if self._told:
            self._told = ""
            self.session.settled.emit(_ABOUT)
        run, live = self._run(), self._live
        if run is not None and live is not None:
            self.features.ask(live[1], run, answer.missing, answer.stride)
        self._result, self.images = answer.prediction, answer.images
        self.why_not = answer.why
        if answer.prediction is not None:
            self.layers.draw(answer.prediction)
        else:
            self.layers.empty()
        if not self.features.working:
            self._once = False
        self.changed.emit()

    def _say(self, why: str) -> None:
        self._once, self.why_not, self._result = False, why, None
        self.layers.empty()
        self.changed.emit()

    def _on_failed(self, problem: Problem) -> None:
        """Say what is wrong: beside the button always, on top of the workspace once."""
        self._say(problem.sentence)
        if problem.sentence != self._told:
            self._told = problem.sentence
            self.session.problem.emit(
                Problem(problem.sentence, problem.advice, problem.details, about=_ABOUT)
            )

    def _run(self) -> Run | None:
        current = self.session.current_run
        return next((run for run in self.session.usable_runs if run.name == current), None)

    def _live_project(self) -> LiveProject | None:
        """Return what predicts with the current run as it is now; another network learns anew."""
        project, run = self.session.project, self._run()
        if project is None:
            self._live = None
            return None
        settings = project.settings
        weights = weights_of(run, SOURCE) if run is not None else None
        network = (run.name, identity_of(weights)) if run is not None and weights else None
        key = (project, network, settings.channel_indices, *settings.axes.items())
        if self._live is None or self._live[0] != key:
            self._stop()
            self.features.try_again()
            self._live = key, LiveProject(project, run)
        return self._live[1]

    def _stop(self) -> None:
        """End what is being computed."""
        if self._live is not None:
            self._live[1].cancel()
        self.features.stop()

    # -- strokes ---------------------------------------------------------------------------------

    def _snapshot(self) -> Strokes | None:
        """Take what is painted now, for painting goes on; None without a layer, whose strokes are on the disk."""
        layer = self._annotator.layer
        if layer is None:
            return None
        if self._touched or self._strokes is None:
            labels = np.array(layer.data, dtype=np.uint16)
            if self._strokes is None or not np.array_equal(labels, self._strokes.labels):
                self._strokes = Strokes(labels, next(self._versions))
            self._touched = False
        return self._strokes

    def _on_layer(self) -> None:
        layer = self._annotator.layer
        self._strokes, self._touched = None, True
        if layer is not None and layer is not self._layer:
            self._layer = layer  # one for all images; a new one only after it was removed by hand
            layer.events.paint.connect(self._on_stroke)
            layer.events.set_data.connect(self._on_touched)
        if layer is not None:
            self._look()

    def _on_stroke(self, event: Any = None) -> None:
        self._touched = True
        self._soon.start()  # napari tells of some changes just before it makes them

    def _on_touched(self, event: Any = None) -> None:
        self._touched = True  # also when only its looks changed; the snapshot is compared
        self._quiet.start()

    def _on_closing(self) -> None:
        self._stop()
        self._result, self._once = None, False
        self.why_not = self._told = ""
        self.features.try_again()
        if self.session.on_screen:
            if not self.on:
                self.layers.close()
            self.layers.empty()
        self.changed.emit()

    def _on_images(self) -> None:
        self._stop()
        self._live = None  # it remembers images
        self._quiet.start()
