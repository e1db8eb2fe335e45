"""Runs, methods and settings as tables for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medssl.cli.settings import fields
from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Progress, Started
from napari_medssl.project.weights_header import ancestry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_medssl.engine.protocol import Description, Method
    from napari_medssl.project import Project, Run

__all__ = ["describe_job", "describe_method", "list_methods", "list_runs", "table"]

_BEST: Mapping[str, Any] = {
    "estimate/dice": max,
    "validation/dice": max,
    "validation/loss": min,
    "loss": min,
}
"""What counts as a run's best score: the first of these that it has, and which end is good."""

_WORDS = {"estimate/dice": "leave-one-out Dice"}


def list_runs(project: Project) -> tuple[list[dict[str, Any]], str]:
    """List the runs of a project, newest first, for programs and for people."""
    data = [_run_entry(run) for run in project.runs()]
    if not data:
        return data, "No runs yet: medssl pretrain makes one."
    rows = [
        [
            entry["run"],
            entry["kind"],
            entry["method"],
            entry["status"],
            f"{entry['step']}/{entry['total']}" if entry["total"] else "",
            f"{_WORDS.get(entry['score'], entry['score'])} {entry['best']:.4g}"
            if entry["score"]
            else "",
            entry["problem"] or " > ".join(entry["ancestry"]),
        ]
        for entry in data
    ]
    return data, table(["run", "kind", "method", "status", "steps", "best", "descends from"], rows)


def list_methods(known: Description) -> str:
    """List the pretext methods and the jobs."""
    rows = [[method.key, method.title, method.summary] for method in known.methods]
    return "\n".join(
        [
            table(["method", "name", "what it does"], rows),
            "",
            f"encoders: {', '.join(known.encoders)}",
            f"device: {known.device.label} ({known.device.reason})",
            "",
            "`medssl describe METHOD` lists the settings of a method, "
            f"`medssl describe {'|'.join(known.jobs)}` those of a job.",
        ]
    )


def describe_method(known: Description, method: Method) -> str:
    """List the settings of a pretext method, and those of its training."""
    own = {f"method_config.{key}": field for key, field in fields(method.config_schema).items()}
    lines = [f"{method.title}: {method.summary}"]
    if method.paper:
        lines.append(f"Paper: {method.paper}")
    return "\n".join([*lines, "", _settings_table(own | _job_fields(known, "pretrain"))])


def describe_job(known: Description, kind: str) -> str:
    """List the settings of a kind of job."""
    return _settings_table(_job_fields(known, kind))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out cells in columns, flush left."""
    widths = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [head, rule, *rows]
    )


def _job_fields(known: Description, kind: str) -> dict[str, dict[str, Any]]:
    hidden = {"kind", "project", "method", "method_config"}
    return {k: field for k, field in fields(known.jobs[kind]).items() if k not in hidden}


def _settings_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [
            key,
            _value(field.get("default")),
            _allowed(field),
            _one_line(field.get("description", "")),
        ]
        for key, field in found.items()
    ]
    return table(["setting", "default", "allowed", "meaning"], rows)


def _allowed(field: Mapping[str, Any]) -> str:
    """Say what a JSON Schema allows."""
    if "enum" in field:
        return " | ".join(_value(choice) for choice in field["enum"])
    if "const" in field:
        return _value(field["const"])
    if "anyOf" in field:
        return " or ".join(_allowed(choice) for choice in field["anyOf"])
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    parts = []
    if low is not None:
        parts.append(f"{'>' if 'exclusiveMinimum' in field else '>='} {low:g}")
    if high is not None:
        parts.append(f"{'<' if 'exclusiveMaximum' in field else '<='} {high:g}")
    if "multipleOf" in field:
        parts.append(f"multiple of {field['multipleOf']:g}")
    names = {
        "integer": "whole number",
        "boolean": "true | false",
        "array": "list",
        "string": "text",
    }
    kind = str(field.get("type", ""))
    return " ".join([names.get(kind, kind), ", ".join(parts)]).strip()


def _value(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _run_entry(run: Run) -> dict[str, Any]:
    step = total = 0
    summary = ""
    for event in run.events():
        if isinstance(event, Started) or (isinstance(event, Progress) and not event.doing):
            step, total = event.step, event.total
        elif isinstance(event, Done):
            summary = event.summary
    try:
        descent, problem = ancestry(run), ""
    except MedsslError as error:  # one damaged file does not hide the other runs
        descent, problem = (), error.message
    ends = {name: [(step, value)] for name, value in run.outcome.items()}
    metrics = ends | run.metrics()
    score = next((name for name in _BEST if metrics.get(name)), "")
    return {
        "run": run.name,
        "kind": run.kind,
        "method": run.method,
        "status": run.status,
        "step": step,
        "total": total,
        "score": score,
        "best": _BEST[score](value for _, value in metrics[score]) if score else None,
        "ancestry": list(descent),
        "problem": problem,
        "summary": summary,
    }
