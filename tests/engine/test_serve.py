"""The warm engine keeps what it made as long as it is made from the same files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from napari_medssl import pretrain
from napari_medssl.engine.protocol import Request
from napari_medssl.engine.serve import Interactive

if TYPE_CHECKING:
    from napari_medssl.project import Project


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
