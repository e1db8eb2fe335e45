"""The warm engine keeps what it made as long as it is made from the same files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_medssl import pretrain
from napari_medssl.engine.job import execute, parse_job
from napari_medssl.engine.protocol import Request
from napari_medssl.engine.serve import Interactive
from napari_medssl.errors import MedsslError
from napari_medssl.learn.control import Control

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.project import Project, Run


def test_an_embedding_is_made_again_when_its_sources_are_others_whatever_the_clock_says(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    run = pretrain(project, network=tiny_network, training=tiny_training)
    engine = Interactive(tell=print)
    image = project.images[0]

    def embed() -> int:
        answer = engine.answer(
            Request(id=1, request="embed", project=str(project.path), run=run.name, image=image)
        )
        return (project.path / answer["path"]).stat().st_mtime_ns

    first = embed()
    assert embed() == first
    weights = run.weights("best")
    assert weights is not None
    os.utime(weights, ns=(0, 0))  # new weights, written after the clock was set back
    second = embed()
    assert second != first
    assert embed() == second


def test_embeddings_nobody_asked_for_lately_make_room(
    project: Project,
    tiny_network: dict[str, Any],
    tiny_training: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = pretrain(project, network=tiny_network, training=tiny_training)
    engine = Interactive(tell=print)

    def embed(image: str) -> Path:
        answer = engine.answer(
            Request(id=1, request="embed", project=str(project.path), run=run.name, image=image)
        )
        return project.path / answer["path"]

    first, second, third = project.images[:3]
    old, again = embed(first), embed(second)
    for path in (old, again):
        os.utime(path.with_suffix(".json"), (0, 0))
    embed(second)  # asked for once more
    monkeypatch.setattr("napari_medssl.engine.serve.KEPT_BYTES", 0)
    new = embed(third)
    assert [path.is_file() for path in (old, again, new)] == [False, True, True]
    assert embed(first).is_file()


def test_a_preview_shows_what_a_training_would_see(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    job = {"project": str(project.path), "network": tiny_network, "training": tiny_training}
    coarse = {"kind": "pretrain", "scale": {"rule": "fixed", "value": 2}}
    list(execute(parse_job(job | coarse), control=Control()))
    (run,) = project.runs()
    engine, image = Interactive(tell=print), project.images[0]
    height, width = project.shape(image)

    def seen(**fields: Any) -> tuple[dict[str, Any], NDArray[np.uint8]]:
        request = {"id": 1, "request": "preview", "project": str(project.path), "image": image}
        (layer,) = engine.answer(Request.model_validate(request | fields))["layers"]
        return layer, np.load(project.path / layer["path"])

    layer, picture = seen()  # small structures: as in the file
    assert picture.shape == (height, width, 3)
    assert (layer["kind"], layer["pixel"]) == ("image", 1)
    layer, picture = seen(run=run.name)
    assert picture.shape == (height // 2, width // 2, 3)
    assert (layer["pixel"], f"that of {run.name}" in layer["text"]) == (2, True)
    layer, picture = seen(run=run.name, scale={"rule": "fit", "value": 48}, patch_size=32)
    assert max(picture.shape) == 48
    assert "in parts of 32 x 32" in layer["text"]


def test_a_run_can_be_asked_for_the_features_it_began_with(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    short, longer = (
        pretrain(project, network=tiny_network, training=tiny_training | {"steps": steps})
        for steps in (1, 4)
    )
    engine = Interactive(tell=print)

    def features(run: Run, **fields: Any) -> NDArray[np.float16]:
        common = {"id": 1, "request": "embed", "image": project.images[0], "run": run.name}
        answer = engine.answer(Request(project=str(project.path), **common, **fields))
        found: NDArray[np.float16] = np.load(project.path / answer["path"])
        return found

    start = features(longer, at_start=True)
    np.testing.assert_array_equal(features(short, at_start=True), start)  # it is of the same seed
    trained = features(longer)
    assert not np.array_equal(trained, start)
    np.testing.assert_array_equal(features(longer, at_start=True), start)  # both are kept
    np.testing.assert_array_equal(features(longer), trained)
    # another question replaces no answer that may still be read
    features(longer, source="encoder-1")
    kept = np.load(project.embedding_path(longer.name, project.images[0]))
    np.testing.assert_array_equal(kept, trained)
    with pytest.raises(MedsslError, match="before training"):
        features(short, at_start=True, source="encoder-1")
