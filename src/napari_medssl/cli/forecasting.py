"""The command `medssl more`: what more annotated images would buy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.cli.arguments import DONE, open_project, open_run
from napari_medssl.cli.listing import table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_medssl.cli.display import Sink
    from napari_medssl.evaluate.extrapolation import Forecast
    from napari_medssl.evaluate.learning_curve import EvaluatedRun

__all__ = ["more"]


def more(args: argparse.Namespace, sink: Sink) -> int:
    """Carry out ``medssl more``."""
    from napari_medssl.engine.forecasting import more_annotations
    from napari_medssl.evaluate.learning_curve import evaluated_runs

    project = open_project(args.project)
    run = open_run(project, args.run)
    found = more_annotations(
        project,
        run=run.name,
        more=args.count,
        device=args.device or "auto",
        seed=args.seed,
        on_event=sink,
    )
    runs = evaluated_runs(project)
    data = found.model_dump(mode="json") | {
        "runs": [item._asdict() | {"images": sorted(item.images)} for item in runs]
    }
    sink.result(data, _text(found, runs))
    return DONE


def _text(found: Forecast, runs: Sequence[EvaluatedRun]) -> str:
    measured = {point.annotated: point for point in found.points}
    rows = []
    for band in found.band:
        count, score = band.annotated, band.score
        point = measured.get(count)
        if point is not None or count in (found.annotated, found.annotated + found.more):
            mean = f"{point.mean:.4f} ({point.draws})" if point is not None else ""
            now = "  (now)" if count == found.annotated else ""
            rows.append(
                [
                    f"{count}{now}",
                    mean,
                    f"{score.value:.4f}",
                    f"{score.low:.4f}",
                    f"{score.high:.4f}",
                ]
            )
    head = ["annotated images", "Dice (draws)", "curve", "from", "to"]
    parts = [table(head, rows), ""]
    if runs:
        own = [
            [item.run, str(item.annotated), f"{item.dice:.4f}", str(len(item.images))]
            for item in runs
        ]
        parts += [
            table(["fine-tuned and evaluated", "annotated images", "Dice", "scored on"], own),
            "",
        ]
    parts += ["By linear probes on frozen features, which fine-tuning mostly surpasses:"]
    return "\n".join([*parts, found.sentence(), *found.remarks()])
