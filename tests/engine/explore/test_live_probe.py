from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from napari_medssl.errors import MedsslError
from napari_medssl.explore.linear import Linear, fit_linear
from napari_medssl.explore.live_probe import Annotated, LiveConfig, LiveProbe
from napari_medssl.explore.probe_features import features_at, probability_maps
from napari_medssl.explore.similarity import EmbeddingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

SHAPE = (61, 78)
STRIDE = 4


class Scene:
    """Images of bright discs, and coarse features that tell inside from outside; counts what is read."""

    def __init__(self, count: int = 2) -> None:
        rng = np.random.default_rng(0)
        ys, xs = np.mgrid[: SHAPE[0], : SHAPE[1]]
        self.read: list[str] = []
        self.truth: dict[str, NDArray[np.bool_]] = {}
        self._cells: dict[str, NDArray[np.float16]] = {}
        self._planes: dict[str, NDArray[np.float32]] = {}
        for n in range(count):
            inside = (ys - 30) ** 2 + (xs - 25 - 10 * n) ** 2 < 15**2
            name = f"{n}.png"
            self.truth[name] = inside
            noisy = 0.2 + 0.5 * inside + rng.normal(0, 0.1, SHAPE)
            self._planes[name] = noisy[None].astype(np.float32)
            padded = np.pad(inside, [(0, -SHAPE[0] % STRIDE), (0, -SHAPE[1] % STRIDE)], mode="edge")
            coarse = padded.reshape(16, STRIDE, 20, STRIDE).mean((1, 3))
            cells = rng.normal(0, 0.3, (16, 20, 8))
            cells[..., 2] += 2 * coarse
            self._cells[name] = cells.astype(np.float16)

    def grid(self, name: str) -> tuple[NDArray[np.float16], int] | None:
        return (self._cells[name], STRIDE) if name in self._cells else None

    def planes(self, name: str) -> NDArray[np.float32]:
        return self._planes[name]

    def strokes(self, name: str, *, version: int = 0, first: int = 5) -> Annotated:
        labels = np.zeros(SHAPE, np.uint16)
        labels[3, 3 : 3 + first] = 1
        y, x = (int(part.mean()) for part in np.nonzero(self.truth.get(name, np.ones(SHAPE))))
        labels[y, x : x + 4] = 2

        def read() -> NDArray[np.uint16]:
            self.read.append(name)
            return labels

        return Annotated(name, version, read)


def overlap(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def test_the_first_two_scribbles_segment_the_image() -> None:
    scene = Scene()
    probe = LiveProbe(scene.grid, scene.planes)
    few = probe.predict([scene.strokes("0.png")], "0.png")
    assert few is not None
    assert few.values == (1, 2)
    assert few.pixels == 9
    assert few.probabilities.shape == (2, *SHAPE)
    np.testing.assert_allclose(few.probabilities.sum(0), 1, atol=1e-5)
    assert set(np.unique(few.labels)) == {1, 2}
    assert overlap(few.labels == 2, scene.truth["0.png"]) > 0.85
    other = probe.predict([scene.strokes("0.png")], "1.png")
    assert other is not None
    assert overlap(other.labels == 2, scene.truth["1.png"]) > 0.85
    edge = cv2.dilate(scene.truth["0.png"].astype(np.uint8), np.ones((5, 5))) > 0
    edge &= cv2.erode(scene.truth["0.png"].astype(np.uint8), np.ones((5, 5))) == 0
    assert few.uncertainty[edge].mean() > 1.5 * few.uncertainty[~edge].mean()


def test_a_rare_class_has_the_same_say() -> None:
    scene = Scene()
    many = scene.strokes("0.png", first=70)
    fair = LiveProbe(scene.grid, scene.planes).predict([many], "0.png")
    plain = LiveProbe(scene.grid, scene.planes, LiveConfig(balanced=False)).predict([many], "0.png")
    assert fair is not None
    assert plain is not None
    inside = scene.truth["0.png"]
    assert fair.probabilities[1][inside].mean() > plain.probabilities[1][inside].mean() + 0.05


def test_only_changed_labels_are_read_again() -> None:
    scene = Scene(3)
    probe = LiveProbe(scene.grid, scene.planes)
    names = ["0.png", "1.png", "2.png"]
    probe.predict([scene.strokes(name) for name in names], "0.png")
    assert scene.read == names
    again = probe.predict([scene.strokes(name, version=name == "1.png") for name in names], "0.png")
    assert scene.read == [*names, "1.png"]
    fresh = LiveProbe(scene.grid, scene.planes).predict(
        [scene.strokes(name) for name in names], "0.png"
    )
    assert again is not None
    assert fresh is not None
    np.testing.assert_allclose(again.probabilities, fresh.probabilities, atol=0.02)


def test_an_open_image_is_enough_and_features_tell_once_they_are_there() -> None:
    scene = Scene(2)
    there: set[str] = set()
    probe = LiveProbe(lambda name: scene.grid(name) if name in there else None, scene.planes)
    images = [scene.strokes("0.png"), scene.strokes("1.png")]
    alone = probe.predict(images, "0.png")
    assert alone is not None
    assert not alone.by_features
    assert overlap(alone.labels == 2, scene.truth["0.png"]) > 0.7
    there.add("1.png")  # another image's features say nothing of this one
    same = probe.predict(images, "0.png")
    assert same is not None
    np.testing.assert_array_equal(same.probabilities, alone.probabilities)
    there.add("0.png")
    both = probe.predict(images, "0.png")
    assert both is not None
    assert both.by_features
    assert overlap(both.labels == 2, scene.truth["0.png"]) > 0.9
    assert scene.read == ["0.png", "1.png"]  # once each


def test_features_that_lack_a_class_do_not_vote() -> None:
    scene = Scene(2)
    third = np.zeros(SHAPE, np.uint16)
    third[50:, :10] = 3
    probe = LiveProbe(lambda name: scene.grid(name) if name == "0.png" else None, scene.planes)
    found = probe.predict([scene.strokes("0.png"), Annotated("1.png", 0, lambda: third)], "0.png")
    assert found is not None
    assert found.values == (1, 2, 3)
    assert not found.by_features


def test_what_cannot_be_learned_from_is_refused_in_words() -> None:
    scene = Scene(1)
    probe = LiveProbe(scene.grid, scene.planes)
    with pytest.raises(MedsslError, match="two classes"):
        probe.predict([], "0.png")
    one = Annotated("0.png", 1, lambda: np.ones(SHAPE, np.uint16))
    with pytest.raises(MedsslError, match="two classes"):
        probe.predict([one], "0.png")
    with pytest.raises(MedsslError, match="two classes in images with stored features"):
        probe.fit_features([one])
    small = Annotated("0.png", 2, lambda: np.eye(5, dtype=np.uint16) + 1)
    with pytest.raises(MedsslError, match=r"\(5, 5\)"):
        probe.predict([small], "0.png")


def test_the_newest_request_wins() -> None:
    scene = Scene()
    probe = LiveProbe(scene.grid, scene.planes)
    begun, go = threading.Event(), threading.Event()
    slow = scene.strokes("0.png")

    def wait() -> NDArray[np.integer]:
        begun.set()
        assert go.wait(10)
        return slow.labels()

    answers: dict[str, object] = {}

    def ask(key: str, images: list[Annotated]) -> None:
        answers[key] = probe.predict(images, "0.png")

    old = threading.Thread(target=ask, args=("old", [Annotated("0.png", 0, wait), slow]))
    old.start()
    assert begun.wait(10)
    new = threading.Thread(target=ask, args=("new", [scene.strokes("0.png", version=1)]))
    new.start()
    while probe._newest < 2:  # the new request has been made, and waits for the old one to notice
        new.join(0.001)
    go.set()
    old.join(10)
    new.join(10)
    assert answers["old"] is None
    assert answers["new"] is not None
    probe.cancel()  # nothing is being answered
    assert probe.predict([slow], "0.png") is not None


def test_features_between_cells_are_those_of_the_enlarged_grid() -> None:
    rng = np.random.default_rng(0)
    ys, xs = (part.ravel() for part in np.mgrid[: SHAPE[0], : SHAPE[1]])
    for stride in (1, 2, 4, 7):
        grid = tuple(-(-side // stride) for side in SHAPE)
        cells = rng.normal(size=(*grid, 3)).astype(np.float32)
        enlarged = np.stack(
            [
                cv2.resize(part, (grid[1] * stride, grid[0] * stride))
                for part in np.moveaxis(cells, -1, 0)
            ],
            -1,
        )
        np.testing.assert_allclose(features_at(cells, stride, ys, xs), enlarged[ys, xs], atol=2e-3)


def test_the_linear_step_first_gives_the_same() -> None:
    scene = Scene()
    rng = np.random.default_rng(0)
    cells = scene._cells["0.png"]
    ys, xs = (part.ravel() for part in np.mgrid[: SHAPE[0], : SHAPE[1]])
    layer = Linear(
        np.array([1, 2, 5]),
        rng.normal(size=(3, 8)).astype(np.float32),
        rng.normal(size=3).astype(np.float32),
    )
    expected = layer.probabilities(features_at(cells, STRIDE, ys, xs)).T.reshape(3, *SHAPE)
    np.testing.assert_allclose(probability_maps(layer, cells, STRIDE, SHAPE), expected, atol=5e-3)
    with pytest.raises(EmbeddingError, match="15 x 20 cells"):
        probability_maps(layer, cells[:-1], STRIDE, SHAPE)


def test_the_fit_is_that_of_scikit_learn(rng_pixels: Mapping[str, NDArray]) -> None:
    pixels, values = rng_pixels["pixels"], rng_pixels["values"]
    scale = np.full(5, 2.0, np.float32)
    for balanced in (True, False):
        found = fit_linear(pixels, values, scale=scale, l2=0.02, balanced=balanced)
        # scikit-learn penalises against the sum of the weighted losses, and these weights sum to N
        theirs = LogisticRegression(
            C=1 / (0.02 * len(pixels)),
            class_weight="balanced" if balanced else None,
            tol=1e-8,
            max_iter=1000,
        ).fit(pixels / scale, values)
        expected = theirs.predict_proba(pixels / scale)
        np.testing.assert_allclose(found.probabilities(pixels), expected, atol=0.01)
        warm = fit_linear(pixels, values, scale=scale + 1, l2=0.02, balanced=balanced, start=found)
        near = fit_linear(pixels, values, scale=scale + 1, l2=0.02, balanced=balanced)
        np.testing.assert_allclose(
            warm.probabilities(pixels), near.probabilities(pixels), atol=0.01
        )


def test_a_warm_start_takes_fewer_steps(rng_pixels: Mapping[str, NDArray]) -> None:
    pixels, values = rng_pixels["pixels"], rng_pixels["values"]
    scale = np.ones(5, np.float32)
    counts = []
    first: Linear | None = None
    for _ in range(2):
        steps: list[int] = []
        first = fit_linear(
            pixels,
            values,
            scale=scale,
            l2=0.02,
            start=first,
            check=lambda steps=steps: steps.append(1),
        )
        counts.append(len(steps))
    assert counts[1] < counts[0] / 2


@pytest.fixture
def rng_pixels() -> dict[str, NDArray]:
    rng = np.random.default_rng(0)
    values = rng.choice([1, 2, 4], 300, p=[0.7, 0.2, 0.1])
    pixels = rng.normal(0, 1, (300, 5)) + values[:, None] * np.array([1, 0.5, 0, 0, 0])
    return {"pixels": pixels.astype(np.float32), "values": values}


def test_a_probe_of_features_alone_applies_to_cells() -> None:
    scene = Scene()
    probe = LiveProbe(scene.grid, scene.planes)
    layer = probe.fit_features([scene.strokes("0.png")])
    cells = scene._cells["1.png"].reshape(-1, 8).astype(np.float32)
    inside = layer.probabilities(cells)[:, 1].reshape(16, 20) > 0.5
    coarse = scene.truth["1.png"][2::STRIDE, 2::STRIDE]
    assert overlap(inside[: coarse.shape[0], : coarse.shape[1]], coarse) > 0.8
