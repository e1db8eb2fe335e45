"""The warm engine maps what a class rests on by the code of an assessment; of a large image the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import torch

from napari_medssl import finetune
from napari_medssl.engine import activating
from napari_medssl.engine.predicting import model_of
from napari_medssl.engine.protocol import Request
from napari_medssl.engine.serve import Interactive
from napari_medssl.errors import MedsslError
from napari_medssl.learn.cam import activation_map

if TYPE_CHECKING:
    from napari_medssl.project import Project


def test_the_open_image(
    annotated_project: Project,
    tiny_network: dict[str, Any],
    tiny_training: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project, image = annotated_project, annotated_project.images[0]
    run = finetune(
        project,
        network=tiny_network,
        training=tiny_training,
        answer="network",
        estimate=False,
        device="cpu",
    )
    engine = Interactive(tell=print)

    def ask(value: int) -> dict[str, Any]:
        return engine.answer(
            Request(
                id=1,
                request="activate",
                project=str(project.path),
                run=run.name,
                image=image,
                value=value,
                device="cpu",
            )
        )

    answer = ask(2)
    model, planes = model_of(run), project.planes(image)
    expected = activation_map(model, planes, 2, factor=1.0, device=torch.device("cpu"))
    np.testing.assert_allclose(tifffile.imread(project.path / answer["path"]), expected, atol=1e-6)
    assert (answer["top"], answer["left"]) == (0, 0)
    monkeypatch.setattr(activating, "LARGEST", 32)
    answer = ask(2)
    part = activation_map(model, planes[:, 16:48, 16:48], 2, factor=1.0, device=torch.device("cpu"))
    np.testing.assert_allclose(tifffile.imread(project.path / answer["path"]), part, atol=1e-6)
    assert (answer["top"], answer["left"]) == (16, 16)
    with pytest.raises(MedsslError, match="does not know the class 7"):
        ask(7)
