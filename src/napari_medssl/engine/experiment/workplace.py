"""The folder of an experiment: its plan, its table, its runs, and a project of its own that lacks what scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medssl.errors import MedsslError
from napari_medssl.project import Project
from napari_medssl.project.checkpoint import read_json, write_json
from napari_medssl.project.image_rules import stored_rule
from napari_medssl.project.images import split_plane
from napari_medssl.project.locks import held
from napari_medssl.project.paths import relative_posix
from napari_medssl.project.settings import write_settings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_medssl.engine.experiment.plan import ExperimentJob

__all__ = ["FOUND", "Runs", "check_plan", "read_plan", "teaching_project"]

PLAN = "plan.json"
FIXED = (
    *("truth", "masks_as", "network", "weights_file", "pretraining", "finetuning"),
    *("test", "validation", "seed", "ground"),
)
"""Settings that change what a cell's number is; all others say which cells there are."""
FOUND = ("ground", "pool")
"""What a plan tells beside settings."""
WORDS = {"ground": "labels of truth, groups, or the images (something changed since)"}


def check_plan(folder: Path, job: ExperimentJob, *, ground: str, pool: int) -> None:
    """Keep the plan in the folder; a plan under which finished cells would be other numbers is refused.

    Parameters
    ----------
    folder : path
        The experiment's.
    job : ExperimentJob
        The plan.
    ground : str
        Digest of truth and its division.
    pool : int
        Units that there are to annotate.

    Raises
    ------
    MedsslError
        If the folder holds an experiment with other settings.
    """
    path = folder / PLAN
    plan = job.model_dump(mode="json", exclude={"estimate", "workers", "dask"})
    plan |= {"ground": ground, "pool": pool}
    if path.is_file():
        stored = read_plan(folder)
        known = {key: value for key, value in stored.items() if key in type(job).model_fields}
        # A setting that an older version did not have is at its default.
        stored |= type(job).parse(known, where=str(path)).model_dump(mode="json")
        differ = [WORDS.get(key, key) for key in FIXED if stored.get(key, plan[key]) != plan[key]]
        before = {arm["name"]: arm for arm in stored.get("arms", ())}
        differ += [
            f"arm {arm['name']}" for arm in plan["arms"] if before.get(arm["name"], arm) != arm
        ]
        if differ:
            raise MedsslError(
                f"The experiment in {folder} was begun with other settings: {', '.join(differ)}.",
                advice="Give this one another name, or the settings of plan.json.",
            )
        names = {arm["name"] for arm in plan["arms"]}
        plan["arms"] += [arm for name, arm in before.items() if name not in names]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, plan)


def read_plan(folder: Path) -> dict[str, Any]:
    """Read the plan that an experiment's folder holds, with the arms of all its starts.

    Raises
    ------
    MedsslError
        If it is missing or damaged.
    """
    return dict(read_json(folder / PLAN))


def teaching_project(folder: Path, project: Project, without: Iterable[str]) -> Project:
    """Make or open the experiment's own project: the same images but for those of units that score.

    The user's project, with its annotations and runs, stays as it is.

    Parameters
    ----------
    folder : path
        Where it is.
    project : Project
        Whose images, channels, classes, groups and normalisation it has.
    without : iterable of str
        Names of images that it does not have.
    """
    if not (folder / "project.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        settings = project.settings

        def moved(rule: Any) -> Any:
            """Name a rule's table from the new folder."""
            if rule is None or not hasattr(rule, "table"):
                return rule
            table = (project.path / rule.table).resolve().as_posix()
            return stored_rule(rule.model_copy(update={"table": table}), folder.resolve())

        files = {split_plane(name)[0] for name in without}
        settings = settings.model_copy(
            update={
                "image_root": relative_posix(project.image_root, folder),
                "excluded": tuple(sorted({*settings.excluded, *files})),
                "groups": moved(settings.groups),
                "image_labels": None,
            }
        )
        write_settings(folder, settings)
    return Project.open(folder)


class Runs:
    """Which run belongs to which training of the experiment, on disk as soon as it begins; shared by all workers.

    Parameters
    ----------
    path : path
        The JSON file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, key: str) -> str | None:
        """Give the run's name, None before it began."""
        return self._names().get(key)

    def items(self) -> list[tuple[str, str]]:
        """Give all trainings with their runs."""
        return list(self._names().items())

    def set(self, key: str, name: str | None) -> None:
        """Remember or forget a run."""
        with held(
            self._path.with_suffix(".lock"),
            busy=f"Another process has been writing {self._path} for a minute.",
            unwritable=f"{self._path} cannot be written",
            patience=60,
        ):
            changed = {k: v for k, v in self._names().items() if k != key}
            if name is not None:
                changed[key] = name
            write_json(self._path, changed)

    def _names(self) -> dict[str, str]:
        return dict(read_json(self._path)) if self._path.is_file() else {}
