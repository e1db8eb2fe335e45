from __future__ import annotations

import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.boundary import hausdorff, surface_dice
from napari_medssl.evaluate.outlines import OutlineEvaluation


def outline(mask: np.ndarray, pixel_size: tuple[float, ...]) -> np.ndarray:
    """Pixels with a neighbour outside the mask, in units: looked at one by one."""
    points = []
    for where in np.argwhere(mask):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                other = where.copy()
                other[axis] += step
                outside = not 0 <= other[axis] < mask.shape[axis]
                if outside or not mask[tuple(other)]:
                    points.append(tuple(where * pixel_size))
    return np.array(sorted(set(points)))


def naive(a: np.ndarray, b: np.ndarray, pixel_size: tuple[float, ...]) -> tuple[list, list]:
    first, second = outline(a, pixel_size), outline(b, pixel_size)
    distances = np.linalg.norm(first[:, None] - second[None], axis=-1)
    return distances.min(1).tolist(), distances.min(0).tolist()


@pytest.mark.parametrize(
    ("shape", "pixel_size"), [((14, 17), (1.0, 1.0)), ((13, 9), (0.5, 2.0)), ((6, 7, 8), (3, 1, 1))]
)
def test_against_all_pairs_of_outline_pixels(
    shape: tuple[int, ...], pixel_size: tuple[float, ...]
) -> None:
    rng = np.random.default_rng(len(shape))
    a, b = rng.random((2, *shape)) < 0.4
    there, back = naive(a, b, pixel_size)
    assert hausdorff(a, b, percentile=100, pixel_size=pixel_size) == pytest.approx(
        max(max(there), max(back)), abs=1e-6
    )
    expected = max(np.percentile(there, 95), np.percentile(back, 95))
    assert hausdorff(a, b, pixel_size=pixel_size) == pytest.approx(expected, abs=1e-6)
    near = sum(d <= 1.0 for d in there) + sum(d <= 1.0 for d in back)
    share = near / (len(there) + len(back))
    assert surface_dice(a, b, tolerance=1.0, pixel_size=pixel_size) == pytest.approx(share)


def test_a_shifted_square_by_hand() -> None:
    square = np.zeros((40, 40), bool)
    square[10:20, 10:20] = True
    shifted = np.roll(square, 3, axis=1)
    assert hausdorff(square, shifted) == 3
    assert hausdorff(square, shifted, pixel_size=(1, 0.5)) == 1.5
    assert surface_dice(square, shifted, tolerance=3) == 1
    assert 0 < surface_dice(square, shifted, tolerance=2.9) < 1
    assert hausdorff(square, square) == 0


def test_empty_masks() -> None:
    nothing, something = np.zeros((5, 5), bool), np.eye(5, dtype=bool)
    assert np.isnan(hausdorff(nothing, nothing))
    assert surface_dice(nothing, nothing, tolerance=1) == 1
    for pair in ((nothing, something), (something, nothing)):
        assert hausdorff(*pair) == float("inf")
        assert surface_dice(*pair, tolerance=1e9) == 0


def test_images_without_an_outline_do_not_hide_those_that_were_missed() -> None:
    empty, cell = np.ones((9, 9), int), np.ones((9, 9), int)
    cell[2:6, 2:6] = 2
    slices = [(f"empty {n}", empty, empty) for n in range(6)]
    slices += [(f"missed {n}", empty, cell) for n in range(5)]
    found = OutlineEvaluation.of(slices, classes={2: "cell"}, tolerance=1)
    assert found.median_hd95 == {"cell": None}
    assert (found.undefined, found.absent) == ({"cell": 5}, {"cell": 6})
    assert "no distance in 5 where prediction or truth alone has the class" in found.lines()[1]
    assert "no distance in 6 where neither has it" in found.lines()[1]
    slices.append(("off", np.roll(cell, 2, axis=0), cell))
    found = OutlineEvaluation.of(slices, classes={2: "cell"}, tolerance=1)
    assert found.median_hd95 == {"cell": 2}


def test_what_is_refused() -> None:
    mask = np.ones((4, 4), bool)
    with pytest.raises(MedsslError, match="shape"):
        hausdorff(mask, mask[:3])
    with pytest.raises(MedsslError, match="each of the 2 axes"):
        hausdorff(mask, mask, pixel_size=(1, 0))
    with pytest.raises(MedsslError, match="percentile is 0"):
        hausdorff(mask, mask, percentile=0)
    with pytest.raises(MedsslError, match="tolerance is -1"):
        surface_dice(mask, mask, tolerance=-1)
