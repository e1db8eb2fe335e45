"""The Python interface of ranks: the experiments on several projects together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from napari_medssl.config import ConfigError
from napari_medssl.evaluate import annotation_table
from napari_medssl.evaluate.results import Table
from napari_medssl.project.checkpoint import read_json
from napari_medssl.project.paths import given

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_medssl.evaluate.results import Downstream

__all__ = ["mean_ranks"]


def mean_ranks(
    results: Iterable[str | Path],
    *,
    by: Literal["iqc", "dice"] = "iqc",
    downstream: Downstream = "full",
    scored_on: Literal["test", "validation"] = "test",
) -> dict[str, float]:
    """Rank the arms of several experiments: the mean of their ranks over the projects, 1 being the best.

    Parameters
    ----------
    results : iterable of path
        The ``results.csv`` of an experiment each; all have the same arms.
    by : {"iqc", "dice"}
        The integrated quality criterion, of experiments over annotation rates; or the mean of Dice over the numbers of
        annotated units that all arms have.
    downstream : {"full", "frozen", "probe"}
        The way to segment that is compared.
    scored_on : {"test", "validation"}
        Which scores.

    Returns
    -------
    dict of str to float
        Arm -> mean rank, the best first.

    Raises
    ------
    MedsslError
        If a file is missing or no such table, has nothing to rank by, or the experiments have not the same arms
        (ConfigError where another choice of files or of `by` mends it).

    References
    ----------
    The evaluation paper on self-supervised learning (Rettenberger, Schilling et al.), section III-C.
    """
    projects, pools = {}, {}
    for name in map(str, results):
        path = given(name)
        if not path.is_file():
            raise ConfigError(f"There is no file {path}.", advice="Give results.csv files.")
        projects[name] = Table(path).rows
        if by == "iqc":
            pools[name] = _pool(path)
    found = annotation_table.mean_ranks(
        projects,
        downstream=downstream,
        scored_on=scored_on,
        pools=pools if by == "iqc" else None,
    )
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _pool(path: Path) -> int:
    """Give the units that there were to annotate in the experiment of a table."""
    file = path.with_name("plan.json")
    plan = read_json(file) if file.is_file() else {}
    if not plan.get("rates"):
        raise ConfigError(
            f"{path} is not of an experiment over annotation rates, so it has no IQC.",
            advice="Rank by dice, or experiment with annotation rates.",
        )
    if "pool" not in plan:
        raise ConfigError(
            f"{file} was written before it told how many units there were to annotate.",
            advice="Start the experiment once more: it computes nothing again.",
        )
    return int(plan["pool"])
