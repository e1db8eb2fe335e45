"""The trainings of an experiment: begun, gone on with, or done already."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from napari_medssl.engine.trainings import Trainings
from napari_medssl.learn.networks import NetworkConfig
from napari_medssl.learn.pretext import method as pretext_method
from napari_medssl.project.paths import given

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_medssl.engine.experiment.plan import Arm, ExperimentJob
    from napari_medssl.events import Event
    from napari_medssl.learn.control import Control
    from napari_medssl.project import Project, Run
    from napari_medssl.project.working_scale import ScaleRule

__all__ = ["ExperimentTrainings", "pretraining_key"]


def pretraining_key(arm: str, draw: int) -> str:
    """Name the pretraining of an arm for a draw; that of the first one served all draws until December 2026."""
    return f"{arm}/{draw}" if draw else arm


class ExperimentTrainings(Trainings):
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
        super().__init__(project, path, control, device=job.device, threads=job.threads)
        self._job, self._scale = job, scale

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

    def forget(self, key: str) -> None:
        """Remove a run that was scored (hundreds of them would fill the disk), or that failed."""
        run = self._begun(key)
        super().forget(key)
        if run is not None:
            shutil.rmtree(run.path)

    def forget_all(self, finished: set[str]) -> None:
        """Remove the runs of cells that were finished just before the experiment was killed."""
        for key, _ in self._runs.items():
            if key in finished:
                self.forget(key)
