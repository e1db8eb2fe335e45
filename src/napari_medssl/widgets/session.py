"""The state that the widgets of one viewer share: the project, the open image, the active run, the engine."""

from __future__ import annotations

import atexit
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary, ref

from qtpy.compat import isalive
from qtpy.QtCore import QObject, QStandardPaths, Signal

from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Failed, Started
from napari_medssl.widgets.activity import Activity
from napari_medssl.widgets.background import background, wait_for_background
from napari_medssl.widgets.changed_images import ChangedImages
from napari_medssl.widgets.close_guard import CloseGuard
from napari_medssl.widgets.description_cache import DescriptionCache
from napari_medssl.widgets.engine_client import default_command
from napari_medssl.widgets.image_view import ImageView
from napari_medssl.widgets.job_runner import JobRunner
from napari_medssl.widgets.layers import find_layer, marked
from napari_medssl.widgets.opening import Opening
from napari_medssl.widgets.overview import Overview
from napari_medssl.widgets.planner import Planner
from napari_medssl.widgets.predictions import Predictions
from napari_medssl.widgets.problem import Problem
from napari_medssl.widgets.recent import Recent
from napari_medssl.widgets.run_list import RunList
from napari_medssl.widgets.telling import Telling
from napari_medssl.widgets.unsaved import flush_all
from napari_medssl.widgets.view_memory import ViewMemory
from napari_medssl.widgets.warm_engine import WarmEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari
    from napari.layers import Image, Labels, Layer

    from napari_medssl.engine.protocol import Description
    from napari_medssl.events import AnyEvent, Device
    from napari_medssl.project import Project, Run
    from napari_medssl.widgets.background import Lane
    from napari_medssl.widgets.run_handle import RunHandle

__all__ = ["Problem", "Session", "in_use"]

_log = logging.getLogger(__name__)


class Session(QObject):
    """One per viewer, shared by all our widgets in it; get it with `Session.of`.

    Attributes
    ----------
    project_changed : Signal
        Another project is open, or its settings (classes, images) changed.
    image_closing : Signal
        The open image is about to be replaced (save what belongs to it); `image` still names it.
    image_changed : Signal
        Another image is open and its layer is there, or none is.
    images_changed : Signal
        The images of the open project, or what is known of them, differ (its settings do not).
    labels_changed : Signal
        Annotations were written to disk (statuses and counts may differ).
    runs_changed : Signal
        `runs` or `current_run` differ.
    busy_changed : Signal
        `active`, `warm.busy` or what `opening` does differ.
    description_changed : Signal
        `description` has arrived.
    run_event : Signal(object)
        Every event of the active run; the last one is always `Done` or `Failed`.
    saved_prediction : Signal(str, str)
        Run and image of a prediction that was written.
    problem : Signal(object)
        A `Problem` to show.
    settled : Signal(str)
        What problems were about (`Problem.about`) that are none any more.
    crashed : Signal(object)
        The `Problem` of an exception that nobody caught; may be emitted in any thread.
    """

    project_changed = Signal()
    image_closing = Signal()
    image_changed = Signal()
    images_changed = Signal()
    labels_changed = Signal()
    runs_changed = Signal()
    busy_changed = Signal()
    description_changed = Signal()
    run_event = Signal(
        object
    )  # not `event`: that would replace QObject.event, which Qt itself calls
    saved_prediction = Signal(str, str)
    problem = Signal(object)
    settled = Signal(str)
    crashed = Signal(object)

    engine_command: ClassVar[list[str]] = default_command()
    """How the engine is started; tests put a fake here."""
    home: ClassVar[Path | None] = None
    """Where logs, job files and the list of recent projects live; the user's own data folder if None."""

    _sessions: ClassVar[WeakKeyDictionary[Any, Session]] = WeakKeyDictionary()

    @classmethod
    def of(cls, viewer: napari.Viewer) -> Session:
        """Return the viewer's session, making it on first use."""
        viewer = getattr(viewer, "__wrapped__", viewer)  # napari may hand plugins a proxy
        if viewer not in cls._sessions:
            cls._sessions[viewer] = cls(viewer)
        return cls._sessions[viewer]

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__(viewer.window._qt_window)
        self._viewer = ref(viewer)
        self.closed = False
        folder = self.folder()
        self.telling = Telling(self)
        self.recent = Recent(folder / "recent.json")
        self.opening = Opening(self)
        self.opening.moved.connect(self.busy_changed)
        self.opening.images_changed.connect(self.images_changed)
        self.images = ImageView(self)
        self.view_memory = ViewMemory(self)
        self.overview = Overview(self)
        self.changed_images = ChangedImages(self)
        self.run_list = RunList(self)
        self.run_list.changed.connect(self.runs_changed)
        self.warm = WarmEngine(self.engine_command, log=folder / "logs" / "serve.log", parent=self)
        self.warm.busy_changed.connect(self.busy_changed)
        self.jobs = JobRunner(self)
        self.jobs.arrived.connect(self._on_event)
        self.jobs.idle.connect(self.refresh_runs)  # until its process ends a run counts as running
        self.predictions = Predictions(self)
        self.planner = Planner(self)
        self._descriptions = DescriptionCache(self)
        self._guard = CloseGuard(self)

    @classmethod
    def folder(cls) -> Path:
        """Return the folder for logs, job files and the list of recent projects."""
        if cls.home is not None:
            return cls.home
        location = QStandardPaths.StandardLocation.GenericDataLocation
        return Path(QStandardPaths.writableLocation(location)) / "napari-medssl"

    @property
    def viewer(self) -> napari.Viewer:
        """The viewer; raises when it is gone."""
        viewer = self._viewer()
        if viewer is None:
            raise MedsslError("The viewer of this session is closed.")
        return viewer

    @property
    def on_screen(self) -> bool:
        """Whether the viewer's window is there: in one that closes, layers are neither made nor removed.

        Elsewhere what lies on an image goes with `image_closing`, as the view of the next one is fitted to all layers.
        """
        return not self.closed and bool(self.viewer.window._qt_window.isVisible())

    # -- project ---------------------------------------------------------------------------------

    @property
    def project(self) -> Project | None:
        """The open project."""
        return self.opening.project

    @property
    def working(self) -> str:
        """What is being opened, in a few words; empty when nothing is."""
        return self.opening.working

    def create_project(
        self,
        folder: str | Path,
        *,
        project: str | Path | None = None,
        masks: str | Path | None = None,
        **options: Any,
    ) -> None:
        """Make a project for a folder of images and open it; returns at once."""
        self.opening.create(
            Path(folder),
            project=Path(project) if project else None,
            masks=Path(masks) if masks else None,
            **options,
        )

    def open_project(self, path: str | Path) -> None:
        """Open a project folder; returns at once."""
        self.opening.open(Path(path))

    def close_project(self) -> None:
        """Close image and project; returns at once."""
        self.opening.close()

    # -- image -----------------------------------------------------------------------------------

    @property
    def image(self) -> str | None:
        """Name of the open image."""
        return self.images.name

    def open_image(self, name: str) -> None:
        """Show an image of the project; returns at once, `image_changed` follows."""
        self.images.open(name)

    def layer(self, role: str) -> Layer | None:
        """Return our layer with this role (``image``, ``labels``, ``prediction``, ...), if there is one."""
        return find_layer(self.viewer, role)

    @property
    def image_layer(self) -> Image | None:
        """The layer of the open image."""
        return self.layer("image")

    @property
    def labels_layer(self) -> Labels | None:
        """The layer that is painted on."""
        return self.layer("labels")

    @property
    def prediction_layer(self) -> Labels | None:
        """The layer with the prediction of the open image; None while it holds none."""
        layer = self.layer("prediction")
        filled = layer is not None and marked(layer).get("image") == self.image
        return layer if filled else None

    # -- runs ------------------------------------------------------------------------------------

    @property
    def active(self) -> RunHandle | None:
        """The job that is running now."""
        return self.jobs.active

    @property
    def runs(self) -> list[Run]:
        """All runs of the project, newest first."""
        return self.run_list.all

    @property
    def usable_runs(self) -> list[Run]:
        """Those that have weights."""
        return self.run_list.usable

    @property
    def current_run(self) -> str | None:
        """The run that predicts and explores: the chosen one, else the newest usable one."""
        return self.run_list.current

    def choose_run(self, name: str | None) -> None:
        """Use this run from now on; None for always the newest usable one."""
        self.run_list.choose(name)

    def refresh_runs(self) -> None:
        """Read the runs again; returns at once."""
        self.run_list.refresh()

    def start_job(self, job: dict[str, Any]) -> RunHandle:
        """Start a job in an engine process of its own; raises if one is active."""
        handle = self.jobs.start(job)
        self.busy_changed.emit()
        return handle

    def pause(self) -> None:
        """Ask the active run to wait."""
        self.jobs.tell("pause")

    def resume(self) -> None:
        """Let the paused run go on."""
        self.jobs.tell("resume")

    def stop(self) -> None:
        """Ask the active run to save and end; what it has is kept."""
        self.jobs.tell("stop")

    # -- the warm engine -------------------------------------------------------------------------

    def request(
        self,
        kind: str,
        *,
        on_result: Callable[[dict[str, Any]], None],
        on_failed: Callable[[Problem], None] | None = None,
        channel: str | None = None,
        **fields: Any,
    ) -> int:
        """Ask the warm engine; the newest request of a channel (the kind by default) wins.

        Parameters
        ----------
        kind : str
            ``predict``, ``embed``, ``preview`` or ``device``.
        on_result : callable
            Receives the answer's data.
        on_failed : callable, optional
            Receives a `Problem`; without it the problem is shown in the workspace.
        channel : str, optional
            See `WarmEngine.ask`.
        **fields
            Fields of `Request`; the open project, image and run are filled in where they are not given.
        """
        if self.project is not None:
            fields.setdefault("project", str(self.project.path))
        fields.setdefault("image", self.image or "")
        fields.setdefault("run", self.current_run or "")
        if self.active is not None:  # the run has the GPU and the cores
            fields.setdefault("device", "cpu")
            fields.setdefault("threads", 1)
        return self.warm.ask(
            kind,
            on_result=on_result,
            on_failed=on_failed or self.problem.emit,
            channel=channel,
            **fields,
        )

    @property
    def description(self) -> Description | None:
        """Methods, settings and device as the engine describes them; None until they have arrived."""
        return self._descriptions.description

    @property
    def device(self) -> Device | None:
        """Where jobs run: as the active run said, else as the engine described it."""
        if self.active is not None and self.active.device is not None:
            return self.active.device
        return self.description.device if self.description is not None else None

    # -- the rest --------------------------------------------------------------------------------

    def background(
        self,
        work: Callable[[], Any],
        *,
        on_result: Callable[[Any], None],
        on_failed: Callable[[BaseException], None] | None = None,
        doing: str = "",
        lane: Lane = "reading",
    ) -> None:
        """Call `work` in a thread, then a callback in the GUI thread; failures are shown if not handled.

        Parameters
        ----------
        work : callable
            Must touch neither Qt objects nor napari layers.
        on_result, on_failed : callable
            Not called any more once the viewer has closed; then `work` is not begun either, unless it saves.
        doing : str
            For the message of a failure: ``saving the labels of a.png``.
        lane : {"reading", "saving", "checking", "fitting", "advising", "live"}
            See `napari_medssl.widgets.background`.
        """
        if self.closed:
            return

        def begun() -> Any:
            # what waits in its lane when the viewer closes would keep the program alive; what is to be saved is saved
            return work() if lane == "saving" or not self.closed else None

        def failed(error: BaseException) -> None:
            if self.closed:
                return
            if on_failed is not None:
                on_failed(error)
            else:
                self.show_error(error, doing=doing)

        def worked(result: Any) -> None:
            if not self.closed:
                on_result(result)

        background(begun, on_result=worked, on_failed=failed, lane=lane)

    def show_error(self, error: BaseException, *, doing: str = "") -> None:
        """Show an exception as a sentence in the workspace."""
        self.problem.emit(Problem.of(error, doing=doing))

    def shut_down(self) -> None:
        """End the children and let the last saves finish: the viewer is closing."""
        if self.closed:
            return
        if self._viewer() is not None:
            self.view_memory.flush()
        self.closed = True  # from here on nothing is begun
        for name, error in flush_all(self).items():
            _log.error("What was drawn on %s is lost: it cannot be saved.", name, exc_info=error)
        for item in self.findChildren(Activity):
            item.close()
        self.opening.shut_down()
        wait_for_background()
        self.jobs.shut_down()
        self.warm.shut_down()
        self._descriptions.shut_down()
        viewer = self._viewer()
        if viewer is not None:  # nothing of ours keeps a closed viewer in memory
            self._sessions.pop(viewer, None)

    def _on_event(self, event: AnyEvent) -> None:
        self.run_event.emit(event)
        if isinstance(event, Failed):
            active = self.jobs.last
            log = active.process.log if active is not None else None
            self.problem.emit(Problem(event.error, event.advice, event.details, log))
        self.run_list.follow(event)
        if isinstance(event, Started | Done | Failed):
            self.busy_changed.emit()


@atexit.register
def _shut_down_all() -> None:
    """End the sessions of a program that ends without having closed its windows."""
    for session in list(Session._sessions.values()):
        session.shut_down()


def in_use(session: Session) -> bool:
    """Whether the viewer of a session is open: a widget that goes may outlive the session it belonged to."""
    alive: bool = isalive(session)  # type: ignore[no-untyped-call]
    return alive and not session.closed
