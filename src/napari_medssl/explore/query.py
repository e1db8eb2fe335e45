"""Queries: example pixels and regions by image, kept by name, so that any run can be asked the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from napari_medssl.config import Config, refuse_newer
from napari_medssl.errors import MedsslError
from napari_medssl.explore.similarity import How, PixelEmbedding, Prototypes
from napari_medssl.project.checkpoint import read_json, write_json
from napari_medssl.project.paths import inside

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.project import Project

__all__ = [
    "Point",
    "Query",
    "Region",
    "delete_query",
    "load_query",
    "query_names",
    "rename_query",
    "save_query",
]

SCHEMA_VERSION = 1
_NAME = re.compile(r"[^\W_][\w .,()+-]{0,79}")
_LARGEST_SIDE = 1 << 20


class Point(Config):
    """A pixel that is an example, or a counter-example."""

    image: str
    y: int
    x: int
    positive: bool = True


class Region(Config):
    """A region that is an example, or a counter-example: the box around it, and runs within the box."""

    image: str
    y: int
    x: int
    """Upper left corner of the box."""
    shape: tuple[int, int]
    """(Y, X) of the box."""
    runs: tuple[int, ...]
    """Lengths of the runs through the box, row by row: pixels outside the region and inside in turn."""
    positive: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Region:
        if self.y < 0 or self.x < 0 or not all(0 < side <= _LARGEST_SIDE for side in self.shape):
            raise ValueError("the box must lie in an image")
        if min(self.runs, default=-1) < 0 or sum(self.runs) != self.shape[0] * self.shape[1]:
            raise ValueError("the runs must fill the box")
        return self

    @classmethod
    def of(cls, image: str, mask: NDArray[np.bool_], *, positive: bool = True) -> Region:
        """Describe a region.

        Parameters
        ----------
        image : str
            Name of the image.
        mask : ndarray of bool, (Y, X)
            True in the region.
        positive : bool
            Whether it is an example.

        Raises
        ------
        MedsslError
            If the region is empty.
        """
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            raise MedsslError("The region is empty.")
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        flat = box.ravel()
        ends = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
        runs = np.diff(ends).tolist()
        return cls(
            image=image,
            y=int(rows[0]),
            x=int(columns[0]),
            shape=(box.shape[0], box.shape[1]),
            runs=tuple([0, *runs] if flat[0] else runs),
            positive=positive,
        )

    def mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Draw the region in an image of a shape.

        Raises
        ------
        MedsslError
            If it does not lie within.
        """
        end = self.y + self.shape[0], self.x + self.shape[1]
        if end[0] > shape[0] or end[1] > shape[1]:
            raise MedsslError(
                f"The region in {self.image} reaches to {end}, the image is {shape[0]} x {shape[1]} pixels.",
                advice="The image was replaced by another one: draw the region again.",
            )
        inside_box = np.arange(len(self.runs)) % 2 == 1
        drawn = np.zeros(shape, bool)
        drawn[self.y : end[0], self.x : end[1]] = np.repeat(inside_box, self.runs).reshape(
            self.shape
        )
        return drawn


class Query(Config):
    """Examples and counter-examples, and how they make one map."""

    schema_version: Literal[1] = 1
    points: tuple[Point, ...] = ()
    regions: tuple[Region, ...] = ()
    how: Literal["auto"] | How = "auto"
    """``auto``: the mean of the examples; as soon as there are counter-examples, the contrast to them."""

    @model_validator(mode="after")
    def _complete(self) -> Query:
        parts: list[Point | Region] = [*self.points, *self.regions]
        negatives = any(not part.positive for part in parts)
        if not any(part.positive for part in parts):
            raise ValueError("a query needs at least one example")
        if self.how in ("mean", "max") and negatives:
            raise ValueError(f'counter-examples count for "contrast" only, not for "{self.how}"')
        if self.how == "contrast" and not negatives:
            raise ValueError("a contrast needs at least one counter-example")
        return self

    @property
    def images(self) -> tuple[str, ...]:
        """The images that examples lie in."""
        parts: list[Point | Region] = [*self.points, *self.regions]
        return tuple(dict.fromkeys(part.image for part in parts))

    def prototypes(self, pixels: Callable[[str], PixelEmbedding]) -> Prototypes:
        """Read the features at the examples.

        Parameters
        ----------
        pixels : callable
            Gives the pixel features of an image by its name, such as `EmbeddingStore.pixels`.

        Returns
        -------
        Prototypes
            One direction per point and per region.

        Raises
        ------
        MedsslError
            If an example lies outside its image, or there is no such image.
        """
        found: dict[bool, list[NDArray[np.float32]]] = {True: [], False: []}
        for name in self.images:
            embedding = pixels(name)
            for point in self.points:
                if point.image == name:
                    found[point.positive].append(embedding.at(point.y, point.x))
            for region in self.regions:
                if region.image == name:
                    mask = region.mask(embedding.shape)
                    found[region.positive].append(embedding.direction(mask))
        positive = np.stack(found[True])
        negative = np.stack(found[False]) if found[False] else positive[:0]
        how = ("contrast" if len(negative) else "mean") if self.how == "auto" else self.how
        return Prototypes(positive, negative, how)


def save_query(project: Project, name: str, query: Query) -> Path:
    """Keep a query as ``queries/<name>.json`` of a project.

    Parameters
    ----------
    project : Project
        The project.
    name : str
        Letters, digits, spaces and a few signs; replaces one of the same name.
    query : Query
        What to keep.

    Raises
    ------
    MedsslError
        If the name is not allowed or the file cannot be written.
    """
    path = _path(project, name)
    write_json(path, query.model_dump(mode="json"))
    return path


def load_query(project: Project, name: str) -> Query:
    """Read a query that was kept.

    Raises
    ------
    MedsslError
        If there is none of that name, it is damaged, or of a newer version.
    """
    path = _path(project, name)
    if not path.is_file():
        raise _unknown(project, name)
    data = read_json(path)
    refuse_newer(data, SCHEMA_VERSION, what=f"The query {name!r}")
    query: Query = Query.parse(data, where=str(path))
    return query


def query_names(project: Project) -> tuple[str, ...]:
    """List the queries of a project."""
    folder = project.path / "queries"
    return tuple(sorted(path.stem for path in folder.glob("*.json") if _NAME.fullmatch(path.stem)))


def rename_query(project: Project, old: str, new: str) -> Path:
    """Keep a query by another name.

    Parameters
    ----------
    project : Project
        The project.
    old, new : str
        Names, see `save_query`.

    Raises
    ------
    MedsslError
        If there is no query `old`, there is one called `new` already, or `new` is not allowed.
    """
    path, target = _path(project, old), _path(project, new)
    if not path.is_file():
        raise _unknown(project, old)
    if target.is_file():
        raise MedsslError(
            f"There is a query {new!r} already.", advice="Choose another name, or delete that one."
        )
    path.rename(target)
    return target


def delete_query(project: Project, name: str) -> None:
    """Forget a query, if there is one of that name."""
    _path(project, name).unlink(missing_ok=True)


def _path(project: Project, name: str) -> Path:
    if not _NAME.fullmatch(name) or name != name.strip():
        raise MedsslError(
            f"{name!r} cannot name a query.",
            advice="Use up to 80 letters, digits, spaces and . , ( ) + - _, a letter or digit first.",
        )
    return inside(project.path / "queries", name, suffix=".json")


def _unknown(project: Project, name: str) -> MedsslError:
    known = ", ".join(query_names(project)) or "none yet"
    return MedsslError(f"There is no query {name!r}.", advice=f"There are: {known}.")
