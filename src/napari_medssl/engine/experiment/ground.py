"""What an experiment stands on: truth, units and their division, checked once and the same ever after."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medssl.engine.experiment.split import Split, divide
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.remarks import hashes_of
from napari_medssl.evaluate.splits import alike_by_hash, turned_hashes
from napari_medssl.explore.labelled import evenly
from napari_medssl.project import load_truth
from napari_medssl.project.images import split_plane
from napari_medssl.project.paths import given
from napari_medssl.project.units import units_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from napari_medssl.engine.experiment.plan import ExperimentJob
    from napari_medssl.project import Project

__all__ = ["Ground", "copies_across", "survey"]

EXAMPLES = 4
"""Images that are shown in a report, of as many units."""


@dataclass(frozen=True)
class Ground:
    """Truth and its division."""

    truth: Callable[[str], NDArray[np.uint16]]
    """Image -> labels (Y, X)."""
    split: Split
    held_back: tuple[str, ...]
    """Every image of a unit that scores, with truth or without: no training may see it."""
    notes: tuple[str, ...]
    """What is worth telling, in sentences."""
    digest: str
    """Changes with the labels of any image and with the division."""

    def units_of(self, units: tuple[str, ...]) -> dict[str, str]:
        """Give image -> unit."""
        return {name: unit for unit in units for name in self.split.units[unit]}

    def examples(self, units: tuple[str, ...]) -> tuple[str, ...]:
        """Choose an image each of a few units to be looked at: that with most pixels of classes but background."""
        chosen = evenly(units, EXAMPLES)
        return tuple(max(self.split.units[unit], key=self._foreground) for unit in chosen)

    def _foreground(self, name: str) -> int:
        return int(np.count_nonzero(self.truth(name) > 1))

    @property
    def sizes(self) -> dict[str, int]:
        """Image -> number of images of its unit."""
        return {name: len(names) for names in self.split.units.values() for name in names}


def survey(project: Project, job: ExperimentJob) -> Ground:
    """Read all truth once, and divide it by unit.

    Images whose truth has no annotated pixel are left out. A unit is a group where the project has groups, else a
    file with all its planes.

    Raises
    ------
    MedsslError
        If truth does not suffice, or a group divides a file.
    """
    read, names = _truth(project, job)
    known = {}
    for name in names:
        labels = read(name)
        if labels.any():
            known[name] = hashlib.sha256(np.ascontiguousarray(labels).tobytes()).hexdigest()
    notes = []
    if len(known) < len(names):
        notes.append(f"{len(names) - len(known)} images have no annotated pixel and are left out.")
    groups = project.groups()
    shared = units_of(project)
    units = {name: shared.get(name, name) for name in project.images}
    _check_files(units)
    alone = sum(name not in groups for name in known)
    if groups and alone:
        notes.append(
            f"{alone} images have no group, so each file of them is a unit of its own. If they belong to a group, "
            "the scores flatter."
        )
    split = divide(known, units, test=job.test, validation=job.validation, seed=job.seed)
    scoring = {*split.test, *split.validation}
    parts: dict[str, Any] = {"pool": split.pool, "validation": split.validation, "test": split.test}
    content = repr((sorted(known.items()), sorted(parts.items())))
    return Ground(
        truth=read,
        split=split,
        held_back=tuple(name for name in project.images if units[name] in scoring),
        notes=tuple(notes),
        digest=hashlib.sha256(content.encode()).hexdigest(),
    )


def copies_across(project: Project, split: Split) -> Iterator[str]:
    """Say which images that score are all but copies of images that teach, or choose settings.

    Reads every image with truth, and compares them by hash, in all eight orientations.

    Parameters
    ----------
    project : Project
        Whose images.
    split : Split
        Their division.
    """
    parts = {
        "the pool": split.images(split.pool),
        "validation": split.images(split.validation),
        "test": split.images(split.test),
    }
    hashes, lost = hashes_of(project, split.images(split.units), turned_hashes)
    for teaching, scoring in (
        ("the pool", "validation"),
        ("the pool", "test"),
        ("validation", "test"),
    ):
        found = alike_by_hash(
            {name: hashes[name][0] for name in parts[teaching] if name in hashes},
            {name: hashes[name] for name in parts[scoring] if name in hashes},
        )
        if found:
            yield (
                f"{len(found)} of {len(parts[scoring])} images of {scoring} are all but copies of images of {teaching},"
                f" such as {found[0].tested} of {found[0].taught}, so scores flatter: say which images belong together"
                " (groups)."
            )
    if lost:
        yield f"Not looked at for copies, as they cannot be read: {', '.join(lost[:EXAMPLES])}."


def _truth(
    project: Project, job: ExperimentJob
) -> tuple[Callable[[str], NDArray[np.uint16]], tuple[str, ...]]:
    if job.truth is not None:
        found = load_truth(project, given(job.truth), masks_as=job.masks_as)
        return found.__getitem__, tuple(found)
    done = [name for name, status in project.annotations.statuses().items() if status == "done"]
    if not done:
        raise MedsslError(
            "An experiment needs full truth; no image of the project is marked done.",
            advice="Give a folder of masks (truth), or mark fully annotated images as done.",
        )
    return project.annotations.read, tuple(done)


def _check_files(units: Mapping[str, str]) -> None:
    """Refuse groups that divide a file: its planes cannot be kept apart."""
    of_file: dict[str, str] = {}
    for name, unit in units.items():
        file = split_plane(name)[0]
        if of_file.setdefault(file, unit) != unit:
            raise MedsslError(
                f"The planes of {file} belong to several groups ({of_file[file]} and {unit}).",
                advice="Give all planes of a file the same group.",
            )
