"""Segmentation networks by name, with multi-scale pixel features and self-describing weight files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from napari_medssl.config import Config, advanced
from napari_medssl.errors import MedsslError
from napari_medssl.learn import vit_encoder
from napari_medssl.learn.imagenet import imagenet_state
from napari_medssl.project import ClassInfo, Normalisation
from napari_medssl.project.checkpoint import atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "EMBEDDING_SIZE",
    "ModelSpec",
    "NetworkConfig",
    "SegmentationModel",
    "TransferReport",
    "build_model",
    "encoder_names",
    "load_encoder_file",
    "load_model",
    "project_maps",
    "save_model",
    "transfer",
]

vit_encoder.register()

SPEC_VERSION: Final = 1
EMBEDDING_SIZE = 64
DEEPLAB_STRIDE, DEEPLAB_WIDTH = 16, 256
# ImageNet's statistics for colour; their mean for anything else, so that ImageNet filters
# summed over channels still see what they were trained on.
RGB_MEAN, RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class NetworkConfig(Config):
    """The network that is trained."""

    architecture: Literal["unet", "deeplabv3"] = advanced("unet")
    """A U-Net, or the DeepLabV3 of the DiCoH paper (atrous spatial pyramid pooling at an eighth to a sixteenth of
    the resolution; for large objects)."""
    encoder: str = "mobilenet_v2"
    """Encoder by its segmentation-models-pytorch name: mobilenet_v2 is quick on a CPU, resnet50 suits a GPU."""
    encoder_weights: Literal["none", "imagenet", "file"] = "none"
    """What the encoder starts from: random numbers, ImageNet (downloaded), or a weights file."""
    weights_file: str | None = None
    """The weights file (.safetensors, .pth or .pt), when the encoder starts from a file."""
    encoder_depth: int = advanced(5, ge=3, le=5)
    """Number of times the encoder halves the image; the MedSASS paper's code uses 3."""
    decoder_width: int = advanced(16, ge=16, le=1024)
    """Channels of a U-Net's last decoder stage, doubled at each coarser one. MedSASS has 64; Pix2Rep gains most from
    width (64 to 1024)."""
    decoder_attention: bool = advanced(False)
    """Spatial and channel attention in a U-Net's decoder, as the MedSASS paper has."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse unknown encoders and a file choice without a file."""
        if self.encoder not in encoder_names() and not self.encoder.startswith("tu-"):
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


class ModelSpec(Config):
    """Everything needed to rebuild and use a model; travels in the header of its weights file."""

    schema_version: Literal[1] = SPEC_VERSION
    network: NetworkConfig
    channels: tuple[str, ...]
    classes: tuple[ClassInfo, ...]
    """In the order of the output maps; the first is background."""
    normalisation: Normalisation
    head: Literal["network", "probe", "none"] = "network"
    """Whether predictions come from the network's own last layer, from a linear probe on its features, or from nothing,
    because only features were learned."""
    method: str = ""
    ancestry: tuple[str, ...] = ()
    """Runs this model descends from, oldest first, and its own name last."""


class TransferReport(Config):
    """Which parameters were taken over from a file or another run."""

    source: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    """In the network, not (or with another shape) in the source: they keep their random start."""
    unexpected: tuple[str, ...]
    """In the source, not in the network: ignored."""

    def text(self) -> str:
        """Give the report as one sentence."""
        parts = [
            f"{len(self.matched)} of {len(self.matched) + len(self.missing)} tensors taken over"
        ]
        for label, names in (("missing", self.missing), ("unexpected", self.unexpected)):
            if names:
                shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
                parts.append(f"{len(names)} {label} ({shown})")
        return f"Weights from {self.source}: {'; '.join(parts)}."


def encoder_names() -> list[str]:
    """Names of all encoders that segmentation-models-pytorch brings itself, and of MedSASS's ViT-small."""
    return [name for name in smp.encoders.get_encoder_names() if not name.startswith("timm-")]


class SegmentationModel(nn.Module):
    """A segmentation-models-pytorch network that also gives multi-scale pixel features.

    Input is ``(B, C, Y, X)`` with values in [0, 1]; Y and X are multiples of `stride`. Output is
    ``(B, K, Y, X)`` logits, one map per class of `spec.classes`.

    The pixel embedding follows the multi-scale reading of Pix2Rep's representations: every decoder
    stage is standardised per channel, weighted so that each stage has the same total variance,
    projected on `EMBEDDING_SIZE` principal components and upsampled. A projection commutes with
    bilinear upsampling, so it is done first, at each stage's own resolution.
    """

    input_mean: Tensor
    input_std: Tensor
    feature_calibrated: Tensor  # () bool
    feature_mean: Tensor  # (F,) over the channels of all stages
    feature_basis: Tensor  # (EMBEDDING_SIZE, F)
    probe: nn.Linear

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        network = spec.network
        self.spec = spec
        self.net: Any = _network(network, channels=len(spec.channels), classes=len(spec.classes))
        n = len(spec.channels)
        mean, std = (
            (RGB_MEAN, RGB_STD) if n == 3 else ([sum(RGB_MEAN) / 3] * n, [sum(RGB_STD) / 3] * n)
        )
        self.register_buffer("input_mean", torch.tensor(mean).view(1, n, 1, 1), persistent=False)
        self.register_buffer("input_std", torch.tensor(std).view(1, n, 1, 1), persistent=False)
        widths = _widths(network) if isinstance(self.net, smp.Unet) else [DEEPLAB_WIDTH]
        self.stage_widths = widths
        self.register_buffer("feature_calibrated", torch.zeros((), dtype=torch.bool))
        self.register_buffer("feature_mean", torch.zeros(sum(widths)))
        self.register_buffer("feature_basis", torch.zeros(EMBEDDING_SIZE, sum(widths)))
        if spec.head == "probe":
            self.probe = nn.Linear(EMBEDDING_SIZE, len(spec.classes))

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
        if isinstance(self.net, smp.Unet):
            return [2**level for level in reversed(range(self.spec.network.encoder_depth))]
        return [self.encoder_stride]

    def forward(self, images: Tensor) -> Tensor:
        """Give logits ``(B, K, Y, X)`` for images ``(B, C, Y, X)``."""
        if self.spec.head == "probe":
            weight = self.probe.weight @ self.feature_basis
            bias = self.probe.bias
            size = (images.shape[-2], images.shape[-1])
            return project_maps(self.stages(images), weight, self.feature_mean, size, bias=bias)
        logits: Tensor = self.net((images - self.input_mean) / self.input_std)
        return logits

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
        return project_maps(self.stages(images), self.feature_basis, self.feature_mean, size)

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the encoder alone."""
        yield from self.net.encoder.parameters()

    def decoder_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the decoder, without the last layer."""
        yield from self.net.decoder.parameters()

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the last layer (and of the probe, where there is one)."""
        yield from self.net.segmentation_head.parameters()
        if self.spec.head == "probe":
            yield from self.probe.parameters()


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


def build_model(spec: ModelSpec, *, note: Callable[[str], None]) -> SegmentationModel:
    """Build a network with the start its configuration asks for.

    Parameters
    ----------
    spec : ModelSpec
        What to build.
    note : callable
        Told, as a sentence, what the encoder started from.

    Raises
    ------
    MedsslError
        If ImageNet weights cannot be downloaded, or the file cannot be used.
    """
    model = SegmentationModel(spec)
    network = spec.network
    if network.encoder_weights == "imagenet":
        state = imagenet_state(network.encoder, len(spec.channels), network.encoder_depth)
        model.net.encoder.load_state_dict(state)
        note(f"The encoder {network.encoder} starts from ImageNet weights.")
    elif network.encoder_weights == "file":
        assert network.weights_file is not None  # checked by NetworkConfig
        report = load_encoder_file(model, Path(network.weights_file))
        note(report.text())
    return model


def load_encoder_file(model: SegmentationModel, path: Path) -> TransferReport:
    """Load encoder weights from a file, matching by name and shape.

    Accepts ``.safetensors`` and torch's ``.pt``/``.pth`` (read without unpickling code). Names may be
    the encoder's own (as in torchvision), or carry a prefix ending in ``encoder.``. A first layer
    for another number of channels is adapted the way segmentation-models-pytorch does it.

    Raises
    ------
    MedsslError
        If the file cannot be read or not one tensor fits.
    """
    source = _read_state(path)
    target = model.net.encoder.state_dict()
    source = _strip_prefix(source, set(target))
    for name, value in source.items():
        if name in target and value.ndim == 4 and value.shape != target[name].shape:
            source[name] = _adapt_channels(value, target[name].shape)
    report = _take_over(model.net.encoder, target, source, str(path.name))
    if not report.matched:
        raise MedsslError(
            f"{path} holds no tensor that fits the encoder {model.spec.network.encoder!r} "
            f"(its first names: {', '.join(list(source)[:3])}).",
            advice="Choose the encoder that the file was made for.",
        )
    return report


def transfer(model: SegmentationModel, source: SegmentationModel, *, name: str) -> TransferReport:
    """Start `model` from `source`: every tensor whose name and shape agree."""
    return _take_over(model, model.state_dict(), source.state_dict(), name)


def _take_over(
    module: nn.Module, target: Mapping[str, Tensor], source: Mapping[str, Tensor], name: str
) -> TransferReport:
    matched = [k for k in target if k in source and source[k].shape == target[k].shape]
    # Some smp encoders override load_state_dict to drop classifier keys and hide `strict`.
    nn.Module.load_state_dict(module, {k: source[k] for k in matched}, strict=False)
    return TransferReport(
        source=name,
        matched=tuple(matched),
        missing=tuple(k for k in target if k not in set(matched)),
        unexpected=tuple(k for k in source if k not in target),
    )


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise MedsslError(f"There is no weights file {path}.")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no dict)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise MedsslError(f"{path} is not a readable weights file: {error}") from error
    except pickle.UnpicklingError as error:  # what weights_only=True raises at anything but tensors
        raise MedsslError(
            f"{path} holds more than tensors, so it is not opened (pickled code could run).",
            advice="Save the network's state_dict alone, best as .safetensors.",
        ) from error
    while isinstance(loaded, dict):
        nested = next((loaded[k] for k in ("state_dict", "model") if k in loaded), None)
        if nested is None:
            break
        loaded = nested
    if not isinstance(loaded, dict):
        raise MedsslError(f"{path} holds a {type(loaded).__name__}, not a state_dict.")
    return {str(k): v for k, v in loaded.items() if isinstance(v, Tensor)}


def _strip_prefix(source: dict[str, Tensor], target: set[str]) -> dict[str, Tensor]:
    """Remove the prefix (up to the n-th dot) after which most names are the encoder's."""
    prefixes = {""}
    for name in source:
        parts = name.split(".")
        prefixes |= {".".join(parts[:n]) + "." for n in range(1, min(4, len(parts)))}
    best = max(
        sorted(prefixes, key=len),
        key=lambda p: sum(name.startswith(p) and name[len(p) :] in target for name in source),
    )
    return {name.removeprefix(best): value for name, value in source.items()}


def _adapt_channels(weight: Tensor, shape: torch.Size) -> Tensor:
    if weight.shape[0] != shape[0] or weight.shape[2:] != shape[2:]:
        return weight
    old, new = weight.shape[1], shape[1]
    if new == 1:
        return weight.sum(1, keepdim=True)
    cycled = weight[:, [c % old for c in range(new)]]
    return cycled * (old / new)


def save_model(model: SegmentationModel, path: Path) -> None:
    """Write weights and spec into one ``.safetensors`` file, atomically."""
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    content = save(state, metadata={"napari_medssl": model.spec.model_dump_json()})
    with atomic(path) as temporary:
        temporary.write_bytes(content)  # safetensors' own writer hides the reason of a failure


def load_model(path: Path) -> SegmentationModel:
    """Rebuild a model from a file written by `save_model`; returned in eval mode.

    Raises
    ------
    MedsslError
        If the file is missing, damaged, of a newer version, or not one of ours.
    """
    if not path.is_file():
        raise MedsslError(f"There is no model file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get("napari_medssl")
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise MedsslError(f"{path} cannot be read as a model: {error}") from error
    if header is None:
        raise MedsslError(
            f"{path} holds weights but no description of their network, so it was not written by medssl."
        )
    data: dict[str, Any] = json.loads(header)
    version = data.get("schema_version")
    if isinstance(version, int) and version > SPEC_VERSION:
        raise MedsslError(
            f"{path} was written by a newer medssl (model version {version}, this one reads {SPEC_VERSION}).",
            advice="Upgrade napari-medssl.",
        )
    # The weights are here now: where they once started from no longer matters, and the file may be gone.
    data["network"] |= {"encoder_weights": "none", "weights_file": None}
    spec: ModelSpec = ModelSpec.parse(data, where=str(path))
    model = SegmentationModel(spec)
    model.load_state_dict(state)
    return model.eval()


def _widths(network: NetworkConfig) -> list[int]:
    return [network.decoder_width * 2**level for level in reversed(range(network.encoder_depth))]


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
