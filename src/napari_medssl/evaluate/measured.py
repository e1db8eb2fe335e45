"""Which annotated images tell what features are worth: those that did not teach, where there are enough of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from napari_medssl.evaluate.taught import taught
from napari_medssl.evaluate.truth import AnnotationTruth
from napari_medssl.project.units import related, units_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_medssl.project import Project, Run

__all__ = ["Measured", "measured_on"]


class Measured(NamedTuple):
    """The annotated images that features are measured on."""

    names: tuple[str, ...]
    """In the project's order."""
    groups: Mapping[str, str]
    """Image -> group, of those that are not a group of their own; see `units_of`."""
    notes: tuple[str, ...]
    """What to keep in mind, in sentences: what was left out, what taught, and what is not known."""


def measured_on(
    project: Project, runs: Iterable[Run], names: Sequence[str] | None = None
) -> Measured:
    """Choose the annotated images that the features of some runs are measured on, the same for all of them.

    Images whose annotations taught one of the runs, or a run that it descends from, are left out, and so are others of
    their group or file; unless what remains is too little to tell classes of pixels apart, which takes two classes
    that are annotated in two groups each: then all are taken, and the notes say so.

    Parameters
    ----------
    project : Project
        Whose annotations. Those that are damaged are left out.
    runs : iterable of Run
        What is measured.
    names : sequence of str, optional
        Images to choose from; all by default.

    Raises
    ------
    MedsslError
        As `taught` and `units_of` do.
    """
    truth = AnnotationTruth(project)
    wanted = None if names is None else set(names)
    annotated = tuple(name for name in truth if wanted is None or name in wanted)
    groups, notes = units_of(project), list(truth.left_out)
    learned: set[str] = set()
    unknown: dict[str, None] = {}
    for run in runs:
        known = taught(project, run)
        learned |= known.annotated
        unknown |= dict.fromkeys(known.unknown)
    beside = related(project, learned, annotated)
    others = tuple(name for name in annotated if name not in learned and name not in set(beside))
    if count := len(annotated) - len(others):
        said = f"{count} of {len(annotated)} annotated images taught"
        said += " or are of the group or file of one that did" if beside else ""
        if _enough(project, others, groups):
            annotated = others
            notes.append(f"{said}: they are left out of what is measured by annotations.")
        else:
            notes.append(
                f"{said}, and the others are too few to measure by: classes of pixels, silhouette and class activation "
                "are of images that were learned from, which flatters. Annotate images of two other groups or files."
            )
    if annotated and unknown:
        notes.append(
            f"It is not known whether {', '.join(unknown)} learned from these images, or copies of them, so what is "
            "measured by annotations may flatter."
        )
    return Measured(annotated, groups, tuple(notes))


def _enough(project: Project, names: Iterable[str], groups: Mapping[str, str]) -> bool:
    """Whether two classes, background among them, are annotated in two groups each."""
    found: dict[int, set[str]] = {}
    for name in names:
        for value in project.annotations.counts(name).keys() - {0}:
            found.setdefault(value, set()).add(groups.get(name, name))
    return sum(len(own) > 1 for own in found.values()) > 1
