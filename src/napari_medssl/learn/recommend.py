"""A plan for a folder: each choice by a rule of its own, with the reason in a sentence.

The figures that the rules go by stand at the top, the rules in the order of `RULES`, where each may look at what those
above it chose. To change what is recommended, change these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from napari_medssl.learn.bundled import ENCODER, TITLE
from napari_medssl.learn.folder_facts import look_at
from napari_medssl.learn.machine import Machine, this_machine
from napari_medssl.learn.memory import gibibytes
from napari_medssl.learn.networks import NetworkConfig
from napari_medssl.learn.pretext import method as pretext_method
from napari_medssl.learn.scale_choice import ScaleChoice, choose_scale
from napari_medssl.learn.trial import duration
from napari_medssl.plan import STARTS, Advice, Basis, FolderFacts, Recommendation
from napari_medssl.project.method_comparison import MethodComparison, newest_comparison

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medssl.learn.devices import DeviceName
    from napari_medssl.plan import Start
    from napari_medssl.project import Project

__all__ = ["FEWEST_STEPS", "RULES", "recommend", "seconds_per_step"]

CLEAR_SHARE = 0.5
"""MedSASS where at least so many of the images fall apart into two sides."""
LARGE_STRUCTURE = 32
"""Pixels; DiCoH compares cells of 8 to 16 pixels, too coarse for less."""
KEPT_PER_PIXEL = 2400
"""Bytes that a U-Net on EfficientNet-Lite0 keeps for the backward pass, for each pixel of a batch
(docs/explanation/measurements.md)."""
MEMORY_SHARE = 0.5
"""Of what is free, a batch may take so much."""
BATCH = {"cpu": 4, "gpu": 16}
EPOCHS = {"cpu": 25, "gpu": 50}
STEPS = {"cpu": (400, 1500), "gpu": (1000, 10_000)}
"""Fewest and most: 20 images need steps rather than epochs, 20,000 show enough before all were seen."""
MOST_MINUTES = 30.0
FEWEST_STEPS = 300
"""Less teaches nothing: a computer on which these take longer is told so."""
RATES = {"medsass": 3.6e-4, "dicoh": 3.6e-4, "pix2rep": 4.7e-4, "pix2rep_v2": 4.7e-4}
VIEWS = {"medsass": 1}
"""Views of a patch that a method feeds to the network; two where it is not named."""
SPEED = {"medsass": 1.14, "dicoh": 2.4, "pix2rep": 0.92, "pix2rep_v2": 0.9}
"""Rate of a method over that of the bare network on as many views (docs/explanation/measurements.md)."""


@dataclass(frozen=True)
class Decision:
    """What a rule says."""

    value: Any
    shown: str
    why: str
    basis: Basis = "rule"
    """What it rests on."""


@dataclass
class Situation:
    """What the rules go by."""

    facts: FolderFacts
    machine: Machine
    scale: ScaleChoice
    channels: tuple[str, ...]
    wanted_method: str | None = None
    wanted_start: Start | None = None
    compared: MethodComparison | None = None
    """The newest comparison of methods on the project's annotations."""
    chosen: dict[str, Any] = field(default_factory=dict)
    """Values of the rules that have spoken."""

    @property
    def kind(self) -> str:
        """``cpu`` or ``gpu``."""
        return "cpu" if self.machine.device.name == "cpu" else "gpu"

    @property
    def views(self) -> int:
        """Patches that the network sees for each of a batch."""
        return VIEWS.get(self.chosen["method"], 2)

    @cached_property
    def seconds_per_step(self) -> float:
        """Estimate from the bare network's time on this machine, once method, encoder, patch and batch are chosen."""
        chosen = self.chosen
        each = self.machine.seconds_per_view(
            NetworkConfig(encoder=chosen["encoder"]),
            channels=self.channels,
            patch=chosen["patch"],
            batch=chosen["batch"],
        )
        return seconds_per_step(chosen["method"], each=each, batch=chosen["batch"])


def seconds_per_step(method: str, *, each: float, batch: int) -> float:
    """Estimate how long a step of a method takes, from the bare network's seconds for a view."""
    return each * batch * VIEWS.get(method, 2) / SPEED.get(method, 1.0)


def recommend(
    project: Project,
    *,
    method: str | None = None,
    start: Start | None = None,
    device: DeviceName = "auto",
    machine: Machine | None = None,
) -> Recommendation:
    """Look at up to 32 images and the computer, and plan a pretraining that ends within about half an hour.

    The same folder on the same computer gets the same plan, unless memory is so short or the computer so slow that
    batches or steps are cut.

    Parameters
    ----------
    project : Project
        Nothing of it is changed.
    method : str, optional
        Key of a pretext method to plan for; otherwise the folder decides.
    start : {"none", "imagenet", "file"}, optional
        What the encoder starts from; otherwise ImageNet's weights. A file is the caller's to name in the job's network.
    device : {"auto", "cpu", "cuda", "mps"}
        Where to compute.
    machine : Machine, optional
        What to plan for instead of this computer.

    Raises
    ------
    MedsslError
        If there is no image that can be read, or no such method or device.
    """
    if method is not None:
        pretext_method(method)  # refuses one that there is not
    facts = look_at(project)
    situation = Situation(
        facts=facts,
        scale=choose_scale(project, facts),
        machine=machine or this_machine(device),
        channels=project.settings.channels,
        wanted_method=method,
        wanted_start=start,
        compared=newest_comparison(project),
    )
    advice = []
    for name, rule in RULES.items():
        decision = rule(situation)
        situation.chosen[name] = decision.value
        advice.append(
            Advice(name=name, value=decision.shown, why=decision.why, basis=decision.basis)
        )
    chosen = situation.chosen
    return Recommendation(
        facts=situation.facts,
        advice=tuple(advice),
        job={
            "method": chosen["method"],
            "scale": chosen["scale"].model_dump(),
            "network": {"encoder": chosen["encoder"], "encoder_weights": chosen["start"]},
            "training": {
                "steps": chosen["steps"],
                "batch_size": chosen["batch"],
                "patch_size": chosen["patch"],
                "learning_rate": chosen["rate"],
            },
            "device": device,
        },
        minutes=chosen["time"],
    )


def _device(at: Situation) -> Decision:
    device = at.machine.device
    shown = "this CPU" if device.name == "cpu" else device.label
    return Decision(device.name, shown, f"{_sentence(device.reason)}.")


def _encoder(at: Situation) -> Decision:
    return Decision(
        ENCODER, TITLE, "It is quick, on a CPU too, and its ImageNet weights come with medssl."
    )


def _start(at: Situation) -> Decision:
    if at.wanted_start is not None:
        return Decision(at.wanted_start, STARTS[at.wanted_start], "You chose it.")
    return Decision(
        "imagenet",
        STARTS["imagenet"],
        "Nothing is downloaded for it, and fewer annotations do: for the left ventricle in MRI, one annotated patient"
        " gave Dice .78 from ImageNet and .27 from random weights (MobileNetV2).",
        "measured on other folders",
    )


def _method(at: Situation) -> Decision:
    facts = at.facts
    count = facts.n_two_sided
    clear = f"in {count or 'none'} of the {facts.n_looked_at} images looked at"
    if at.wanted_method is not None:
        return Decision(at.wanted_method, _title(at.wanted_method), "You chose it.")
    compared = at.compared
    if compared is not None and compared.begins_from(at.chosen["encoder"], at.chosen["start"]):
        method = compared.leader.method
        assert method is not None  # the start alone does not lead
        return Decision(method, _title(method), compared.verdict(), "measured here")
    if facts.two_sided >= CLEAR_SHARE:
        return Decision(
            "medsass",
            _title("medsass"),
            f"Bright and dark fall apart clearly {clear} (Otsu's eta {facts.separability:.2f}), so a threshold draws"
            " outlines worth learning.",
        )
    unclear = (
        f"Bright and dark fall apart clearly {'only ' if count else ''}{clear}"
        f" (Otsu's eta {facts.separability:.2f}), so thresholds would teach little"
    )
    if at.chosen["start"] != "none" and facts.structure >= LARGE_STRUCTURE:
        return Decision(
            "dicoh",
            _title("dicoh"),
            f"{unclear}; structures are large ({facts.structure:.0f} px) and the encoder starts from ImageNet, as"
            " DiCoH needs, whose queue suits small batches.",
        )
    return Decision(
        "pix2rep_v2",
        _title("pix2rep_v2"),
        f"{unclear}; it compares pixels of two views instead, in small batches and from any start.",
    )


def _scale(at: Situation) -> Decision:
    return Decision(at.scale.rule, at.scale.rule.text(), at.scale.why)


def _patch(at: Situation) -> Decision:
    side = at.scale.patch
    return Decision(side, f"{side} px", "Network pixels: as much as is seen at once at this scale.")


def _batch(at: Situation) -> Decision:
    usual = batch = BATCH[at.kind]
    sample = at.views * at.chosen["patch"] ** 2 * KEPT_PER_PIXEL
    while batch > 2 and batch * sample > MEMORY_SHARE * at.machine.memory:
        batch //= 2
    needs, free = gibibytes(batch * sample), gibibytes(at.machine.memory)
    why = f"It takes about {needs} of the {free} of memory that are free"
    if batch < usual:
        why += f"; {usual} would take too much"
    else:
        why += f", and {_title(at.chosen['method'])} needs no larger ones"
    return Decision(batch, str(batch), f"{why}.")


def _rate(at: Situation) -> Decision:
    rate = RATES.get(at.chosen["method"], 3.6e-4)
    return Decision(
        rate,
        f"{rate:.1e}",
        f"Default for {_title(at.chosen['method'])}; cosine decay.",
    )


def _steps(at: Situation) -> Decision:
    images, batch = at.facts.n_images, at.chosen["batch"]
    fewest, most = STEPS[at.kind]
    wanted = EPOCHS[at.kind] * images / batch
    steps = _rounded(min(max(wanted, fewest), most))
    fits = _rounded(60 * MOST_MINUTES / at.seconds_per_step)
    if fits < steps:
        steps = max(FEWEST_STEPS, fits)
        why = f"more would take longer than {MOST_MINUTES:.0f} minutes here"
    elif wanted < fewest:
        why = "with so few images the network needs them often"
    elif wanted > most:
        why = "with so many images it learns enough before it has seen them often"
    else:
        why = "more gain little"
    epochs = steps * batch / images
    shown = f"{epochs:.0f}" if epochs >= 10 else f"{epochs:.2g}"
    counted = f"{images:,} images" if images > 1 else "one image"
    return Decision(steps, str(steps), f"That is {shown} epochs of {counted}; {why}.")


def _time(at: Situation) -> Decision:
    seconds = at.chosen["steps"] * at.seconds_per_step
    return Decision(
        seconds / 60,
        f"about {duration(seconds)}",
        f"The bare network was timed just now, which makes {at.seconds_per_step:.2g} s a step; reading large images"
        " adds to it.",
        "measured here",
    )


RULES: dict[str, Callable[[Situation], Decision]] = {
    "device": _device,
    "encoder": _encoder,
    "start": _start,
    "method": _method,
    "scale": _scale,
    "patch": _patch,
    "batch": _batch,
    "rate": _rate,
    "steps": _steps,
    "time": _time,
}


def _title(method: str) -> str:
    return pretext_method(method).title


def _rounded(steps: float) -> int:
    return 50 * max(1, round(steps / 50))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
