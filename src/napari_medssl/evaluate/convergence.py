"""How long training takes until its loss has settled, compared between methods (RQC)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["convergence_time", "rqc"]


def convergence_time(
    times: Sequence[float],
    losses: Sequence[float],
    *,
    begin: float = 0.0,
    window: int = 5,
    share: float = 0.01,
) -> float:
    """Give the first time at which a smoothed loss has all but reached its minimum.

    Settled is where it is within `share` of its range above its minimum; the range is from the first
    smoothed loss, at `begin` or later, down to the minimum. The paper says "the point of stabilized
    loss values" alone.

    Parameters
    ----------
    times : sequence of float, (N,)
        Seconds since training began, rising.
    losses : sequence of float, (N,)
        Validation losses at these times.
    begin : float
        Time from which on losses count: with a queue of negatives, when it was full. The time given
        back is still since training began.
    window : int
        Odd number of losses, centred, that are averaged; fewer at the ends.
    share : float
        Of the range, in [0, 1].

    Returns
    -------
    float
        In seconds. A loss that does not fall at all has settled at once.

    Raises
    ------
    MedsslError
        If no loss counts, one is not finite, times do not rise, or an option is out of range.

    References
    ----------
    The evaluation paper on self-supervised learning (Rettenberger, Schilling et al.), section III-C.
    """
    t, y = np.asarray(times, np.float64), np.asarray(losses, np.float64)
    if t.shape != y.shape or t.ndim != 1 or not np.isfinite(y).all() or (np.diff(t) <= 0).any():
        raise MedsslError(
            f"A loss curve has as many finite losses as rising times; these are {y.shape} and {t.shape}."
        )
    if window < 1 or window % 2 == 0 or not 0 <= share <= 1:
        raise MedsslError(
            f"window is {window} and share {share}; allowed are odd numbers and [0, 1]."
        )
    t, y = t[t >= begin], y[t >= begin]
    if not len(t):
        raise MedsslError(f"There is no loss from {begin} s on.")
    smooth = _smoothed(y, window)
    lowest = smooth.min()
    settled = smooth <= lowest + share * (smooth[0] - lowest)
    return float(t[np.argmax(settled)])


def _smoothed(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    half = window // 2
    return np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])


def rqc(times: Mapping[str, float]) -> dict[str, float]:
    """Give each method's time to convergence over that of the fastest (runtime quality criterion).

    Parameters
    ----------
    times : mapping of str to float
        Method -> seconds, above 0; see `convergence_time`.

    Returns
    -------
    dict of str to float
        1 for the fastest, more for the others.

    Raises
    ------
    MedsslError
        If there is no method, or a time is not finite and above 0.

    References
    ----------
    The evaluation paper on self-supervised learning (Rettenberger, Schilling et al.), equation 3.
    """
    wrong = {name: time for name, time in times.items() if not 0 < time < float("inf")}
    if wrong or not times:
        raise MedsslError(
            f"Times to convergence are above 0 and finite; these are {wrong or 'none at all'}.",
            advice="Leave out methods whose loss was not recorded over time.",
        )
    fastest = min(times.values())
    return {name: time / fastest for name, time in times.items()}
