from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from napari_medssl.errors import MedsslError
from napari_medssl.explore.neighbours import Folder
from napari_medssl.explore.suggest import nearest_distances, suggest
from napari_medssl.explore.uncertainty import Uncertain

if TYPE_CHECKING:
    from napari_medssl.explore.store import EmbeddingStore
    from tests.engine.explore.conftest import MakeStore

GROUPS = 4


def groups_of(make_store: MakeStore, *, spread: float = 1.0) -> tuple[EmbeddingStore, Folder]:
    """Images of four kinds; the name begins with the kind."""
    rng = np.random.default_rng(0)
    kinds = 10 * np.eye(GROUPS, 8)
    features = {
        f"{kind}-{n}.png": kinds[kind] + rng.normal(0, spread, 8) + rng.normal(0, 0.3, (8, 8, 8))
        for kind in range(GROUPS)
        for n in range(6)
    }
    store = make_store(features)
    return store, Folder.of(store)


@pytest.mark.parametrize("diversity", ["typical", "farthest"])
def test_each_kind_of_image_is_suggested_once(make_store: MakeStore, diversity: str) -> None:
    store, folder = groups_of(make_store)
    found = suggest(store, folder, annotated=["1-0.png"], count=3, diversity=diversity)
    assert {item.image[0] for item in found} == {"0", "2", "3"}
    scores = [item.score for item in found]
    assert scores == sorted(scores, reverse=True)
    again = suggest(store, folder, annotated=["1-0.png"], count=3, diversity=diversity)
    assert again == found
    assert "the annotated image" in found[0].why
    assert found[2].why.endswith("the annotated image and the 2 suggested before")
    if diversity == "typical":
        assert found[2].why.startswith("5 others are more like it than like the annotated image")
    else:
        assert found[0].why.startswith("least like")


def test_the_first_image_is_the_most_typical_one(make_store: MakeStore) -> None:
    store, folder = groups_of(make_store)
    first = suggest(store, folder, annotated=[], count=1)[0]
    middle = folder.points - folder.points.mean(0)
    assert first.image == folder.names[int((middle**2).sum(1).argmin())]
    assert first.why == "the most typical of 24 images"


def test_what_is_uncertain_and_unlike_the_annotated_comes_first(make_store: MakeStore) -> None:
    store, folder = groups_of(make_store, spread=0.4)
    box = (0, 0, 8, 8)
    values = {"1-1.png": 0.9, "1-2.png": 0.5, "2-0.png": 0.6, "2-1.png": 0.55, "3-0.png": 0.2}
    uncertain = {name: Uncertain(name, value, box) for name, value in values.items()}
    found = suggest(store, folder, annotated=["1-0.png"], count=9, uncertain=uncertain)
    names = [item.image for item in found]
    # 1-1 and 2-1 are more uncertain than 3-0, but much like the annotated one and the first suggested
    assert names[:2] == ["2-0.png", "3-0.png"]
    assert found[0].why == "uncertain (0.60, number 2 of 5), unlike the annotated image"
    assert found[0].box == box
    assert sorted(names) == sorted(values)
    told = next(item for item in found if item.image == "1-1.png")
    assert told.why == "most uncertain (0.90)"


def test_copies_come_last_and_are_said_to_be(make_store: MakeStore) -> None:
    rng = np.random.default_rng(1)
    features = {f"{n}.png": rng.normal(3 * n, 1, (8, 8, 4)) for n in range(5)}
    features["copy.png"] = features["0.png"] + rng.normal(0, 0.01, (8, 8, 4))
    store = make_store(features)
    folder = Folder.of(store)
    uncertain = {name: Uncertain(name, 0.5, (0, 0, 8, 8)) for name in folder.names}
    uncertain["copy.png"] = Uncertain("copy.png", 1.0, (0, 0, 8, 8))
    for given in (None, uncertain):
        for diversity in ("typical", "farthest"):
            found = suggest(
                store, folder, annotated=["0.png"], count=9, uncertain=given, diversity=diversity
            )
            assert len(found) == 5
            assert found[-1].image == "copy.png"
            assert "nearly the same" in found[-1].why
            assert not any("nearly the same" in item.why for item in found[:-1])


def test_images_that_are_all_the_same_are_no_trouble(make_store: MakeStore) -> None:
    store = make_store({f"{n}.png": np.ones((8, 8, 4)) for n in range(3)})
    folder = Folder.of(store)
    assert len(suggest(store, folder, annotated=[], count=5)) == 3
    assert suggest(store, folder, annotated=folder.names) == []
    only = suggest(store, folder, annotated=[], candidates=["1.png", "unknown.png"])
    assert [item.image for item in only] == ["1.png"]
    with pytest.raises(MedsslError, match="count = 0"):
        suggest(store, folder, annotated=[], count=0)


def test_the_box_holds_what_is_unlike_the_annotated_images(make_store: MakeStore) -> None:
    rng = np.random.default_rng(2)
    features = {f"{n}.png": rng.normal(0, 1, (40, 48, 4)) for n in range(4)}
    features["3.png"][24:36, 8:20] += 12
    store = make_store(features)
    folder = Folder.of(store)
    for annotated in ([], ["0.png", "1.png"]):
        found = suggest(store, folder, annotated=annotated, count=4, diversity="farthest")
        y0, x0, y1, x1 = next(item.box for item in found if item.image == "3.png")
        overlap = (min(y1, 144) - max(y0, 96)) * (min(x1, 80) - max(x0, 32))
        assert overlap > 0.9 * 48 * 48
        height, width = store.shape("3.png")
        assert 0 <= y0 < y1 <= height
        assert 0 <= x0 < x1 <= width


def test_distances_equal_the_full_table() -> None:
    rng = np.random.default_rng(0)
    points, references = rng.normal(size=(1500, 5)), rng.normal(size=(1100, 5))
    expected = cdist(points, references).min(1)
    np.testing.assert_allclose(nearest_distances(points, references), expected, atol=1e-6)
    assert np.isinf(nearest_distances(points, references[:0])).all()


def test_twenty_thousand_images_take_no_time() -> None:
    rng = np.random.default_rng(0)
    names = tuple(f"{n:05}.png" for n in range(20_000))
    folder = Folder(names, rng.normal(size=(20_000, 32)) * np.geomspace(1, 0.1, 32))

    class NoBoxes:
        """Stands for a store whose features need not be read, as the boxes are known."""

    uncertain = {name: Uncertain(name, float(rng.random()), (0, 0, 8, 8)) for name in names}
    began = time.process_time()
    found = suggest(NoBoxes(), folder, annotated=names[:200], count=5, uncertain=uncertain)  # type: ignore[arg-type]
    assert time.process_time() - began < 2.0  # measured 0.2 s
    assert len({item.image for item in found}) == 5
    assert not {item.image for item in found} & set(names[:200])
