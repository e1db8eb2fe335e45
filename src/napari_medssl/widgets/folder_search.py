"""The query asked of the whole folder: matches come in while it is searched."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_medssl.explore.ranking import Match, ranked, search
from napari_medssl.widgets.explorer import Explorer
from napari_medssl.widgets.feature_store import FeatureStore
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from napari_medssl.explore.query import Query
    from napari_medssl.explore.similarity import Prototypes
    from napari_medssl.explore.store import EmbeddingStore
    from napari_medssl.project import Project
    from napari_medssl.widgets.feature_store import Standing
    from napari_medssl.widgets.session import Session

__all__ = ["FolderSearch", "Search"]

_EVERY = 0.1  # seconds between two batches of matches


class Search(QObject):
    """One search, in a background thread.

    Parameters
    ----------
    session : Session
        The search ends when it closes.
    project : Project
        Whose images.
    query : Query
        What is looked for.
    store : EmbeddingStore
        Where.
    names : tuple of str
        The images to search.
    """

    arrived = Signal(object, object)  # itself, list of Match; emitted in the search's thread

    def __init__(
        self,
        session: Session,
        project: Project,
        query: Query,
        store: EmbeddingStore,
        names: tuple[str, ...],
    ) -> None:
        super().__init__()
        self._session = session
        self.project = project
        self.query = query
        self.store = store
        self.names = names
        self.prototypes: Prototypes | None = None
        """None until the examples are read."""
        self.matches: list[Match] = []
        """So far, in the order in which they were found."""
        self.running = True
        self.stopped = threading.Event()
        """Set to end the search early."""

    def work(self) -> None:
        """Search; for a background thread."""
        prototypes = self.prototypes = self.query.prototypes(self.store.pixels)
        batch: list[Match] = []
        due = time.monotonic()  # the first one at once
        for match in search(self.store, prototypes, names=self.names):
            if self.stopped.is_set() or self._session.closed:
                return
            batch.append(match)
            if time.monotonic() >= due:
                self.arrived.emit(self, batch)
                batch, due = [], time.monotonic() + _EVERY
        self.arrived.emit(self, batch)


class FolderSearch(PerSession):
    """One per session; get it with `FolderSearch.of`.

    Parameters
    ----------
    session : Session
        Whose query and stored features.
    """

    changed = Signal()
    """`matches`, `running` or `why_not` differ."""
    started = Signal()
    """Another search has begun, or the last one was forgotten."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._explorer = Explorer.of(session)
        self._store = FeatureStore.of(session)
        self.least = False
        """Whether the least similar images come first."""
        self.search: Search | None = None
        """The last one."""
        self._judged: tuple[Search, Standing, bool] | None = None
        self._explorer.query_changed.connect(self.changed)
        self._store.changed.connect(self.changed)
        session.project_changed.connect(self._on_project)

    @property
    def running(self) -> bool:
        """Whether matches are still coming in."""
        return self.search is not None and self.search.running

    @property
    def matches(self) -> list[Match]:
        """What was found so far, ranked."""
        return [] if self.search is None else ranked(self.search.matches, least=self.least)

    @property
    def outdated(self) -> bool:
        """Whether the question differs from that of the last search, or what is stored from what it looked at."""
        search = self.search
        if search is None:
            return False
        return search.query != self._explorer.query or not self._is_stored(search)

    @property
    def why_not(self) -> str:
        """What is missing for a search, as a sentence; empty if it is possible."""
        query, standing = self._explorer.query, self._store.standing
        if query is None:
            return "Give an example first: press Explore and click in the image."
        if standing is None or not standing.stored:
            return "The features of the folder are not stored yet: store them above."
        absent = [name for name in query.images if name not in standing.stored]
        if absent:
            return f"The features of {absent[0]}, which holds an example, are not stored yet: store them above."
        return ""

    def start(self) -> None:
        """Search the stored images for the query; a search that is under way ends."""
        self.stop()
        project, query = self._session.project, self._explorer.query
        standing = self._store.standing
        store = standing.store if standing is not None else None
        if self.why_not or project is None or query is None or standing is None or store is None:
            return
        search = Search(self._session, project, query, store, standing.stored)
        self.search = search
        search.arrived.connect(self._on_arrived)
        self._session.background(
            search.work,
            on_result=lambda _: self._on_over(search, None),
            on_failed=lambda error: self._on_over(search, error),
        )
        self.started.emit()
        self.changed.emit()

    def stop(self) -> None:
        """End the search; what was found stays."""
        if self.search is not None:
            self.search.stopped.set()

    def set_least(self, on: bool) -> None:
        """Show the least similar images first, or the most similar ones."""
        if on != self.least:
            self.least = on
            self.changed.emit()

    def above(self, threshold: float) -> list[Match]:
        """Return the matches that reach a similarity, in the order of the images."""
        found = [] if self.search is None else self.search.matches
        return [match for match in found if match.score >= threshold]

    def _is_stored(self, search: Search) -> bool:
        """Whether the features that a search looked at are still those that are stored."""
        standing = self._store.standing
        if standing is None:
            return False
        judged = self._judged  # comparing the entries of a large folder takes a while
        if judged is None or judged[0] is not search or judged[1] is not standing:
            judged = self._judged = (search, standing, _holds(standing, search))
        return judged[2]

    def _on_arrived(self, search: Search, batch: list[Match]) -> None:
        search.matches.extend(batch)
        if search is self.search:
            self.changed.emit()

    def _on_over(self, search: Search, error: BaseException | None) -> None:
        search.running = False
        if error is not None:
            self._session.problem.emit(Problem.of(error, doing="searching the folder"))
        if search is self.search:
            self.changed.emit()

    def _on_project(self) -> None:
        if self.search is not None and self.search.project is not self._session.project:
            self.stop()
            self.search = None
            self.started.emit()
            self.changed.emit()


def _holds(standing: Standing, search: Search) -> bool:
    if standing.store is None or not set(search.names).issubset(standing.stored):
        return False
    now, then = standing.store.index, search.store.index
    return now.made_alike(then) and all(
        now.images[name].sha256 == then.images[name].sha256 for name in search.names
    )
