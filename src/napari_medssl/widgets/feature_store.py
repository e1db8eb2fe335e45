"""The stored features of the folder, as far as the viewer needs to know: what there is, and how to make the rest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal

from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Failed, Started
from napari_medssl.explore.store import (
    EmbeddingStore,
    Index,
    index_path,
    store_path,
    weights_of,
)
from napari_medssl.explore.store_plan import Plan, expected_plan
from napari_medssl.project.listing import identity_of
from napari_medssl.widgets.explorer import Explorer
from napari_medssl.widgets.one_by_one import OneByOne
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from napari_medssl.project import Project, Run
    from napari_medssl.widgets.run_handle import RunHandle
    from napari_medssl.widgets.session import Session

__all__ = ["FeatureStore", "Standing"]


@dataclass(frozen=True)
class Standing:
    """What is stored of a project's images, as one run sees them from one source.

    Parameters
    ----------
    run, source : str
        The run, and what of its network.
    stored : tuple of str
        Images whose stored features are true now.
    missing : tuple of str
        Images that are not stored, or have changed since, or the network has.
    plan : Plan, optional
        How finely all of them would be stored now, and how much that takes; None if they cannot be.
    store : EmbeddingStore, optional
        Opens what is stored.
    why : str
        What stands against storing them, or against using what is stored.
    damaged : bool
        Whether what is stored cannot be read: it has to be made anew.
    """

    run: str
    source: str
    stored: tuple[str, ...]
    missing: tuple[str, ...]
    plan: Plan | None
    store: EmbeddingStore | None = None
    why: str = ""
    damaged: bool = False

    @property
    def differs(self) -> bool:
        """Whether all would be stored more or less finely than those that are: they have to be made anew for it."""
        if self.plan is None or self.store is None or not self.stored:
            return False
        index = self.store.index
        return (self.plan.stride, self.plan.dimensions) != (index.stride, index.dimensions)

    @property
    def usable(self) -> EmbeddingStore | None:
        """The store with nothing but `stored` in it; None where that is nothing."""
        if self.store is None or not self.stored:
            return None
        return EmbeddingStore(self.store.folder, self.store.index, self.stored)

    @classmethod
    def of(cls, project: Project, run: Run, source: str, budget: int | None) -> Standing:
        """Look at sizes and times of files; slow for large folders."""
        folder = store_path(project, run.name, source)
        unreadable = ""
        known = None
        try:
            known = Index.read(index_path(folder)) if index_path(folder).is_file() else None
        except MedsslError as error:
            unreadable = str(error)
        store = EmbeddingStore(folder, known, project.images) if known is not None else None
        missing = project.images if store is None else store.outdated(project, run)
        weights = weights_of(run, source)
        if weights is None:
            why = f"{run.name} has no {source} to ask."
            return cls(run.name, source, (), missing, None, why=why)
        same = known is not None and identity_of(weights) == (
            known.weights_size,
            known.weights_mtime,
        )
        absent = set(missing)
        stored = tuple(name for name in project.images if name not in absent)
        try:
            plan = _plan(project, known if same else None, budget, complete=not missing)
        except MedsslError as error:
            return cls(run.name, source, stored, missing, None, store, str(error))
        return cls(run.name, source, stored, missing, plan, store, unreadable, bool(unreadable))


def _plan(project: Project, known: Index | None, budget: int | None, *, complete: bool) -> Plan:
    """Say how finely all images would be stored: as those that are, unless a budget was chosen that says otherwise."""
    if known is None or (budget is not None and complete):
        return expected_plan(project, None, budget=budget)
    if budget is not None:
        return expected_plan(project, known, budget=budget)
    stride, dimensions = known.stride, known.dimensions
    return expected_plan(project, known, stride=stride, dimensions=dimensions)


class FeatureStore(PerSession):
    """One per session; get it with `FeatureStore.of`.

    Parameters
    ----------
    session : Session
        Whose project, current run and jobs.
    """

    changed = Signal()
    """`standing`, `budget` or the stand of the job differ."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._explorer = Explorer.of(session)
        self.standing: Standing | None = None
        """None while it is not known."""
        self.budget: int | None = None
        """Bytes that the features may take; as many as the decoded images if None."""
        self._asked: tuple[object, ...] = ()
        self._reading = OneByOne(session, self.refresh)
        self._watched = False
        session.project_changed.connect(self.refresh)
        session.images_changed.connect(self.refresh)
        session.runs_changed.connect(self.refresh)
        session.busy_changed.connect(self.changed)
        session.run_event.connect(self._on_event)
        self._explorer.changed.connect(self._on_explorer)

    @property
    def job(self) -> RunHandle | None:
        """The job that is storing features now."""
        active = self._session.active
        return active if active is not None and active.kind == "embed" else None

    @property
    def identity(self) -> tuple[object, ...]:
        """Of the project, the network and the source; empty while nothing is stored."""
        store = self.standing.usable if self.standing is not None else None
        if store is None:
            return ()
        index = store.index
        return (self._session.project, index.run, index.source, index.weights_sha256)

    def set_budget(self, budget: int | None) -> None:
        """Allow so many bytes; as many as the decoded images take if None."""
        if budget != self.budget:
            self.budget = budget
            self.refresh()

    def start(self) -> None:
        """Store as `standing` plans it what is not stored so, or has changed; returns at once."""
        session, standing, project = self._session, self.standing, self._session.project
        if project is None or standing is None or standing.plan is None:
            return
        job = {
            "kind": "embed",
            "project": str(project.path),
            "run": standing.run,
            "source": standing.source,
            "budget": self.budget,
            "stride": standing.plan.stride,
            "dimensions": standing.plan.dimensions,
        }

        def start(_: object = None) -> None:
            try:
                session.start_job(job)
            except MedsslError as error:
                session.show_error(error)

        if not standing.damaged:
            start()
            return
        index = index_path(store_path(project, standing.run, standing.source))
        session.background(
            partial(index.unlink, missing_ok=True),
            on_result=start,
            doing="removing the damaged list of stored features",
        )

    def stop(self) -> None:
        """End the job; what is stored stays, and `start` goes on from there."""
        if self.job is not None:
            self._session.stop()

    def watch(self) -> None:
        """Look at the files from now on: somebody sees the answer."""
        if not self._watched:
            self._watched = True
            self.refresh()

    def refresh(self) -> None:
        """Look again, if anybody watches; returns at once."""
        if not self._watched:
            return
        session = self._session
        run = next((run for run in session.usable_runs if run.name == session.current_run), None)
        project, source, budget = session.project, self._explorer.source, self.budget
        if project is None or run is None:
            self._asked, self.standing = (), None
            self._offer()
            self.changed.emit()
            return
        asked = (project, run.name, source, budget)
        if asked != self._asked:
            self._asked, self.standing = asked, None
            self._offer()
            self.changed.emit()
        if self._reading.postponed():
            return

        def done(standing: Standing) -> None:
            if asked == self._asked:
                self.standing = standing
                self._offer()
                self.changed.emit()

        def failed(error: BaseException) -> None:
            problem = Problem.of(error, doing="looking for stored features")
            if asked == self._asked:
                why = problem.sentence
                self.standing = Standing(run.name, source, (), project.images, None, why=why)
                self._offer()
                self.changed.emit()
            session.problem.emit(problem)

        self._reading.start(
            lambda: Standing.of(project, run, source, budget), on_result=done, on_failed=failed
        )

    def _offer(self) -> None:
        standing = self.standing
        if standing is None:
            self._explorer.offer_stored(None, ())
        else:
            self._explorer.offer_stored(standing.store, standing.stored)

    def _on_explorer(self) -> None:
        if self._asked and self._asked[2] != self._explorer.source:
            self.refresh()

    def _on_event(self, event: object) -> None:
        last = self._session.jobs.last
        if last is not None and last.kind == "embed":
            if isinstance(event, Started | Done | Failed):  # an index is new when it starts
                self.refresh()
            self.changed.emit()
