"""What a comparison of methods does: settled before anything is trained, with the time it is expected to take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.estimate import folds_of
from napari_medssl.learn.machine import this_machine
from napari_medssl.learn.pretext import method as pretext_method
from napari_medssl.learn.recommend import FEWEST_STEPS, recommend, seconds_per_step
from napari_medssl.learn.trial import duration
from napari_medssl.plan import STARTS
from napari_medssl.project.method_comparison import MethodComparison, comparisons_of
from napari_medssl.project.units import units_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medssl.engine.job import CompareJob
    from napari_medssl.project import Project

__all__ = ["key_of", "settled", "start_alone", "titles", "what_it_takes"]


def settled(job: CompareJob, project: Project) -> tuple[Path | None, MethodComparison]:
    """Find the unfinished comparison that a job goes on with, or settle what a new one does; nothing is trained.

    Returns
    -------
    tuple of Path or None and MethodComparison
        Its folder, None where it is a new one.

    Raises
    ------
    MedsslError
        If fewer than two images or groups are annotated, or there is no such method.
    """
    images = project.annotations.annotated()
    folds = len(folds_of(images, units_of(project)))
    if not folds:
        alike = ", all of one group" if len(images) > 1 else ""
        raise MedsslError(
            "Methods are compared on annotated images or groups that are left out in turn; annotated images:"
            f" {len(images)}{alike}.",
            advice="Annotate at least two, of different groups (volumes, films, patients) where there are such.",
        )
    asked = job.model_dump(mode="json", exclude={"project", "device", "threads"})
    asked["images"] = list(images)
    for folder, known in comparisons_of(project).items():
        if known.asked == asked and not known.finished:
            return folder, known
    return None, _planned(job, project, asked, folds)


def _planned(
    job: CompareJob, project: Project, asked: dict[str, Any], folds: int
) -> MethodComparison:
    machine = this_machine(job.device)

    def seconds(training: dict[str, Any], method: str | None) -> float:
        """Estimate how long a step takes."""
        patch, batch = training["patch_size"], training["batch_size"]
        each = machine.seconds_per_view(
            job.network, channels=project.settings.channels, patch=patch, batch=batch
        )
        return each * batch if method is None else seconds_per_step(method, each=each, batch=batch)

    trainings: dict[str, dict[str, Any]] = {}
    expected: dict[str, float] = {}
    for wanted in job.methods or (None,):
        start = job.network.encoder_weights
        plan = recommend(project, method=wanted, start=start, machine=machine).job
        method, training = plan["method"], plan["training"]
        step = seconds(training, method)
        fits = max(1, int(60 * job.minutes / step))
        training["steps"] = job.steps or min(training["steps"], fits)
        trainings[method] = {
            "kind": "pretrain",
            "method": method,
            "scale": plan["scale"],
            "network": asked["network"],
            "training": training,
        }
        expected[key_of(method, "pretrain")] = training["steps"] * step
    recipe = dict(asked["finetuning"])
    if "patch_size" not in job.finetuning.model_fields_set:
        recipe["patch_size"] = training["patch_size"]  # that of the working scale
    once = recipe["steps"] * seconds(recipe, None)
    expected |= {key_of(name, "finetune"): once * (1 + folds) for name in (None, *trainings)}
    trainings["finetune"] = {
        "kind": "finetune",
        "images": asked["images"],
        "scale": plan["scale"],
        "network": asked["network"],
        "training": recipe,
    }
    return MethodComparison(asked=asked, folds=folds, trainings=trainings, expected=expected)


def what_it_takes(comparison: MethodComparison) -> str:
    """Say what a comparison does and how long that is expected to take."""
    steps = [comparison.trainings[method]["training"]["steps"] for method in comparison.methods]
    finished = {candidate.method or "start" for candidate in comparison.candidates}
    left = sum(
        cost for key, cost in comparison.expected.items() if key.split("/")[0] not in finished
    )
    text = (
        f"{titles(comparison)} ({', '.join(map(str, steps))} steps of pretraining) and {start_alone(comparison)} are"
        f" fine-tuned and estimated by leave-one-out on {len(comparison.asked['images'])} annotated images. Expected to"
        f" take about {duration(left)}, and somewhat longer where images are large."
    )
    if min(steps) < FEWEST_STEPS:
        text += f" Fewer than {FEWEST_STEPS} steps teach little: more minutes would be fairer."
    return text


def key_of(method: str | None, kind: Literal["pretrain", "finetune"]) -> str:
    """Name a training of a candidate, which is a method or, None, the start alone."""
    return f"{method or 'start'}/{kind}"


def start_alone(comparison: MethodComparison) -> str:
    """Name the candidate without pretraining."""
    return f"{STARTS[comparison.asked['network']['encoder_weights']]} alone"


def titles(comparison: MethodComparison) -> str:
    """Name the methods."""
    return ", ".join(pretext_method(method).title for method in comparison.methods)
