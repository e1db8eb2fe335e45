"""What belongs together: images that must not be parted where some of them teach and others test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.project.images import split_plane

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from napari_medssl.project.project import Project

__all__ = ["related", "units_of"]


def units_of(project: Project) -> dict[str, str]:
    """Give image -> its unit: the group (a patient, a plate) or, for a plane of an image without one, the file.

    Images that are neither in a group nor a plane are left out: each is a unit of its own.

    Parameters
    ----------
    project : Project
        Whose images.

    Raises
    ------
    MedsslError
        As `Project.groups` does.
    """
    files = {name: split_plane(name)[0] for name in project.images}
    planes = {name: file for name, file in files.items() if file != name}
    return planes | project.groups()


def related(project: Project, known: Collection[str], names: Iterable[str]) -> tuple[str, ...]:
    """Give those of some images that share their unit with known ones, and are not known themselves.

    Parameters
    ----------
    project : Project
        Whose images.
    known : collection of str
        Images, such as those that taught a network.
    names : iterable of str
        The images in question.

    Raises
    ------
    MedsslError
        As `Project.groups` does.
    """
    units = units_of(project)
    taken = {units.get(name, name) for name in known}
    return tuple(name for name in names if name not in known and units.get(name, name) in taken)
