"""One training or prediction: a folder that describes itself."""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from napari_medssl.config import refuse_newer, version_of
from napari_medssl.errors import MedsslError
from napari_medssl.events import (
    AnyEvent,
    Done,
    Event,
    Failed,
    Note,
    Result,
    Saved,
    parse_event,
)
from napari_medssl.project.checkpoint import (
    TEMPORARY_PREFIX,
    WriteError,
    append_line,
    atomic,
    read_json,
    read_lines,
    read_lines_backwards,
    write_json,
)
from napari_medssl.project.locks import held, is_held
from napari_medssl.project.paths import given

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    _Row = tuple[int, str, float]

__all__ = ["Run", "RunStatus", "list_runs", "make_run", "without_version"]

RunStatus = Literal["running", "stopped", "failed", "done"]

SCHEMA_VERSION = 2
"""Of ``job.json``; one without any is of the first."""

_RETIRED = (
    *("pretrained_rate", "layer_decay", "l2_start", "batch_norm", "start_share"),
    *("validate_every", "patience", "held_out", "intensity"),
)
"""Settings of fine-tuning that version 2 no longer has."""

_NAME = re.compile(r"(?P<date>\d{8})-(?P<label>.+)-(?P<number>\d+)")
_COLUMNS = ["step", "name", "value"]


class Run:
    """A run folder; it may also lie outside a project, for example as a copy from a cluster.

    Parameters
    ----------
    path : path
        The folder.

    Raises
    ------
    MedsslError
        If there is no such folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = given(path).resolve()
        if not self.path.is_dir():
            raise MedsslError(f"There is no run folder {self.path}.")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def name(self) -> str:
        """The folder's name, ``<date>-<label>-<number>``."""
        return self.path.name

    @property
    def order(self) -> tuple[str, int, str]:
        """Sort key from oldest to newest: numbers count the runs of a day."""
        match = _NAME.fullmatch(self.name)
        return (match["date"], int(match["number"]), self.name) if match else ("", 0, self.name)

    @property
    def method(self) -> str:
        """The pretext method's key, or what the run's name says."""
        match = _NAME.fullmatch(self.name)
        label = match["label"] if match else self.name
        return str(self._told().get("method", label))

    @property
    def kind(self) -> str:
        """``pretrain``, ``finetune``, ...; empty before the job is written, or where it cannot be read."""
        return str(self._told().get("kind", ""))

    @property
    def job(self) -> dict[str, Any]:
        """What was asked for; empty before it is written.

        Raises
        ------
        MedsslError
            If ``job.json`` is damaged, or of a newer version.
        """
        if not self.job_path.is_file():
            return {}
        job = read_json(self.job_path)
        if not isinstance(job, dict):
            raise MedsslError(f"{self.job_path} is damaged: it holds no JSON object.")
        return without_version(job, where=f"The run {self.name}", unsaid=1)

    @property
    def job_version(self) -> int:
        """Schema version that ``job.json`` was written with."""
        return version_of(read_json(self.job_path)) or 1

    @property
    def job_path(self) -> Path:
        """``job.json``."""
        return self.path / "job.json"

    @property
    def events_path(self) -> Path:
        """``events.jsonl``."""
        return self.path / "events.jsonl"

    @property
    def metrics_path(self) -> Path:
        """``metrics.csv``."""
        return self.path / "metrics.csv"

    @property
    def best_path(self) -> Path:
        """``best.safetensors``: the weights with the best validation."""
        return self.path / "best.safetensors"

    @property
    def last_path(self) -> Path:
        """``last.safetensors``: the newest weights."""
        return self.path / "last.safetensors"

    @property
    def state_path(self) -> Path:
        """``state.pt``: what resuming needs besides."""
        return self.path / "state.pt"

    @property
    def status(self) -> RunStatus:
        """What became of the run, from its lock and its last event; a killed run counts as stopped."""
        if is_held(self.path / "run.lock"):
            return "running"
        event = self._last_step()
        if isinstance(event, Failed):
            return "failed"
        return "done" if isinstance(event, Done) and not event.stopped else "stopped"

    def weights(self, which: Literal["best", "last"] = "best") -> Path | None:
        """Give the weights to use.

        Parameters
        ----------
        which : {"best", "last"}
            ``best`` falls back to the last ones where no validation was made.

        Returns
        -------
        Path or None
            None as long as nothing was saved.
        """
        paths = {"best": (self.best_path, self.last_path), "last": (self.last_path,)}
        if which not in paths:
            raise MedsslError(f"There are no weights {which!r}; there are: best, last.")
        return next((path for path in paths[which] if path.is_file()), None)

    def write_job(self, job: Mapping[str, Any]) -> None:
        """Store what is asked for."""
        write_json(self.job_path, {"schema_version": SCHEMA_VERSION, **job})

    def append(self, event: Event) -> None:
        """Add an event to the log."""
        append_line(self.events_path, event.model_dump_json())

    def events(self) -> list[AnyEvent]:
        """Read the log; lines torn by a kill or written by a newer version are left out."""
        return [event for line in read_lines(self.events_path) if (event := _parsed(line))]

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Add values to ``metrics.csv``, a row each: step, name, value.

        Parameters
        ----------
        step : int
            Steps made so far.
        values : mapping
            Name -> value.
        """
        if not values:
            return
        if not self.metrics_path.is_file():
            self._write_metrics([])
        append_line(self.metrics_path, _csv((step, *item) for item in values.items()))

    def metrics(self) -> dict[str, list[tuple[int, float]]]:
        """Read ``metrics.csv``.

        Returns
        -------
        dict
            Name -> (step, value) pairs in the order of the file.
        """
        curves: dict[str, list[tuple[int, float]]] = {}
        for step, name, value in self._rows():
            curves.setdefault(name, []).append((step, value))
        return curves

    def truncate_metrics(self, after_step: int) -> None:
        """Drop the rows above a step: what was computed after the checkpoint one goes on from.

        Parameters
        ----------
        after_step : int
            The checkpoint's step, whose own rows stay.
        """
        if not self.metrics_path.is_file():
            return
        self._write_metrics(row for row in self._rows() if row[0] <= after_step)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run while working in it; the system lets go by itself when the process dies.

        Raises
        ------
        MedsslError
            If another process (or another place in this one) holds it, or a newer version made it.
        """
        _ = self.job  # refused in words where it is of a newer version
        with held(
            self.path / "run.lock",
            busy=f"The run {self.name} is being worked on by another process.",
            unwritable=f"The run {self.name} cannot be worked on",
        ):
            for stale in self.path.glob(f"{TEMPORARY_PREFIX}*"):
                stale.unlink(missing_ok=True)  # left by a kill; nobody else writes here now
            yield

    def _told(self) -> dict[str, Any]:
        """Give the job as far as a list of runs needs it: one run of a newer version does not hide the others."""
        try:
            return self.job
        except MedsslError:
            return {}

    def _last_step(self) -> AnyEvent | None:
        """Give the last event that tells where the job stands; a note or a file may come after the end."""
        for line in read_lines_backwards(self.events_path):
            event = _parsed(line)
            if event is not None and not isinstance(event, Note | Saved | Result):
                return event
        return None

    def _write_metrics(self, rows: Iterable[_Row]) -> None:
        with atomic(self.metrics_path) as temporary:
            lines = [",".join(_COLUMNS), *(_csv([row]) for row in rows)]
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")

    def _rows(self) -> Iterator[_Row]:
        for row in csv.reader(read_lines(self.metrics_path)):
            if row == _COLUMNS:
                continue
            if len(row) != 3:
                raise MedsslError(f"{self.metrics_path} is damaged: row {row}.")
            try:
                yield int(row[0]), row[1], float(row[2])
            except ValueError as error:
                raise MedsslError(f"{self.metrics_path} is damaged: row {row}.") from error


def without_version(
    job: Mapping[str, Any], *, where: str, unsaid: int = SCHEMA_VERSION
) -> dict[str, Any]:
    """Take the schema version off what a ``job.json`` holds, and read an older one as the newest.

    Version 1 knew no working scale (it reads as file pixels), and handed back the network alone.

    Parameters
    ----------
    job : mapping
        The job.
    where : str
        What holds it, to begin a sentence with.
    unsaid : int
        The version of one that tells none.

    Raises
    ------
    MedsslError
        If it is of a newer version, or the version is no number.
    """
    rest = dict(job)
    version = rest.pop("schema_version", unsaid)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise MedsslError(f"{where} is damaged: its schema_version is {version!r}.")
    refuse_newer(job, SCHEMA_VERSION, what=where)
    if version == 1 and rest.get("kind") in ("pretrain", "finetune"):
        rest.setdefault("scale", {"rule": "fixed", "value": 1.0})
        if rest["kind"] == "finetune" and isinstance(rest.get("training"), dict):
            kept = {k: v for k, v in rest["training"].items() if k not in _RETIRED}
            rest |= {"training": kept, "answer": "network", "estimate": False}
    return rest


def list_runs(folder: Path) -> list[Run]:
    """Give all runs of a folder, the newest first."""
    if not folder.is_dir():
        return []
    runs = [Run(item) for item in folder.iterdir() if item.is_dir() and item.name[0] != "."]
    return sorted(runs, key=lambda run: run.order, reverse=True)


def make_run(folder: Path, label: str) -> Run:
    """Make a run folder ``<date>-<label>-<number>``, the newest of its folder; numbers count all runs of a day.

    Parameters
    ----------
    folder : Path
        The project's runs.
    label : str
        Usually the method's key.

    Raises
    ------
    WriteError
        If the system refuses.
    """
    clean = re.sub(r"[^A-Za-z0-9_]+", "-", label).strip("-")
    if not clean:
        raise MedsslError(f"{label!r} cannot name a run: it has no letter or digit.")
    known = [run.order for run in list_runs(folder)]
    # Where the clock was set back, the day of the newest run: what comes later must not look older.
    day = max([_today(), *(order[0] for order in known)])
    number = max((order[1] for order in known if order[0] == day), default=0)
    while True:
        number += 1
        path = folder / f"{day}-{clean}-{number:02d}"
        try:
            folder.mkdir(exist_ok=True)
            path.mkdir()  # the lock against another process that wants the same name
        except FileExistsError:
            continue
        except OSError as error:
            raise WriteError(f"{path} cannot be made: {error.strerror}.") from error
        return Run(path)


def _today() -> str:
    return datetime.datetime.now().astimezone().strftime("%Y%m%d")


def _parsed(line: str) -> AnyEvent | None:
    try:
        return parse_event(line)
    except ValidationError:
        return None


def _csv(rows: Iterable[_Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows((step, name, repr(float(value))) for step, name, value in rows)
    return text.getvalue().removesuffix("\n")
