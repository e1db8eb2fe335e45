"""Segmentation networks by name, with multi-scale pixel features."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F
from pydantic import Field
from segmentation_models_pytorch.base import SegmentationHead
from torch import Tensor, nn

from napari_medssl.config import Config, advanced, version_of
from napari_medssl.errors import MedsslError
from napari_medssl.learn import bundled, vit_encoder
from napari_medssl.learn.forest import DTYPES, PixelForest
from napari_medssl.plan import Answer
from napari_medssl.project import ClassInfo, Normalisation
from napari_medssl.project.working_scale import ScaleRule

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "EMBEDDING_SIZE",
    "SPEC_VERSION",
    "ModelSpec",
    "NetworkConfig",
    "SegmentationModel",
    "encoder_names",
    "input_statistics",
    "migrated",
    "project_maps",
    "stage_strides",
]

vit_encoder.register()

SPEC_VERSION: Final = 2
EMBEDDING_SIZE = 64
DEEPLAB_STRIDE, DEEPLAB_WIDTH = 16, 256
# ImageNet's statistics for colour; their mean for anything else, so that ImageNet filters
# summed over channels still see what they were trained on.
RGB_MEAN, RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _usual_start(network: dict[str, Any]) -> Literal["none", "imagenet"]:
    """Say what an encoder starts from where that is not said: nothing is downloaded unasked."""
    return "imagenet" if network.get("encoder") == bundled.ENCODER else "none"


class NetworkConfig(Config):
    """The network that is trained."""

    architecture: Literal["unet", "deeplabv3"] = advanced("unet")
    """A U-Net, or the DeepLabV3 of the DiCoH paper (atrous spatial pyramid pooling at an eighth to a sixteenth of
    the resolution; for large objects)."""
    encoder: str = bundled.ENCODER
    """Encoder by its segmentation-models-pytorch name: tu-tf_efficientnet_lite0 (its ImageNet weights come along) and
    mobilenet_v2 are quick on a CPU, resnet50 suits a GPU."""
    encoder_weights: Literal["none", "imagenet", "file"] = Field(
        default_factory=_usual_start,
        json_schema_extra={"default": "imagenet"},  # that of the default encoder
    )
    """What the encoder starts from: random numbers, ImageNet, or a weights file. Unset means ImageNet for
    tu-tf_efficientnet_lite0 and random numbers for others, whose weights are downloaded only where asked for."""
    weights_file: str | None = None
    """The weights file (.safetensors, .pth or .pt), when the encoder starts from a file."""
    encoder_depth: int = advanced(5, ge=3, le=5)
    """Number of times the encoder halves the image; the MedSASS paper's code uses 3."""
    decoder_width: int = advanced(16, ge=16, le=1024)
    """Channels of a U-Net's last decoder stage, doubled at each coarser one; MedSASS has 64."""
    last_width: int | None = advanced(None, ge=16, le=1024)
    """Channels of a U-Net's last decoder stage alone, instead: Pix2Rep gains most from widening it (64 to 1024)."""
    decoder_attention: bool = advanced(False)
    """Spatial and channel attention in a U-Net's decoder, as the MedSASS paper has."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse unknown encoders and a file choice without a file."""
        foreign = self.encoder.startswith("tu-") and timm.is_model(self.encoder.removeprefix("tu-"))
        if self.encoder not in encoder_names() and not foreign:
            raise ValueError(
                f"there is no encoder {self.encoder!r}; known: {', '.join(encoder_names())}, "
                "or any timm network as tu-NAME"
            )
        if self.encoder == vit_encoder.NAME and self.architecture != "unet":
            raise ValueError(f"the encoder {self.encoder} goes with the architecture unet only")
        if self.encoder_weights == "file" and not self.weights_file:
            raise ValueError('encoder_weights is "file", but weights_file names no file')
        if self.encoder_weights != "file" and self.weights_file:
            raise ValueError(
                f'weights_file is given, but encoder_weights is "{self.encoder_weights}", not "file"'
            )


class ForestShape(Config):
    """How large a random forest is."""

    nodes: int = Field(ge=1)
    """Of all trees."""
    trees: int = Field(ge=1)
    features: int = Field(ge=1)
    """Length of a pixel's feature vector."""


class ModelSpec(Config):
    """Everything needed to rebuild and use a model; travels in the header of its weights file."""

    schema_version: Literal[2] = SPEC_VERSION
    network: NetworkConfig
    channels: tuple[str, ...]
    classes: tuple[ClassInfo, ...]
    """In the order of the output maps; the first is background."""
    normalisation: Normalisation
    head: Literal["network", "probe", "none"] = "network"
    """Whether predictions come from the network's own last layer, from a linear probe on its features, or from nothing,
    because only features were learned."""
    objects: bool = False
    """Whether a second last layer gives the map of distances in which objects are found."""
    scale: ScaleRule = ScaleRule()
    """The working scale that the network learned at and predicts at."""
    answer: Answer = "network"
    """Whose probabilities a prediction holds: the network's, those of its random forest on filtered images, or their
    mean."""
    forest: ForestShape | None = None
    """How large its forest is, where it has one."""
    trained_stages: int | None = Field(None, ge=0)
    """Decoder stages that training reached, from the coarsest on; unset where it reached all. The others are no
    features: with 0, the encoder's outputs are."""
    method: str = ""
    ancestry: tuple[str, ...] = ()
    """What this model descends from, oldest first (ImageNet or a weights file, then runs), and its own name last."""
    input_mean: tuple[float, ...] = Field(default_factory=lambda spec: _usual_statistics(spec)[0])
    """Of each channel, subtracted from images in [0, 1]; unset means the encoder's (`input_statistics`)."""
    input_std: tuple[float, ...] = Field(default_factory=lambda spec: _usual_statistics(spec)[1])
    """Of each channel, by which images are divided after that."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse statistics of other channels, or of none that vary."""
        for name, values in (("input_mean", self.input_mean), ("input_std", self.input_std)):
            if len(values) != len(self.channels):
                raise ValueError(f"{name} = {values} is not of {len(self.channels)} channels")
        if min(self.input_std, default=1.0) <= 0:
            raise ValueError(f"input_std = {self.input_std} is not above 0")


def migrated(data: dict[str, Any]) -> dict[str, Any]:
    """Bring a `ModelSpec` as some version of ours wrote it into the form of this one.

    Parameters
    ----------
    data : dict
        The entry of a weights file's header. What is no spec is given back as it is, to be refused.
    """
    if version_of(data) != 1 or not isinstance(data.get("channels"), list):
        return data
    data = {**data, "schema_version": SPEC_VERSION}
    # Version 1 standardised by ImageNet's statistics, whatever the encoder.
    mean, std = _imagenet_statistics(len(data["channels"]))
    data.setdefault("input_mean", mean)
    data.setdefault("input_std", std)
    return data


def stage_strides(network: NetworkConfig) -> list[int]:
    """Give the pixels per cell of each decoder stage, from coarse to fine."""
    if network.architecture == "deeplabv3":
        return [min(2**network.encoder_depth, DEEPLAB_STRIDE)]
    return [2**level for level in reversed(range(network.encoder_depth))]


def encoder_names() -> list[str]:
    """Names of EfficientNet-Lite0, of all encoders that segmentation-models-pytorch brings, and of MedSASS's ViT."""
    brought = [name for name in smp.encoders.get_encoder_names() if not name.startswith("timm-")]
    return [bundled.ENCODER, *brought]


Statistics = tuple[tuple[float, ...], tuple[float, ...]]


def input_statistics(encoder: str, channels: int) -> Statistics:
    """Give the mean and the deviation, per channel, by which images in [0, 1] are standardised for an encoder."""
    if encoder == bundled.ENCODER:  # as it was trained
        return (0.5,) * channels, (0.5,) * channels
    return _imagenet_statistics(channels)


def _imagenet_statistics(channels: int) -> Statistics:
    if channels == 3:
        return RGB_MEAN, RGB_STD
    return (sum(RGB_MEAN) / 3,) * channels, (sum(RGB_STD) / 3,) * channels


def _usual_statistics(spec: dict[str, Any]) -> Statistics:
    """Give the statistics of a spec whose network and channels are known already."""
    return input_statistics(spec["network"].encoder, len(spec["channels"]))


class SegmentationModel(nn.Module):
    """A segmentation-models-pytorch network that also gives multi-scale pixel features.

    Input is ``(B, C, Y, X)`` with values in [0, 1]; Y and X are multiples of `stride`. Output is
    ``(B, K, Y, X)`` logits, one map per class of `spec.classes`. Where it was taught objects, `with_distance` gives the
    map of distances beside them.

    The pixel embedding follows the multi-scale reading of Pix2Rep's representations: every trained decoder
    stage (`feature_maps`) is standardised per channel, weighted so that each stage has the same total variance,
    projected on `EMBEDDING_SIZE` principal components and upsampled. A projection commutes with
    bilinear upsampling, so it is done first, at each stage's own resolution.
    """

    input_mean: Tensor
    input_std: Tensor
    feature_calibrated: Tensor  # () bool
    feature_mean: Tensor  # (F,) over the channels of all feature maps
    feature_basis: Tensor  # (EMBEDDING_SIZE, F)
    probe: nn.Linear
    distance: nn.Module
    distance_learned: Tensor  # () bool

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        network = spec.network
        self.spec = spec
        self.net: Any = _network(network, channels=len(spec.channels), classes=len(spec.classes))
        n = len(spec.channels)
        for name, values in (("input_mean", spec.input_mean), ("input_std", spec.input_std)):
            self.register_buffer(name, torch.tensor(values).view(1, n, 1, 1), persistent=False)
        widths = _widths(network) if isinstance(self.net, smp.Unet) else [DEEPLAB_WIDTH]
        self.stage_widths = widths
        self.register_buffer("feature_calibrated", torch.zeros((), dtype=torch.bool))
        trained = spec.trained_stages
        width = sum(self.net.encoder.out_channels[1:] if trained == 0 else widths[:trained])
        self.register_buffer("feature_mean", torch.zeros(width))
        self.register_buffer("feature_basis", torch.zeros(EMBEDDING_SIZE, width))
        if spec.head == "probe":
            self.probe = nn.Linear(EMBEDDING_SIZE, len(spec.classes))
        if spec.objects:
            # Built last: with the same seed, the other layers start as they would without it.
            self.distance = _last_layer(self.net, channels=1)
            self.register_buffer("distance_learned", torch.zeros((), dtype=torch.bool))
        if spec.forest is not None:
            nodes, classes = spec.forest.nodes, len(spec.classes)
            shapes = {"value": (nodes, classes), "offsets": (spec.forest.trees + 1,)}
            for name, dtype in DTYPES.items():
                empty = np.zeros(shapes.get(name, (nodes,)), dtype)
                self.register_buffer(f"forest_{name}", torch.from_numpy(empty))

    @property
    def stride(self) -> int:
        """Multiple that input height and width must have."""
        return int(2**self.spec.network.encoder_depth)

    @property
    def encoder_width(self) -> int:
        """Channels of the encoder's last output."""
        return int(self.net.encoder.out_channels[-1])

    @property
    def encoder_stride(self) -> int:
        """Pixels per cell of the encoder's last output."""
        dilated = self.spec.network.architecture == "deeplabv3"
        return min(self.stride, DEEPLAB_STRIDE) if dilated else self.stride

    @property
    def stage_strides(self) -> list[int]:
        """Pixels per cell of each output of `stages`."""
        return stage_strides(self.spec.network)

    @cached_property
    def pixel_forest(self) -> PixelForest:
        """The random forest on filtered images.

        Raises
        ------
        MedsslError
            If the model has none, or its nodes are damaged.
        """
        if self.spec.forest is None:
            raise MedsslError("This model has no random forest.", advice="Fine-tune anew.")
        return PixelForest.from_arrays(
            {name: self.get_buffer(f"forest_{name}").cpu().numpy() for name in DTYPES},
            n_features=self.spec.forest.features,
            n_classes=len(self.spec.classes),
        )

    def with_forest(self, forest: PixelForest, *, answer: Answer) -> SegmentationModel:
        """Return a copy that has a random forest beside the network."""
        arrays = forest.arrays()
        shape = ForestShape(
            nodes=len(arrays["left"]),
            trees=len(arrays["offsets"]) - 1,
            features=forest.n_features,
        )
        model = SegmentationModel(self.spec.model_copy(update={"forest": shape, "answer": answer}))
        forest_state = {f"forest_{k}": torch.from_numpy(v) for k, v in arrays.items()}
        model.load_state_dict(self.state_dict() | forest_state)
        return model.eval()

    def answering(self, answer: Answer) -> SegmentationModel:
        """Return a copy whose predictions are those of the network, the forest, or their mean."""
        model = SegmentationModel(self.spec.model_copy(update={"answer": answer}))
        model.load_state_dict(self.state_dict())
        return model.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Give logits ``(B, K, Y, X)`` for images ``(B, C, Y, X)``."""
        if self.spec.head == "probe":
            return self._probed(self.feature_maps(images), (images.shape[-2], images.shape[-1]))
        logits: Tensor = self.net((images - self.input_mean) / self.input_std)
        return logits

    def with_distance(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give logits ``(B, K, Y, X)`` and the map of distances ``(B, 1, Y, X)`` for images ``(B, C, Y, X)``.

        A distance is that to the outline of the pixel's object over the largest one in that object (see
        `instances.watershed.distance_target`), as it is regressed: not kept within [0, 1].

        Raises
        ------
        MedsslError
            If the model has no layer for distances (`ModelSpec.objects`).
        """
        if not self.spec.objects:
            raise MedsslError(
                "This model has no map of distances to find objects in.",
                advice="Fine-tune with objects switched on.",
            )
        last = self.stages(images)[-1]
        logits = self(images) if self.spec.head == "probe" else self.net.segmentation_head(last)
        return logits, self.distance(last)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Give the encoder's outputs, from the input itself to the coarsest."""
        outputs: list[Tensor] = self.net.encoder((images - self.input_mean) / self.input_std)
        return outputs

    def stages(self, images: Tensor, *, count: int | None = None) -> list[Tensor]:
        """Give the decoder's first `count` (or all) outputs from coarse to fine, each ``(B, C_s, Y_s, X_s)``.

        What comes after them is not computed.
        """
        encoded = self.encode(images)
        if not isinstance(self.net, smp.Unet):
            return [self.net.decoder(encoded)]
        finer = encoded[
            -2::-1
        ]  # what each block upsamples to; the last is the input's size, and no skip
        outputs, maps = [], self.net.decoder.center(encoded[-1])
        for level, block in enumerate(self.net.decoder.blocks[:count]):
            skip = finer[level] if level < len(finer) - 1 else None
            maps = block(maps, *finer[level].shape[-2:], skip_connection=skip)
            outputs.append(maps)
        return outputs

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Give the maps that pixel features are made of: the trained decoder stages, or the encoder's outputs."""
        if self.spec.trained_stages == 0:
            return [maps for maps in self.encode(images)[1:] if maps.shape[1]]  # 0 is the input
        return self.stages(images, count=self.spec.trained_stages)

    def embed(self, images: Tensor, *, stride: int = 1) -> Tensor:
        """Give the pixel embedding ``(B, EMBEDDING_SIZE, Y/stride, X/stride)``.

        Raises
        ------
        MedsslError
            If the projection was never calibrated (`features.calibrate`).
        """
        if not bool(self.feature_calibrated):
            raise MedsslError(
                "This model's pixel features were not calibrated.",
                advice="Finish the run, or open it through its project.",
            )
        size = (images.shape[-2] // stride, images.shape[-1] // stride)
        return project_maps(self.feature_maps(images), self.feature_basis, self.feature_mean, size)

    def _probed(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        weight = self.probe.weight @ self.feature_basis
        return project_maps(maps, weight, self.feature_mean, size, bias=self.probe.bias)

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the encoder alone."""
        yield from self.net.encoder.parameters()

    def decoder_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the decoder, without the last layer."""
        yield from self.net.decoder.parameters()

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the last layer (of the probe and of the distances too, where there are such)."""
        yield from self.net.segmentation_head.parameters()
        if self.spec.head == "probe":
            yield from self.probe.parameters()
        if self.spec.objects:
            yield from self.distance.parameters()


def project_maps(
    maps: list[Tensor],
    weight: Tensor,
    mean: Tensor,
    size: tuple[int, int],
    *,
    bias: Tensor | None = None,
) -> Tensor:
    """Bring maps to one size and project their channels, the cheap way: the linear step first.

    Parameters
    ----------
    maps : list of Tensor
        Each ``(B, C_s, Y_s, X_s)``.
    weight : Tensor of shape (D, F)
        F is the sum of all C_s.
    mean : Tensor of shape (F,)
        Subtracted from the channels before.
    size : tuple of int
        Height and width of the result; coarser maps are interpolated, finer ones averaged.
    bias : Tensor of shape (D,), optional
        Added after.

    Returns
    -------
    Tensor of shape (B, D, Y, X)
    """
    offset = -(weight @ mean)  # (D,)
    total = (offset if bias is None else offset + bias).view(1, -1, 1, 1)
    start = 0
    for stage in maps:
        end = start + stage.shape[1]
        part = F.conv2d(stage, weight[:, start:end, None, None].to(stage.dtype))
        start = end
        coarser = part.shape[-2] <= size[0]
        part = (
            F.interpolate(part, size=size, mode="bilinear", align_corners=False)
            if coarser
            else F.adaptive_avg_pool2d(part, size)
        )
        total = total + part.float()
    return total


def _widths(network: NetworkConfig) -> list[int]:
    coarser = [
        network.decoder_width * 2**level for level in range(network.encoder_depth - 1, 0, -1)
    ]
    return [*coarser, network.last_width or network.decoder_width]


def _last_layer(net: Any, *, channels: int) -> nn.Module:
    """Make a last layer like that of a segmentation-models-pytorch network, for another number of maps."""
    convolution, upsampling = net.segmentation_head[0], net.segmentation_head[1]
    layer: nn.Module = SegmentationHead(
        convolution.in_channels,
        channels,
        kernel_size=convolution.kernel_size[0],
        upsampling=int(getattr(upsampling, "scale_factor", 1)),
    )
    return layer


def _network(network: NetworkConfig, *, channels: int, classes: int) -> Any:
    if network.architecture == "deeplabv3":
        return smp.DeepLabV3(
            network.encoder,
            encoder_depth=network.encoder_depth,
            encoder_weights=None,
            encoder_output_stride=DEEPLAB_STRIDE,
            decoder_channels=DEEPLAB_WIDTH,
            decoder_atrous_rates=(6, 12, 18),
            decoder_aspp_dropout=0.0,
            in_channels=channels,
            classes=classes,
        )
    return smp.Unet(
        network.encoder,
        encoder_depth=network.encoder_depth,
        encoder_weights=None,
        decoder_channels=_widths(network),
        decoder_attention_type="scse" if network.decoder_attention else None,
        in_channels=channels,
        classes=classes,
    )
