"""Keeps the Labels layer of the open image: makes it, saves what is painted, changes it on command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import Signal

from napari_medssl.project.annotations import counts_of
from napari_medssl.widgets.annotation_commands import SHORTCUTS
from napari_medssl.widgets.autosave import Autosave
from napari_medssl.widgets.classes import BACKGROUND
from napari_medssl.widgets.gl_guard import guard_canvas
from napari_medssl.widgets.label_store import Annotation, LabelStore
from napari_medssl.widgets.layers import class_colormap, mark
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.picking import Picking
from napari_medssl.widgets.placement import follow, place
from napari_medssl.widgets.problem import Problem
from napari_medssl.widgets.shortcuts import bind_on_our_layers

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medssl.project import ClassInfo, Project
    from napari_medssl.widgets.autosave import SaveState
    from napari_medssl.widgets.session import Session

__all__ = ["ERASER", "Annotator"]

ERASER = 0
_KEPT = ("brush_size", "opacity", "contour", "contiguous", "preserve_labels", "visible")


class Annotator(PerSession):
    """One per session; get it with `Annotator.of`. Lives as long as the viewer, with or without widgets.

    Parameters
    ----------
    session : Session
        Whose open image is annotated.
    """

    layer_changed = Signal()
    """The Labels layer is there, or is gone."""
    class_changed = Signal()
    """Another class is being painted."""
    state_changed = Signal()
    """`state`, `status` or `counts` differ."""
    hint = Signal(str)
    """A sentence to show beside the buttons."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        guard_canvas(session.viewer)
        self.store = LabelStore(session)
        self.saving: Autosave[Annotation] = Autosave(
            session, self.store, self._snapshot, what="labels", parent=self
        )
        self.layer: Labels | None = None
        self.image: str | None = None
        """The image that `layer` belongs to."""
        self.done = False
        """Whether the user called the open image done; then it is locked."""
        self.counts: dict[int, int] = {}
        self._project: Project | None = None
        self._put: Annotation | None = None  # what was last read, or sent to be written
        self._kept: dict[str, Any] = {"brush_size": 10, "opacity": 0.6}
        self._value = BACKGROUND + 1
        self._was_active = False
        self._mode = "pan_zoom"
        self._parked: Labels | None = None
        self._end_follow: Callable[[], None] | None = None
        self.overwrite = False
        """Whether copying a prediction also replaces what is annotated."""
        self.picking = Picking(self)
        self.saving.changed.connect(self.state_changed)
        self.store.written.connect(lambda _: session.labels_changed.emit())
        session.image_closing.connect(self._on_closing)
        session.image_changed.connect(self._on_image)
        session.project_changed.connect(self._on_project)
        session.viewer.layers.events.removed.connect(self._on_removed)
        keys = {key: self._pressed(command) for key, command in SHORTCUTS.items()}
        bind_on_our_layers(session.viewer, keys)
        if session.image is not None:
            self._on_image()

    # -- what there is ---------------------------------------------------------------------------

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The project's classes; empty without a project."""
        project = self.session.project
        return project.settings.classes if project is not None else ()

    @property
    def status(self) -> Literal["none", "partial", "done"]:
        """Stand of the open image."""
        if self.done:
            return "done"
        return "partial" if any(n for value, n in self.counts.items() if value) else "none"

    @property
    def state(self) -> SaveState:
        """Whether what is painted is on the disk."""
        return self.saving.state

    @property
    def locked(self) -> bool:
        """Whether nothing may be painted, because the open image is done."""
        return self.done

    @property
    def value(self) -> int:
        """What is painted: `ERASER` or the value of a class."""
        if self.layer is not None and self.layer.mode == "erase":
            return ERASER
        return self._value

    @property
    def painting(self) -> bool:
        """Whether a stroke in the image would paint (or erase)."""
        layer = self.layer
        if layer is None or self.session.viewer.layers.selection.active is not layer:
            return False
        return layer.mode in ("paint", "erase", "fill", "polygon")

    def say(self, sentence: str) -> None:
        """Show a sentence beside the buttons."""
        self.hint.emit(sentence)
        self.state_changed.emit()

    def _pressed(self, command: Callable[[Annotator], None]) -> Callable[[Any], None]:
        def pressed(_: Any) -> None:
            command(self)

        return pressed

    # -- the layer -------------------------------------------------------------------------------

    def reopen(self) -> None:
        """Make the layer again after it was removed by hand."""
        if self.layer is None:
            self._on_image()

    def reload(self) -> None:
        """Read the annotation again, with nothing to undo."""
        self._park()
        self._on_image()

    def set_done(self, done: bool) -> None:
        """Say that the user is finished with the image, which locks the layer, or take that back.

        Locking ends what can be undone: napari forgets it.
        """
        layer = self.layer
        if layer is not None and done:
            self._mode = layer.mode
        self.done = done
        self._lock()
        if layer is not None and not done:
            layer.mode = self._mode
        self.save()
        self.state_changed.emit()

    def _lock(self) -> None:
        # also called when napari makes the layer editable by itself, as it does after a view in 3-D
        if self.layer is not None and self.layer.editable == self.locked:
            self.layer.editable = not self.locked

    def _on_closing(self) -> None:
        self.save()
        if self.session.on_screen:
            self._park()

    def _on_image(self) -> None:
        session = self.session
        project, name = session.project, session.image
        if self.layer is not None and (project is not self._project or name != self.image):
            self._park()
        if name is None and self._parked is not None:
            session.viewer.layers.remove(self._parked)
        if project is None or name is None or self.layer is not None:
            return
        self.image = None

        def show(annotation: Annotation) -> None:
            if session.project is project and session.image == name and self.layer is None:
                self._show(project, name, annotation)

        def failed(error: BaseException) -> None:
            session.problem.emit(Problem.of(error, doing=f"reading the annotation of {name}"))

        self.store.read(project, name, on_result=show, on_failed=failed)

    def _show(self, project: Project, name: str, annotation: Annotation) -> None:
        image_layer = self.session.image_layer
        if image_layer is None:
            return
        layer = self._parked
        if layer is None:
            layer = self._make(annotation)
        else:
            layer.data = annotation.labels.copy()
            layer.editable = True
        layer.name = f"annotation of {name}"
        layer.colormap = class_colormap(project.settings.classes)
        place(layer, image_layer)
        mark(layer, "labels", image=name)
        self._parked, self._project, self.image, self.layer = None, project, name, layer
        self._put, self.done, self.counts = annotation, annotation.done, annotation.counts
        if self._value not in self._values():
            self._value = BACKGROUND + 1
        layer.selected_label = self._value
        active = self.session.viewer.layers.selection.active
        if layer not in self.session.viewer.layers:
            self.session.viewer.add_layer(layer)
        for key, value in self._kept.items():
            setattr(layer, key, value)
        if self._was_active:
            self.session.viewer.layers.selection.active = layer
            layer.mode = self._mode
        elif active in self.session.viewer.layers:
            self.session.viewer.layers.selection.active = active
        self._lock()
        self._end_follow = follow(image_layer, layer)
        self.saving.begin(project, name)
        self.layer_changed.emit()
        self.class_changed.emit()

    def _make(self, annotation: Annotation) -> Labels:
        layer = Labels(annotation.labels.copy())
        self.saving.watch(layer)
        layer.events.selected_label.connect(self._on_selected_label)
        layer.events.mode.connect(self._on_mode)
        layer.events.editable.connect(self._lock)
        layer.bind_key("Control-Z", lambda _: self.undo(), overwrite=True)
        layer.bind_key("Control-Shift-Z", lambda _: self.redo(), overwrite=True)
        return layer

    def _park(self) -> None:
        """Save, and empty the layer until the annotation of another image is there.

        One layer serves all images: the brush, its controls and the place in the list stay as they are.
        """
        layer = self.layer
        if layer is None:
            return
        self._was_active = self.session.viewer.layers.selection.active is layer
        if not self.locked:
            self._mode = layer.mode
        self._forget()
        mark(layer, "parked")
        layer.visible = False
        layer.data = np.zeros((1, 1), np.uint16)
        layer.editable = False  # also forgets what could be undone
        layer.name = "annotation"
        self._parked = layer

    def _forget(self) -> None:
        """Save, and have no layer any more."""
        layer = self.layer
        if layer is not None:
            self._kept = {key: getattr(layer, key) for key in _KEPT}
        if self._end_follow is not None:
            self._end_follow()
            self._end_follow = None
        self.saving.end()
        self.layer, self._put, self.counts, self.done = None, None, {}, False
        self.state_changed.emit()
        self.layer_changed.emit()

    def _on_removed(self, event: Any) -> None:
        if event.value is self._parked:
            self._parked = None
        elif self.layer is not None and event.value is self.layer:
            self._was_active = False
            self._forget()

    def _on_project(self) -> None:
        project = self.session.project
        layer = self.layer
        if layer is None or project is None or project is not self._project:
            return
        layer.colormap = class_colormap(project.settings.classes)
        if self._value not in self._values():
            self.paint_with(BACKGROUND + 1)
        self.class_changed.emit()

    # -- saving ----------------------------------------------------------------------------------

    def save(self) -> None:
        """Send what was painted to the disk, if it differs from what was sent last; returns at once."""
        self.saving.save()

    def flush(self) -> dict[str, BaseException]:
        """Save everything before returning; see `Autosave.flush`."""
        return self.saving.flush()

    def _snapshot(self) -> Annotation | None:
        """Take what is painted now, for painting goes on; None if it is what was taken last."""
        layer, put = self.layer, self._put
        if layer is None or put is None:
            return None
        if put.done == self.done and np.array_equal(layer.data, put.labels):
            return None
        labels = np.array(layer.data, dtype=np.uint16)
        self.counts = counts_of(labels)
        self._put = Annotation(labels, self.done, self.counts)
        return self._put

    # -- painting --------------------------------------------------------------------------------

    def paint_with(self, value: int) -> None:
        """Make the Labels layer active, with the brush for a class, or the eraser for 0.

        On a locked image the class is chosen, and nothing is painted.
        """
        layer = self.layer
        if layer is None:
            return
        self.session.viewer.layers.selection.active = layer
        if value != ERASER:
            self._value = value
            layer.selected_label = value
        if not self.locked:
            if value == ERASER:
                layer.mode = "erase"
            elif layer.mode not in ("paint", "fill", "polygon"):
                layer.mode = "paint"
        self.class_changed.emit()

    def undo(self) -> None:
        """Take back the last step; what was said of it holds no longer."""
        if self.layer is not None:
            self.layer.undo()
            self.say("")

    def redo(self) -> None:
        """Make the step that was taken back once more."""
        if self.layer is not None:
            self.layer.redo()
            self.say("")

    def _values(self) -> set[int]:
        return {item.value for item in self.classes}

    def _on_selected_label(self) -> None:
        layer = self.layer
        if layer is None:
            return
        value = int(layer.selected_label)
        if value == ERASER:
            # napari's own controls and its picker offer 0, which erases
            layer.selected_label = self._value
            layer.mode = "erase"
        elif value not in self._values():
            # a value that no class has would be painted, saved, and mean nothing
            layer.selected_label = self._value
            known = ", ".join(f"{item.value} {item.name}" for item in self.classes)
            self.say(f"No class has the value {value}. There are {known}.")
        else:
            self._value = value
        self.class_changed.emit()

    def _on_mode(self) -> None:
        self.class_changed.emit()
