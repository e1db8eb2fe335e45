"""Opens and leaves projects: at once, one viewer to a project, and its files are looked at while the user works."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_medssl.errors import MedsslError
from napari_medssl.project import Project
from napari_medssl.widgets.problem import Problem
from napari_medssl.widgets.unsaved import ask_about_unsaved

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medssl.project import Checked, ViewerLock
    from napari_medssl.widgets.layer_source import LayerSource
    from napari_medssl.widgets.session import Session

__all__ = ["Opening", "project_of"]

_MOST_CHANNELS = 4


class Opening(QObject):
    """Owner of the open project, of the lock on it, and of the check of its files.

    Parameters
    ----------
    session : Session
        Told of what is opened.
    """

    moved = Signal()
    """`working` or `counted` differ."""
    checking_changed = Signal()
    """`checking` differs."""
    images_changed = Signal()
    """Images of the open project appeared or went, or more is known of them."""
    _counted = Signal(int, int)  # these two come from threads
    _looked = Signal(object, object)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.project: Project | None = None
        self.working = ""
        """What is being done in the background, in a few words; empty when nothing is."""
        self.counted = (0, 0)
        """How many files of how many it has done; zeros while that is not known."""
        self.checking: tuple[int, int] | None = None
        """How many of the project's files were looked at, of how many; zeros at first, None when all were."""
        self._lock: ViewerLock | None = None
        self._closing = False
        self._stop_check = threading.Event()
        self._counted.connect(self._on_counted)
        self._looked.connect(self._on_looked)

    def create(
        self, folder: Path, *, project: Path | None, masks: Path | None, **options: Any
    ) -> None:
        """Make a project for a folder of images and open it; returns at once."""

        def work() -> Project:
            return Project.create(
                folder,
                project=project,
                masks=masks,
                progress=self._counted.emit,
                quick=True,
                **options,
            )

        self._open(f"Reading {folder.name}", work)

    def open(self, path: Path) -> None:
        """Open a project folder; returns at once."""
        self._open(
            f"Opening {path.name}",
            lambda: Project.open(path, progress=self._counted.emit, quick=True),
        )

    def create_for_layer(self, folder: Path, source: LayerSource, axes: str) -> None:
        """Make a project for a folder (or open the one it has) and put a layer into it; returns at once."""

        def work() -> Project:
            found = project_of(folder)
            if found is not None:
                return Project.open(found, quick=True)
            return Project.create(folder, empty=True, quick=True, progress=self._counted.emit)

        self._open(f"Opening {folder.name}", work, then=lambda: self.add_layer(source, axes))

    def add_layer(self, source: LayerSource, axes: str) -> None:
        """Store a napari layer in the open project and show it; returns at once.

        Parameters
        ----------
        source : LayerSource
            The layer.
        axes : str
            A letter for each of its axes.
        """
        project, session = self.project, self._session
        if project is None:
            return
        if self.working:
            raise MedsslError(f"{self.working} is not finished.", advice="Wait for it.")
        self._set_working(f"Storing {source.name}")

        def progress(done: int, total: int) -> None:
            if self._ending():
                raise MedsslError("The viewer was closed before the layer was stored.")
            self._counted.emit(done, total)

        def work() -> tuple[str, ...]:
            if not project.images:  # the first one says which channels there are
                project.update(**_channels_of(source, axes))
            return project.add_layer(
                source.data,
                name=source.name,
                axes=axes,
                scale=source.scale,
                translate=source.translate,
                progress=progress,
            )

        def added(names: tuple[str, ...]) -> None:
            self._set_working("")
            if session.project is project:
                self.images_changed.emit()
                session.open_image(names[0])
                self.check()

        def failed(error: BaseException) -> None:
            self._set_working("")
            session.show_error(error, doing=f"storing {source.name}")

        session.background(work, on_result=added, on_failed=failed)

    def close(self) -> None:
        """Close image and project; returns at once."""
        self._leave(self._close)

    def shut_down(self) -> None:
        """Stop looking at files and let others have the project: the viewer is closing."""
        self._closing = True
        self._stop_check.set()
        if self._lock is not None:
            self._lock.release()

    def check(self) -> None:
        """Look at the files that were not looked at yet; returns at once."""
        project = self.project
        if project is None or not project.unchecked:
            return
        self._stop_check.set()
        self._stop_check = stop = threading.Event()

        def work() -> None:
            for checked in project.check(stop=lambda: stop.is_set() or self._ending()):
                self._looked.emit(project, checked)

        def over(_: object) -> None:
            if not stop.is_set():
                self._set_checking(None)
                self.images_changed.emit()

        def failed(error: BaseException) -> None:
            over(None)
            self._session.show_error(error, doing="looking at the images")

        self._set_checking((0, 0))
        self._session.background(work, on_result=over, on_failed=failed, lane="checking")

    def _ending(self) -> bool:
        # a program that ends without closing its window waits for its threads, so they end, too
        return self._closing or not threading.main_thread().is_alive()

    def _open(
        self, what: str, work: Callable[[], Project], *, then: Callable[[], None] = lambda: None
    ) -> None:
        if self.working:
            raise MedsslError(f"{self.working} is not finished.", advice="Wait for it.")
        self._leave(lambda: self._start(what, work, then))

    def _leave(self, then: Callable[[], None]) -> None:
        """Go on when nothing of the open project can be lost."""
        session = self._session
        if session.active is not None:
            raise MedsslError(
                f"{session.active.name} is still working in the open project.",
                advice="Stop it first.",
            )
        box = ask_about_unsaved(
            session, session.viewer.window._qt_window, on_leave=lambda: self._leave(then)
        )
        if box is None:
            then()
        else:
            box.finished.connect(box.deleteLater)
            box.open()

    def _start(self, what: str, work: Callable[[], Project], then: Callable[[], None]) -> None:
        self._set_working(what)
        before, lock = self.project, self._lock

        def open_it() -> tuple[Project, ViewerLock]:
            project = work()
            if lock is not None and before is not None and before.path == project.path:
                return project, lock  # ours already
            return project, project.lock_for_viewer()

        def failed(error: BaseException) -> None:
            self._set_working("")
            self._session.show_error(error, doing="opening the project")

        def opened(found: tuple[Project, ViewerLock]) -> None:
            self._opened(*found)
            then()

        self._session.background(open_it, on_result=opened, on_failed=failed)

    def _opened(self, project: Project, lock: ViewerLock) -> None:
        session = self._session
        self._set_working("")
        self._stop_check.set()
        self._set_checking(None)
        session.images.close()
        if lock is not self._lock:
            self._release()
        self.project, self._lock = project, lock
        session.run_list.clear()
        session.images.open_first(then=self._look_around)  # before all else that reads
        session.project_changed.emit()
        session.run_list.refresh()
        if lock.reason:
            session.problem.emit(
                Problem(
                    lock.reason,
                    "You can look at the images, but nothing that you paint or train can be saved.",
                    level="warning",
                )
            )
        try:
            session.recent.add(project.path)
        except OSError as error:  # the project is open all the same
            session.show_error(error, doing="remembering the project")

    def _look_around(self) -> None:
        # only now, when the user has something to look at: thousands of files keep a core busy for a while
        self.images_changed.emit()
        self.check()

    def _close(self) -> None:
        session = self._session
        self._stop_check.set()
        self._set_checking(None)
        session.images.close()
        self._release()
        self.project = None
        session.project_changed.emit()
        session.run_list.clear()

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:  # behind the labels that are still on their way to the disk
            self._session.background(
                lock.release, on_result=lambda _: None, doing="closing the project", lane="saving"
            )

    def _set_checking(self, checking: tuple[int, int] | None) -> None:
        self.checking = checking
        self.checking_changed.emit()

    def _set_working(self, text: str) -> None:
        self.working, self.counted = text, (0, 0)
        self.moved.emit()

    def _on_counted(self, done: int, total: int) -> None:
        if self.working and (done == total or done - self.counted[0] >= max(1, total // 100)):
            self.counted = (done, total)
            self.moved.emit()

    def _on_looked(self, project: Project, checked: Checked) -> None:
        if project is not self.project or self._stop_check.is_set():
            return
        self._set_checking((checked.done, checked.total))
        if checked.images_changed:
            self.images_changed.emit()


def project_of(folder: Path) -> Path | None:
    """Find the project of an image folder: itself one, or beside it; None where there is none yet."""
    for place in (folder, folder.parent / f"{folder.name}-medssl"):
        if (place / "project.json").is_file():
            return place
    return None


def _channels_of(source: LayerSource, axes: str) -> dict[str, Any]:
    """Give the settings of a project whose first image is this layer."""
    if "S" in axes:
        return {"channels": ("red", "green", "blue"), "channel_indices": None}
    if "C" not in axes:
        return {"channels": ("grey",), "channel_indices": None}
    count = min(_MOST_CHANNELS, source.data.shape[axes.index("C")])
    names = tuple(f"channel {number}" for number in range(count))
    return {"channels": names, "channel_indices": tuple(range(count))}
