from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from napari_medssl.errors import MedsslError
from napari_medssl.learn.cam import activation_map
from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.project.settings import ClassInfo, Normalisation

CPU = torch.device("cpu")


def model(head: str = "network") -> SegmentationModel:
    torch.manual_seed(0)
    made = SegmentationModel(
        ModelSpec(
            network=NetworkConfig(encoder="mobilenet_v2", encoder_depth=3),
            channels=("grey",),
            classes=(
                ClassInfo(value=1, name="background", color="#808080"),
                ClassInfo(value=2, name="foreground", color="#e69f00"),
            ),
            normalisation=Normalisation(),
            head=head,
        )
    )
    return made.eval()


class AddTo(nn.Module):
    """Adds to one channel of the encoder's last output."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.channel, self.amount = encoder, 0, 0.0

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        outputs = list(self.encoder(images))
        last = outputs[-1].clone()
        last[:, self.channel] += self.amount
        return [*outputs[:-1], last]


def test_against_finite_differences() -> None:
    """The weight of a channel is how the score changes when the channel is raised everywhere, over its cells."""
    network = model().double()
    planes = np.random.default_rng(1).random((1, 21, 30))
    found = activation_map(network, planes, 2, factor=1.0, device=CPU)
    assert found.shape == (21, 30)
    assert found.max() > 0

    shifted = AddTo(network.net.encoder)
    network.net.encoder = shifted
    images = torch.from_numpy(np.pad(planes, [(0, 0), (0, 3), (0, 2)], mode="symmetric"))[None]
    with torch.no_grad():
        last = network.encode(images)[-1][0]  # (C, 3, 4)
        logits = network(images)[0, :, :21, :30]
        predicted = logits.argmax(0) == 1
        assert 0 < predicted.sum() < predicted.numel()
        total = torch.zeros(last.shape[1:], dtype=torch.float64)
        for shifted.channel in range(len(last)):
            scores = []
            for shifted.amount in (-1e-6, 1e-6):
                scores.append(network(images)[0, 1, :21, :30][predicted].sum())
            total += (scores[1] - scores[0]) / 2e-6 / last[0].numel() * last[shifted.channel]
        expected = nn.functional.interpolate(
            total.relu()[None, None], size=(24, 32), mode="bilinear", align_corners=False
        )[0, 0, :21, :30].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6 * expected.max())


def test_what_is_not_predicted_has_no_map() -> None:
    network = model()
    with torch.no_grad():
        network.net.segmentation_head[0].weight.zero_()
        network.net.segmentation_head[0].bias.copy_(torch.tensor([1.0, 0.0]))
    planes = np.random.default_rng(2).random((1, 16, 16), np.float32)
    assert not activation_map(network, planes, 2, factor=1.0, device=CPU).any()


def test_refusals() -> None:
    planes = np.zeros((1, 16, 16), np.float32)
    with pytest.raises(MedsslError, match="does not know the class 7"):
        activation_map(model(), planes, 7, factor=1.0, device=CPU)
    with pytest.raises(MedsslError, match="features, not classes"):
        activation_map(model("none"), planes, 2, factor=1.0, device=CPU)
