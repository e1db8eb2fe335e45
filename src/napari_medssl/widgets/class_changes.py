"""Changes the classes of the open project, and says first what removing one would mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.instances.by_class import FOREGROUND, classes_of
from napari_medssl.project.annotations import counts_of
from napari_medssl.project.weights_header import SPEC_KEY, read_header
from napari_medssl.widgets import classes as class_lists
from napari_medssl.widgets.label_store import Annotation
from napari_medssl.widgets.object_editor import ObjectEditor
from napari_medssl.widgets.pixel_change import change_pixels
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_medssl.project import ClassInfo, Project, Run
    from napari_medssl.widgets.annotator import Annotator

__all__ = ["NOT_ANNOTATED", "Removal", "change_classes", "remove_class", "survey"]

NOT_ANNOTATED = 0


@dataclass(frozen=True)
class Removal:
    """What removing a class would touch."""

    project: Project
    """Whose class it is."""
    value: int
    images: tuple[str, ...]
    """Images that it is painted on."""
    pixels: int
    """Of it, on all of them."""
    objects: int
    """Of it, on all of them: gone where its pixels become background or not annotated."""
    runs: tuple[str, ...]
    """Networks that predict it."""


def change_classes(
    annotator: Annotator, change: Callable[[tuple[ClassInfo, ...]], tuple[ClassInfo, ...]]
) -> bool:
    """Apply one of the functions of `classes`; False, with a message shown, when it was refused."""
    session = annotator.session
    project = session.project
    if project is None:
        return False
    try:
        project.update(classes=change(project.settings.classes))
    except (MedsslError, OSError) as error:
        session.problem.emit(Problem.of(error, doing="changing the classes"))
        return False
    session.project_changed.emit()
    return True


def survey(annotator: Annotator, value: int, *, on_result: Callable[[Removal], None]) -> None:
    """Find out what removing a class would touch; calls back in the GUI thread."""
    editor = ObjectEditor.of(annotator.session)
    annotator.save()
    editor.saving.save()
    project = annotator.session.project
    if project is None:
        return
    newer = {
        name: entry
        for name in project.images
        if (entry := annotator.store.waiting(project, name)) is not None
    }
    newer_objects = {
        name: ids
        for name in project.images
        if (ids := editor.store.waiting(project, name)) is not None
    }
    runs = tuple(annotator.session.usable_runs)

    def work() -> Removal:
        annotations = project.annotations
        candidates = dict.fromkeys([*annotations.annotated(), *newer])
        counts = {
            name: (newer[name].counts if name in newer else annotations.counts(name)).get(value, 0)
            for name in candidates
        }
        images = tuple(name for name, count in counts.items() if count)
        objects = 0
        for name in set(images) & {*project.objects.stored(), *newer_objects}:
            labels = newer[name].labels if name in newer else annotations.read(name)
            ids = newer_objects[name] if name in newer_objects else project.objects.read(name)
            objects += sum(of == value for of in classes_of(ids, labels).values())
        pixels = sum(counts.values())
        return Removal(project, value, images, pixels, objects, _predicting(runs, value))

    def told(removal: Removal) -> None:
        if annotator.session.project is project:
            on_result(removal)

    annotator.session.background(work, on_result=told, doing="reading the annotations")


def remove_class(annotator: Annotator, removal: Removal, *, into: int = NOT_ANNOTATED) -> None:
    """Take a class away; its pixels become another class, or not annotated; napari cannot undo it.

    Where they become no class, they belong to no object any more.

    Parameters
    ----------
    annotator : Annotator
        Of the session.
    removal : Removal
        As the user was told.
    into : int
        Value of the class that its pixels become.
    """
    session = annotator.session
    project = removal.project
    if session.project is not project:  # another one was opened while the question stood there
        return
    editor = ObjectEditor.of(session)
    # would be written later, with a value that has no class any more
    unsaved = (*annotator.store.unsaved, *editor.store.unsaved)
    if unsaved:
        annotator.say(f"{unsaved[0]} is not saved yet: save it first.")
        return
    value = removal.value
    layer, objects_of = annotator.layer, editor.image
    shown = {} if layer is None else {annotator.image: layer.data == value}
    _replace_in_layers(annotator, editor, value, into)

    def work() -> None:
        drawn = set(project.objects.stored())
        for name in removal.images:
            labels = project.annotations.read(name)
            own = shown.get(name, labels == value)
            if name in drawn and name != objects_of and into < FOREGROUND:
                ids = project.objects.read(name)
                editor.store.write_now(project, name, np.where(own, 0, ids).astype(np.int32))
            if name not in shown:
                done = project.annotations.status(name) == "done"
                labels[own] = into
                new = Annotation(labels, done, counts_of(labels))
                annotator.store.write_now(project, name, new)

    def cleared(_: object) -> None:
        if session.project is project:
            _replace_in_layers(annotator, editor, value, into)  # of an image opened meanwhile
            change_classes(annotator, lambda old: class_lists.remove(old, value))
            session.labels_changed.emit()

    # after all writes that are on their way
    session.background(work, on_result=cleared, doing="removing the class", lane="saving")


def _replace_in_layers(annotator: Annotator, editor: ObjectEditor, value: int, into: int) -> None:
    labels, objects = annotator.layer, editor.layer
    if labels is None:
        return
    own = labels.data == value
    if objects is not None and into < FOREGROUND and own.any():
        change_pixels(objects, np.where(own, 0, objects.data))
        editor.reload()
    change_pixels(labels, np.where(own, into, labels.data))
    annotator.reload()  # with undo, pixels of a class that is gone could come back


def _predicting(runs: Iterable[Run], value: int) -> tuple[str, ...]:
    """Name the runs whose networks predict the class with this value."""
    found = []
    for run in runs:
        weights = run.weights("best")
        spec = read_header(weights).get(SPEC_KEY, {}) if weights is not None else {}
        known = [item.get("value") for item in spec.get("classes", ())]
        if spec.get("head") != "none" and value in known:
            found.append(run.name)
    return tuple(found)
