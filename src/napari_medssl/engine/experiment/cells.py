"""Which cells an experiment's table has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.engine.experiment.plan import BASELINES
from napari_medssl.evaluate.annotation_rates import realised_rates
from napari_medssl.evaluate.results import Cell
from napari_medssl.learn.pretext import method as pretext_method

if TYPE_CHECKING:
    from napari_medssl.engine.experiment.plan import Arm, ExperimentJob
    from napari_medssl.evaluate.results import Downstream

__all__ = ["cells_of", "counts_of", "segments"]


def segments(arm: Arm) -> bool:
    """Whether the arm's pretrained network segments without annotations."""
    if arm.method is None:
        return False
    method = pretext_method(arm.method)
    return method.segments(method.config_type.parse(arm.method_config, where=arm.name))


def counts_of(job: ExperimentJob, *, pool: int) -> list[int]:
    """Give the numbers of units that are annotated, of those there are to draw from (`pool`)."""
    if job.rates:
        return sorted({*(rate.units for rate in realised_rates(pool, job.rates)), pool})
    return [k for k in sorted(job.units) if k <= pool]


def cells_of(job: ExperimentJob, *, pool: int, classes: int) -> list[Cell]:
    """List the cells of an experiment, in the order in which they are computed.

    Parameters
    ----------
    job : ExperimentJob
        The experiment.
    pool : int
        Units there are to annotate; larger counts are left out.
    classes : int
        Classes without background; more than one cannot be segmented without annotations.
    """
    on = job.score_on
    counts = counts_of(job, pool=pool)
    draws = range(job.draws)
    cells = [Cell(name, "threshold", 0, 0, on) for name in BASELINES if classes == 1]
    for arm in job.arms:
        if segments(arm) and classes == 1:
            cells.append(Cell(arm.name, "zero-shot", 0, 0, on))
        cells += [Cell(arm.name, "probe", k, draw, on) for k in counts for draw in draws]
    if job.forest:
        cells += [Cell("random forest", "forest", k, draw, on) for k in counts for draw in draws]
    tuned = [arm for arm in job.arms if job.tune_arms is None or arm.name in job.tune_arms]
    modes: tuple[Downstream, ...] = ("full", "frozen") if job.tune == "both" else (job.tune,)
    for draw in range(job.tune_draws):  # draw by draw: what is there early is complete for all arms
        for k in (k for k in counts if job.rates or k in job.tune_units):
            cells += [Cell(arm.name, mode, k, draw, on) for mode in modes for arm in tuned]
    if job.supervised:
        cells += [
            Cell(arm.name, "supervised", pool, 0, on) for arm in job.arms if arm.method is None
        ]
    return list(dict.fromkeys(cells))
