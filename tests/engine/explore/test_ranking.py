from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medssl.explore import ranking
from napari_medssl.explore.ranking import ranked, search
from napari_medssl.explore.similarity import EmbeddingError, Prototypes

if TYPE_CHECKING:
    from tests.engine.explore.conftest import MakeStore


def folder(images: int = 6, grid: tuple[int, int] = (5, 7)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"{n}.png": 100 * rng.normal(size=(*grid, 8)) for n in range(images)}


@pytest.mark.parametrize("block", [1 << 14, 8])
def test_the_ranking_equals_the_loop(
    block: int, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "_BLOCK", block)  # also across blocks that do not fit the image
    features = folder()
    store = make_store(features)
    rng = np.random.default_rng(1)
    units = rng.normal(size=(3, 8)).astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    prototypes = Prototypes(units[:2], units[2:], "contrast")
    found = {match.image: match for match in search(store, prototypes, threshold=0.1)}
    assert list(found) == list(features)
    for name, cells in features.items():
        stored = cells.astype(np.float16).astype(np.float64)
        stored /= np.linalg.norm(stored, axis=-1, keepdims=True)
        similar = stored @ units.T.astype(np.float64)  # (Y, X, 3)
        scores = (similar[..., :2].max(-1) - similar[..., 2]) / 2
        row, column = np.unravel_index(scores.argmax(), scores.shape)
        match = found[name]
        assert match.score == pytest.approx(scores.max(), abs=1e-5)
        assert (match.y // 4, match.x // 4) == (row, column)
        assert match.share == pytest.approx(np.mean(scores >= 0.1))
    order = [match.score for match in ranked(found.values())]
    assert order == sorted(order, reverse=True)
    assert ranked(found.values(), least=True) == ranked(found.values())[::-1]


def test_matches_stream_image_by_image(make_store: MakeStore) -> None:
    store = make_store(folder())
    store.path("3.png").unlink()  # is not opened before its turn
    query = store.pixels("0.png").at(9, 9)[None]
    matches = search(store, Prototypes(query, query[:0]))
    first = next(matches)
    assert first.image == "0.png"
    assert first.score == pytest.approx(1, abs=1e-5)
    with pytest.raises(EmbeddingError, match=r"3\.png"):
        list(matches)


def test_the_best_pixel_lies_in_the_image(make_store: MakeStore) -> None:
    features = folder(1)
    features["0.png"][4, 6] = 7 * np.eye(8)[0]
    store = make_store(features)  # the last cells reach beyond it
    unit = np.eye(8, dtype=np.float32)[:1]
    (match,) = search(store, Prototypes(unit, unit[:0]))
    assert (match.y, match.x) == (18, 25)
    assert store.shape("0.png") == (19, 26)


def test_features_that_diverged_are_said(make_store: MakeStore) -> None:
    features = folder(1)
    features["0.png"][2, 2, 2] = np.inf
    store = make_store(features)
    unit = np.eye(8, dtype=np.float32)[:1]
    with pytest.raises(EmbeddingError, match="not finite"):
        list(search(store, Prototypes(unit, unit[:0])))
