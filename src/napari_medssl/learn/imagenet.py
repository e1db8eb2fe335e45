"""ImageNet weights: those that come with medssl, and others, the only thing that is ever downloaded (where asked)."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub
import segmentation_models_pytorch as smp
import timm
from safetensors.torch import load_file

from napari_medssl.errors import MedsslError
from napari_medssl.learn.bundled import ENCODER, PACKAGE, TITLE, bundled_file, digest, timm_name
from napari_medssl.learn.weights import read_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["announce", "imagenet_state", "repository"]

_FILE = "model.safetensors"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def imagenet_state(encoder: str, depth: int) -> dict[str, Tensor]:
    """Give the state of an encoder trained on ImageNet, made for red, green and blue.

    Parameters
    ----------
    encoder : str
        Name in segmentation-models-pytorch, or ``tu-NAME`` for timm's.
    depth : int
        Of the network the state is for.

    Raises
    ------
    MedsslError
        If there are none for this encoder, or they cannot be had, or the file is not what the server announced or what
        came with medssl.
    """
    if encoder == ENCODER:
        donor = smp.encoders.get_encoder(encoder, in_channels=3, depth=depth, weights=None)
        given = {
            f"model.{timm_name(name)}": value
            for name, value in read_tensors(bundled_file()).items()
        }
        bundled: dict[str, Tensor] = {name: given[name] for name in donor.state_dict()}
        return bundled
    path = _fetch(encoder)
    if encoder.startswith("tu-"):
        donor = smp.encoders.get_encoder(
            encoder,
            in_channels=3,
            depth=depth,
            weights=True,
            pretrained_cfg_overlay={"file": str(path)},
        )
    else:
        donor = smp.encoders.get_encoder(encoder, in_channels=3, depth=depth, weights=None)
        donor.load_state_dict(load_file(path))
    state: dict[str, Tensor] = donor.state_dict()
    return state


def announce(encoder: str) -> str:
    """Say where `imagenet_state` takes the weights from; of a download its address, size, checksum and licence.

    Raises
    ------
    MedsslError
        If there are no weights for this encoder, or the server cannot be reached.
    """
    if encoder == ENCODER:
        return f"The ImageNet weights of {TITLE} come with medssl (Apache-2.0, {PACKAGE})."
    repository, revision = _source(encoder)
    stored = _stored(repository, revision)
    if stored is not None:
        return f"The ImageNet weights of {encoder} were downloaded before: {stored}."
    url, size, sha256 = _announced(encoder, repository, revision)
    megabytes = f"{size / 1e6:.1f} MB" if size else "size not announced"
    told = f"sha256 {sha256}" if sha256 else "no checksum announced"
    return (
        f"Downloading the ImageNet weights of {encoder} from {url} ({megabytes}, {told},"
        f" licence: {_licence(encoder) or f'see {repository}'})."
    )


def repository(encoder: str) -> str:
    """Name the repository, or the package, that the ImageNet weights of an encoder come from.

    Raises
    ------
    MedsslError
        If there are none for this encoder.
    """
    return PACKAGE if encoder == ENCODER else _source(encoder)[0]


def _fetch(encoder: str) -> Path:
    repository, revision = _source(encoder)
    stored = _stored(repository, revision)
    if stored is not None:
        return stored
    url, _, sha256 = _announced(encoder, repository, revision)
    with _explained(encoder, url):
        path = Path(huggingface_hub.hf_hub_download(repository, _FILE, revision=revision))
    if sha256 and (found := digest(path)) != sha256:
        path.resolve().unlink()  # the next attempt must not find it
        path.unlink(missing_ok=True)
        raise MedsslError(
            f"What came from {url} has the sha256 {found}, not {sha256} as announced; it was removed.",
            advice="Try again; if it happens again, tell who runs your network.",
        )
    return path


def _stored(repository: str, revision: str | None) -> Path | None:
    found = huggingface_hub.try_to_load_from_cache(repository, _FILE, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _announced(encoder: str, repository: str, revision: str | None) -> tuple[str, int | None, str]:
    """Ask the server for address, size and sha256 (empty where it announces none)."""
    url = huggingface_hub.hf_hub_url(repository, _FILE, revision=revision)
    with _explained(encoder, url):
        answer = huggingface_hub.get_hf_file_metadata(url)
    etag = (answer.etag or "").lower()
    return url, answer.size, etag if _SHA256.fullmatch(etag) else ""


@contextlib.contextmanager
def _explained(encoder: str, url: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the hub's HTTP library, and so what it raises, changes by version
        raise MedsslError(
            f"The ImageNet weights of {encoder!r} could not be downloaded from {url}"
            f" ({type(error).__name__}).",
            advice="Check the network connection, or download the weights elsewhere and give the file "
            '(encoder_weights "file", weights_file PATH).',
        ) from error


def _source(encoder: str) -> tuple[str, str | None]:
    """Say which repository, at which revision, holds the weights."""
    if encoder.startswith("tu-"):
        settings = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
        if settings is not None and settings.hf_hub_id:
            return settings.hf_hub_id, None
    else:
        known = smp.encoders.encoders[encoder]["pretrained_settings"]
        if "imagenet" in known:
            return known["imagenet"]["repo_id"], known["imagenet"]["revision"]
        if known:
            others = ", ".join(known)
            raise MedsslError(f"{encoder!r} has no ImageNet weights, only others: {others}.")
    raise MedsslError(f"There are no ImageNet weights for {encoder!r}.")


def _licence(encoder: str) -> str:
    """Give what timm knows of the licence; segmentation-models-pytorch tells none."""
    settings = timm.get_pretrained_cfg(encoder.removeprefix("tu-"), allow_unregistered=True)
    known = settings.license if encoder.startswith("tu-") and settings is not None else None
    return known or ""
