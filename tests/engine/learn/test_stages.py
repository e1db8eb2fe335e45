from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.learn.stages import layers_of, stage_maps
from napari_medssl.project.settings import ClassInfo, Normalisation


def model(encoder: str) -> SegmentationModel:
    torch.manual_seed(0)
    spec = ModelSpec(
        network=NetworkConfig(encoder=encoder, encoder_depth=3),
        channels=("grey",),
        classes=(ClassInfo(value=1, name="background", color="#808080"),),
        normalisation=Normalisation(),
    )
    return SegmentationModel(spec).eval()


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "resnet18", "densenet121", "vgg11_bn"])
def test_the_last_layer_of_a_stage_is_its_output(encoder: str) -> None:
    network = model(encoder)
    images = torch.rand(2, 1, 32, 32)
    stages = stage_maps(network, images)
    layers = layers_of(network, images, np.copy)
    assert [layer.stage for layer in layers] == sorted(layer.stage for layer in layers)
    for number, maps in enumerate(stages, start=1):
        own = [layer for layer in layers if layer.stage == number]
        assert len(own) > 1
        np.testing.assert_array_equal(own[-1].value, maps)


def test_convolutions_are_seen_as_they_were_before_what_follows_changes_them() -> None:
    """ResNet's ReLU writes over what its batch normalisation gave."""
    network = model("resnet18")
    images = torch.rand(1, 1, 32, 32)
    layers = layers_of(network, images, np.copy)
    values = {layer.name: layer.value for layer in layers}
    assert (values["bn1"] < 0).any()
    np.testing.assert_array_equal(values["relu"], values["bn1"].clip(0))
    assert not network.net.encoder._forward_hooks
