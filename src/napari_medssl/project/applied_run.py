"""A run as it is applied to the images of a project, which may not be the project it was trained in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from napari_medssl.errors import MedsslError
from napari_medssl.project.prediction_table import prediction_name, weights_digest
from napari_medssl.project.settings import ClassInfo
from napari_medssl.project.weights_header import SPEC_KEY, read_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medssl.project.project import Project
    from napari_medssl.project.run import Run

__all__ = [
    "AppliedRun",
    "applied_run",
    "check_run_channels",
    "check_run_head",
    "translated",
    "weights_here",
]


@dataclass(frozen=True)
class AppliedRun:
    """What is known of a run before it predicts, without torch."""

    run: str
    """What a job calls it: its name, or the path of another project's."""
    name: str
    """Under which its predictions are kept in the project."""
    weights: str
    """Digest of its weights; of a run of another project see `weights_here`."""
    classes: tuple[ClassInfo, ...]
    """What it tells apart, in the order of its maps, with the label values that it writes here."""
    notes: tuple[str, ...] = ()
    """What the user should know of them, as sentences."""

    @property
    def is_foreign(self) -> bool:
        """Whether it is of another project."""
        return self.run != self.name


def applied_run(project: Project, run: Run) -> AppliedRun:
    """Look whether a run can predict the images of a project, and how.

    Parameters
    ----------
    project : Project
        Whose images.
    run : Run
        Of this project or another one.

    Raises
    ------
    MedsslError
        If the run has no weights, learned no classes, or was made for other channels.
    """
    weights = run.weights()
    if weights is None:
        raise MedsslError(
            f"The run {run.name} has no weights ({run.status}).", advice="Choose another run."
        )
    spec = read_header(weights).get(SPEC_KEY, {})
    try:
        channels = tuple(str(name) for name in spec["channels"])
        classes = tuple(ClassInfo.model_validate(item) for item in spec["classes"])
        head = str(spec["head"])
    except (LookupError, TypeError, ValidationError) as error:
        raise MedsslError(f"{weights} does not say what it segments.") from error
    check_run_head(run, head)
    check_run_channels(run, channels, project)
    name, digest = prediction_name(project, run), weights_digest(weights)
    if name == run.name:
        return AppliedRun(name, name, digest, classes)
    here, notes = translated(classes, project.settings.known_classes)
    return AppliedRun(str(run.path), name, weights_here(digest, here), here, notes)


def check_run_head(run: Run, head: str) -> None:
    """Refuse a run that learned features alone: its last layer knows no classes."""
    if head == "none":
        raise MedsslError(
            f"The run {run.name} learned features, not classes, so it cannot segment.",
            advice="Fine-tune it on a few annotated images, or explore it.",
        )


def check_run_channels(run: Run, channels: Sequence[str], project: Project) -> None:
    """Refuse a run that was made for other channels than the project's."""
    if tuple(channels) != project.settings.channels:
        raise MedsslError(
            f"The run {run.name} was made for the channels {', '.join(channels)}; "
            f"the images have {', '.join(project.settings.channels)}.",
            advice="Choose a run that was made for such images.",
        )


def translated(
    theirs: Sequence[ClassInfo], ours: Sequence[ClassInfo]
) -> tuple[tuple[ClassInfo, ...], tuple[str, ...]]:
    """Give the classes of another project's run the label values that they have here.

    Parameters
    ----------
    theirs, ours : sequence of ClassInfo
        Of the run, and of the project. Classes of the same name are the same class. Another one keeps its label value
        where that is free, and gets the next free one where it is not.

    Returns
    -------
    tuple of ClassInfo
        `theirs` with those values, in the same order.
    tuple of str
        A sentence about each class that the project does not have.
    """
    values = {info.name: info.value for info in reversed(ours)}  # of two, the one there is now
    names = {info.value: info.name for info in ours}
    taken = {values[info.name] for info in theirs if info.name in values}
    found, notes = [], []
    for info in theirs:
        value = values.get(info.name)
        if value is None:
            value = info.value
            while value in taken:
                value += 1
            taken.add(value)
            meant = f"which is {names[value]} here" if value in names else "which has no name here"
            notes.append(
                f"The run's class {info.name} is none of this project: it is written as label {value}, {meant}."
            )
        found.append(info.model_copy(update={"value": value}))
    return tuple(found), tuple(notes)


def weights_here(digest: str, classes: Sequence[ClassInfo]) -> str:
    """Identify what the weights of another project's run write here.

    The same weights write other label values once the classes of this project differ: such predictions are made again.

    Parameters
    ----------
    digest : str
        As `weights_digest` gives it.
    classes : sequence of ClassInfo
        As `translated` gives them.
    """
    return "/".join([digest, *(str(info.value) for info in classes)])
