"""The Python interface of Explore: similarity, the folder ranked, neighbours, colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import tifffile
import torch

from napari_medssl.engine.calls import OnEvent, events_of, opened
from napari_medssl.engine.embedding import embedded, open_source
from napari_medssl.engine.predicting import check_channels, chosen_images, find_run, model_of
from napari_medssl.engine.runs import check_start, model_at_start
from napari_medssl.errors import MedsslError
from napari_medssl.explore.annotate import above, fill_in
from napari_medssl.explore.colours import ColourView, Kind, fit_colours
from napari_medssl.explore.neighbours import Folder, Neighbour
from napari_medssl.explore.query import Point, Query, Region, load_query
from napari_medssl.explore.ranking import Match, ranked, search
from napari_medssl.explore.similarity import How, PixelEmbedding
from napari_medssl.explore.store import EmbeddingStore
from napari_medssl.learn.devices import DeviceName, choose_device
from napari_medssl.learn.predict import warn
from napari_medssl.learn.sources import check_source
from napari_medssl.project.checkpoint import atomic
from napari_medssl.project.working_scale import ScaledImages

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import NDArray

    from napari_medssl.project import Project, Run


__all__ = [
    "FullFeatures",
    "asked_for",
    "colours",
    "embed",
    "label_similar",
    "make_query",
    "neighbours",
    "rank",
    "similar",
]

Pixel = tuple[int, int]


def embed(
    project: Project | str | Path,
    *,
    run: str,
    source: str = "mix",
    images: Iterable[str] | None = None,
    stride: int | None = None,
    dimensions: int | None = None,
    budget: int | None = None,
    device: DeviceName = "auto",
    on_event: OnEvent | None = None,
) -> EmbeddingStore:
    """Store the pixel features of a project's images, or bring what is stored up to date.

    Parameters
    ----------
    project : Project or path
        The project.
    run : str
        Name of the run whose features these are.
    source : str
        What of the network they come from: ``mix`` (all decoder stages), ``decoder-1`` (the coarsest),
        ``encoder-1`` (the finest), ... or ``projector``.
    images : iterable of str, optional
        Images to store; all by default.
    stride, dimensions : int, optional
        Pixels per cell, and features per cell; what the budget allows by default.
    budget : int, optional
        Bytes that the features may take; as many as the decoded images by default.
    device : {"auto", "cpu", "cuda", "mps"}
        Where to compute.
    on_event : callable, optional
        Called with every event.

    Returns
    -------
    EmbeddingStore

    Raises
    ------
    MedsslError
        If the network has no such source, or the budget is too small.
    """
    project = opened(project)
    found = find_run(run, project)
    job = {
        "kind": "embed",
        "project": str(project.path),
        "run": found.name,
        "source": source,
        "images": None if images is None else list(images),
        "stride": stride,
        "dimensions": dimensions,
        "budget": budget,
        "device": device,
    }
    for _ in events_of(job, on_event):
        pass
    return EmbeddingStore.open(project, found, source=source)


def make_query(
    image: str,
    at: Pixel | Sequence[Pixel] = (),
    *,
    negatives: Sequence[Pixel] = (),
    region: NDArray[np.bool_] | None = None,
    how: Literal["auto"] | How = "auto",
) -> Query:
    """Make a query of pixels and a region of one image.

    Parameters
    ----------
    image : str
        Name of the image.
    at : (int, int) or sequence of those
        Example pixels (y, x).
    negatives : sequence of (int, int)
        Counter-examples.
    region : ndarray of bool, (Y, X), optional
        One more example: a region.
    how : {"auto", "mean", "max", "contrast"}
        How several examples make one map, see `Prototypes`.

    Raises
    ------
    ConfigError
        If there is no example, or `how` does not go with them.
    """
    pixels = cast("Sequence[Pixel]", [at] if at and not isinstance(at[0], Sequence) else at)
    points = [
        Point(image=image, y=int(y), x=int(x), positive=positive)
        for found, positive in ((pixels, True), (negatives, False))
        for y, x in found
    ]
    regions = [] if region is None else [Region.of(image, region)]
    query: Query = Query.parse({"points": points, "regions": regions, "how": how}, where="query")
    return query


class FullFeatures:
    """Pixel features at full resolution, computed when asked for; the last images are kept.

    Parameters
    ----------
    project : Project
        The project.
    run : Run
        Whose network.
    source : str
        What of it.
    device : {"auto", "cpu", "cuda", "mps"}
        Where to compute.
    at_start : bool
        Of the network as it was before its first step; `source` is then ``mix``.
    """

    KEPT = 4

    def __init__(
        self,
        project: Project,
        run: Run,
        *,
        source: str = "mix",
        device: DeviceName = "auto",
        at_start: bool = False,
    ) -> None:
        self._project = project
        self._device = torch.device(choose_device(device).name)
        if at_start:
            check_start(source)
        model = (model_at_start(project, run) if at_start else model_of(run)).to(self._device)
        check_channels(model, project, run)
        self._source = open_source(
            check_source(source), run, project, model, self._device, tell=warn
        )
        self._scaled = ScaledImages(project, model.spec.scale)
        self._kept: dict[str, PixelEmbedding] = {}

    def __call__(self, image: str) -> PixelEmbedding:
        """Give the features of an image."""
        if image not in self._kept:
            features = self.grid(image, stride=1)[0]
            while len(self._kept) >= self.KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[image] = PixelEmbedding(
                features, stride=1, shape=(features.shape[0], features.shape[1])
            )
        return self._kept[image]

    def grid(self, image: str, stride: int = 4) -> tuple[NDArray[np.float32], int]:
        """Give the features of an image, ``(Y / stride, X / stride, D)``, and the stride; nothing is kept."""
        planes = self._project.planes(image)
        factor = self._scaled.factor(image)
        features = embedded(self._source, planes, factor=factor, stride=stride, device=self._device)
        return features, stride


def similar(
    project: Project | str | Path,
    *,
    run: str,
    image: str,
    at: Pixel | Sequence[Pixel] = (),
    negatives: Sequence[Pixel] = (),
    region: NDArray[np.bool_] | None = None,
    how: Literal["auto"] | How = "auto",
    query: Query | str | None = None,
    source: str = "mix",
    out: str | Path | None = None,
    device: DeviceName = "auto",
) -> NDArray[np.float32]:
    """Compare every pixel of an image with one or several, as the network sees them.

    Parameters
    ----------
    project : Project or path
        The project.
    run : str
        Name of the run whose features are used.
    image : str
        Name of the image that is mapped.
    at : (int, int) or sequence of those
        Example pixels (y, x) of the image.
    negatives : sequence of (int, int)
        Counter-examples.
    region : ndarray of bool, (Y, X), optional
        One more example: a region.
    how : {"auto", "mean", "max", "contrast"}
        How several examples make one map, see `Prototypes`.
    query : Query or str, optional
        Instead of the above: examples that may lie in other images, or the name under which such are kept.
    source : str
        What of the network, as for `embed`.
    out : path, optional
        Also write the map there, as float32 TIFF.
    device : {"auto", "cpu", "cuda", "mps"}
        Where to compute.

    Returns
    -------
    ndarray of shape (Y, X)
        Cosine similarity of the pixel embeddings, float32 in [-1, 1]; 1 at a single query pixel.

    References
    ----------
    Pix2Rep, figure 2.
    """
    project = opened(project)
    found = find_run(run, project)
    chosen_images(project, (image,))
    if query is None:
        asked = make_query(image, at, negatives=negatives, region=region, how=how)
    else:
        asked = asked_for(project, query)
    features = FullFeatures(project, found, source=source, device=device)
    heat = features(image).heat(asked.prototypes(features))
    if out is not None:
        with atomic(Path(out)) as temporary:
            tifffile.imwrite(temporary, heat, compression="zlib")
    return heat


def rank(
    project: Project | str | Path,
    *,
    run: str,
    query: Query | str,
    source: str = "mix",
    images: Iterable[str] | None = None,
    threshold: float | None = None,
    least: bool = False,
    device: DeviceName = "auto",
    on_event: OnEvent | None = None,
) -> list[Match]:
    """Find the best matching pixel of every image, and rank the images by it.

    What is not stored yet is stored first, see `embed`.

    Parameters
    ----------
    project : Project or path
        The project.
    run : str
        Name of the run.
    query : Query or str
        What to look for, see `make_query`; or the name under which it is kept.
    source : str
        What of the network, as for `embed`.
    images : iterable of str, optional
        Images to rank; all by default.
    threshold : float, optional
        From which similarity on a cell counts for `Match.share`.
    least : bool
        The least similar image first.
    device, on_event
        As for `embed`.

    Returns
    -------
    list of Match
    """
    project = opened(project)
    names = None if images is None else chosen_images(project, tuple(images))
    asked = asked_for(project, query)
    store = embed(project, run=run, source=source, device=device, on_event=on_event)
    prototypes = asked.prototypes(store.pixels)
    return ranked(search(store, prototypes, names=names, threshold=threshold), least=least)


def label_similar(
    project: Project | str | Path,
    *,
    run: str,
    query: Query | str,
    threshold: float,
    label: int | str,
    images: Iterable[str] | None = None,
    smoothing: float = 1.0,
    minimum_area: int = 16,
    overwrite: bool = False,
    source: str = "mix",
    device: DeviceName = "auto",
    on_event: OnEvent | None = None,
) -> dict[str, int]:
    """Annotate what is similar enough, to be corrected by hand.

    Parameters
    ----------
    project : Project or path
        The project.
    run : str
        Name of the run.
    query : Query or str
        What to look for.
    threshold : float
        From which similarity on a pixel is labelled.
    label : int or str
        Value or name of the class.
    images : iterable of str, optional
        Images to annotate; all by default.
    smoothing : float
        Of the map before, standard deviation in pixels.
    minimum_area : int
        Smaller pieces are left out and smaller holes filled, pixels.
    overwrite : bool
        Whether labels that are there may be covered; they stay by default.
    source, device, on_event
        As for `embed`.

    Returns
    -------
    dict
        Image -> number of pixels that got the label; images without any are left out, and left as they are.
    """
    project = opened(project)
    value = _class_value(project, label)
    asked = asked_for(project, query)
    names = chosen_images(project, None if images is None else tuple(images))
    store = embed(project, run=run, source=source, device=device, on_event=on_event)
    prototypes = asked.prototypes(store.pixels)
    labelled = {}
    for name in names:
        mask = above(
            store.pixels(name).heat(prototypes),
            threshold,
            smoothing=smoothing,
            minimum_area=minimum_area,
        )
        if not mask.any():
            continue
        before = project.annotations.read(name)
        after = fill_in(before, mask, value, overwrite=overwrite)
        changed = int(np.count_nonzero(after != before))
        if changed:
            done = project.annotations.status(name) == "done"
            project.annotations.write(name, after, done=done)
            labelled[name] = changed
    return labelled


def neighbours(
    project: Project | str | Path,
    *,
    run: str,
    image: str,
    count: int = 8,
    farthest: bool = False,
    source: str = "mix",
    device: DeviceName = "auto",
    on_event: OnEvent | None = None,
) -> list[Neighbour]:
    """Find the images most like one as a whole, or the least.

    What is not stored yet is stored first, see `embed`. `Folder` gives the map of all images.

    Parameters
    ----------
    project : Project or path
        The project.
    run : str
        Name of the run.
    image : str
        Name of the image.
    count : int
        How many.
    farthest : bool
        The least similar images, the farthest first.
    source, device, on_event
        As for `embed`.

    Returns
    -------
    list of Neighbour
        Euclidean distances in the ten first principal components of the images' mean features.
    """
    project = opened(project)
    chosen_images(project, (image,))
    store = embed(project, run=run, source=source, device=device, on_event=on_event)
    return Folder.of(store).nearest(image, count, farthest=farthest)


def colours(
    project: Project | str | Path,
    *,
    run: str,
    kind: Kind = "pca",
    images: Iterable[str] | None = None,
    clusters: int = 8,
    seed: int = 0,
    source: str = "mix",
    device: DeviceName = "auto",
    on_event: OnEvent | None = None,
) -> tuple[ColourView, Mapping[str, NDArray[np.uint8]]]:
    """Colour images by their features: what is alike gets the same colour, in every image.

    What is not stored yet is stored first, see `embed`; the colours are fitted on the whole folder.

    Parameters
    ----------
    project : Project or path
        The project.
    run : str
        Name of the run.
    kind : {"pca", "tsne", "kmeans"}
        Principal components as red, green and blue; a t-SNE map and its colours (Pix2Rep, figure 4); clusters.
    images : iterable of str, optional
        Images to colour; all by default.
    clusters : int
        How many, for ``kmeans``.
    seed : int
        Of the fit.
    source, device, on_event
        As for `embed`.

    Returns
    -------
    (ColourView, dict)
        The fitted view, and image -> ``(Y, X, 3)`` uint8.
    """
    project = opened(project)
    names = chosen_images(project, None if images is None else tuple(images))
    store = embed(project, run=run, source=source, device=device, on_event=on_event)
    view = fit_colours(store, kind, clusters=clusters, seed=seed)
    return view, {name: view.image(store, name) for name in names}


def asked_for(project: Project, query: Query | str) -> Query:
    """Give a query, read from the project where it is named."""
    return query if isinstance(query, Query) else load_query(project, query)


def _class_value(project: Project, label: int | str) -> int:
    classes = project.settings.classes
    for info in classes:
        if label in (info.value, info.name, str(info.value)):
            return info.value
    known = ", ".join(f"{info.value} ({info.name})" for info in classes)
    raise MedsslError(f"There is no class {label!r}.", advice=f"There are: {known}.")
