"""The table of an experiment: one tidy line per cell, on disk as soon as the cell is finished."""

from __future__ import annotations

import contextlib
import csv
import io
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Literal

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import atomic
from napari_medssl.project.locks import held

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Cell", "Downstream", "Row", "Table"]

Downstream = Literal["threshold", "zero-shot", "probe", "frozen", "full", "supervised", "forest"]


@dataclass(frozen=True)
class Cell:
    """One number of the table."""

    arm: str
    downstream: Downstream
    k: int
    """Annotated units; 0 where none are needed."""
    draw: int
    scored_on: str


@dataclass(frozen=True)
class Row:
    """A finished cell."""

    project: str
    arm: str
    method: str
    start: str
    downstream: Downstream
    k: int
    draw: int
    scored_on: str
    dice: float
    """Mean over units of the Dice of all their pixels; the score of tables and plots."""
    dice_images: float
    iou_images: float
    dice_pooled: float
    units: int
    """Units that scored."""
    images: int
    seconds: float

    @property
    def cell(self) -> Cell:
        """Which cell it is."""
        return Cell(self.arm, self.downstream, self.k, self.draw, self.scored_on)


class Table:
    """The finished cells.

    Parameters
    ----------
    path : path
        The CSV.

    Raises
    ------
    MedsslError
        If the file is not such a table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.refresh()

    def __contains__(self, cell: object) -> bool:
        return any(row.cell == cell for row in self.rows)

    def add(self, rows: list[Row]) -> None:
        """Store finished cells; either all of them are in the file afterwards, or none.

        Several processes may add to one table. Of a cell that two of them finished (one of a session that was killed
        before may still be at it) the later row counts.
        """
        cells = {row.cell for row in rows}
        with self._alone():
            self.rows = [row for row in self.rows if row.cell not in cells] + rows
            self._write()

    def arrange(self, cells: Sequence[Cell]) -> None:
        """Bring rows into the order of `cells`, those of others to the end: who finished first does not show."""
        place = {cell: number for number, cell in enumerate(cells)}
        with self._alone():
            before = list(self.rows)
            self.rows.sort(key=lambda row: place.get(row.cell, len(place)))
            if self.rows != before:
                self._write()

    def refresh(self) -> None:
        """Read what was added meanwhile."""
        self.rows = _read(self.path) if self.path.is_file() else []

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with held(
            self.path.with_suffix(".lock"),
            busy=f"Another process has been writing {self.path} for a minute.",
            unwritable=f"{self.path} cannot be written",
            patience=60,
        ):
            self.refresh()
            yield

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(_rounded(asdict(row)) for row in self.rows)
        with atomic(self.path) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8", newline="")


def _rounded(row: Mapping[str, object]) -> dict[str, object]:
    return {
        key: round(value, 1 if key == "seconds" else 5) if isinstance(value, float) else value
        for key, value in row.items()
    }


def _read(path: Path) -> list[Row]:
    kinds = {field.name: str(field.type) for field in fields(Row)}
    convert = {"int": int, "float": float}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if list(reader.fieldnames or ()) != list(kinds):
            raise MedsslError(
                f"{path} is not the table of an experiment (columns: {', '.join(reader.fieldnames or ())}).",
                advice="Move it away, or give the experiment another name.",
            )
        try:
            return [
                Row(**{key: convert.get(kinds[key], str)(value) for key, value in line.items()})
                for line in reader
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise MedsslError(
                f"{path}, line {reader.line_num}, is damaged: {error}",
                advice="Remove the line; its cell is then computed again.",
            ) from error
