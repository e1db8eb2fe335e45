"""What predictions are compared with, and which images can test a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.taught import taught
from napari_medssl.instances.known import known_objects
from napari_medssl.project import MasksAs, Project, Run, Truth, load_truth
from napari_medssl.project.paths import given, relative_posix
from napari_medssl.project.units import related

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_medssl.instances.known import Known

__all__ = ["AnnotationTruth", "HeldOut", "OnlyRelatedError", "TruthSource", "Units", "held_out"]

Units = Literal["group", "image"]
"""What is kept apart from what taught: groups (files of planes, where there are none), or single images."""


class AnnotationTruth(Mapping[str, "NDArray[np.uint16]"]):
    """The annotations of a project as truth: image -> labels (Y, X), read when they are asked for."""

    def __init__(self, project: Project) -> None:
        self._project = project
        damaged = project.annotations.damaged()
        names = project.annotations.annotated()
        self._names = dict.fromkeys(name for name in names if name not in damaged)
        self.left_out = tuple(
            f"The annotation of {name} was left out: {why}" for name, why in damaged.items()
        )
        """Which annotations cannot be used and why, in sentences."""

    def __getitem__(self, name: str) -> NDArray[np.uint16]:
        if name not in self._names:
            raise KeyError(name)
        return self._project.annotations.read(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def has_objects(self) -> bool:
        """Whether any object was drawn, or imported."""
        return bool(self._project.objects.stored())

    def partly(self, name: str) -> bool:
        """Whether some pixels of an image have no label; told without reading them."""
        return 0 in self._project.annotations.counts(name)

    def numbers_all(self, name: str) -> bool:
        """Whether every pixel of an image has a label, and every pixel of a class an object."""
        return not self._known(name).unknown.any()

    def objects(self, name: str) -> NDArray[np.int32]:
        """Give the objects of an image that are known as a whole, (Y, X), 0 elsewhere."""
        return self._known(name).objects

    def _known(self, name: str) -> Known:
        return known_objects(self[name], self._project.objects.read(name))


class TruthSource(Config):
    """Where the truth of an evaluation is, for its record."""

    folder: str | None = None
    """Folder of masks, relative to the project's folder (absolute on another drive); unset means the project's own
    annotations."""
    masks_as: MasksAs = "auto"
    """What the values of the masks mean."""

    @classmethod
    def of(
        cls, project: Project, folder: str | Path | None, masks_as: MasksAs = "auto"
    ) -> TruthSource:
        """Say where a truth is; the `folder` is one as a user gave it, None for the annotations."""
        if folder is None:
            return cls()
        path = given(folder).resolve()
        same_drive = path.anchor == project.path.anchor
        text = relative_posix(path, project.path) if same_drive else str(path)
        return cls(folder=text, masks_as=masks_as)

    def path(self, project: Project) -> Path | None:
        """Give the folder of masks; None for the annotations."""
        return None if self.folder is None else (project.path / self.folder).resolve()

    def open(self, project: Project) -> AnnotationTruth | Truth:
        """Give image -> labels (Y, X); each is read when it is asked for.

        Raises
        ------
        MedsslError
            As `load_truth` does.
        """
        folder = self.path(project)
        if folder is None:
            return AnnotationTruth(project)
        return load_truth(project, folder, masks_as=self.masks_as)


class HeldOut(NamedTuple):
    """Images that have truth, parted."""

    scored: tuple[str, ...]
    """Those that can test a run."""
    learned: tuple[str, ...]
    """Those on which it, or one it descends from, was fine-tuned."""
    related: tuple[str, ...]
    """Others of a group or file that it was fine-tuned on; `scored`, too, where only single images are kept apart."""


class OnlyRelatedError(MedsslError):
    """Whatever could be scored is of a group or file from which a run has learned."""

    def __init__(self, run: str, count: int) -> None:
        super().__init__(
            f"{run} was fine-tuned on images of the same group or file as {_all_of(count)}, so a score would say"
            " little about new ones.",
            advice='Give truth of other groups or files. Or have them scored all the same (units "image"): the scores'
            " will flatter.",
        )
        self.count = count
        """How many images these are."""


def _all_of(count: int) -> str:
    return (
        "the only image that could be scored"
        if count == 1
        else f"all {count} images that could be scored"
    )


def held_out(
    project: Project,
    run: Run,
    names: Iterable[str],
    truth: Mapping[str, object],
    *,
    units: Units = "group",
) -> HeldOut:
    """Part the images that have truth into those that can test a run, and those that cannot.

    Parameters
    ----------
    project : Project
        Whose images.
    run : Run
        What is to be tested.
    names : iterable of str
        The images in question.
    truth : mapping
        Image -> labels; only which images it has is looked at.
    units : {"group", "image"}
        With "group" an image does not test either where another one of its group taught, or (without a group) another
        plane of its file: images of one patient are alike. With "image" it does, and its score flatters.

    Raises
    ------
    OnlyRelatedError
        If some would be left with `units` "image" alone.
    MedsslError
        If none of the images has truth, or all that have it taught.
    """
    known = tuple(name for name in names if name in truth)
    if not known:
        raise MedsslError(
            "None of these images has a mask, or annotations, to be compared with.",
            advice="Masks are found by image name.",
        )
    taught_by = taught(project, run).annotated
    learned = tuple(name for name in known if name in taught_by)
    beside = related(project, taught_by, known)
    left_out = {*learned, *(beside if units == "group" else ())}
    scored = tuple(name for name in known if name not in left_out)
    if scored:
        return HeldOut(scored, learned, beside)
    if beside:
        raise OnlyRelatedError(run.name, len(beside))
    raise MedsslError(
        f"{run.name} was fine-tuned on every image that could be scored, so a score would say how well they"
        " were learned by heart.",
        advice="Give true masks of other images, or fine-tune on fewer (images).",
    )
