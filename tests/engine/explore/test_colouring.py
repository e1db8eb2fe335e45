from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medssl.explore.colouring import Colouring
from napari_medssl.explore.tsne import flat_map

if TYPE_CHECKING:
    from tests.engine.explore.conftest import MakeStore


def halves(seed: int = 0) -> dict[str, np.ndarray]:
    """Two images: other features on the left than on the right."""
    rng = np.random.default_rng(seed)
    sides = np.zeros((6, 8, 5))
    sides[:, :4, 0], sides[:, 4:, 1] = 3, 3
    return {f"{n}.png": sides + rng.normal(0, 0.2, sides.shape) for n in range(2)}


def test_a_map_that_is_fitted_tells_how_far_it_is_and_ends_when_told() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 5))
    told: list[tuple[int, int]] = []
    flat_map(vectors, progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1][0] == told[-1][1]
    assert len(told) > 10

    class Enough(Exception):  # noqa: N818
        pass

    calls = 0

    def stop(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Enough

    with pytest.raises(Enough):
        flat_map(vectors, progress=stop)
    assert calls == 3


def test_places_of_an_image_are_those_of_its_features_and_lead_back(make_store: MakeStore) -> None:
    store = make_store(halves(), stride=4)
    labels = np.ones(store.shape("1.png"), np.uint16)
    labels[:, 16:] = 2
    colouring = Colouring.of(store, "tsne", labels=[("1.png", labels), ("gone.png", labels)])
    painted = colouring.paint("0.png")
    assert painted.picture.shape == (*store.shape("0.png"), 3)
    assert painted.grid is not None
    left, right = painted.grid[:, :4].reshape(-1, 2), painted.grid[:, 4:].reshape(-1, 2)
    apart = np.linalg.norm(left.mean(0) - right.mean(0))
    assert apart > 2 * np.linalg.norm(left - left.mean(0), axis=1).mean()
    # annotated pixels of the other image lie where such features lie
    assert colouring.labelled is not None
    places, values = colouring.labelled
    for value, side in ((1, left), (2, right)):
        other = right if value == 1 else left
        mean = places[values == value].mean(0)
        assert np.linalg.norm(mean - side.mean(0)) < np.linalg.norm(mean - other.mean(0))
    # a region becomes the cells that it touches, and these become whole cells of pixels again
    mask = np.zeros(store.shape("0.png"), bool)
    mask[5, 9] = mask[22, 29] = True
    cells = painted.cells(mask)
    assert np.argwhere(cells).tolist() == [[1, 2], [5, 7]]
    pixels = painted.pixels(cells)
    assert pixels[4:8, 8:12].all()
    assert pixels[mask].all()
    assert pixels.sum() == 16 + 3 * 2  # the last cell is cut off by the border of the image


def test_clusters_are_painted_in_the_colours_of_the_palette(make_store: MakeStore) -> None:
    store = make_store(halves(), stride=4)
    colouring = Colouring.of(store, "kmeans", clusters=2)
    painted = colouring.paint("0.png")
    assert painted.clusters is not None
    assert set(np.unique(painted.clusters[:, :16])) != set(np.unique(painted.clusters[:, 16:]))
    assert np.unique(painted.clusters).tolist() == [1, 2]
    np.testing.assert_array_equal(painted.picture, colouring.palette[painted.clusters - 1])
    assert colouring.places is None
