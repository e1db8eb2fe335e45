"""The commands of Explore: embed, similar, neighbours, colours."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medssl.cli.arguments import (
    image_and_pixel,
    open_project,
    open_run,
    run_job,
    size_in_bytes,
)
from napari_medssl.cli.heat import extremes, write_heat
from napari_medssl.cli.listing import table
from napari_medssl.cli.storing import FeaturesStoppedError, embed_job, stored
from napari_medssl.config import ConfigError
from napari_medssl.project import atomic

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

    from napari_medssl.cli.display import Sink
    from napari_medssl.explore.figures import Panel
    from napari_medssl.explore.query import Point, Query
    from napari_medssl.explore.ranking import Match
    from napari_medssl.explore.store import EmbeddingStore
    from napari_medssl.project import Project, Run

__all__ = ["colours", "embed", "neighbours", "similar"]

DONE, STOPPED = 0, 130
FIGURES = (".png", ".pdf", ".svg")
PICTURES = 12
"""Images that a figure shows unless said otherwise."""


def embed(args: argparse.Namespace, sink: Sink) -> int:
    """Carry out ``medssl embed``."""
    project = open_project(args.project)
    job = embed_job(args, project, open_run(project, args.run))
    for key in ("stride", "dimensions"):
        if getattr(args, key) is not None:
            job[key] = getattr(args, key)
    if args.budget is not None:
        job["budget"] = size_in_bytes(args.budget)
    if args.images is not None:
        job["images"] = args.images
    return run_job(job, sink)


def similar(args: argparse.Namespace, sink: Sink) -> int:
    """Carry out ``medssl similar``."""
    project = open_project(args.project)
    run = open_run(project, args.run)
    query = _query(args, project)
    if args.save_query is not None:
        from napari_medssl.explore.query import save_query

        save_query(project, args.save_query, query)
    if args.label is not None and args.threshold is None:
        raise ConfigError("--label needs --threshold: from which similarity on to label.")
    try:
        return (_rank if args.folder else _map)(args, sink, project, run, query)
    except FeaturesStoppedError:
        return STOPPED


def neighbours(args: argparse.Namespace, sink: Sink) -> int:
    """Carry out ``medssl neighbours``."""
    from napari_medssl.explore.figures import Panel, folder_figure, neighbour_figure, save_figure
    from napari_medssl.explore.neighbours import Folder

    project = open_project(args.project)
    run = open_run(project, args.run)
    out, layout = _figure_path(args.out), _figure_path(args.map)
    try:
        store = stored(args, sink, project, run)
    except FeaturesStoppedError:
        return STOPPED
    folder = Folder.of(store)
    near = folder.nearest(args.image, args.count)
    far = folder.nearest(args.image, args.count, farthest=True)
    data: dict[str, Any] = {
        "image": args.image,
        "nearest": [item._asdict() for item in near],
        "farthest": [item._asdict() for item in far],
    }
    rows = [
        [word, item.image, f"{item.distance:.3f}"]
        for word, found in (("nearest", near), ("farthest", far))
        for item in found
    ]
    text = table(["", "image", "distance"], rows)
    if out is not None:
        drawn = [[(item, project.planes(item.image)) for item in found] for found in (near, far)]
        panel = Panel(args.image, project.planes(args.image))
        save_figure(neighbour_figure(panel, *drawn), out)
        text += f"\nwritten to {out}"
    if layout is not None:
        statuses = project.annotations.statuses()
        some = _spread(store.names, args.map_images)
        places = folder.layout()[[store.names.index(name) for name in some]]
        thumbnails = [project.planes(name) for name in some]
        groups = [statuses[name] for name in some]
        shown = groups if len(set(groups)) > 1 else ()
        save_figure(folder_figure(places, thumbnails, groups=shown), layout)
        text += f"\nmap of {len(some)} images written to {layout}"
    sink.result(data, text)
    return DONE


def colours(args: argparse.Namespace, sink: Sink) -> int:
    """Carry out ``medssl colours``."""
    from napari_medssl.engine.predicting import chosen_images
    from napari_medssl.explore.colours import Clusters, MapColours, fit_colours
    from napari_medssl.explore.figures import Panel, colour_figure, save_figure, tsne_figure
    from napari_medssl.project import write_tiff_labels

    project = open_project(args.project)
    run = open_run(project, args.run)
    out = Path(args.out)
    figure = out.suffix.lower() in FIGURES
    if out.suffix and not figure:
        raise ConfigError(
            f"--out {out}: a figure is written as .png, .pdf or .svg, pictures of each image into a folder."
        )
    names: tuple[str, ...] | None = None
    if args.images is not None:
        names = chosen_images(project, tuple(args.images))
    try:
        store = stored(args, sink, project, run)
    except FeaturesStoppedError:
        return STOPPED
    view = fit_colours(store, args.kind, clusters=args.clusters, seed=args.seed)
    if figure:
        names = names or _spread(store.names, 3 if args.kind == "tsne" else PICTURES)
        pictures = [view.image(store, name) for name in names]
        panels = [Panel(name, project.planes(name)) for name in names]
        drawn = (
            tsne_figure(view, panels, pictures)
            if isinstance(view, MapColours)
            else colour_figure(panels, pictures, columns=6)
        )
        save_figure(drawn, out)
    else:
        names = names or store.names
        for name in names:
            if isinstance(view, Clusters):
                labels = view.labels(store, name)
                write_tiff_labels(out / f"{name}.tif", labels, note={"clusters": args.clusters})
            else:
                _write_picture(out / f"{name}.png", view.image(store, name))
    data = {"kind": args.kind, "images": list(names), "path": str(out)}
    sink.result(data, f"{len(names)} images written to {out}")
    return DONE


def _map(args: argparse.Namespace, sink: Sink, project: Project, run: Run, query: Query) -> int:
    from napari_medssl.engine.exploring import FullFeatures, similar
    from napari_medssl.explore.figures import Panel, save_figure, similarity_figure

    out = Path(args.out) if args.out else None
    if out is None and args.label is None:
        raise ConfigError("Nothing to do: give --out, --label or --folder.")
    if out is not None and out.suffix.lower() not in (".tif", ".tiff", *FIGURES):
        raise ConfigError(
            f"--out {out}: a map is written as .tif (values), or as .png, .pdf or .svg (figure)."
        )
    if args.image is None:
        raise ConfigError("--image is missing: which image to map.")
    others = [open_run(project, name) for name in args.compare or ()]
    if others and (out is None or out.suffix.lower() not in FIGURES):
        raise ConfigError("--compare needs --out with a figure: .png, .pdf or .svg.")
    options = {"source": args.source, **({"device": args.device} if args.device else {})}
    heat = similar(project, run=run.name, image=args.image, query=query, **options)
    data, text = extremes(heat, _points_in(query, args.image))
    if out is not None:
        if out.suffix.lower() in FIGURES:
            planes = project.planes(args.image)
            crosses = _crosses(query, args.image)
            panels = [Panel(run.name if others else args.image, planes, heat, *crosses)]
            for other in others:
                theirs = FullFeatures(project, other, **options)
                compared = theirs(args.image).heat(query.prototypes(theirs))
                panels.append(Panel(other.name, planes, compared, *crosses))
            save_figure(similarity_figure([panels], common=not others), out)
        else:
            write_heat(heat, out)
        data["path"] = str(out)
        text += f"\nwritten to {out}"
    if args.label is not None:
        labelled = _label(args, sink, project, run, query, [args.image])
        data["labelled"] = labelled
        text += f"\n{labelled.get(args.image, 0)} pixels labelled {args.label}"
    sink.result(data, text)
    return DONE


def _rank(args: argparse.Namespace, sink: Sink, project: Project, run: Run, query: Query) -> int:
    from napari_medssl.explore.ranking import ranked, search

    out = Path(args.out) if args.out else None
    if out is not None and out.suffix.lower() not in (".csv", *FIGURES):
        raise ConfigError(f"--out {out}: a ranking is written as .csv, .png, .pdf or .svg.")
    store = stored(args, sink, project, run)
    prototypes = query.prototypes(store.pixels)
    matches = ranked(search(store, prototypes, threshold=args.threshold), least=args.least)
    top = matches[: args.top]
    data: dict[str, Any] = {"matches": [match._asdict() for match in matches]}
    heads = ["image", "similarity", "at", *(["share"] if args.threshold is not None else [])]
    rows = [
        [m.image, f"{m.score:.3f}", f"{m.y},{m.x}", f"{m.share:.1%}"][: len(heads)] for m in top
    ]
    text = table(heads, rows)
    if len(matches) > len(top):
        text += f"\n... {len(matches) - len(top)} more"
    if out is not None:
        if out.suffix.lower() == ".csv":
            _write_ranking(out, matches)
        else:
            _write_gallery(out, project, store, query, top)
        data["path"] = str(out)
        text += f"\nwritten to {out}"
    if args.label is not None:
        names = [match.image for match in matches if match.score >= args.threshold]
        labelled = _label(args, sink, project, run, query, names)
        data["labelled"] = labelled
        text += f"\n{len(labelled)} images labelled {args.label}"
    sink.result(data, text)
    return DONE


def _label(
    args: argparse.Namespace,
    sink: Sink,
    project: Project,
    run: Run,
    query: Query,
    names: list[str],
) -> dict[str, int]:
    from napari_medssl.engine.exploring import label_similar

    stored(args, sink, project, run)
    return label_similar(
        project,
        run=run.name,
        query=query,
        threshold=args.threshold,
        label=args.label,
        images=names,
        smoothing=args.smoothing,
        minimum_area=args.minimum_area,
        overwrite=args.overwrite,
        source=args.source,
        **({"device": args.device} if args.device else {}),
    )


def _query(args: argparse.Namespace, project: Project) -> Query:
    """Put the query of the command line together."""
    from napari_medssl.explore.query import Point, Query, Region, load_query

    if args.query is not None:
        if args.at or args.not_at or args.region:
            raise ConfigError("--query does not go with --at, --not and --region.")
        return load_query(project, args.query)
    points: list[Point] = []
    for texts, positive in ((args.at, True), (args.not_at, False)):
        for text in texts or ():
            image, (y, x) = image_and_pixel(text, default=args.image)
            points.append(Point(image=image, y=y, x=x, positive=positive))
    regions = []
    if args.region is not None:
        from napari_medssl.project import read_labels

        if args.image is None:
            raise ConfigError("--region needs --image: which image it lies in.")
        regions.append(Region.of(args.image, read_labels(Path(args.region)) > 0))
    if not points and not regions:
        raise ConfigError(
            "There is no example to compare with.", advice="Give --at, --region or --query."
        )
    query: Query = Query.parse({"points": points, "regions": regions, "how": args.how}, where="")
    return query


def _points_in(query: Query, image: str) -> list[tuple[int, int]]:
    return [(point.y, point.x) for point in query.points if point.image == image and point.positive]


def _crosses(query: Query, image: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Give the examples and the counter-examples in an image; a region by its middle."""
    found: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    for point in query.points:
        if point.image == image:
            found[point.positive].append((point.y, point.x))
    for region in query.regions:
        if region.image == image:
            middle = (region.y + region.shape[0] // 2, region.x + region.shape[1] // 2)
            found[region.positive].append(middle)
    return found[True], found[False]


def _write_gallery(
    out: Path, project: Project, store: EmbeddingStore, query: Query, matches: list[Match]
) -> None:
    """Draw the query's image, then the matches with heat map and cross."""
    from napari_medssl.explore.figures import Panel, save_figure, similarity_figure

    prototypes = query.prototypes(store.pixels)
    asked = query.images[0]
    panels: list[Panel] = [
        Panel(
            f"query: {asked}",
            project.planes(asked),
            store.pixels(asked).heat(prototypes),
            *_crosses(query, asked),
        )
    ]
    panels += [
        Panel(
            f"{match.score:.3f}  {match.image}",
            project.planes(match.image),
            store.pixels(match.image).heat(prototypes),
            [(match.y, match.x)],
        )
        for match in matches
        if match.image != asked
    ]
    columns = min(5, len(panels))
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    save_figure(similarity_figure(rows, common=True), out)


def _write_ranking(out: Path, matches: list[Match]) -> None:
    with atomic(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(matches[0]._fields)
        writer.writerows(matches)


def _write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    from matplotlib.image import imsave

    with atomic(path) as temporary:
        imsave(temporary, picture)


def _figure_path(text: str | None) -> Path | None:
    if text is None:
        return None
    path = Path(text)
    if path.suffix.lower() not in FIGURES:
        raise ConfigError(f"{path}: a figure is written as .png, .pdf or .svg.")
    return path


def _spread(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Choose some, evenly over the folder."""
    chosen = np.unique(np.linspace(0, len(names) - 1, count).round().astype(int))
    return tuple(names[i] for i in chosen)
