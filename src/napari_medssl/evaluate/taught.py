"""Which images a run has learned from, itself or through the runs it started from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.project import Project, Run
from napari_medssl.project.images import split_plane
from napari_medssl.project.listing import is_project
from napari_medssl.project.paths import given, is_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Taught", "lineage", "taught"]


class Taught(Config):
    """Images of a project that a run has learned from; to be left out when it is tested."""

    annotated: frozenset[str] = frozenset()
    """With their annotations, those held out for validation among them: these chose the weights that were kept."""
    seen: frozenset[str] = frozenset()
    """Without annotations: in pretraining, by a mean teacher, or for batch statistics. Scores on them are of an
    image that was at hand when the network was trained, which is honest where the same holds in use; else they
    flatter."""
    unknown: tuple[str, ...] = ()
    """Runs and files in the ancestry of which it is not known whether they have learned from images of the project:
    what is gone, what was made elsewhere, and runs of another project with none of these files, but maybe copies."""


def taught(project: Project, run: Run) -> Taught:
    """Find out which images of a project a run must not be tested on.

    Follows the runs that a run started from. Pretraining sees all images of its project, and so does a
    fine-tune with a mean teacher or with batch statistics measured anew; those that are there now count, also
    where some came later. A run of another project counts by its files where both have the same ones; where they have
    none in common, copies may have taught it, and it is `Taught.unknown`.

    Parameters
    ----------
    project : Project
        Whose images are asked for.
    run : Run
        What is to be tested.

    Raises
    ------
    MedsslError
        If a job of the ancestry is damaged, or of a newer version.
    """
    annotated: set[str] = set()
    seen: set[str] = set()
    unknown: list[str] = []
    for name, ancestor in lineage(run):
        home = _home(project, ancestor) if ancestor is not None else None
        if ancestor is None or home is None or ancestor.kind not in ("finetune", "pretrain"):
            unknown.append(name)
            continue
        network = ancestor.job.get("network") or {}
        if network.get("encoder_weights") == "file" and not ancestor.job.get("from_run"):
            unknown.append(str(network.get("weights_file")))
        names = _own_names(project, home)
        if not names:
            unknown.append(name)
            continue
        if _sees_all(ancestor):
            seen.update(names.values())
        if ancestor.kind == "pretrain":
            continue
        images = ancestor.job.get("images")  # named when the run began
        if images is None:
            images = home.annotations.annotated()
        annotated.update(names[image] for image in images if image in names)
    return Taught(annotated=frozenset(annotated), seen=frozenset(seen), unknown=tuple(unknown))


def _sees_all(run: Run) -> bool:
    """Whether a training looked at all images of its project, annotated or not."""
    if run.kind == "pretrain":
        return True
    training = run.job.get("training") or {}
    return run.job.get("mode") != "probe" and bool(training.get("mean_teacher"))


def lineage(run: Run) -> Iterator[tuple[str, Run | None]]:
    """Give a run and those it started from, the newest first, each with its name; None for one that is gone."""
    visited: set[Path] = set()
    current: Run | None = run
    while current is not None and current.path not in visited:
        visited.add(current.path)
        yield current.name, current
        before = current.job.get("from_run")
        if not before:
            return
        current = _source(current, str(before))
        if current is None:
            yield str(before), None


def _source(run: Run, name: str) -> Run | None:
    """Find a run by its name beside another one, or by the path of its folder."""
    for path in (given(name), run.path.parent / name):
        if is_folder(path):
            return Run(path)
    return None


def _home(project: Project, run: Run) -> Project | None:
    """Give the project that a run was trained in; None where the folder was copied out of it."""
    folder = run.path.parent.parent
    if folder == project.path:
        return project
    if not is_project(folder):
        return None
    try:
        return Project.open(folder)
    except MedsslError:
        return None  # its images are gone, so nothing can be said about them


def _own_names(project: Project, home: Project) -> dict[str, str]:
    """Give image of another project -> the same one here, for those that both have."""
    if home is project:
        return {name: name for name in project.images}
    here = {_place(project, name): name for name in project.images}
    return {name: here[place] for name in home.images if (place := _place(home, name)) in here}


def _place(project: Project, name: str) -> tuple[Path, tuple[int, ...]]:
    file, index = split_plane(name)
    return (project.image_root / file).resolve(), index
