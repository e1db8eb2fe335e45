"""`medssl demo`: the whole loop on small images, told as a report."""

from __future__ import annotations

import shutil
import time
from functools import partial
from typing import TYPE_CHECKING

from napari_medssl.demo.cases import nuclei_case, own_case, tissue_case
from napari_medssl.demo.steps import StepFailedError, Transcript, play
from napari_medssl.demo.telling import tell
from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["StepFailedError", "demo"]

_WORK = "demo-files"


def demo(
    out: Path,
    *,
    main: Callable[[list[str]], int],
    quick: bool = False,
    images: str | None = None,
    masks: str | None = None,
    device: str | None = None,
) -> tuple[Path, str]:
    """Run the whole loop and write a report.

    Parameters
    ----------
    out : Path
        Folder for the report and all that led to it; what an earlier demo left there is replaced.
    main : callable
        Runs the arguments after ``medssl``, gives the exit code.
    quick : bool
        Fewer images and steps.
    images, masks : str, optional
        The user's own folders, instead of the demo's images.
    device : str, optional
        Where to compute.

    Returns
    -------
    (Path, str)
        The report, and the outcome in a few lines.

    Raises
    ------
    StepFailedError
        If a step ends with another exit code than 0.
    MedsslError
        If `out` holds something else, or masks come without images.
    """
    if masks and not images:
        raise MedsslError("--masks was given without --images.", advice="Give both folders.")
    begin = time.monotonic()
    work = out / _WORK
    _clear(out, work)
    shell = Transcript(main)
    if images:
        builders = [partial(own_case, work / "own", shell, images=images, masks=masks, quick=quick)]
    else:
        builders = [
            partial(nuclei_case, work / "nuclei", shell, quick=quick),
            partial(tissue_case, work / "tissue", shell, quick=quick),
        ]
    played = []
    for build in builders:
        case = build()
        played.append(play(case, shell, work / case.key, device=device))
    report = out / "report.html"
    outcome = tell(played, shell.steps, report, seconds=time.monotonic() - begin)
    return report.resolve(), outcome


def _clear(out: Path, work: Path) -> None:
    """Make room, without ever deleting what is not the demo's."""
    if out.exists() and not out.is_dir():
        raise MedsslError(f"{out} is a file.", advice="Choose a folder with --out.")
    if work.is_dir():
        shutil.rmtree(work)
    elif out.is_dir() and any(out.iterdir()):
        raise MedsslError(
            f"The folder {out} holds files that are not the demo's.",
            advice="Choose a new or an empty folder with --out.",
        )
    work.mkdir(parents=True)
