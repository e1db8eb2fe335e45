"""Small versions of the papers' ablation tables, as arms of an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medssl.engine.experiment.plan import Arm

if TYPE_CHECKING:
    from napari_medssl.plan import Start

__all__ = ["ABLATIONS", "ablation_arms"]

Variant = tuple[str, dict[str, Any], dict[str, Any]]
"""Name, settings of the method, settings of the network."""


def _of(key: str, *values: object) -> tuple[Variant, ...]:
    return tuple((f"{key} {value}", {key: value}, {}) for value in values)


ABLATIONS: dict[str, tuple[str, str, tuple[Variant, ...]]] = {
    "medsass-thresholds": (
        "medsass",
        "MedSASS, Table 3: what makes the pseudo-label",
        _of("threshold", "otsu", "ght", "adaptive_mean", "adaptive_gaussian"),
    ),
    "medsass-losses": (
        "medsass",
        "MedSASS, Table 4 and appendix B.1: the loss",
        _of("loss", "focal_tversky", "tversky", "focal", "cross_entropy"),
    ),
    "dicoh-siamese": (
        "dicoh",
        "DiCoH, Table 4a: additions to the siamese network",
        (
            ("DiCoH", {}, {}),
            ("global projector", {"global_projector": True}, {}),
            ("asymmetric predictor", {"predictor": True}, {}),
        ),
    ),
    "dicoh-positives": (
        "dicoh",
        "DiCoH, Table 4b: which pixels are positives",
        _of("positives", "both", "spatial", "similarity", "none"),
    ),
    "dicoh-negatives": (
        "dicoh",
        "DiCoH, Table 4c: what pixels are contrasted with",
        _of("negatives", "image", "pixel"),
    ),
    "dicoh-percentile": (
        "dicoh",
        "DiCoH, Table 4d: hard negatives",
        _of("percentile", 0, 50, 75),
    ),
    "dicoh-lambda": (
        "dicoh",
        "DiCoH, Table 8: weight of the pixels' loss",
        _of("local_weight", 0, 0.25, 0.5, 0.75, 1),
    ),
    "dicoh-queue": (
        "dicoh",
        "DiCoH, Table 9: length of the queue, smaller here as folders are",
        _of("queue", 256, 1024, 4096),
    ),
    "dicoh-start": ("dicoh", "DiCoH, Table 10: what pretraining starts from", ()),
    "pix2rep-table-2": (
        "pix2rep",
        "Pix2Rep, Table 2: feature maps and augmentations, added one after the other",
        (
            ("last width 16", {"reversal": 0, "rotation": 0}, {"last_width": 16}),
            ("last width 64", {"reversal": 0, "rotation": 0}, {"last_width": 64}),
            ("last width 64 + reversal", {"rotation": 0}, {"last_width": 64}),
            ("last width 64 + reversal + rotation", {}, {"last_width": 64}),
        ),
    ),
}
"""Name -> method, what it repeats, its variants."""


def ablation_arms(name: str, *, start: Start) -> tuple[Arm, ...]:
    """Give the arms of an ablation.

    Parameters
    ----------
    name : str
        A key of `ABLATIONS`.
    start : {"none", "file", "imagenet"}
        What encoders start from; ``dicoh-start`` compares it with random numbers.
    """
    method, _, variants = ABLATIONS[name]
    if name == "dicoh-start":
        starts: tuple[Start, ...] = ("none",) if start == "none" else ("none", start)
        return tuple(Arm(name=f"start {s}", method=method, start=s) for s in starts)
    return tuple(
        Arm(name=label, method=method, method_config=config, network=network, start=start)
        for label, config, network in variants
    )
