"""How well several networks separate the annotated classes: their cells gathered image by image, then fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.explore.labelled import (
    MOST_IMAGES,
    LabelledCells,
    cells_of,
    evenly,
    joined,
)
from napari_medssl.widgets.run_features import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_medssl.evaluate.measured import Measured
    from napari_medssl.explore.separability import Separability
    from napari_medssl.project import Project, Run
    from napari_medssl.widgets.run_features import Network, Stored
    from napari_medssl.widgets.session import Session

__all__ = ["CompareProbe"]


class CompareProbe:
    """A linear probe on annotated pixels, for each network once: of images that taught none of them, where it can be.

    Parameters
    ----------
    session : Session
        Whose threads.
    project : Project
        Whose annotations.
    runs : sequence of Run
        Those whose networks are compared.
    changed : callable
        Called when `said` differs.
    """

    def __init__(
        self,
        session: Session,
        project: Project,
        runs: tuple[Run, ...],
        changed: Callable[[], None],
    ) -> None:
        self._session = session
        self._project = project
        self._runs = runs
        self._measured: Measured | None = None
        self._images: tuple[str, ...] = ()
        self._changed = changed
        self._stopped = False
        self._cells: dict[Network, dict[str, LabelledCells]] = {}
        self._said: dict[Network, tuple[str, str]] = {}

    def choose(self, chosen: Callable[[CompareProbe], None]) -> None:
        """Choose the images in a thread, then call `chosen`: `missing` is complete from then on."""

        def work() -> Measured:
            from napari_medssl.evaluate.measured import measured_on  # takes a second

            return measured_on(self._project, self._runs)

        def done(measured: Measured) -> None:
            self._measured = measured
            self._images = evenly(measured.names, MOST_IMAGES)
            if not self._stopped:
                chosen(self)

        doing = "choosing the annotated images that the networks are compared on"
        self._session.background(work, on_result=done, doing=doing, lane="fitting")

    def missing(self, networks: Iterable[Network]) -> list[Wanted]:
        """Give what is still to be asked for; nothing before the images are chosen and once it was stopped."""
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
        if self._measured is None:
            return
        for network in networks:
            cells = self._cells.get(network, {})
            if network not in self._said and len(cells) == len(self._images):
                self._fit(network, cells, self._measured)

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
            return cells_of(grid, stored.stride, labels, rng=np.random.default_rng(0))

        def take(cells: LabelledCells) -> None:
            self._cells.setdefault(network, {})[image] = cells

        return Wanted(network, image, read, take)

    def _fit(self, network: Network, cells: dict[str, LabelledCells], measured: Measured) -> None:
        self._said[network] = "separability: being measured", ""

        def work() -> Separability | None:
            from napari_medssl.explore.separability import separability_of  # takes a second

            return separability_of(joined(cells, measured.groups))

        def done(found: Separability | None) -> None:
            if found is None:
                said = "separability: needs two classes annotated in two images each"
                self._said[network] = said, "\n".join(measured.notes)
            else:
                chance = 1 / found.classes
                text = f"separability {found.balanced_accuracy:.3f}, chance {chance:.2f}"
                self._said[network] = text, "\n".join([found.text(), *measured.notes])
            self._changed()

        def failed(error: BaseException) -> None:
            self._said[network] = "separability: failed", ""
            self._changed()
            doing = f"separating the classes by {network.state.title}"
            self._session.show_error(error, doing=doing)

        self._session.background(work, on_result=done, on_failed=failed, lane="fitting")
