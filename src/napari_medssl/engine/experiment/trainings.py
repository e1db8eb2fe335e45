"""The trainings of an experiment: begun, gone on with, or done already."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import torch

from napari_medssl.engine import runs
from napari_medssl.engine.experiment.workplace import Runs
from napari_medssl.engine.job import parse_job
from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Event, Note, Paused, Progress, Resumed, Started
from napari_medssl.learn.devices import choose_threads
from napari_medssl.learn.networks import NetworkConfig
from napari_medssl.learn.pretext import method as pretext_method
from napari_medssl.project.paths import given

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_medssl.engine.experiment.plan import Arm, ExperimentJob
    from napari_medssl.learn.control import Control
    from napari_medssl.project import Project, Run
    from napari_medssl.project.working_scale import ScaleRule

__all__ = ["StoppedError", "Trainings", "pretraining_key"]


def pretraining_key(arm: str, draw: int) -> str:
    """Name the pretraining of an arm for a draw; that of the first one served all draws until December 2026."""
    return f"{arm}/{draw}" if draw else arm


class StoppedError(MedsslError):
    """The experiment was asked to end."""

    def __init__(self) -> None:
        super().__init__("The experiment was stopped.")


class Trainings:
    """Runs of the experiment's own project, each known by a key.

    Parameters
    ----------
    job : ExperimentJob
        The experiment.
    project : Project
        Its own, without what scores.
    path : path
        Where is kept which run belongs to which key.
    control : Control
        Pauses and stops the trainings, too.
    scale : ScaleRule, optional
        The working scale of pretraining; needed where it is to be begun.
    """

    def __init__(
        self,
        job: ExperimentJob,
        project: Project,
        path: Path,
        control: Control,
        *,
        scale: ScaleRule | None = None,
    ) -> None:
        self._job, self._project, self._control = job, project, control
        self._runs, self._scale = Runs(path), scale

    def is_done(self, key: str) -> bool:
        """Whether there is nothing left to train."""
        name = self._runs.get(key)
        return name is not None and self._project.run(name).status == "done"

    def run_of(self, key: str) -> Run:
        """Give the run of a training that was begun.

        Raises
        ------
        MedsslError
            If it was not, or somebody deleted it.
        """
        name = self._runs.get(key)
        if name is None:
            raise MedsslError(
                f"There is no training of {key} yet.", advice="Start the experiment again."
            )
        return self._project.run(name)

    def network_of(self, arm: Arm) -> NetworkConfig:
        """Give the network of an arm with what its encoder starts from."""
        start: dict[str, str] = {"encoder_weights": arm.start}
        if arm.start == "file":
            start["weights_file"] = str(given(self._job.weights_file or ""))
        network: NetworkConfig = NetworkConfig.parse(
            self._job.network.model_dump() | arm.network | start, where=arm.name
        )
        return network

    def pretrained(self, arm: Arm, draw: int) -> Generator[Event, None, Run]:
        """Pretrain an arm that has a method for one draw, from a seed of its own, unless that was done."""
        assert arm.method is not None
        method = pretext_method(arm.method)
        config = method.config_type.parse(arm.method_config, where=arm.name)
        job = {
            "kind": "pretrain",
            "method": arm.method,
            "method_config": config.model_dump(mode="json"),
            "scale": None if self._scale is None else self._scale.model_dump(),
            "network": self.network_of(arm).model_dump(),
            "training": self._job.pretraining.model_dump() | arm.training,
        }
        title = f"{arm.name}: pretraining, draw {draw}"
        key, seed = pretraining_key(arm.name, draw), self._job.seed + draw
        return (yield from self.run(key, job, title, seed=seed))

    def run(
        self, key: str, job: dict[str, Any], title: str, *, seed: int
    ) -> Generator[Event, None, Run]:
        """Make a training, or go on with it where it was stopped or killed; gives its run.

        Yields its progress (in its own steps) and warnings.

        Raises
        ------
        StoppedError
            If it was asked to end.
        MedsslError
            If it fails.
        """
        if self.is_done(key):
            return self.run_of(key)
        common = {"project": str(self._project.path), "device": self._job.device}
        name = self._runs.get(key)
        begun = self._project.run(name) if name is not None else None
        if begun is not None and begun.job and begun.status != "failed":
            parsed = parse_job({"kind": "resume", "run": begun.name, **common})
        else:
            self.forget(key)
            threads = {"threads": self._job.threads} if self._job.threads else {}
            parsed = parse_job(job | common | {"seed": seed} | threads)
        yield Note(text=title)
        try:
            for event in runs.start(parsed, self._control):  # type: ignore[arg-type]
                if isinstance(event, Started):
                    self._runs.set(key, event.run)
                elif isinstance(event, Progress | Paused | Resumed) or (
                    isinstance(event, Note) and event.level == "warning"
                ):
                    yield event
                elif isinstance(event, Done) and event.stopped:
                    raise StoppedError
        finally:
            # The training chose its own number; what comes after must not depend on it.
            torch.set_num_threads(self._job.threads or choose_threads())
        return self.run_of(key)

    def forget(self, key: str) -> None:
        """Remove a run that was scored (hundreds of them would fill the disk), or that failed."""
        name = self._runs.get(key)
        if name is not None:
            path = self._project.run(name).path
            self._runs.set(key, None)
            shutil.rmtree(path)

    def forget_all(self, finished: set[str]) -> None:
        """Remove the runs of cells that were finished just before the experiment was killed."""
        for key, _ in self._runs.items():
            if key in finished:
                self.forget(key)
