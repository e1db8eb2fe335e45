"""The annotations of a session's projects, on their way to the disk and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_medssl.project.annotations import counts_of
from napari_medssl.widgets.write_behind import WriteBehind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_medssl.project import Project

__all__ = ["Annotation", "LabelStore"]

Status = Literal["none", "partial", "done"]


@dataclass(frozen=True)
class Annotation:
    """The annotation of one image at one moment.

    Parameters
    ----------
    labels : numpy.ndarray
        uint16 ``(Y, X)``; nobody changes it any more.
    done : bool
        Whether the user called it done.
    counts : dict
        Pixels per label value.
    """

    labels: NDArray[np.uint16]
    done: bool
    counts: dict[int, int]

    @property
    def status(self) -> Status:
        """Stand of the annotation, as the project names it."""
        if self.done:
            return "done"
        return "partial" if any(n for value, n in self.counts.items() if value) else "none"


class LabelStore(WriteBehind[Annotation]):
    """Reads and writes the class labels of images and whether the user called them done."""

    def load(self, project: Project, name: str) -> Annotation:
        """Read the annotation of an image."""
        labels = project.annotations.read(name)
        done = project.annotations.status(name) == "done"
        return Annotation(labels, done, counts_of(labels))

    def save(self, project: Project, name: str, drawn: Annotation) -> None:
        """Write the annotation of an image."""
        project.annotations.write(name, drawn.labels, done=drawn.done)
