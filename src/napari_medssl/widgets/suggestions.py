"""What to annotate next, kept up to date off the GUI thread."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from qtpy.QtCore import Signal

from napari_medssl.events import Done
from napari_medssl.explore.store import EmbeddingStore, Index, index_path, store_path
from napari_medssl.widgets.activity import Activity
from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.explorer import Explorer
from napari_medssl.widgets.feature_store import FeatureStore
from napari_medssl.widgets.long_work import StoppedError
from napari_medssl.widgets.one_by_one import OneByOne
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_medssl.explore.suggest import Suggestion
    from napari_medssl.explore.uncertainty import Box
    from napari_medssl.explore.what_next import Advice, WhatNext
    from napari_medssl.project import Project, Run
    from napari_medssl.widgets.session import Session

__all__ = ["Stand", "Suggestions"]

COUNT = 6
"""Suggestions that are kept: the best one, four more for the menu, and one for an image that was just annotated."""

_TELL_SECONDS = 0.2
"""Between two signs of progress."""

Stand = Literal["no run", "not stored", "looking", "ready", "failed"]


class _Asked(NamedTuple):
    project: Project
    source: str
    """What of the network, see `napari_medssl.embed`."""
    runs: tuple[str, ...]
    """Whose features are looked for, the first first."""


@dataclass(frozen=True)
class _Source:
    """Stored features that can be asked, and what they were made from."""

    store: EmbeddingStore
    identity: tuple[object, ...]


@dataclass(frozen=True)
class _Answer:
    source: _Source
    asker: WhatNext
    advice: Advice


class Suggestions(PerSession):
    """One per session; get it with `Suggestions.of`.

    The features are those of the current run where they are stored, else of the newest run that has any: a run that was
    just fine-tuned has none yet, and the loop goes on. Advice is sought again when another image is opened after
    labels were saved, not while one is painted.

    Parameters
    ----------
    session : Session
        Whose project and runs.
    """

    changed = Signal()
    """Anything that a widget shows, but `progress`."""
    progressed = Signal()
    """`progress` differs."""
    _moved = Signal(int, int)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.list: list[Suggestion] = []
        """The best first; not those that were annotated since."""
        self.by_uncertainty = False
        """Whether the list is chosen by uncertainty."""
        self.uncertainty: Mapping[str, float] = {}
        """Image -> 0 (certain) to 1, as a probe on the stored features that is fitted to all strokes sees it."""
        self.stand: Stand = "no run"
        self.why = ""
        """Why there is no advice, when `stand` is ``failed``."""
        self.progress = (0, 0)
        """(done, total) images, while it is looked."""
        self.run = ""
        """The run whose features are asked."""
        self._boxes: dict[str, Box] = {}
        self._reasons: dict[str, str] = {}
        self._answer: _Answer | None = None
        self._asked: _Asked | None = None
        self._stop = threading.Event()
        self._activity: Activity | None = None
        self._watched = self._stale = self._wanted = False
        self._looking = OneByOne(session, self.refresh)
        self._moved.connect(self._on_moved)
        session.project_changed.connect(self._on_project)
        session.images_changed.connect(self._ask_anew)
        session.runs_changed.connect(self._on_runs)
        session.labels_changed.connect(self._on_labels)
        Annotator.of(session).store.written.connect(self._on_written)
        session.overview.changed.connect(self._drop_annotated)
        session.image_changed.connect(self._on_image)
        session.run_event.connect(self._on_event)
        self.destroyed.connect(self._stop.set)

    # -- what is known ---------------------------------------------------------------------------

    @property
    def best(self) -> Suggestion | None:
        """What to annotate next; None while it is not known, or nothing is left."""
        return next((item for item in self.list if item.image != self.session.image), None)

    def box(self, image: str) -> Box | None:
        """Give the box of an image to look at first, (y0, x0, y1, x1) in pixels; None where none is known."""
        return self._boxes.get(image)

    def reason(self, image: str) -> str:
        """Say why an image was suggested; empty if it was not."""
        return self._reasons.get(image, "")

    @property
    def left_out(self) -> int:
        """Images that cannot be suggested, as no features of them are stored."""
        project, answer = self.session.project, self._answer
        if project is None or answer is None:
            return 0
        return len(project.images) - len(answer.source.store)

    # -- commands --------------------------------------------------------------------------------

    def watch(self) -> None:
        """Look from now on: somebody sees the answer."""
        if not self._watched:
            self._watched = True
            FeatureStore.of(self.session).watch()
            self.refresh()

    def open_next(self) -> None:
        """Open the best suggestion, as soon as it is known; after a failure look once more."""
        self.watch()
        best = self.best
        if best is not None:
            self._wanted = False
            self.open(best.image)
        elif self.stand in ("looking", "failed"):
            self._wanted = True
            self.refresh()
            self.changed.emit()

    @property
    def wanted(self) -> bool:
        """Whether the best suggestion is opened once it is known."""
        return self._wanted

    def open(self, image: str) -> None:
        """Open a suggested image; what was painted in the one before is saved."""
        Annotator.of(self.session).save()
        self.session.open_image(image)

    def refresh(self) -> None:
        """Look again, if anybody watches; returns at once."""
        if not self._watched or self._looking.postponed():
            return
        session, project, runs = self.session, self.session.project, self._runs()
        if project is None or not runs:
            self._asked = None
            self._clear("no run")
            return
        asked = _Asked(project, Explorer.of(session).source, tuple(run.name for run in runs))
        if self._asked is None or asked[:2] != self._asked[:2]:
            self._clear("looking")
        self._asked, self._stale = asked, False
        self.stand, self.progress = "looking", (0, 0)
        self.changed.emit()
        stop = self._stop = threading.Event()
        before = self._answer
        self._activity = Activity(session, "choosing what to annotate next")

        told = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal told
            if stop.is_set() or session.closed:
                raise StoppedError
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                self._moved.emit(done, total)

        def work() -> _Answer | None:
            return _look(asked, runs, before, progress)

        def done(answer: _Answer | None) -> None:
            self._end_activity()
            if self._asked == asked:
                self._show(answer)

        def failed(error: BaseException) -> None:
            self._end_activity()
            if isinstance(error, StoppedError) or self._asked != asked:
                return  # something else is asked, or the window closes
            problem = Problem.of(error, doing="choosing what to annotate next")
            self.why, self.stand, self._wanted = problem.sentence, "failed", False
            self.changed.emit()
            session.problem.emit(problem)

        self._looking.start(work, on_result=done, on_failed=failed, lane="advising")

    def _runs(self) -> list[Run]:
        """Give the current run, then the others, the newest first."""
        current = self.session.current_run
        return sorted(self.session.usable_runs, key=lambda run: run.name != current)

    # -- following -------------------------------------------------------------------------------

    def _show(self, answer: _Answer | None) -> None:
        if answer is None:
            self._clear("not stored")
            return
        self._answer, self.stand = answer, "ready"
        self.run = answer.source.store.index.run
        advice = answer.advice
        self.by_uncertainty = advice.by_uncertainty
        self.uncertainty = {name: item.value for name, item in advice.uncertain.items()}
        self._boxes.update({name: item.box for name, item in advice.uncertain.items()})
        self._boxes.update({item.image: item.box for item in advice.suggestions})
        self._reasons.update({item.image: item.why for item in advice.suggestions})
        self.list = list(advice.suggestions)
        self._drop_annotated()
        if self._wanted:
            self._wanted = False
            self.open_next()

    def _drop_annotated(self) -> None:
        """Leave out what was annotated since the advice was given."""
        statuses = self.session.overview.annotated.statuses
        self.list = [item for item in self.list if statuses.get(item.image, "none") == "none"]
        self.changed.emit()

    def _clear(self, stand: Stand) -> None:
        self.list, self.uncertainty, self.run = [], {}, ""
        self._boxes, self._reasons, self._answer = {}, {}, None
        self.stand, self._wanted = stand, self._wanted and stand == "looking"
        self.changed.emit()

    def _on_project(self) -> None:
        if self._asked is None or self.session.project is not self._asked.project:
            self._ask_anew()
        else:  # its classes may differ
            self._stale = True

    def _ask_anew(self) -> None:
        """Look at once: what is being looked at is of no use any more."""
        self._stop.set()
        self._asked = None
        self._clear("looking" if self.session.usable_runs else "no run")
        self.refresh()

    def _on_runs(self) -> None:
        if self._asked is None or self._asked.runs != tuple(run.name for run in self._runs()):
            self.refresh()

    def _on_labels(self) -> None:
        self._stale = True

    def _on_written(self, image: str) -> None:
        if image != self.session.image:  # it was left before its strokes were on the disk
            self.refresh()

    def _on_image(self) -> None:
        if self._stale or (not self.list and self.stand == "ready"):
            self.refresh()
        else:
            self.changed.emit()

    def _on_event(self, event: object) -> None:
        last = self.session.jobs.last
        if isinstance(event, Done) and last is not None and last.kind == "embed":
            self.refresh()

    def _on_moved(self, done: int, total: int) -> None:
        if self.stand == "looking" and self._activity is not None:
            self.progress = (done, total)
            self._activity.advance(done, total)
            self.progressed.emit()

    def _end_activity(self) -> None:
        if self._activity is not None:
            self._activity.close()
            self._activity = None


def _look(
    asked: _Asked,
    runs: Sequence[Run],
    before: _Answer | None,
    progress: Callable[[int, int], None],
) -> _Answer | None:
    """Ask the first of these runs that has stored features of two images or more; None if none has."""
    from napari_medssl.explore.what_next import WhatNext  # scikit-learn takes a second

    for run in runs:
        source = _stored(asked.project, run, asked.source)
        if source is None:
            continue
        same = before is not None and before.source.identity == source.identity
        asker = (
            before.asker if same and before is not None else WhatNext(asked.project, source.store)
        )
        return _Answer(source, asker, asker.advise(count=COUNT, progress=progress))
    return None


def _stored(project: Project, run: Run, source: str) -> _Source | None:
    """Open what is stored by a run and still true; None where that is fewer than two images."""
    folder = store_path(project, run.name, source)
    if not index_path(folder).is_file():
        return None
    index = Index.read(index_path(folder))
    store = EmbeddingStore(folder, index, project.images)
    outdated = set(store.outdated(project, run))
    names = tuple(name for name in store.names if name not in outdated)
    if len(names) < 2:
        return None
    identity = (project, run.name, source, index.weights_sha256, index.stride, names)
    return _Source(EmbeddingStore(folder, index, names), identity)
