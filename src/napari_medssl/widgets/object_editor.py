"""Keeps the layer with the objects of the open image: makes it, saves it, knows which objects are selected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QTimer, Signal

from napari_medssl.instances.by_class import FOREGROUND
from napari_medssl.instances.editing import new_id
from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.autosave import Autosave
from napari_medssl.widgets.copying import DONE
from napari_medssl.widgets.layers import mark
from napari_medssl.widgets.object_history import ObjectHistory
from napari_medssl.widgets.object_listing import ObjectListing
from napari_medssl.widgets.object_store import ObjectStore
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.placement import follow, place
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from napari_medssl.project import Project
    from napari_medssl.widgets.object_listing import ObjectEntry
    from napari_medssl.widgets.session import Session

__all__ = ["ObjectEditor"]

_OUTLINE = 2  # pixels of the screen
_KEPT = ("brush_size", "opacity", "contour", "contiguous", "preserve_labels")


class ObjectEditor(PerSession):
    """One per session; get it with `ObjectEditor.of`. Its layer is there while it is on.

    An object map divides the foreground: the class labels, which `Annotator` keeps, say what a pixel is, the ids here
    say which object it belongs to.

    Parameters
    ----------
    session : Session
        Whose open image.
    """

    layer_changed = Signal()
    """The layer is there, or is gone."""
    state_changed = Signal()
    """`locked`, `value`, the layer's tool or what is saved differs."""
    selection_changed = Signal()
    """`selected` differs, or these objects look different."""
    rows_changed = Signal()
    """`rows` differ."""
    hint = Signal(str)
    """A sentence to show beside the buttons."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.annotator = Annotator.of(session)
        self.store = ObjectStore(session)
        self.saving = Autosave(session, self.store, self._take, what="objects", parent=self)
        self.listing = ObjectListing(session, lambda: (self.layer, self.annotator.layer), self)
        self.on = False
        self.layer: Labels | None = None
        self.image: str | None = None
        """The image that `layer` belongs to."""
        self.selected: tuple[int, ...] = ()
        """Ids; the brush adds to the last one, and paints a new object while there is none."""
        self.clears = True
        """Whether the pixels of objects that are deleted become background."""
        self._value = FOREGROUND
        self._history = ObjectHistory()
        self._project: Project | None = None
        self._values: set[int] = set()  # of the classes
        self._unreadable = ""  # why the objects of the open image cannot be read
        self._put: NDArray[np.int32] | None = None  # what was last read, or sent to be written
        self._own = False
        self._removed = False
        self._was_active, self._mode = True, "pan_zoom"
        self._parked: Labels | None = None
        self._kept: dict[str, Any] = {"brush_size": 10, "opacity": 1.0, "contour": _OUTLINE}
        self._end_follow: Callable[[], None] | None = None
        self._counts: dict[int, int] = {}
        self.saving.changed.connect(self.state_changed)
        self.listing.changed.connect(self.rows_changed)
        self.annotator.class_changed.connect(self._on_class)
        self.annotator.state_changed.connect(self._on_annotation)
        self.annotator.layer_changed.connect(self._on_annotation)
        session.image_closing.connect(self._on_closing)
        session.image_changed.connect(self._open)
        session.project_changed.connect(self._on_project)
        session.viewer.layers.events.removed.connect(self._on_removed)
        self._on_project()

    # -- what there is ---------------------------------------------------------------------------

    @property
    def rows(self) -> tuple[ObjectEntry, ...]:
        """The objects of the open image, by id."""
        return self.listing.rows

    @property
    def value(self) -> int:
        """The class of new objects."""
        values = [item.value for item in self.annotator.classes if item.value >= FOREGROUND]
        return self._value if self._value in values or not values else values[0]

    def set_value(self, value: int) -> None:
        """Give new objects this class."""
        self._value = value
        self.state_changed.emit()

    @property
    def why_not(self) -> str:
        """Why objects cannot be changed now; empty when they can."""
        if self.session.image is None:
            return "Open an image first."
        if self.annotator.locked:
            return DONE
        if self.gone:
            return "The layer was removed. Show it again first."
        if self._unreadable:
            return self._unreadable
        if self.layer is None or self.annotator.layer is None:
            return "The objects of this image are being read."
        return ""

    @property
    def gone(self) -> bool:
        """Whether the layer of the objects, or that of the classes, was removed by hand."""
        annotator, image = self.annotator, self.session.image
        without = annotator.layer is None and annotator.image == image
        return image is not None and (self._removed or without)

    def say(self, sentence: str) -> None:
        """Show a sentence beside the buttons."""
        self.hint.emit(sentence)

    def set_on(self, on: bool) -> None:
        """Show the layer, or hide it; what was drawn is saved."""
        if on == self.on or self.session.closed:
            return
        self.on = on
        if on:
            self._was_active = True
            self._open()
        elif self.layer is not None:
            selection = self.session.viewer.layers.selection
            if selection.active is self.layer and self.annotator.layer is not None:
                selection.active = self.annotator.layer
            self._park()

    def reopen(self) -> None:
        """Make the layer again after it was removed by hand; that of the classes, too."""
        self.annotator.reopen()
        self._open()

    def reload(self) -> None:
        """Read the objects again, with nothing to undo: others were written."""
        self._park()
        self._open()

    def flush(self) -> dict[str, BaseException]:
        """Save everything before returning; see `WriteBehind.flush`."""
        return self.saving.flush()

    # -- selecting -------------------------------------------------------------------------------

    def select(self, numbers: Iterable[int]) -> None:
        """Select objects by their ids; those that do not exist are left out."""
        layer = self.layer
        if layer is None:
            return
        there = np.zeros(new_id(layer.data), bool)
        there[layer.data] = True
        wanted = dict.fromkeys(numbers)
        self.selected = tuple(n for n in wanted if 0 < n < len(there) and there[n])
        self._own = True
        layer.selected_label = self.selected[-1] if self.selected else len(there)
        self._own = False
        self.selection_changed.emit()

    def _on_selected_label(self) -> None:
        # set in napari's own controls, or with its picker
        layer = self.layer
        if layer is None or self._own:
            return
        value = int(layer.selected_label)
        # an id that nothing has yet is that of a new object, which gets the next one
        self.select(self.selected if value <= 0 else [value])

    # -- changing --------------------------------------------------------------------------------

    def change(self, ids: NDArray[np.int32], *, classes: NDArray[np.integer] | None = None) -> None:
        """Put these objects in place of those that are there; Ctrl+Z takes it back, classes included.

        Parameters
        ----------
        ids : ndarray of int32, (Y, X)
            All objects of the image.
        classes : ndarray of integers, (Y, X), optional
            Values to give to pixels of the class layer; 0 leaves a pixel as it is.
        """
        layer, labels = self.layer, self.annotator.layer
        if layer is None or labels is None or self.why_not:
            return
        self._own = True
        changed = self._history.change(layer, labels, ids, classes)
        self._own = False
        if changed:
            # Ctrl+Z on the layer of the classes would take back half of it
            self.session.viewer.layers.selection.active = layer
            self._changed()

    def undo(self) -> None:
        """Take back the last step, with what it did to the classes."""
        if self.layer is not None:
            self._history.undo(self.layer, self.annotator.layer)
            self._changed()

    def redo(self) -> None:
        """Make the step that was taken back once more."""
        if self.layer is not None:
            self._history.redo(self.layer, self.annotator.layer)
            self._changed()

    def _on_painted(self) -> None:
        if not self._own:
            QTimer.singleShot(0, self._follow_brush)  # napari tells before it changes the data

    def _follow_brush(self) -> None:
        """Give the pixels that were painted the class of their object; erasing leaves the class."""
        layer, labels = self.layer, self.annotator.layer
        if layer is None or labels is None:
            return
        number = int(layer.selected_label)
        value = self.listing.value_of(number) or self.value
        painted = self._history.brushed(layer, labels, value)
        if painted is None:
            return
        if painted.any():
            self.selected = (number,)
        self._changed()

    def _changed(self) -> None:
        self.select(self.selected)
        self.listing.refresh()

    def _on_class(self) -> None:
        if self.annotator.value >= FOREGROUND:
            self._value = self.annotator.value
        self.state_changed.emit()

    def _lock(self) -> None:
        # also called when napari makes the layer editable by itself, as it does after a view in 3-D
        locked = self.annotator.locked
        if self.layer is not None and self.layer.editable == locked:
            self.layer.editable = not locked
            self._history.clear()  # napari forgets its steps, too

    def _on_project(self) -> None:
        values = {item.value for item in self.annotator.classes}
        if self._values - values:
            self._history.clear()  # with undo, pixels of a class that is gone could come back
        self._values = values

    def _on_annotation(self) -> None:
        if self.layer is None:
            return
        self._lock()
        if self.annotator.counts != self._counts:
            self._counts = self.annotator.counts
            self.listing.refresh()
        self.state_changed.emit()

    # -- the layer -------------------------------------------------------------------------------

    def _on_closing(self) -> None:
        self.saving.save()
        if self.session.on_screen:
            self._park()

    def _open(self) -> None:
        session = self.session
        project, name = session.project, session.image
        if self.layer is not None and (project is not self._project or name != self.image):
            self._park()
        self._unreadable = ""
        if name is None and self._parked is not None:
            session.viewer.layers.remove(self._parked)
        if not self.on or project is None or name is None or self.layer is not None:
            return

        def is_open() -> bool:
            return session.project is project and session.image == name

        def show(ids: NDArray[np.int32]) -> None:
            if self.on and is_open() and self.layer is None:
                self._show(project, name, ids)

        def failed(error: BaseException) -> None:
            problem = Problem.of(error, doing=f"reading the objects of {name}")
            session.problem.emit(problem)
            if is_open():
                self._unreadable = f"{problem.sentence} {problem.advice}".strip()
                self.state_changed.emit()

        self.store.read(project, name, on_result=show, on_failed=failed)

    def _show(self, project: Project, name: str, ids: NDArray[np.int32]) -> None:
        picture = self.session.image_layer
        if picture is None:
            return
        layer = self._parked
        if layer is None:
            layer = self._make(ids)
        else:
            layer.data = ids.copy()
            layer.editable = True
        layer.name = f"objects of {name}"
        place(layer, picture)
        mark(layer, "objects", image=name)
        self._parked, self._removed = None, False
        self._project, self.image, self.layer, self._put = project, name, layer, ids
        self._history.begin(ids)
        layers = self.session.viewer.layers
        active = layers.selection.active
        if layer not in layers:
            layers.append(layer)
        for key, value in self._kept.items():
            setattr(layer, key, value)
        layer.visible = True
        self._lock()
        if self._was_active:
            layers.selection.active = layer
            layer.mode = self._mode if layer.editable else "pan_zoom"
        else:
            layers.selection.active = active
        self._end_follow = follow(picture, layer)
        self.saving.begin(project, name)
        self.select(())
        self.layer_changed.emit()
        self.listing.refresh()

    def _make(self, ids: NDArray[np.int32]) -> Labels:
        layer = Labels(ids.copy())
        self.saving.watch(layer)
        layer.events.paint.connect(self._on_painted)
        layer.events.selected_label.connect(self._on_selected_label)
        layer.events.mode.connect(lambda: self.state_changed.emit())
        layer.events.editable.connect(self._lock)
        layer.bind_key("Control-Z", lambda _: self.undo(), overwrite=True)
        layer.bind_key("Control-Shift-Z", lambda _: self.redo(), overwrite=True)
        return layer

    def _take(self) -> NDArray[np.int32] | None:
        """Take the objects as they are now, for painting goes on; None if they are those taken last."""
        if self.layer is None or self._put is None or np.array_equal(self.layer.data, self._put):
            return None
        self._put = np.array(self.layer.data, dtype=np.int32)
        return self._put

    def _park(self) -> None:
        """Save, and empty the layer until it is needed again: making textures anew is what takes time."""
        layer = self.layer
        self.saving.end()
        if layer is None:
            return
        self._was_active = self.session.viewer.layers.selection.active is layer
        if layer.editable:
            self._mode = layer.mode
        self._forget(layer)
        mark(layer, "parked")
        layer.visible = False
        layer.data = np.zeros((1, 1), np.int32)
        layer.editable = False
        layer.name = "objects"
        self._parked = layer

    def _forget(self, layer: Labels) -> None:
        self._kept = {key: getattr(layer, key) for key in _KEPT}
        if self._end_follow is not None:
            self._end_follow()
            self._end_follow = None
        self.layer, self._put, self.image = None, None, None
        self.selected = ()
        self._history.end()
        self.layer_changed.emit()
        self.selection_changed.emit()
        self.listing.refresh()

    def _on_removed(self, event: Any) -> None:
        if event.value is self._parked:
            self._parked = None
        elif self.layer is not None and event.value is self.layer:
            self.saving.end()
            self._removed = True
            self._forget(self.layer)
