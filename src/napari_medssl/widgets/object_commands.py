"""What the buttons and shortcuts of the page "Objects" do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.instances.by_class import FOREGROUND
from napari_medssl.instances.editing import keep_areas, merge, new_id, split
from napari_medssl.widgets.classes import BACKGROUND
from napari_medssl.widgets.object_marks import ObjectMarks

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_medssl.widgets.object_editor import ObjectEditor

__all__ = [
    "SHORTCUTS",
    "delete_selected",
    "delete_small",
    "go_to",
    "merge_selected",
    "new_object",
    "pick",
    "small_objects",
    "split_selected",
]


def new_object(editor: ObjectEditor) -> None:
    """Take the brush, with an id that no object has."""
    layer = _layer(editor)
    if layer is None:
        return
    editor.select(())
    editor.session.viewer.layers.selection.active = layer
    if layer.mode not in ("paint", "polygon"):
        layer.mode = "paint"
    editor.say(f"Paint object {layer.selected_label}.")


def pick(editor: ObjectEditor) -> None:
    """Let clicks in the image select objects."""
    layer = _layer(editor)
    if layer is None:
        return
    editor.session.viewer.layers.selection.active = layer
    layer.mode = "pan_zoom"
    editor.say("Click an object to select it; hold Shift to select several.")


def go_to(editor: ObjectEditor, number: int) -> None:
    """Move the view to an object, at the zoom that it has."""
    layer = editor.layer
    if layer is None:
        return
    ys, xs = np.nonzero(layer.data == number)
    if not len(ys):
        return
    centre = layer.data_to_world((float(ys.mean()), float(xs.mean())))
    camera = editor.session.viewer.scene.camera
    camera.center = (*camera.center[:-2], *centre[-2:])


def merge_selected(editor: ObjectEditor) -> None:
    """Make the selected objects one."""
    layer = _layer(editor)
    if layer is None:
        return
    try:
        merged = merge(layer.data, editor.selected)
    except MedsslError as error:
        editor.say(f"{error.message} {error.advice}")
        return
    kept, count = min(editor.selected), len(editor.selected)
    editor.change(merged)
    editor.select([kept])
    editor.say(f"{count} objects are now object {kept}; Ctrl+Z undoes it.")


def split_selected(editor: ObjectEditor) -> None:
    """Let the user draw a line, and cut the selected object along it; asked again, do not."""
    layer = _layer(editor)
    if layer is None:
        return
    marks = ObjectMarks.of(editor.session)
    if marks.drawing:
        marks.stop()
        editor.say("")
        return
    if len(editor.selected) != 1:
        editor.say(f"To split takes one object; selected: {len(editor.selected)}.")
        return
    number = editor.selected[0]

    def cut(line: list[tuple[float, float]]) -> None:
        now = editor.layer
        if now is None or number not in editor.selected:  # another image, or another object
            return
        try:
            pieces = split(now.data, number, line)
        except MedsslError as error:
            editor.say(f"{error.message} {error.advice}")
            return
        first = new_id(now.data)
        editor.change(pieces)
        editor.select([number, *range(first, int(pieces.max()) + 1)])
        editor.say(f"Object {number} is cut into {len(editor.selected)}; Ctrl+Z undoes it.")

    marks.draw_line(cut)
    editor.say(f"Draw a line right across object {number} (K: do not).")


def delete_selected(editor: ObjectEditor) -> None:
    """Delete the selected objects."""
    layer = _layer(editor)
    if layer is None:
        return
    if not editor.selected:
        editor.say("No object is selected. Click one first.")
        return
    gone = editor.selected
    _delete(editor, np.isin(layer.data, gone))
    which = f"Object {gone[0]} is" if len(gone) == 1 else f"{len(gone)} objects are"
    editor.say(f"{which} deleted. Ctrl+Z takes it back.")


def small_objects(editor: ObjectEditor, smallest: int) -> tuple[int, ...]:
    """Give the ids of the objects with fewer pixels than this."""
    return tuple(row.number for row in editor.rows if row.area < smallest)


def delete_small(editor: ObjectEditor, smallest: int) -> None:
    """Delete the objects with fewer pixels than this."""
    layer = _layer(editor)
    if layer is None:
        return
    kept = keep_areas(layer.data, smallest=smallest)
    gone = (layer.data > 0) & (kept == 0)
    count = len(np.unique(layer.data[gone]))
    _delete(editor, gone)
    editor.say(
        f"{count} objects below {smallest} pixels are deleted. Ctrl+Z takes it back."
        if count
        else f"No object is smaller than {smallest} pixels."
    )


def _delete(editor: ObjectEditor, gone: NDArray[np.bool_]) -> None:
    layer, labels = editor.layer, editor.annotator.layer
    if layer is None or labels is None:
        return
    classes = np.zeros(gone.shape, np.uint16)
    if editor.clears:
        classes[gone & (labels.data >= FOREGROUND)] = BACKGROUND
    editor.change(np.where(gone, 0, layer.data).astype(np.int32), classes=classes)


def _layer(editor: ObjectEditor) -> Labels | None:
    if editor.why_not:
        editor.say(editor.why_not)
        return None
    return editor.layer


SHORTCUTS: dict[str, Callable[[ObjectEditor], None]] = {
    "O": new_object,
    "J": merge_selected,
    "K": split_selected,
    "Delete": delete_selected,
}
"""Bound on our own layers only, and printed on the buttons; they do something while the page is shown."""
