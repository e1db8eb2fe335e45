"""The steps of the demo, each a `medssl` command line, and what they gave."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from skimage.filters import threshold_otsu

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate import Evaluation
from napari_medssl.project.checkpoint import read_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_medssl.demo.cases import Case, Click
    from napari_medssl.project import Project, Run

__all__ = ["Played", "Step", "StepFailedError", "Transcript", "play"]

ALL_FOREGROUND = "everything is foreground"
OTSU = "Otsu's threshold of the image"
ZERO_SHOT = "MedSASS, no annotation"
UNTRAINED = "ImageNet alone"
PRETRAINED = "pretrained"


class StepFailedError(MedsslError):
    """A command line of the demo did not end with 0."""

    def __init__(self, command: str, code: int) -> None:
        super().__init__(f"The demo ended early: `{command}` gave exit code {code}.")
        self.code = code


@dataclass(frozen=True)
class Step:
    """One command line that was run."""

    command: str
    seconds: float


class Transcript:
    """Runs command lines and remembers them.

    Parameters
    ----------
    main : callable
        Takes the arguments after ``medssl``, gives the exit code.
    """

    def __init__(self, main: Callable[[list[str]], int]) -> None:
        self._main = main
        self.steps: list[Step] = []

    def __call__(self, argv: Sequence[str]) -> None:
        """Run one command line.

        Raises
        ------
        StepFailedError
            If it ends with another code than 0.
        """
        command = shlex.join(["medssl", *argv])
        sys.stderr.write(f"\n$ {command}\n")
        begin = time.monotonic()
        code = self._main(list(argv))
        if code:
            raise StepFailedError(command, code)
        self.steps.append(Step(command, time.monotonic() - begin))


@dataclass
class Played:
    """What a case gave."""

    case: Case
    segmentations: dict[str, dict[str, NDArray[np.uint16]]] = field(default_factory=dict)
    """Labels by way of segmenting and image."""
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    """Scores by way of segmenting, from the simplest to the best informed; empty without truth."""
    losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Loss curves by title."""
    heats: list[tuple[Click, NDArray[np.float32]]] = field(default_factory=list)
    """Cosine similarities (Y, X) to the clicked pixels."""
    runs: list[Run] = field(default_factory=list)
    """The trainings, in order."""


def play(case: Case, transcript: Transcript, out: Path, *, device: str | None) -> Played:
    """Pretrain, predict, fine-tune with and without pretraining, predict, map similarities.

    Parameters
    ----------
    case : Case
        The images.
    transcript : Transcript
        Runs the commands.
    out : Path
        Folder for predictions and maps.
    device : str or None
        Where to compute.
    """
    played = Played(case)
    place = str(case.project.path)
    on = ["--device", device] if device else []

    transcript(["pretrain", place, "--method", "medsass", *case.pretrain, *on])
    pretrained = case.project.run("latest")
    _record(played, "pretraining", pretrained)
    if case.binary:
        played.segmentations |= _without_learning(case, pretrained)
        _predict(played, transcript, pretrained, ZERO_SHOT, out / "zero-shot", on)
    if case.taught:
        count = f"{len(case.taught)} annotated images"
        alone = (
            "--answer",
            "network",
            "--no-estimate",
        )  # to compare with; the other is the whole loop
        for title, start, how in ((UNTRAINED, "none", alone), (PRETRAINED, pretrained.name, ())):
            teach = ["--from", start, "--images", *case.taught, *case.finetune, *how]
            transcript(["finetune", place, *teach, *on])
            run = case.project.run("latest")
            _record(played, f"fine-tuning, {title}", run)
            way = f"{count}, {title}"
            _predict(played, transcript, run, way, out / title.replace(" ", "-"), on)
    for number, click in enumerate(case.clicks, start=1):
        heat = out / f"similar_{number}.tif"
        at = "{},{}".format(*click.at)
        where = ["--run", pretrained.name, "--image", click.image, "--at", at]
        transcript(["similar", place, *where, "--out", str(heat), *on])
        played.heats.append((click, tifffile.imread(heat)))
    if case.truth:
        played.evaluations = _score(played)
    return played


def _record(played: Played, title: str, run: Run) -> None:
    played.runs.append(run)
    played.losses[title] = run.metrics().get("loss", [])


def _predict(
    played: Played, transcript: Transcript, run: Run, way: str, out: Path, on: list[str]
) -> None:
    case = played.case
    where = ["--run", str(run.path), "--out", str(out), "--images", *case.names]
    transcript(["predict", str(case.scored.path), *where, *on])
    played.segmentations[way] = {name: _read(out, name) for name in case.names}


def _read(folder: Path, name: str) -> NDArray[np.uint16]:
    """Read a prediction; its name keeps the image's extension only where stems clash."""
    short = folder / PurePosixPath(name).with_suffix(".tif")
    return read_labels(short if short.is_file() else folder / f"{name}.tif")


def _without_learning(case: Case, pretrained: Run) -> dict[str, dict[str, NDArray[np.uint16]]]:
    """Segment the images by the two rules that need no network."""
    dark = _foreground_is_dark(case.project, pretrained)
    ways: dict[str, dict[str, NDArray[np.uint16]]] = {ALL_FOREGROUND: {}, OTSU: {}}
    for name in case.names:
        grey = case.scored.grey(name)
        bright = (
            grey > threshold_otsu(grey) if grey.min() < grey.max() else np.zeros(grey.shape, bool)
        )
        ways[OTSU][name] = np.where(bright != dark, 2, 1).astype(np.uint16)
        ways[ALL_FOREGROUND][name] = np.full(grey.shape, 2, np.uint16)
    return ways


def _foreground_is_dark(project: Project, run: Run) -> bool:
    """Tell which side of the threshold the run took for foreground."""
    from napari_medssl.learn.pretext.medsass import MedSASSConfig, foreground_is_dark

    return foreground_is_dark(MedSASSConfig.parse(run.job["method_config"]), project)


def _score(played: Played) -> dict[str, Evaluation]:
    case = played.case
    classes = {info.value: info.name for info in case.project.settings.classes if info.value > 1}
    return {
        way: Evaluation.of(
            ((name, labels[name], case.truth[name]) for name in case.names), classes=classes
        )
        for way, labels in played.segmentations.items()
    }
