"""How to train on the annotations that there are now: what learns, from which run, how long, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from napari_medssl.errors import MedsslError
from napari_medssl.events import Started
from napari_medssl.instances.known import known_objects
from napari_medssl.project.weights_header import SPEC_KEY, answer_of, read_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medssl.project.project import Project
    from napari_medssl.project.run import Run

__all__ = ["FEW", "STEPS_ON", "NextTraining", "next_training"]

FEW = 1 / 3
"""A run is gone on from while at most this share of the annotated images was added or changed since it began."""
STEPS_ON = 100
"""Optimiser steps of a training that goes on; one that starts anew takes as many as is usual."""

_NONE_KNOWN = "Learns classes alone: no drawn object has background or other objects all around it."


class NextTraining(NamedTuple):
    """A fine-tuning to start."""

    from_run: str | None
    """The run whose network learns on; None for a new one."""
    goes_on: bool
    """Whether that run was fine-tuned on most of these annotations before."""
    steps: int | None
    """Optimiser steps; None for as many as is usual."""
    answer: str
    """What predicts after a training that goes on, as in the run it starts from."""
    why: str
    """What it starts from and why, in a sentence."""
    objects: bool = False
    """Whether it learns which object a pixel is of, too."""
    why_objects: str = ""
    """Why it does not although objects are drawn, in a sentence; empty if there is nothing to say."""

    def job(self, project: Project) -> dict[str, Any]:
        """Write it as a job for the engine."""
        training: dict[str, Any] = {} if self.steps is None else {"steps": self.steps}
        if self.objects:
            training["objects"] = True
        settled = {"answer": self.answer} if self.goes_on else {}  # when that run began
        return {
            "kind": "finetune",
            "project": str(project.path),
            "from_run": self.from_run,
            "images": None,
            "training": training,
            "estimate": False,  # the next image is waited for
            **settled,
        }


def next_training(
    project: Project, runs: Sequence[Run], *, anew: bool = False, objects: bool = True
) -> NextTraining:
    """Choose how to train on all annotations.

    A network that was fine-tuned on nearly the same annotations learns on, in fewer steps: where all of it was
    trained, for the project's classes, none of its images lost its annotation, at least one was added (which
    validates: what it learned from before would flatter it), and at most `FEW` of all were added or changed since.
    Otherwise the newest pretrained network is fine-tuned, or a new one is trained where there is none.

    Parameters
    ----------
    project : Project
        With annotations.
    runs : sequence of Run
        Those with weights, the newest first.
    anew : bool
        Start from the pretrained network in any case.
    objects : bool
        Learn objects, too, where any is drawn and annotated with all that is around it.

    Raises
    ------
    MedsslError
        If the job of a run is damaged.
    """
    count = len(project.annotations.annotated())
    drawn = objects and bool(project.objects.stored())
    objects = drawn and _any_known(project)
    why_objects = _NONE_KNOWN if drawn and not objects else ""
    last = next((run for run in runs if run.kind == "finetune"), None)
    pretrained = next((run for run in runs if run.kind == "pretrain"), None)
    if anew:
        against = "as you chose"
    elif last is None:
        against = "nothing was fine-tuned before"
    elif pretrained is not None and pretrained.order > last.order:
        against = "it is newer than the last fine-tuning"
    else:
        news = _news(project, last)
        against = _other(project, last, objects) or _too_much(last, news, count)
        if not against:
            why = f"Goes on from {last.name}: {news} since."
            answer = answer_of(last)
            return NextTraining(last.name, True, STEPS_ON, answer, why, objects, why_objects)
    if pretrained is None:
        why = f"A new network: nothing is pretrained, and {against}."
        return NextTraining(None, False, None, "", why, objects, why_objects)
    why = f"From {pretrained.name} (pretrained): {against}."
    return NextTraining(pretrained.name, False, None, "", why, objects, why_objects)


def _any_known(project: Project) -> bool:
    """Tell whether there is an object that training can learn from."""
    drawn = set(project.objects.stored())
    for name in project.annotations.annotated():
        if name in drawn:
            labels, ids = project.annotations.read(name), project.objects.read(name)
            if known_objects(labels, ids).objects.any():
                return True
    return False


class _News(NamedTuple):
    """What was annotated since a run began: how many images."""

    added: int
    changed: int
    lost: int

    def __str__(self) -> str:
        told = "1 image was added" if self.added == 1 else f"{self.added} images were added"
        return f"{told} and {self.changed} changed" if self.changed else told


def _news(project: Project, run: Run) -> _News:
    taught = set(run.job.get("images") or ())
    began = min((event.time for event in run.events() if isinstance(event, Started)), default=0.0)
    versions = project.annotations.versions()
    changed = [name for name in taught & versions.keys() if versions[name][1] > began * 1e9]
    return _News(len(versions.keys() - taught), len(changed), len(taught - versions.keys()))


def _other(project: Project, run: Run, objects: bool) -> str:
    """Say in what a fine-tuned run differs from one that would be started now; empty if in nothing."""
    if run.job.get("mode") != "full":
        return f"only a part of the network learned in {run.name}"
    weights = run.weights("best")
    try:
        spec = read_header(weights).get(SPEC_KEY, {}) if weights is not None else {}
    except MedsslError as error:
        return error.message.rstrip(".")
    values = [item["value"] for item in spec.get("classes", [])]
    if values != [item.value for item in project.settings.classes]:
        return f"{run.name} has other classes"
    if bool(spec.get("objects")) != objects:
        return f"{run.name} {'did not learn' if objects else 'learned'} objects"
    return ""


def _too_much(run: Run, news: _News, count: int) -> str:
    """Say why so much was annotated since a run, or so little that is new, that it is not gone on from."""
    if news.lost:
        return f"{run.name} learned from annotations that are gone"
    if not news.added:
        return f"no image was added since {run.name}"
    if news.added + news.changed > FEW * count:
        return f"{news} since {run.name}, of {count}"
    return ""
