"""Files of weights: those of a whole model, parts of one for other programs, and whatever others wrote."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from napari_medssl.config import refuse_newer
from napari_medssl.errors import MedsslError
from napari_medssl.learn.networks import (
    SPEC_VERSION,
    ModelSpec,
    SegmentationModel,
    migrated,
)
from napari_medssl.project.checkpoint import atomic
from napari_medssl.project.weights_header import EXPORT_KEY, SPEC_KEY, read_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "ExportNames",
    "ExportPart",
    "load_model",
    "read_spec",
    "read_tensors",
    "save_model",
    "save_part",
]

ExportPart = Literal["encoder", "encoder+decoder", "whole"]
ExportNames = Literal["medssl", "smp", "encoder"]

_PREFIXES: Final[dict[ExportPart, tuple[str, ...]]] = {
    "encoder": ("net.encoder.",),
    "encoder+decoder": ("net.encoder.", "net.decoder."),
    "whole": ("",),
}


def save_model(model: SegmentationModel, path: Path) -> None:
    """Write weights and spec into one ``.safetensors`` file, atomically.

    Raises
    ------
    WriteError
        If the system refuses; a file that was there is as before.
    """
    _write(model.state_dict(), path, {SPEC_KEY: model.spec.model_dump_json()})


def save_part(model: SegmentationModel, path: Path, *, part: ExportPart, names: ExportNames) -> int:
    """Write a part of a model for use elsewhere into one ``.safetensors`` file, atomically.

    Its header holds the spec, and what the spec alone does not tell a user of the tensors: the part, the naming, and
    the mean and deviation by which inputs in [0, 1] are to be standardised.

    Parameters
    ----------
    model : SegmentationModel
        The model.
    path : Path
        The file; replaced where it exists.
    part : {"encoder", "encoder+decoder", "whole"}
        What to write; ``whole`` has the last layer as well.
    names : {"medssl", "smp", "encoder"}
        ``medssl``: those of `SegmentationModel` (``net.encoder.…``), so that a whole model opens again with
        `load_model`. ``smp``: those of segmentation-models-pytorch's networks (``encoder.…``, ``decoder.…``,
        ``segmentation_head.…``); they have no place for a layer of distances, which is left out. ``encoder``: the
        encoder's own, as in torchvision or timm.

    Returns
    -------
    int
        Number of tensors written.

    Raises
    ------
    MedsslError
        If the model has no last layer that these names have a place for.
    WriteError
        If the system refuses.
    """
    if (part, names) == ("whole", "medssl"):
        save_model(model, path)
        return len(model.state_dict())
    if part == "whole" and model.spec.head != "network":
        why = {
            "probe": "predicts with a linear probe on its features",
            "none": "learned no classes",
        }
        raise MedsslError(
            f"This model {why[model.spec.head]}, so its last layer is of no use in a plain network.",
            advice="Export encoder+decoder, or the whole model under the names of medssl.",
        )
    state = {k: v for k, v in model.state_dict().items() if k.startswith(_PREFIXES[part])}
    if names != "medssl":
        outer = "net." if names == "smp" else "net.encoder."
        state = {k.removeprefix(outer): v for k, v in state.items() if k.startswith(outer)}
    if names == "encoder" and all(key.startswith("model.") for key in state):
        state = {k.removeprefix("model."): v for k, v in state.items()}  # smp's shell around timm
    spec = model.spec
    told = {
        "part": part,
        "names": names,
        "input_mean": spec.input_mean,
        "input_std": spec.input_std,
    }
    _write(state, path, {SPEC_KEY: spec.model_dump_json(), EXPORT_KEY: json.dumps(told)})
    return len(state)


def load_model(path: Path) -> SegmentationModel:
    """Rebuild a model from a file written by `save_model`; returned in eval mode.

    Raises
    ------
    MedsslError
        If the file is missing, damaged, of a newer version, not one of ours, or not a whole model.
    """
    if not path.is_file():
        raise MedsslError(f"There is no model file {path}.")
    header = read_header(path)
    if SPEC_KEY not in header:
        raise MedsslError(
            f"{path} holds weights but no description of their network, so it was not written by medssl."
        )
    if EXPORT_KEY in header:
        raise MedsslError(
            f"{path} was exported for other programs ({header[EXPORT_KEY].get('part')}), so it is no whole model.",
            advice='Start a network from it (encoder_weights "file"), or open the run it came from.',
        )
    model = SegmentationModel(_spec(header[SPEC_KEY], path))
    _fill(model, read_tensors(path), path)
    return model.eval()


def read_spec(path: Path) -> ModelSpec | None:
    """Read what a weights file says of its network; None for a file of another program.

    Raises
    ------
    MedsslError
        If the file cannot be read, is damaged or of a newer version.
    """
    if path.suffix != ".safetensors":
        return None
    header = read_header(path)
    return _spec(header[SPEC_KEY], path) if SPEC_KEY in header else None


def _spec(data: dict[str, Any], path: Path) -> ModelSpec:
    refuse_newer(data, SPEC_VERSION, what=f"The model {path}", purpose="open it")
    data = migrated(data)
    if isinstance(data.get("network"), dict):
        # The weights are here now: where they once started from no longer matters, and the file may be gone.
        data["network"] |= {"encoder_weights": "none", "weights_file": None}
    spec: ModelSpec = ModelSpec.parse(data, where=str(path))
    return spec


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read every tensor of a weights file, under its full name; nothing that the file holds is ever run.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or a file that ``torch.save`` wrote (``.pt``, ``.pth``, ``.ckpt``). What lies in dictionaries
        within dictionaries is named by all their keys: ``state_dict.module.encoder_q.conv1.weight``.

    Raises
    ------
    MedsslError
        If the file is missing or damaged, holds anything but plain data, or no tensor.
    """
    if not path.is_file():
        raise MedsslError(f"There is no weights file {path}.")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no dict)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # what weights_only=True raises at anything but tensors
        raise MedsslError(
            f"{path} is damaged or holds more than tensors, so it is not opened (pickled code could run).",
            advice="Save the network's state_dict alone, best as .safetensors.",
        ) from error
    except (
        *(SafetensorError, RuntimeError, OSError, EOFError, ValueError),
        *(KeyError, IndexError, TypeError, AttributeError),  # torch's reader, from a damaged file
    ) as error:
        raise MedsslError(f"{path} is not a readable weights file: {error}") from error
    tensors = dict(_named(loaded, ""))
    if not tensors:
        raise MedsslError(
            f"{path} holds no tensor ({type(loaded).__name__}), where a state_dict is needed."
        )
    return tensors


def _named(value: object, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _named(inner, f"{name}.{key}" if name else str(key))


def _fill(model: SegmentationModel, state: Mapping[str, Tensor], path: Path) -> None:
    wanted = model.state_dict()
    wrong = [k for k in wanted if k not in state or state[k].shape != wanted[k].shape]
    wrong += [k for k in state if k not in wanted]
    if wrong:
        shown = ", ".join(wrong[:3]) + (", ..." if len(wrong) > 3 else "")
        raise MedsslError(
            f"{path} is damaged: {len(wrong)} of its tensors are missing, too many or of another shape than its "
            f"network needs ({shown})."
        )
    model.load_state_dict(state)


def _write(state: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    content = save(tensors, metadata=metadata)
    with atomic(path) as temporary:
        temporary.write_bytes(content)  # safetensors' own writer hides the reason of a failure
