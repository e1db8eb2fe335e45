"""What a network starts from: an earlier run, ImageNet, or a weights file that anybody wrote."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import torch
from torch import Tensor, nn

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.learn import imagenet
from napari_medssl.learn.networks import SegmentationModel, input_statistics
from napari_medssl.learn.weights import read_spec, read_tensors
from napari_medssl.project.weights_header import descent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_medssl.learn.networks import ModelSpec, NetworkConfig

__all__ = [
    "Part",
    "TransferReport",
    "adapt_channels",
    "build_model",
    "load_encoder_file",
    "origin",
    "standardised_like",
    "transfer",
]

Part = Literal["encoder", "encoder+decoder", "everything"]

_ENCODER = ("net.encoder.",)
_FEATURES = ("feature_",)
_DECODER = (*_ENCODER, "net.decoder.")
_HEAD = ("net.segmentation_head.", "probe.")
_DISTANCE = ("distance.", "distance_learned")
_PARTS: Final[dict[Part, tuple[str, ...]]] = {
    "encoder": _ENCODER,
    "encoder+decoder": (*_DECODER, *_FEATURES),
    "everything": (*_DECODER, *_FEATURES, *_HEAD),
}
_WORDS: Final[dict[Part, str]] = {
    "encoder": "encoder",
    "encoder+decoder": "encoder and decoder",
    "everything": "encoder, decoder and last layer",
}
_COPY = re.compile(r"(^|[._])(k|key|momentum|ema|target)([._]|$)")
"""Marks of the slowly following copy of an encoder: MoCo's and PixPro's ``encoder_k``, ``backbone_momentum``."""


class TransferReport(Config):
    """Which parameters were taken over from a file or another run."""

    source: str
    part: str
    """Of the network, in words."""
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    """In the network, not (or with another shape) in the source: they keep their random start."""
    unexpected: tuple[str, ...] = ()
    """In the source, not in the network: ignored."""
    remarks: tuple[str, ...] = ()
    """Whatever else there is to say, as sentences."""

    def text(self) -> str:
        """Give the report in a sentence or a few."""
        total = len(self.matched) + len(self.missing)
        parts = [f"{len(self.matched)} of {total} tensors"]
        for label, names in (("missing", self.missing), ("unexpected", self.unexpected)):
            if names:
                shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
                parts.append(f"{len(names)} {label} ({shown})")
        taken = f"Taken over from {self.source}: {self.part}, {'; '.join(parts)}."
        return " ".join([taken, *self.remarks])


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
        If ImageNet weights cannot be had, or the file cannot be used.
    """
    network = spec.network
    file = Path(network.weights_file) if network.weights_file is not None else None
    model = SegmentationModel(standardised_like(spec, _told(file) if file else None))
    if network.encoder_weights == "imagenet":
        state = imagenet.imagenet_state(network.encoder, network.encoder_depth)
        target = model.net.encoder.state_dict()
        for name, value in state.items():
            if _is_first_layer(value, target[name], len(spec.channels)):
                _, std = input_statistics(network.encoder, value.shape[1])
                state[name] = adapt_channels(value, std, spec.input_std)
        # Some smp encoders override load_state_dict to drop classifier keys and hide `strict`.
        nn.Module.load_state_dict(model.net.encoder, state)
        note(f"The encoder {network.encoder} starts from ImageNet weights.")
    elif file is not None:
        note(load_encoder_file(model, file).text())
    return model


def standardised_like(spec: ModelSpec, source: ModelSpec | None) -> ModelSpec:
    """Give a network the input statistics of what it starts from, where that has as many channels.

    With other channels, those of its encoder stay, for which the first layer is adapted (`adapt_channels`).
    """
    if source is None or len(source.channels) != len(spec.channels):
        return spec
    told = {"input_mean": source.input_mean, "input_std": source.input_std}
    return spec.model_copy(update=told)


def origin(network: NetworkConfig) -> tuple[str, ...]:
    """Say what a new network's encoder descends from, for `ModelSpec.ancestry`; empty for random numbers.

    ImageNet is named with the repository its weights come from, a file with the beginning of its SHA-256. A file of
    ours brings its own ancestry along.

    Raises
    ------
    MedsslError
        If there are no ImageNet weights for the encoder, or the file cannot be read.
    """
    if network.encoder_weights == "imagenet":
        return (f"imagenet ({imagenet.repository(network.encoder)})",)
    if network.encoder_weights == "none":
        return ()
    assert network.weights_file is not None  # checked by NetworkConfig
    path = Path(network.weights_file)
    if not path.is_file():
        raise MedsslError(f"There is no weights file {path}.")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    earlier = descent(path) if path.suffix == ".safetensors" else ()
    return (*earlier, f"{path.name} (sha256 {digest[:12]})")


def load_encoder_file(model: SegmentationModel, path: Path) -> TransferReport:
    """Load encoder weights from a file of ours or of any other program.

    The encoder is found by its names, whatever stands before them: in a model of ours, in torchvision's and timm's
    own files, in checkpoints of MoCo, DenseCL, PixPro and others (``state_dict``, ``model``, ``module.encoder_q.``,
    ``backbone.``). A first layer for another number of channels is adapted (`adapt_channels`).

    Parameters
    ----------
    model : SegmentationModel
        Its encoder is filled.
    path : Path
        See `read_tensors`.

    Returns
    -------
    TransferReport
        Of the encoder alone.

    Raises
    ------
    MedsslError
        If the file cannot be read, or fits fewer than half of the encoder's layers (tensors of
        two axes or more).
    """
    source, target = read_tensors(path), model.net.encoder.state_dict()
    channels = len(model.spec.channels)
    found = _find(source, target, channels)
    layers = [key for key, value in target.items() if value.ndim > 1]
    fitting = sum(key in found.names for key in layers)  # norms would fit networks of other kinds
    if 2 * fitting < len(layers):
        raise MedsslError(
            f"{path} fits only {fitting} of the {len(layers)} layers of the encoder "
            f"{model.spec.network.encoder}, and at least half are needed (names in the file: "
            f"{', '.join(list(source)[:3])}; in the encoder: {', '.join(list(target)[:3])}).",
            advice="Choose the encoder that the file was made for.",
        )
    remarks = []
    if found.prefix:
        remarks.append(f'Its names are those after "{found.prefix}".')
    if found.twins:
        remarks.append(f"There is as much after {' and '.join(found.twins)}, which was left.")
    state = {key: source[name] for key, name in found.names.items()}
    remarks += _adapt(state, target, model.spec, _told(path))
    nn.Module.load_state_dict(model.net.encoder, state, strict=False)
    used = set(found.names.values())
    return TransferReport(
        source=path.name,
        part=_WORDS["encoder"],
        matched=tuple(state),
        missing=tuple(key for key in target if key not in state),
        unexpected=tuple(
            name.removeprefix(found.prefix)
            for name in source
            if name.startswith(found.prefix) and name not in used
        ),
        remarks=tuple(remarks),
    )


def transfer(
    model: SegmentationModel,
    source: SegmentationModel,
    *,
    name: str,
    take: Part = "everything",
) -> TransferReport:
    """Start `model` from `source`, a model with the same network.

    The last layer is taken over only where both predict with one, for the same classes; that of distances, which knows
    no classes, wherever both have one. A first layer for another number of channels is adapted (`adapt_channels`).

    Parameters
    ----------
    model, source : SegmentationModel
        To and from.
    name : str
        What to call the source in the report.
    take : {"encoder", "encoder+decoder", "everything"}
        Which parts.
    """
    remarks = []
    prefixes = _PARTS[take]
    if take == "everything":
        if why_new := _why_new_head(model.spec, source.spec, name):
            take, prefixes = "encoder+decoder", _PARTS["encoder+decoder"]
            remarks.append(f"The last layer is new: {why_new}.")
        if model.spec.objects and source.spec.objects:
            prefixes += _DISTANCE
        elif model.spec.objects:
            remarks.append(f"The layer of distances is new: {name} has none.")
        elif source.spec.objects:
            remarks.append(
                f"The layer of distances of {name} is left out: this run does not learn objects."
            )
    wanted, given = model.state_dict(), source.state_dict()
    target = {k: v for k, v in wanted.items() if k.startswith(prefixes)}
    channels = len(model.spec.channels)
    reached = source.spec.trained_stages, model.spec.trained_stages
    if source.spec.channels != model.spec.channels or reached[0] != reached[1]:
        # what the features of one kind of image, or of other stages, look like says nothing of these
        target = {k: v for k, v in target.items() if not k.startswith(_FEATURES)}
    matched = {k: given[k] for k in target if k in given and _fits(given[k], target[k], channels)}
    remarks += _adapt(matched, target, model.spec, source.spec)
    if source.spec.channels != model.spec.channels and len(source.spec.channels) == channels:
        remarks.append(
            f"It was made for the channels {', '.join(source.spec.channels)}; "
            f"{', '.join(model.spec.channels)} take their places."
        )
    model.load_state_dict(wanted | matched)
    return TransferReport(
        source=name,
        part=_WORDS[take],
        matched=tuple(matched),
        missing=tuple(key for key in target if key not in matched),
        remarks=tuple(remarks),
    )


def adapt_channels(weight: Tensor, source: Sequence[float], target: Sequence[float]) -> Tensor:
    """Make a first layer take another number of channels.

    To one channel the weights are summed; to several they are repeated in turn and scaled by old / new. Both after
    taking into account by which deviation each channel is divided before (`ModelSpec.input_std`), so that equal
    channels give what the one channel gave: exactly where a network of one channel becomes one of several. From three
    to one a constant per filter remains where the means differ, as ImageNet's of red, green and blue do.

    Parameters
    ----------
    weight : Tensor of shape (F, C, k, k)
        Weights of the layer.
    source, target : sequence of float
        Deviation of each of the C channels that it took, and of each that it is to take.

    Returns
    -------
    Tensor of shape (F, len(target), k, k)
    """
    old, channels = len(source), len(target)
    divisor, factor = (
        torch.tensor(std, device=weight.device).view(1, -1, 1, 1) for std in (source, target)
    )
    per_unit = weight / divisor
    if channels == 1:
        return per_unit.sum(1, keepdim=True) * factor
    return per_unit[:, [c % old for c in range(channels)]] * factor * (old / channels)


class _Found(NamedTuple):
    """Where in a file an encoder is."""

    prefix: str
    names: dict[str, str]
    """The encoder's names, and the file's."""
    twins: tuple[str, ...]
    """Other prefixes, quoted, after which there is as much."""


def _find(source: Mapping[str, Tensor], target: Mapping[str, Tensor], channels: int) -> _Found:
    """Find the prefix in the file, and the one in the encoder, after which most names and shapes agree."""
    wanted: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for name in target:
        outer, dot, inner = name.partition(".")
        wanted[_plain(name)].append(("", name))
        wanted[_plain(inner)].append((outer + dot, name))  # smp's and MedSASS's shells around timm
    found: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name, value in source.items():
        for start in (0, *(place.end() for place in re.finditer(r"\.", name))):
            for shell, key in wanted.get(_plain(name[start:]), ()):
                if _fits(value, target[key], channels):
                    found[name[:start], shell][key] = name
    if not found:
        return _Found("", {}, ())

    def goodness(place: tuple[str, str]) -> tuple[int, bool, int]:
        return len(found[place]), _COPY.search(place[0]) is None, -len("".join(place))

    best = max(found, key=goodness)
    used = set(found[best].values())
    twins = {
        f'"{prefix}"'
        for (prefix, shell), names in found.items()
        if shell == best[1] and len(names) == len(used) and used.isdisjoint(names.values())
    }
    return _Found(best[0], found[best], tuple(sorted(twins)))


def _plain(name: str) -> str:
    """Spell a name such that timm's two spellings are one: its feature extractors write stages_0 for stages.0."""
    return name.replace(".", "_")


def _fits(value: Tensor, wanted: Tensor, channels: int) -> bool:
    return value.shape == wanted.shape or _is_first_layer(value, wanted, channels)


def _is_first_layer(value: Tensor, wanted: Tensor, channels: int) -> bool:
    """Tell whether a tensor differs by the number of the images' channels alone."""
    return (
        value.ndim == wanted.ndim == 4
        and wanted.shape[1] == channels != value.shape[1]
        and value.shape[0] == wanted.shape[0]
        and value.shape[2:] == wanted.shape[2:]
    )


def _told(path: Path) -> ModelSpec | None:
    """Read what a start says of itself: nothing where another program wrote it, or where it is missing."""
    return read_spec(path) if path.is_file() else None


def _adapt(
    state: dict[str, Tensor],
    target: Mapping[str, Tensor],
    spec: ModelSpec,
    source: ModelSpec | None,
) -> list[str]:
    """Adapt the first layers among the tensors, in place; gives what to say of it.

    Without a spec of the source, it is taken to be standardised as its encoder usually is.
    """
    first = [key for key, value in state.items() if value.shape != target[key].shape]
    if not first:
        return []
    old = state[first[0]].shape[1]
    std = source.input_std if source is not None else input_statistics(spec.network.encoder, old)[1]
    state |= {key: adapt_channels(state[key], std, spec.input_std) for key in first}
    count = f"{old} channel{'' if old == 1 else 's'}"
    return [f"The first layer was made for {count}; it was adapted to {len(spec.channels)}."]


def _why_new_head(spec: ModelSpec, source: ModelSpec, name: str) -> str:
    """Say why a last layer cannot be taken over; empty where it can."""
    if spec.head == "none":
        return "only features are learned"
    if source.head == "none":
        return f"{name} learned features, not classes"
    if source.head != spec.head:
        return (
            f"{name} predicts with {'a linear probe' if source.head == 'probe' else 'its network'}"
        )
    classes, known = ([(c.value, c.name) for c in s.classes] for s in (spec, source))
    if classes != known:
        return f"{name} knows the classes {', '.join(c.name for c in source.classes)}"
    return ""
