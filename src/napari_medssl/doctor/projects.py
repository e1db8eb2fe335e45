"""One project: does it open, can it be written, is there room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.doctor.diagnosis import Finding
from napari_medssl.doctor.machine import disk
from napari_medssl.errors import MedsslError
from napari_medssl.project import Project, WriteError, atomic

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check"]


def check(folder: Path) -> list[Finding]:
    """Open a project and report its images, its runs, and whether it can be written."""
    try:
        project = Project.open(folder)
    except MedsslError as error:
        return [Finding(topic="project", state="problem", text=error.message, mend=error.advice)]
    skipped = len(project.report.skipped)
    text = (
        f"{project.path}: {len(project.images)} images,"
        f" {len(project.annotations.annotated())} annotated, {skipped} files skipped"
    )
    found = [
        Finding(topic="project", state="note" if skipped else "ok", text=text),
        *_runs(project),
        disk("project's disk", project.path),
    ]
    try:
        with atomic(project.path / "derived" / "doctor.txt") as temporary:
            temporary.write_text("a test\n", encoding="ascii")
        (project.path / "derived" / "doctor.txt").unlink()
    except WriteError as error:
        found.append(
            Finding(
                topic="project",
                state="problem",
                text=f"Nothing can be saved in it: {error.message}",
                mend="change the folder's permissions, or copy the project to a disk of your own",
            )
        )
    return found


def _runs(project: Project) -> list[Finding]:
    states: dict[str, int] = {}
    found = []
    for run in project.runs():
        try:
            run.job  # noqa: B018 (reading it is the check)
            state = run.status
        except MedsslError as error:
            found.append(
                Finding(
                    topic=f"run {run.name}", state="note", text=error.message, mend=error.advice
                )
            )
            continue
        states[state] = states.get(state, 0) + 1
    told = ", ".join(f"{number} {state}" for state, number in states.items()) or "none yet"
    return [Finding(topic="runs", state="ok", text=told), *found]
