"""The objects of a session's projects, on their way to the disk and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_medssl.widgets.write_behind import WriteBehind

if TYPE_CHECKING:
    from napari_medssl.project import Project

__all__ = ["ObjectStore"]


class ObjectStore(WriteBehind[NDArray[np.int32]]):
    """Reads and writes the ids of the objects of images; an image without objects has no file."""

    def load(self, project: Project, name: str) -> NDArray[np.int32]:
        """Read the objects of an image."""
        return project.objects.read(name)

    def save(self, project: Project, name: str, drawn: NDArray[np.int32]) -> None:
        """Write the objects of an image."""
        if drawn.any():
            project.objects.write(name, drawn)
        else:
            project.objects.clear(name)
