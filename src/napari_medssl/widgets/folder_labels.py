"""Labels from a threshold for many images, one after the other; what is drawn by hand stays."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from qtpy.QtCore import QTimer, Signal

from napari_medssl.errors import MedsslError
from napari_medssl.explore.annotate import above, fill_in
from napari_medssl.project.annotations import counts_of
from napari_medssl.widgets.activity import Activity
from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.feature_store import FeatureStore
from napari_medssl.widgets.folder_search import FolderSearch
from napari_medssl.widgets.label_store import Annotation
from napari_medssl.widgets.outline import put_label
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medssl.widgets.folder_search import Search
    from napari_medssl.widgets.session import Session

__all__ = ["FolderLabels", "Rule"]

_WAIT_MS = (
    100  # between two looks whether the annotation of the image that was just opened is there
)
_LONGEST_MS = 10_000


class Rule(NamedTuple):
    """Which pixels become labels, and which."""

    value: int
    """Of the class."""
    threshold: float
    """From which similarity on."""
    smoothing: float
    """Of the map before: standard deviation of the Gaussian, pixels."""
    minimum_area: int
    """Smaller pieces are left out and smaller holes filled, pixels."""
    overwrite: bool
    """Whether labels that are there may be covered."""


class FolderLabels(PerSession):
    """One per session; get it with `FolderLabels.of`.

    Parameters
    ----------
    session : Session
        Whose images.
    """

    changed = Signal()
    """`running`, `done` or `outcome` differ."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._store = FeatureStore.of(session)
        self.running = False
        self.done = 0
        """Images that were looked at."""
        self.total = 0
        self.outcome = ""
        """What became of the last one, as a sentence."""
        self._queue: deque[str] = deque()
        self._labelled = self._locked = 0
        self._failed: dict[str, BaseException] = {}
        self._stopped = False
        self._activity: Activity
        self._search: Search
        self._rule: Rule
        self._reading = ""
        self._overtaken = False

    def start(self, search: Search, names: Sequence[str], rule: Rule) -> None:
        """Label what reaches the threshold in these images; returns at once.

        Nothing is labelled where the question or the stored features have changed since the search: `outcome` says so.

        Parameters
        ----------
        search : Search
            What is looked for, and where.
        names : sequence of str
            Images.
        rule : Rule
            What the user was asked about.
        """
        if self.running:
            return
        searches = FolderSearch.of(self._session)
        if search is not searches.search or searches.outdated or self._store.job is not None:
            self.outcome = (
                "Nothing is labelled: the question or the stored features have changed since the search. "
                "Find in all images again."
            )
            self.changed.emit()
            return
        self.running, self._stopped, self.outcome = True, False, ""
        self.done, self.total, self._labelled, self._locked = 0, len(names), 0, 0
        self._failed = {}
        self._queue = deque(names)
        self._rule, self._search = rule, search
        self._activity = Activity(self._session, "labelling what is similar", self.total)
        annotator = Annotator.of(self._session)
        annotator.store.written.connect(self._on_written)
        annotator.save()
        self.changed.emit()
        self._next()

    def stop(self) -> None:
        """End after the image that is being labelled; what is labelled stays."""
        self._stopped = True

    def _next(self) -> None:
        search = self._search
        over = not self._queue or self._stopped or self._session.project is not search.project
        if over or self._store.job is not None:  # what is stored is made anew under our hands
            self._finish()
            return
        name = self._queue[0]
        rule = self._rule
        store, prototypes = search.store, search.prototypes

        def work() -> NDArray[np.bool_]:
            if prototypes is None:
                raise RuntimeError("A search that has found something has read its examples.")
            heat = store.pixels(name).heat(prototypes)
            return above(
                heat, rule.threshold, smoothing=rule.smoothing, minimum_area=rule.minimum_area
            )

        self._session.background(
            work, on_result=partial(self._put, name), on_failed=partial(self._fail, name)
        )

    def _put(self, name: str, mask: NDArray[np.bool_], waited: int = 0) -> None:
        session, project = self._session, self._search.project
        if session.closed:
            return
        if not mask.any() or session.project is not project:
            self._go_on(0)
            return
        annotator = Annotator.of(session)
        if session.image != name:
            # what is painted and not on the disk yet is what this reads
            self._reading, self._overtaken = name, False
            annotator.store.read(
                project,
                name,
                on_result=partial(self._fill, name, mask),
                on_failed=partial(self._fail, name),
            )
            return
        if annotator.locked:
            self._leave_alone()
            return
        rule = self._rule
        changed = put_label(session, name, mask, rule.value, overwrite=rule.overwrite)
        if changed is not None:
            self._go_on(changed)
        elif waited >= _LONGEST_MS:
            self._fail(name, MedsslError(f"The annotation of {name} could not be opened."))
        else:  # its annotation is being read: what that finds must not be out of date
            if annotator.layer is None and annotator.image == name:
                annotator.reopen()  # it was removed by hand
            QTimer.singleShot(_WAIT_MS, partial(self._put, name, mask, waited + _WAIT_MS))

    def _fill(self, name: str, mask: NDArray[np.bool_], found: Annotation) -> None:
        session, project, rule = self._session, self._search.project, self._rule
        store = Annotator.of(session).store
        newer = store.waiting(project, name)
        if session.image == name or self._overtaken or (newer is not None and newer is not found):
            self._put(name, mask)  # it was opened or painted while this was read
            return
        if found.done:
            self._leave_alone()
            return
        try:
            labels = fill_in(found.labels, mask, rule.value, overwrite=rule.overwrite)
        except MedsslError as error:
            self._fail(name, error)
            return
        changed = int(np.count_nonzero(labels != found.labels))
        if changed:
            annotation = Annotation(labels, found.done, counts_of(labels))
            store.write(project, name, annotation)
        self._go_on(changed)

    def _on_written(self, name: str) -> None:
        self._overtaken = self._overtaken or name == self._reading

    def _fail(self, name: str, error: BaseException) -> None:
        self._failed[name] = error
        self._go_on(0)

    def _leave_alone(self) -> None:
        """Change nothing in an image that is marked done."""
        self._locked += 1
        self._go_on(0)

    def _go_on(self, changed: int) -> None:
        self._queue.popleft()
        self.done += 1
        self._labelled += changed > 0
        self._activity.advance(self.done)
        self.changed.emit()
        self._next()

    def _finish(self) -> None:
        self.running, self._reading = False, ""
        self._activity.close()
        Annotator.of(self._session).store.written.disconnect(self._on_written)
        stopped = f" Stopped after {self.done} of {self.total}." if self._queue else ""
        without = self.done - self._labelled - self._locked - len(self._failed)
        rest = f" In {_images(without)} there was nothing to label." if without else ""
        locked = (
            f" {_images(self._locked)} marked done: nothing was changed there."
            if self._locked
            else ""
        )
        self.outcome = f"{_images(self._labelled)} labelled.{rest}{locked}{stopped}"
        if self._failed:
            name, error = next(iter(self._failed.items()))
            problem = Problem.of(error, doing=f"labelling {name}")
            more = f" ({len(self._failed)} images in all)" if len(self._failed) > 1 else ""
            self._session.problem.emit(
                Problem(f"{problem.sentence}{more}", problem.advice, problem.details)
            )
        self.changed.emit()


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
