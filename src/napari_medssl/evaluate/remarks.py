"""What makes a test of a run less strict than it seems."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.splits import (
    alike_by_features,
    alike_by_hash,
    perceptual_hash,
    turned_hashes,
)
from napari_medssl.evaluate.taught import lineage, taught
from napari_medssl.explore.store import EmbeddingStore, index_path, store_path
from napari_medssl.project.images import UnreadableImageError
from napari_medssl.project.units import related

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_medssl.project import Project, Run

__all__ = ["hashes_of", "remarks", "taken_over"]

T = TypeVar("T")

MOST = 3
"""Images that are named in a sentence, or in one each."""
FEWEST = 3
"""Images that taught, to know how far features usually are apart."""


def remarks(project: Project, run: Run, names: Iterable[str]) -> tuple[str, ...]:
    """Say, in sentences, what makes a test of a run on these images less than strict.

    That is: images of a group or file that taught; images all but equal to one that taught with its annotation, by
    hash (turned and mirrored ones too; so neighbouring slices of one patient as well) and, where the features of the
    run are stored, to the network; images that training saw without annotation; and ancestors of which it is not known
    what they have learned from.

    Parameters
    ----------
    project : Project
        Whose images they are.
    run : Run
        What is tested.
    names : iterable of str
        The images it is tested on; none on which it was fine-tuned.

    Raises
    ------
    MedsslError
        As `taught` and `Project.groups` do.
    """
    known, tested = taught(project, run), list(names)
    told = []
    if beside := related(project, known.annotated, tested):
        told.append(
            f"{len(beside)} of {len(tested)} scored images are of a group or file that the run was fine-tuned on, so"
            " the scores flatter."
        )
    before, lost = hashes_of(project, known.annotated, perceptual_hash)
    now, missed = hashes_of(project, tested, turned_hashes)
    found = alike_by_hash(before, now)
    told += [
        f"{pair.tested} is all but a copy of {pair.taught}, on which the run was fine-tuned."
        for pair in found[:MOST]
    ]
    if len(found) > MOST:
        told.append(
            f"{len(found)} of {len(tested)} scored images are all but copies of images that taught: images that belong"
            " together (groups) should be kept together."
        )
    if lost or missed:
        told.append(f"Not compared, as they cannot be read: {', '.join([*lost, *missed][:MOST])}.")
    told += _alike_to_the_network(
        project, run, known.annotated, tested, {pair.tested for pair in found}
    )
    if seen := known.seen & set(tested):
        told.append(
            f"{len(seen)} of {len(tested)} scored images were seen, without annotation, in training."
        )
    elif run.job.get("mode") == "probe":
        told.append(
            "The features of this probe were standardised on up to 32 images of the project, without annotations;"
            " scored ones may be among them."
        )
    if known.unknown:
        told.append(
            f"It is not known whether {', '.join(known.unknown)} learned from these images, or copies of them, so the"
            " scores may flatter."
        )
    return tuple(told)


def taken_over(project: Project, run: Run, names: Iterable[str]) -> Iterator[str]:
    """Say how many annotations began as predictions of a run that is tested on them, or of one that it started from.

    Parameters
    ----------
    project : Project
        Whose annotations.
    run : Run
        What is tested.
    names : iterable of str
        The images whose annotations are truth.
    """
    own, tested = {name for name, _ in lineage(run)}, list(names)
    count = sum(not own.isdisjoint(project.annotations.origins(name)) for name in tested)
    if count:
        yield (
            f"{count} of {len(tested)} scored annotations began, at least in part, as predictions of this run or of one"
            " that it started from, with which it agrees more than with others."
        )


def hashes_of(
    project: Project, names: Iterable[str], of: Callable[[NDArray[np.float32]], T]
) -> tuple[dict[str, T], list[str]]:
    """Hash images of a project; gives also the names of those that cannot be read.

    Parameters
    ----------
    project : Project
        Whose images.
    names : iterable of str
        Those to hash; what is no image of the project is left out.
    of : callable
        Gives the hash of planes (C, Y, X).
    """
    hashes, lost = {}, []
    for name in sorted(set(names) & set(project.images)):
        try:
            hashes[name] = of(project.planes(name))
        except (UnreadableImageError, OSError):
            lost.append(name)
    return hashes, lost


def _alike_to_the_network(
    project: Project,
    run: Run,
    learned: Collection[str],
    tested: Sequence[str],
    told: Collection[str],
) -> Iterator[str]:
    """Compare the stored features of a run, where it has any; without the images that were `told` already."""
    if not learned or not index_path(store_path(project, run.name, "mix")).is_file():
        return
    try:
        store = EmbeddingStore.open(project, run)
        fresh = set(store.names).difference(store.outdated(project, run))
        before, now = (
            {name: store.flat(name).mean(0) for name in sorted(fresh.intersection(names))}
            for names in (learned, tested)
        )
        found = alike_by_features(before, now) if len(before) >= FEWEST and now else ()
    except MedsslError as error:
        yield f"Images were not compared by their stored features: {error.message}"
        return
    if len(before) < FEWEST or not now:
        yield (
            f"Images were not compared by their stored features: there are those of {len(before)} images that taught"
            f" ({FEWEST} are needed) and of {len(now)} scored ones, as they are now."
        )
        return
    further = [pair for pair in found if pair.tested not in told]
    for pair in further[:MOST]:
        yield (
            f"To the network {pair.tested} is all but the same as {pair.taught}, on which the run was fine-tuned."
        )
    if len(further) > MOST:
        yield f"To the network {len(further)} of {len(tested)} scored images are all but the same as some that taught."
    if len(now) < len(tested):
        yield (
            f"By features, {len(tested) - len(now)} of {len(tested)} scored images were not compared: none are stored"
            " of them as they are now."
        )
