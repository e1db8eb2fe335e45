from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medssl.explore.colours import Clusters, MapColours, colour_map, fit_colours
from napari_medssl.explore.similarity import EmbeddingError

if TYPE_CHECKING:
    from tests.engine.explore.conftest import MakeStore

GROUPS = 4


def groups_of(images: int = 3, *, grid: int = 12, seed: int = 0) -> tuple[dict, dict]:
    """Features of four well separated groups, and which cell is of which."""
    rng = np.random.default_rng(seed)
    centres = 5 * np.linalg.qr(rng.normal(size=(8, GROUPS)))[0].T
    kinds = {f"{n}.png": rng.integers(0, GROUPS, (grid, grid)) for n in range(images)}
    features = {
        name: centres[kind] + rng.normal(0, 0.3, (grid, grid, 8)) for name, kind in kinds.items()
    }
    return features, kinds


@pytest.mark.parametrize("kind", ["pca", "tsne", "kmeans"])
def test_alike_cells_get_alike_colours_in_every_image(kind: str, make_store: MakeStore) -> None:
    features, kinds = groups_of(2, grid=9)
    store = make_store(features, stride=1)
    view = fit_colours(store, kind, clusters=GROUPS)
    pictures = {name: view.image(store, name) for name in store.names}
    assert pictures["0.png"].dtype == np.uint8
    colours = np.concatenate([p.reshape(-1, 3) for p in pictures.values()]).astype(float)
    kind_of = np.concatenate([k.ravel() for k in kinds.values()])
    means = np.array([colours[kind_of == g].mean(0) for g in range(GROUPS)])
    within = max(np.linalg.norm(colours[kind_of == g] - means[g], axis=1).mean() for g in range(4))
    between = min(np.linalg.norm(means[a] - means[b]) for a in range(GROUPS) for b in range(a))
    assert between > 1.5 * within
    again = fit_colours(store, kind, clusters=GROUPS).image(store, "1.png")
    np.testing.assert_array_equal(again, pictures["1.png"])


@pytest.mark.parametrize("kind", ["pca", "tsne", "kmeans"])
def test_a_colour_view_lies_on_its_image(kind: str, make_store: MakeStore) -> None:
    cells = np.zeros((6, 9, 8))
    cells[..., 1] = 1
    cells[2, 5, 0] = 5
    cells += 0.001 * np.random.default_rng(0).normal(size=cells.shape)
    store = make_store({"a.png": cells}, stride=4)
    picture = fit_colours(store, kind, clusters=2).image(store, "a.png").astype(float)
    assert picture.shape[:2] == store.shape("a.png") == (23, 34)
    away = np.abs(picture - np.median(picture, axis=(0, 1))).sum(-1)
    if kind != "tsne":  # which keeps no distances: one cell alone need not stand out
        y, x = np.indices(away.shape)
        far = away > 0.8 * away.max()
        assert (y[far].mean(), x[far].mean()) == (
            pytest.approx(9.5, abs=1),
            pytest.approx(21.5, abs=1),
        )


def test_clusters_are_numbered_by_size_and_are_the_groups(make_store: MakeStore) -> None:
    features, kinds = groups_of()
    store = make_store(features, stride=1)
    view = fit_colours(store, "kmeans", clusters=GROUPS)
    assert isinstance(view, Clusters)
    found = np.concatenate([view.group(store.flat(name)) for name in store.names])
    kind_of = np.concatenate([kind.ravel() for kind in kinds.values()])
    assert {len(set(found[kind_of == g])) for g in range(GROUPS)} == {1}
    sizes = np.bincount(found)[1:]
    assert sizes.tolist() == sorted(sizes, reverse=True)


def test_a_cell_that_tsne_did_not_see_lies_among_its_like(make_store: MakeStore) -> None:
    features, _ = groups_of()
    fitted = features["0.png"].reshape(-1, 8).astype(np.float32)
    view = MapColours(fitted)
    new = fitted + np.float32(0.01)
    moved = np.linalg.norm(view.place(new) - view.places, axis=1)
    assert np.median(moved) < 0.1


def test_the_colour_map_is_smooth_and_its_corners_differ() -> None:
    y, x = np.mgrid[0:1:33j, 0:1:33j]
    colours = colour_map(np.stack([y, x], -1)).astype(int)
    assert np.abs(np.diff(colours, axis=0)).max() < 64
    assert np.abs(np.diff(colours, axis=1)).max() < 64
    corners = colours[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert min(np.abs(a - b).sum() for i, a in enumerate(corners) for b in corners[:i]) > 120
    np.testing.assert_array_equal(
        colour_map(np.array([2.0, -1.0])), colour_map(np.array([1.0, 0.0]))
    )


def test_too_little_to_fit_on_is_said(make_store: MakeStore) -> None:
    with pytest.raises(EmbeddingError, match="too few"):
        fit_colours(make_store({"a.png": np.zeros((1, 2, 8))}))
    with pytest.raises(EmbeddingError, match="1 clusters"):
        Clusters(np.zeros((10, 8), np.float32), count=1)
