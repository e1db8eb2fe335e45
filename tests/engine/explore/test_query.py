from __future__ import annotations

import json

import numpy as np
import pytest

from napari_medssl.config import ConfigError
from napari_medssl.errors import MedsslError
from napari_medssl.explore.query import (
    Point,
    Query,
    Region,
    delete_query,
    load_query,
    query_names,
    rename_query,
    save_query,
)
from napari_medssl.explore.similarity import EmbeddingError, PixelEmbedding, Prototypes
from napari_medssl.project import Project

SHAPE = (12, 16)


def embedding(seed: int = 0) -> PixelEmbedding:
    features = np.random.default_rng(seed).normal(size=(*SHAPE, 5))
    return PixelEmbedding(features, stride=1, shape=SHAPE)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def points(*pixels: tuple[int, int], positive: bool = True) -> list[Point]:
    return [Point(image="a.png", y=y, x=x, positive=positive) for y, x in pixels]


@pytest.mark.parametrize("how", ["mean", "max", "contrast"])
def test_maps_equal_the_loop(how: str) -> None:
    found = embedding()
    good, bad = [(1, 2), (7, 9), (3, 3)], [(0, 0), (11, 15)]
    negatives = points(*bad, positive=False) if how == "contrast" else []
    query = Query(points=(*points(*good), *negatives), how=how)
    heat = found.heat(query.prototypes(lambda name: found))
    for y, x in ((0, 0), (7, 9), (5, 14)):
        here = found.at(y, x)
        near = [cosine(here, found.at(*pixel)) for pixel in good]
        far = [cosine(here, found.at(*pixel)) for pixel in bad]
        mean = np.mean([found.at(*pixel) for pixel in good], axis=0)
        expected = {
            "mean": cosine(here, mean),
            "max": max(near),
            "contrast": (max(near) - max(far)) / 2,
        }[how]
        assert heat[y, x] == pytest.approx(expected, abs=1e-5)


def test_counter_examples_turn_auto_into_a_contrast() -> None:
    found = embedding()
    alone = Query(points=tuple(points((1, 1), (2, 2))))
    assert alone.prototypes(lambda name: found).how == "mean"
    both = Query(points=(*points((1, 1)), *points((2, 2), positive=False)))
    heat = found.heat(both.prototypes(lambda name: found))
    assert heat[1, 1] > 0 > heat[2, 2]


def test_a_region_counts_as_the_mean_of_its_pixels_at_any_stride() -> None:
    rng = np.random.default_rng(3)
    cells = rng.normal(size=(3, 4, 6))
    found = PixelEmbedding(cells, stride=4, shape=SHAPE)
    mask = np.zeros(SHAPE, bool)
    mask[2:7, 3:6] = True
    query = Query(regions=(Region.of("a.png", mask),))
    (direction,) = query.prototypes(lambda name: found).positive
    expected = np.mean([found.at(y, x) for y, x in np.argwhere(mask)], axis=0)
    np.testing.assert_allclose(direction, expected / np.linalg.norm(expected), atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_regions_come_back_as_they_were_drawn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(SHAPE) < 0.1 + 0.2 * seed
    mask[:, 0] = seed % 2 == 0
    region = Region.of("a.png", mask)
    again = Region.model_validate_json(region.model_dump_json())
    np.testing.assert_array_equal(again.mask(SHAPE), mask)
    with pytest.raises(MedsslError, match="draw the region again"):
        again.mask((4, 4))


def test_features_are_read_from_each_image_once() -> None:
    asked: list[str] = []

    def pixels(name: str) -> PixelEmbedding:
        asked.append(name)
        return embedding(len(name))

    query = Query(
        points=(
            Point(image="a", y=0, x=0),
            Point(image="bb", y=1, x=1),
            Point(image="a", y=2, x=2, positive=False),
        )
    )
    prototypes = query.prototypes(pixels)
    assert asked == ["a", "bb"]
    np.testing.assert_array_equal(prototypes.positive[1], embedding(2).at(1, 1))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"points": []}, "at least one example"),
        ({"points": [{"image": "a", "y": 0, "x": 0, "positive": False}]}, "at least one example"),
        ({"points": [{"image": "a", "y": 0, "x": 0}], "how": "contrast"}, "counter-example"),
        ({"points": [{"image": "a", "y": 0.5, "x": 0}]}, "points.0.y"),
        ({"points": [{"image": "a", "y": 0, "x": 0}], "colour": "red"}, "colour"),
        (
            {"regions": [{"image": "a", "y": 0, "x": 0, "shape": [2, 2], "runs": [1, 2]}]},
            "fill the box",
        ),
    ],
)
def test_what_is_no_query_is_refused_in_words(data: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Query.parse(data)


def test_queries_are_kept_by_name(project: Project) -> None:
    query = Query(points=(Point(image=project.images[0], y=3, x=4),))
    save_query(project, "Left ventricle (v2)", query)
    save_query(project, "wall", query)
    assert query_names(project) == ("Left ventricle (v2)", "wall")
    assert load_query(Project.open(project.path), "wall") == query
    delete_query(project, "wall")
    with pytest.raises(MedsslError, match=r"no query 'wall'.*Left ventricle"):
        load_query(project, "wall")
    for bad in ("../wall", "a/b", "", ".hidden", " wall", "x" * 100):
        with pytest.raises(MedsslError, match="cannot name a query"):
            save_query(project, bad, query)
    path = project.path / "queries" / "wall.json"
    path.write_text(json.dumps({"schema_version": 9, "points": []}))
    with pytest.raises(MedsslError, match="newer napari-medssl"):
        load_query(project, "wall")
    assert json.loads(path.read_text())["schema_version"] == 9


def test_a_query_gets_another_name_that_is_free(project: Project) -> None:
    query = Query(points=(Point(image=project.images[0], y=3, x=4),))
    save_query(project, "wall", query)
    save_query(project, "lumen", query)
    rename_query(project, "wall", "septum")
    assert query_names(project) == ("lumen", "septum")
    assert load_query(project, "septum") == query
    for old, new, said in (
        ("wall", "free", "no query 'wall'"),
        ("septum", "lumen", "a query 'lumen' already"),
        ("septum", "../x", "cannot name a query"),
    ):
        with pytest.raises(MedsslError, match=said):
            rename_query(project, old, new)
    assert query_names(project) == ("lumen", "septum")


def test_prototypes_of_another_store_are_refused() -> None:
    other = np.ones((1, 7), np.float32)
    with pytest.raises(EmbeddingError, match="7 features, the image has 5"):
        embedding().heat(Prototypes(other, other[:0]))
