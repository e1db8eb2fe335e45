"""Which images teach and which score: whole units (patients, fields), never parts of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Split", "divide"]


@dataclass(frozen=True)
class Split:
    """Units of a folder, divided."""

    units: Mapping[str, tuple[str, ...]]
    """Unit -> its images."""
    pool: tuple[str, ...]
    """Units that pretraining sees and annotated ones are drawn from."""
    validation: tuple[str, ...]
    """Units that score while settings are chosen."""
    test: tuple[str, ...]
    """Units that score in the end."""
    seed: int

    def images(self, units: Iterable[str]) -> tuple[str, ...]:
        """Give the images of some units."""
        return tuple(name for unit in units for name in self.units[unit])

    def drawn(self, k: int, draw: int) -> tuple[str, ...]:
        """Give `k` units to annotate; those of a smaller `k` of the same draw are among them."""
        order = np.random.default_rng((self.seed, 1, draw)).permutation(len(self.pool))
        return tuple(self.pool[i] for i in order[:k])


def divide(
    images: Iterable[str],
    groups: Mapping[str, str],
    *,
    test: float,
    validation: float,
    seed: int,
) -> Split:
    """Divide images by unit.

    Parameters
    ----------
    images : iterable of str
        Names of images with truth.
    groups : mapping of str to str
        Image -> group; an image without one is a unit of its own.
    test, validation : float
        Shares of the units; at least one unit each (no validation where its share is 0).
    seed : int
        Chooses which.

    Raises
    ------
    MedsslError
        If there are too few units.
    """
    units: dict[str, list[str]] = {}
    for name in sorted(images):
        units.setdefault(groups.get(name, name), []).append(name)
    names = sorted(units)
    order = [names[i] for i in np.random.default_rng((seed, 0)).permutation(len(names))]
    tests = max(1, round(test * len(order)))
    validations = max(1, round(validation * len(order))) if validation > 0 else 0
    if len(order) - tests - validations < 1:
        raise MedsslError(
            f"An experiment needs units to annotate, to choose by and to test on; there are {len(order)} "
            f"({', '.join(order[:3])}).",
            advice="Give truth for more images, or lower the shares of test and validation.",
        )
    return Split(
        units={unit: tuple(members) for unit, members in units.items()},
        test=tuple(sorted(order[:tests])),
        validation=tuple(sorted(order[tests : tests + validations])),
        pool=tuple(sorted(order[tests + validations :])),
        seed=seed,
    )
