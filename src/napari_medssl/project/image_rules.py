"""What is known of whole images: the group each belongs to (patient, plate, field) and its class.

A rule says where that stands: in a column of a table, or in the names of the images.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.project.images import extension_of, split_plane
from napari_medssl.project.natural import natural
from napari_medssl.project.paths import given, relative_posix

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = [
    "ImageRule",
    "PatternRule",
    "RuleReport",
    "TableRule",
    "assign",
    "check_rule",
    "stored_rule",
    "table_columns",
    "table_rule",
]

_EXAMPLES = 3
_SHOWN_VALUES = 8
_MISSING = frozenset(("", "na", "n/a", "nan", "none", "null", "-"))
"""What tables write where they know nothing, in lower case."""


class PatternRule(Config):
    """The value stands in the image's name."""

    kind: Literal["pattern"] = "pattern"
    pattern: str = Field(min_length=1)
    """A regular expression, looked for anywhere in the name: its first group is the value, or all that it matches."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from error
        return value


class TableRule(Config):
    """The value stands in a table with a row for each image."""

    kind: Literal["table"] = "table"
    table: str = Field(min_length=1)
    """A CSV or TSV file whose first row names the columns: relative to the project folder, or absolute."""
    column: str
    """The column of the values; an empty cell, NA, NaN, none, null or - gives none."""
    image_column: str | None = None
    """The column of the image names; None for the one whose entries are names of images."""


ImageRule = Annotated[PatternRule | TableRule, Field(discriminator="kind")]


class RuleReport(Config):
    """What a rule gives for the images of a project."""

    n_images: int
    """Images of the project."""
    values: dict[str, int]
    """Value -> number of its images, in natural order."""
    examples: tuple[tuple[str, str], ...]
    """A few images and their values, spread over the folder."""
    left_out: tuple[str, ...]
    """A few of the images that the rule gives no value."""

    @property
    def n_matched(self) -> int:
        """Images that have a value."""
        return sum(self.values.values())

    def text(self) -> str:
        """Put the report into readable sentences, one a line."""
        counts = [f"{value} ({count})" for value, count in self.values.items()]
        shown = ", ".join(counts[:_SHOWN_VALUES])
        more = len(counts) - _SHOWN_VALUES
        noun = "value" if len(counts) == 1 else "values"
        lines = [
            f"{self.n_matched} of {self.n_images} images, {len(counts)} {noun}: {shown}"
            + (f" and {more} more." if more > 0 else "."),
            f"For example {'; '.join(f'{name} is {value}' for name, value in self.examples)}.",
        ]
        if self.left_out:
            more = self.n_images - self.n_matched - len(self.left_out)
            lines.append(
                f"Without a value: {', '.join(self.left_out)}"
                + (f" and {more} more." if more > 0 else ".")
            )
        return "\n".join(lines)


def table_rule(table: str | Path, column: str, *, image_column: str | None = None) -> TableRule:
    """Make the rule for a table, named as a user names files: relative to the working folder.

    Parameters
    ----------
    table : path
        A CSV or TSV file; its first row names the columns.
    column : str
        The column of the values.
    image_column : str, optional
        The column of the image names; default: the one whose entries are names of images.

    Raises
    ------
    MedsslError
        If the table cannot be read, or lacks a column.
    """
    path = given(table).resolve()
    columns = table_columns(path)
    for name in (column, image_column):
        if name is not None:
            _find_column(path, columns, name)
    return TableRule(table=path.as_posix(), column=column, image_column=image_column)


def stored_rule(rule: PatternRule | TableRule, folder: Path) -> PatternRule | TableRule:
    """Give the rule as a project folder stores it: with a path that survives moving project and table together.

    A table on another drive of a Windows machine keeps its absolute path; there is no other.
    """
    if isinstance(rule, PatternRule):
        return rule
    path = (folder / rule.table).resolve()
    if path.drive != folder.drive:
        return rule
    return rule.model_copy(update={"table": relative_posix(path, folder)})


def table_columns(table: Path) -> tuple[str, ...]:
    """Give the names of a table's columns.

    Raises
    ------
    MedsslError
        If it cannot be read, or has no columns.
    """
    return _read(table)[0]


def assign(rule: PatternRule | TableRule, images: Sequence[str], *, folder: Path) -> dict[str, str]:
    """Give the value of each image that the rule covers. Planes have the value of their file if that has one.

    Parameters
    ----------
    rule : PatternRule or TableRule
        Where the values stand.
    images : sequence of str
        Names of the images of a project.
    folder : Path
        The project folder, for a table's path.

    Returns
    -------
    dict
        Image -> value, in the order of `images`; those without a value are left out.

    Raises
    ------
    MedsslError
        If the table cannot be read or fits no image, or the pattern matches no name.
    """
    if isinstance(rule, PatternRule):
        return _by_pattern(rule.pattern, images)
    return _by_table(rule, images, (folder / rule.table).resolve())


def check_rule(rule: PatternRule | TableRule, images: Sequence[str], *, folder: Path) -> RuleReport:
    """Tell what a rule gives; parameters and errors as for `assign`."""
    found = assign(rule, images, folder=folder)
    matched = list(found)
    left_out = [name for name in images if name not in found]
    count = min(_EXAMPLES, len(matched))
    chosen = [matched[k * len(matched) // count] for k in range(count)]
    return RuleReport(
        n_images=len(images),
        values=dict(sorted(Counter(found.values()).items(), key=lambda item: natural(item[0]))),
        examples=tuple((name, found[name]) for name in chosen),
        left_out=tuple(left_out[:_EXAMPLES]),
    )


def _by_pattern(pattern: str, images: Sequence[str]) -> dict[str, str]:
    expression = re.compile(pattern)
    found = {}
    for name in images:
        file, _ = split_plane(name)
        match = expression.search(file) or expression.search(name)
        if match is not None and (value := match[1 if expression.groups else 0]):
            found[name] = value
    if not found:
        such = f", such as {images[0]}" if images else ""
        raise MedsslError(
            f"The pattern {pattern!r} finds nothing in the names of the {len(images)} images{such}.",
            advice="Check it on one name; a backslash may need quotes in a shell.",
        )
    return found


def _by_table(rule: TableRule, images: Sequence[str], path: Path) -> dict[str, str]:
    columns, rows = _read(path)
    value_at = _find_column(path, columns, rule.column)
    known = _known_as(images)
    if rule.image_column is not None:
        image_at = _find_column(path, columns, rule.image_column)
    else:
        hits = [sum(_entry(row, k) in known for row in rows) for k in range(len(columns))]
        hits[value_at] = 0
        image_at = hits.index(max(hits))
    values: dict[str, str] = {}
    for row in rows:
        name, value = known.get(_entry(row, image_at)), row[value_at].strip()
        if name is None or value.lower() in _MISSING:
            continue
        if values.setdefault(name, value) != value:
            raise MedsslError(
                f"{path} gives {name} two values in the column {rule.column!r}: {values[name]} and {value}.",
                advice="Mend the table: one value for each image.",
            )
    found = {}
    for name in images:
        own = values.get(name) or values.get(split_plane(name)[0])
        if own is not None:
            found[name] = own
    if not found:
        where = (
            f"the column {rule.image_column!r} names" if rule.image_column else "no column names"
        )
        such = f", such as {images[0]}" if images else ""
        raise MedsslError(
            f"In {path}, {where} {'none' if rule.image_column else 'any'} of the {len(images)} images{such}, with a"
            f" value in {rule.column!r} beside it. Its columns are {_listed(columns)}.",
            advice="A column must hold the names of the images, with or without extension and folder.",
        )
    return found


def _known_as(images: Iterable[str]) -> dict[str, str]:
    """Give what each image or file of planes may be called in a table -> its name; without what may mean several."""
    names = dict.fromkeys(images)
    files = dict.fromkeys(split_plane(name)[0] for name in names)
    called: dict[str, set[str]] = {}
    for file in files:
        for word in (file, PurePosixPath(file).name):
            for key in (word, word[: len(word) - len(extension_of(word))]):
                called.setdefault(key, set()).add(file)
    known = {key: next(iter(meant)) for key, meant in called.items() if len(meant) == 1}
    return known | {name: name for name in (*files, *names)}


def _read(path: Path) -> tuple[tuple[str, ...], list[list[str]]]:
    """Give the names of the columns, and the rows: all of them as long as there are columns."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            separator = max("\t;,", key=first.count)
            file.seek(0)
            lines = [line for line in csv.reader(file, delimiter=separator) if any(line)]
    except UnicodeDecodeError as error:
        raise MedsslError(
            f"{path} is not text in UTF-8 (byte {error.start}).",
            advice='Save the table as "CSV UTF-8".',
        ) from error
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise MedsslError(f"The table {path} cannot be read: {reason}.") from error
    if not lines:
        raise MedsslError(f"The table {path} is empty.")
    columns = tuple(name.strip() for name in lines[0])
    return columns, [(line + [""] * len(columns))[: len(columns)] for line in lines[1:]]


def _entry(row: Sequence[str], column: int) -> str:
    return row[column].strip().replace("\\", "/").removeprefix("./")


def _find_column(path: Path, columns: Sequence[str], name: str) -> int:
    if name not in columns:
        raise MedsslError(
            f"{path} has no column {name!r}. Its columns are {_listed(columns)}.",
            advice="Choose one of them.",
        )
    return columns.index(name)


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in columns)
