"""The commands `medssl experiment` and `medssl ranks`: compare pretraining methods, on one folder and over several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medssl.cli.arguments import DONE, open_project, run_job
from napari_medssl.cli.listing import table
from napari_medssl.cli.settings import assign, fields, read_config
from napari_medssl.config import ConfigError

if TYPE_CHECKING:
    import argparse

    from napari_medssl.cli.display import Sink
    from napari_medssl.plan import Start

__all__ = ["experiment", "ranks"]


def experiment(args: argparse.Namespace, sink: Sink) -> int:
    """Carry out ``medssl experiment``."""
    from napari_medssl.engine.describe import describe
    from napari_medssl.engine.experiment.ablations import ABLATIONS, ablation_arms
    from napari_medssl.engine.experiment.plan import ExperimentJob, standard_arms
    from napari_medssl.engine.experiment.workplace import FOUND
    from napari_medssl.evaluate.annotation_rates import PAPER_RATES

    config = read_config(args.config) if args.config else {}
    job: dict[str, Any] = {key: value for key, value in config.items() if key not in FOUND}
    if job.get("kind", "experiment") != "experiment":
        raise ConfigError(f"{args.config}: is a job of kind {job['kind']!r}, not an experiment.")
    job |= {"kind": "experiment", "project": str(open_project(args.project).path)}
    if args.weights not in (None, "imagenet"):
        job["weights_file"] = args.weights
    start: Start = "none"
    if args.weights is not None:
        start = "imagenet" if args.weights == "imagenet" else "file"
    if args.ablation is not None:
        if args.ablation not in ABLATIONS:
            raise ConfigError(
                f"--ablation {args.ablation}: there is no such ablation.",
                advice=f"There are: {', '.join(ABLATIONS)}.",
            )
        arms = ablation_arms(args.ablation, start=start)
        job |= {"arms": [arm.model_dump() for arm in arms], "forest": False}
        job.setdefault("name", args.ablation)
        job.setdefault("tune_draws", 0)
    elif args.methods is not None or args.weights is not None or "arms" not in job:
        known = [method.key for method in describe().methods]
        unknown = sorted(set(args.methods or ()) - set(known))
        if unknown:
            raise ConfigError(
                f"--methods {' '.join(unknown)}: there is no such method.",
                advice=f"There are: {', '.join(known)}.",
            )
        starts: tuple[Start, ...] = ("none",) if start == "none" else ("none", start)
        arms = standard_arms(args.methods or known, starts)
        job["arms"] = [arm.model_dump() for arm in arms]
    options = {
        "truth": args.truth,
        "masks_as": args.masks_as,
        "name": args.name,
        "out": args.out,
        "units": args.units,
        "rates": args.rates if args.rates is None else args.rates or PAPER_RATES,
        "tune": args.tune,
        "draws": args.draws,
        "tune_units": args.tune_units,
        "tune_draws": args.tune_draws,
        "score_on": args.score_on,
        "seed": args.seed,
        "device": args.device,
        "workers": args.workers,
        "dask": args.dask,
        "estimate": args.estimate or None,
        "supervised": args.supervised or None,
        "forest": False if args.no_forest else None,
    }
    job |= {key: value for key, value in options.items() if value is not None}
    if args.units is not None and args.tune_units is None and "tune_units" not in job:
        job["tune_units"] = args.units
    if args.draws is not None and args.tune_draws is None and "tune_draws" not in job:
        job["tune_draws"] = min(args.draws, ExperimentJob.model_fields["tune_draws"].default)
    assign(job, args.settings, fields(ExperimentJob.model_json_schema()))
    return run_job(job, sink)


def ranks(args: argparse.Namespace, sink: Sink) -> int:
    """Carry out ``medssl ranks``."""
    from napari_medssl.engine.ranking import mean_ranks

    ordered = mean_ranks(
        args.results, by=args.by, downstream=args.downstream, scored_on=args.scored_on
    )
    lines = [[name, f"{rank:.2f}"] for name, rank in ordered.items()]
    sink.result({"ranks": ordered}, table(["arm", "mean rank"], lines))
    return DONE
