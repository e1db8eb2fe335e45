"""What the words of a command line stand for: a project, a run, a pixel, a size; and how its jobs are run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medssl.cli.display import Sink, stop_on_signal
from napari_medssl.config import ConfigError
from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Failed
from napari_medssl.project.paths import given, is_folder

if TYPE_CHECKING:
    from napari_medssl.project import Project, Run

__all__ = [
    "image_and_pixel",
    "is_run_folder",
    "open_project",
    "open_run",
    "run_job",
    "size_in_bytes",
]

DONE, FAILED, STOPPED = 0, 1, 130
_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "b": 1, "": 1}


def run_job(job: dict[str, Any], sink: Sink) -> int:
    """Run a job, showing its events; Ctrl-C stops it and keeps what it has. Gives the exit code."""
    from napari_medssl.engine.job import execute
    from napari_medssl.learn.control import Control

    control = Control()
    code = FAILED
    with stop_on_signal(control.stop):
        for event in execute(job, control=control):
            sink(event)
            if isinstance(event, Done):
                code = STOPPED if event.stopped else DONE
            elif isinstance(event, Failed):
                code = FAILED
    return code


def open_project(path: str) -> Project:
    """Open the project of the command line; a wrong path is a wrong command line."""
    from napari_medssl.project import Project

    try:
        return Project.open(path)
    except MedsslError as error:
        raise ConfigError(error.message, advice=error.advice) from error


def open_run(project: Project, name: str) -> Run:
    """Find a run by name, by ``latest``, or by the path of its folder inside the project."""
    try:
        folder = given(name)
        if is_run_folder(name) and folder.resolve().parent == project.path / "runs":
            return project.run(folder.resolve().name)
        return project.run(name)
    except MedsslError as error:
        raise ConfigError(error.message, advice=error.advice) from error


def is_run_folder(text: str) -> bool:
    """Whether a text is the path of a run's folder."""
    folder = given(text)
    return is_folder(folder) and (folder / "job.json").is_file()


def image_and_pixel(text: str, *, default: str | None) -> tuple[str, tuple[int, int]]:
    """Read ``Y,X``, or ``IMAGE:Y,X`` for a pixel of another image than the default one.

    Raises
    ------
    ConfigError
        If it is neither, or there is no default image.
    """
    image, colon, pixel = text.rpartition(":")
    try:
        y, x = (int(part) for part in pixel.split(","))
    except ValueError as error:
        raise ConfigError(
            f"--at {text}: a pixel is given as Y,X in whole numbers.", advice="For example 120,88."
        ) from error
    if colon:
        return image, (y, x)
    if default is None:
        raise ConfigError(f"--at {text}: in which image?", advice="Give --image, or IMAGE:Y,X.")
    return default, (y, x)


def size_in_bytes(text: str) -> int:
    """Read ``500MB``, ``2 GB`` or a plain number of bytes.

    Raises
    ------
    ConfigError
        If it is no size.
    """
    number = text.strip().lower().rstrip("kmgtb")
    unit = text.strip().lower()[len(number) :].strip()
    try:
        size = round(float(number) * _UNITS[unit])
    except (ValueError, KeyError) as error:
        raise ConfigError(
            f"--budget {text}: a size is given as a number of bytes, or with kB, MB or GB."
        ) from error
    if size < 1:
        raise ConfigError(f"--budget {text}: nothing fits into that.")
    return size
