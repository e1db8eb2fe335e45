"""Segmentation networks by name, with multi-scale pixel features and self-describing weight files."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from napari_medssl.config import Config, advanced
from napari_medssl.errors import MedsslError
from napari_medssl.project import ClassInfo, Normalisation
from napari_medssl.project.checkpoint import atomic

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
    "save_model",
    "transfer",
]

SPEC_VERSION: Final = 1
EMBEDDING_SIZE = 64
# ImageNet's statistics for colour; their mean for anything else, so that ImageNet filters
# summed over channels still see what they were trained on.
RGB_MEAN, RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class NetworkConfig(Config):
    """The network that is trained."""

    architecture: Literal["unet"] = advanced("unet")
    """Decoder family (segmentation-models-pytorch)."""
    encoder: str = "mobilenet_v2"
    """Encoder by its segmentation-models-pytorch name: mobilenet_v2 is quick on a CPU, resnet50 suits a GPU."""
    encoder_weights: Literal["none", "imagenet", "file"] = "none"
    """What the encoder starts from: random numbers, ImageNet (downloaded), or a weights file."""
    weights_file: str | None = None
    """The weights file (.safetensors, .pth or .pt), when the encoder starts from a file."""
    encoder_depth: int = advanced(5, ge=3, le=5)
    """Number of times the encoder halves the image; the MedSASS paper's code uses 3."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse unknown encoders and a file choice without a file."""
        if self.encoder not in encoder_names() and not self.encoder.startswith("tu-"):
            raise ValueError(
                f"there is no encoder {self.encoder!r}; known: {', '.join(encoder_names())}, "
                "or any timm network as tu-NAME"
            )
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
    head: Literal["network", "probe"] = "network"
    """Whether predictions come from the network's own last layer or from a linear probe on its features."""
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
    """Names of all encoders that segmentation-models-pytorch brings itself."""
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
        self.net = smp.Unet(
            network.encoder,
            encoder_depth=network.encoder_depth,
            encoder_weights=None,
            decoder_channels=(256, 128, 64, 32, 16)[-network.encoder_depth :],
            in_channels=len(spec.channels),
            classes=len(spec.classes),
        )
        n = len(spec.channels)
        mean, std = (
            (RGB_MEAN, RGB_STD) if n == 3 else ([sum(RGB_MEAN) / 3] * n, [sum(RGB_STD) / 3] * n)
        )
        self.register_buffer("input_mean", torch.tensor(mean).view(1, n, 1, 1), persistent=False)
        self.register_buffer("input_std", torch.tensor(std).view(1, n, 1, 1), persistent=False)
        widths = [_out_channels(block) for block in self.net.decoder.blocks]
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

    def forward(self, images: Tensor) -> Tensor:
        """Give logits ``(B, K, Y, X)`` for images ``(B, C, Y, X)``."""
        if self.spec.head == "probe":
            weight = self.probe.weight @ self.feature_basis
            bias = self.probe.bias
            return self._project(
                self.stages(images), weight, bias, (images.shape[-2], images.shape[-1])
            )
        logits: Tensor = self.net((images - self.input_mean) / self.input_std)
        return logits

    def stages(self, images: Tensor) -> list[Tensor]:
        """Give the decoder's outputs from coarse to fine, each ``(B, C_s, Y_s, X_s)``."""
        with _captured(self.net.decoder.blocks) as outputs:
            self.net.decoder(self.net.encoder((images - self.input_mean) / self.input_std))
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
        return self._project(self.stages(images), self.feature_basis, None, size)

    def _project(
        self, stages: list[Tensor], weight: Tensor, bias: Tensor | None, size: tuple[int, int]
    ) -> Tensor:
        offset = -(weight @ self.feature_mean)  # (D,)
        total = (offset if bias is None else offset + bias).view(1, -1, 1, 1)
        start = 0
        for stage, width in zip(stages, self.stage_widths, strict=True):
            part = F.conv2d(stage, weight[:, start : start + width, None, None].to(stage.dtype))
            start += width
            coarser = part.shape[-2] <= size[0]
            part = (
                F.interpolate(part, size=size, mode="bilinear", align_corners=False)
                if coarser
                else F.adaptive_avg_pool2d(part, size)
            )
            total = total + part.float()
        return total

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
        state = _imagenet_state(network.encoder, len(spec.channels), network.encoder_depth)
        model.net.encoder.load_state_dict(state)
        note(f"The encoder {network.encoder} starts from ImageNet weights.")
    elif network.encoder_weights == "file":
        assert network.weights_file is not None  # checked by NetworkConfig
        report = load_encoder_file(model, Path(network.weights_file))
        note(report.text())
    return model


def _imagenet_state(encoder: str, channels: int, depth: int) -> dict[str, Tensor]:
    try:
        donor = smp.encoders.get_encoder(
            encoder, in_channels=channels, depth=depth, weights="imagenet"
        )
    except KeyError as error:
        raise MedsslError(
            f"segmentation-models-pytorch has no ImageNet weights for {encoder!r}: {error}."
        ) from error
    except OSError as error:  # requests' and huggingface_hub's connection errors are OSErrors
        raise MedsslError(
            f"The ImageNet weights of {encoder!r} could not be downloaded ({type(error).__name__}).",
            advice="Check the network connection, or download the weights elsewhere and give the file "
            '(encoder_weights "file", weights_file PATH).',
        ) from error
    state: dict[str, Tensor] = donor.state_dict()
    return state


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
    with atomic(path) as temporary:
        save_file(state, temporary, metadata={"napari_medssl": model.spec.model_dump_json()})


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


@contextlib.contextmanager
def _captured(modules: nn.ModuleList) -> Iterator[list[Tensor]]:
    outputs: list[Tensor] = []

    def keep(module: nn.Module, args: object, output: Tensor) -> None:
        outputs.append(output)

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _out_channels(block: nn.Module) -> int:
    convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    return convolutions[-1].out_channels
