"""What an experiment hands out: tasks of some cells each, and what each must wait for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medssl.engine.experiment.plan import ExperimentJob
    from napari_medssl.evaluate.results import Cell
    from napari_medssl.events import Event

__all__ = ["Outcome", "Report", "Task", "Work", "ended_before", "tasks_of"]

Work = Literal["thresholds", "pretraining", "features", "forest", "tuning"]


@dataclass(frozen=True)
class Task:
    """Work for one process, from the beginning to the end."""

    work: Work
    cells: tuple[Cell, ...] = ()
    """Whose scores it finds; a pretraining has none of its own."""
    arm: str = ""
    """The arm that is pretrained, or whose network is taught; empty where there is no network."""
    draw: int = 0
    """The repeat: each has a pretraining of its own."""
    pretrained: bool = False
    """Whether the arm's pretraining of this draw must be done first."""

    @property
    def start(self) -> tuple[str, int]:
        """The pretraining that this is, or that it needs."""
        return self.arm, self.draw


@dataclass(frozen=True)
class Outcome:
    """How a task ended."""

    how: Literal["done", "failed", "skipped", "stopped"]
    """Skipped is what needs a pretraining that failed."""
    reason: str = ""
    """Why it failed, in sentences."""


Report = tuple[Task, "Event | Outcome"]
"""What comes of a task: its events, and last how it ended."""


def tasks_of(job: ExperimentJob, missing: list[Cell]) -> list[Task]:
    """Divide the cells that are missing into tasks.

    Parameters
    ----------
    job : ExperimentJob
        The experiment.
    missing : list of Cell
        Its cells that have no score yet.

    Returns
    -------
    list of Task
        In an order that one process can take them in: a pretraining stands before whatever needs it.
    """
    tasks = []
    if plain := _of(missing, "threshold"):
        tasks.append(Task("thresholds", plain))
    for arm in job.arms:
        pretrained = arm.method is not None
        for draw in sorted({cell.draw for cell in missing if cell.arm == arm.name}):
            mine = [cell for cell in missing if (cell.arm, cell.draw) == (arm.name, draw)]
            if pretrained:
                tasks.append(Task("pretraining", arm=arm.name, draw=draw))
            if frozen := _of(
                mine, "zero-shot", "probe"
            ):  # one after the other: they share features
                tasks.append(Task("features", frozen, arm.name, draw, pretrained))
    tasks += [Task("forest", (cell,)) for cell in _of(missing, "forest")]
    methods = {arm.name for arm in job.arms if arm.method is not None}
    tasks += [
        Task("tuning", (cell,), cell.arm, cell.draw, cell.arm in methods)
        for cell in _of(missing, "full", "frozen", "supervised")
    ]
    return tasks


def ended_before(task: Task, pretrainings: Mapping[tuple[str, int], Outcome]) -> Outcome | None:
    """Say how a task ends without being begun, None where it can begin.

    Parameters
    ----------
    task : Task
        The next one.
    pretrainings : mapping of (str, int) to Outcome
        `Task.start` -> how that pretraining ended, of those that ended; the task's is among them where it needs one.
    """
    if not task.pretrained or (before := pretrainings[task.start]).how == "done":
        return None
    return before if before.how == "stopped" else Outcome("skipped")


def _of(cells: list[Cell], *kinds: str) -> tuple[Cell, ...]:
    return tuple(cell for cell in cells if cell.downstream in kinds)
