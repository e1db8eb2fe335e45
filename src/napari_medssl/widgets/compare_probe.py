"""How well several networks separate the annotated classes: their cells gathered image by image, then fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.explore.labelled import LabelledCells, labelled_cells
from napari_medssl.widgets.run_features import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_medssl.explore.separability import Separability
    from napari_medssl.project import Project
    from napari_medssl.widgets.run_features import Network, Stored
    from napari_medssl.widgets.session import Session

__all__ = ["CompareProbe"]


class CompareProbe:
    """A linear probe on the annotated pixels of some images, for each network once.

    Parameters
    ----------
    session : Session
        Whose threads.
    project : Project
        Whose annotations.
    images : sequence of str
        The annotated images.
    changed : callable
        Called when `said` differs.
    """

    def __init__(
        self,
        session: Session,
        project: Project,
        images: tuple[str, ...],
        changed: Callable[[], None],
    ) -> None:
        self._session = session
        self._project = project
        self._images = images
        self._changed = changed
        self._stopped = False
        self._cells: dict[Network, dict[str, LabelledCells]] = {}
        self._said: dict[Network, tuple[str, str]] = {}

    def missing(self, networks: Iterable[Network]) -> list[Wanted]:
        """Give what is still to be asked for; nothing once it was stopped."""
        if self._stopped:
            return []
        return [
            self._wanted(network, image)
            for network in networks
            for image in self._images
            if image not in self._cells.get(network, {})
        ]

    def measure(self, networks: Iterable[Network]) -> None:
        """Fit what is complete and was not fitted, in a thread."""
        for network in networks:
            cells = self._cells.get(network, {})
            if network not in self._said and len(cells) == len(self._images):
                self._fit(network, [cells[image] for image in self._images])

    def stop(self) -> None:
        """Ask for nothing more."""
        self._stopped = True
        self._changed()

    def said(self, network: Network) -> tuple[str, str]:
        """Give what is known of a network, and more for the tooltip."""
        waiting = "stopped" if self._stopped else "waiting for the features"
        return self._said.get(network, (f"separability: {waiting}", ""))

    def _wanted(self, network: Network, image: str) -> Wanted:
        def read(stored: Stored) -> LabelledCells:
            grid = np.load(stored.path, mmap_mode="r")
            labels = self._project.annotations.read(image)
            return labelled_cells(lambda _: (grid, stored.stride), [(image, labels)])

        def take(cells: LabelledCells) -> None:
            self._cells.setdefault(network, {})[image] = cells

        return Wanted(network, image, read, take)

    def _fit(self, network: Network, cells: list[LabelledCells]) -> None:
        self._said[network] = "separability: being measured", ""

        def work() -> Separability | None:
            from napari_medssl.explore.separability import separability_of  # takes a second

            return separability_of(_joined(cells))

        def done(found: Separability | None) -> None:
            if found is None:
                self._said[network] = "separability: needs two images with two classes", ""
            else:
                chance = 1 / found.classes
                text = f"separability {found.balanced_accuracy:.3f}, chance {chance:.2f}"
                self._said[network] = text, found.text()
            self._changed()

        def failed(error: BaseException) -> None:
            self._said[network] = "separability: failed", ""
            self._changed()
            doing = f"separating the classes by {network.state.title}"
            self._session.show_error(error, doing=doing)

        self._session.background(work, on_result=done, on_failed=failed, lane="fitting")


def _joined(parts: Iterable[LabelledCells]) -> LabelledCells:
    """Put the cells of several images together, each a group of its own."""
    found = [part for part in parts if len(part.values)]
    if not found:
        return LabelledCells(np.empty((0, 0), np.float32), *2 * (np.empty(0, np.int64),))
    return LabelledCells(
        np.concatenate([part.features for part in found]),
        np.concatenate([part.values for part in found]),
        np.concatenate([np.full(len(part.values), n) for n, part in enumerate(found)]),
    )
