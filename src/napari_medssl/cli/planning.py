"""`medssl recommend`, `compare` and `groups`: what to do with a folder, and what is known of its images."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

from napari_medssl.cli.arguments import open_project, run_job
from napari_medssl.cli.listing import table
from napari_medssl.cli.settings import assign, fields, read_config
from napari_medssl.config import ConfigError
from napari_medssl.project import PatternRule, check_rule, table_columns, table_rule
from napari_medssl.project.method_comparison import HEAD, comparisons_of
from napari_medssl.project.paths import given

if TYPE_CHECKING:
    import argparse

    from napari_medssl.cli.display import Sink
    from napari_medssl.plan import Start
    from napari_medssl.project import ImageRule, Project

__all__ = ["compare", "groups", "image_rules", "recommend", "start_of", "told"]

DONE = 0
_WIDTH = 70
_SETTINGS = {"groups": "groups", "labels": "image_labels"}
"""What the options call it -> what the project calls it."""
_WORDS = {"groups": "Groups", "labels": "Classes of whole images"}


def recommend(args: argparse.Namespace, sink: Sink) -> int:
    """Say what suits a project, and why."""
    from napari_medssl.learn.recommend import recommend as plan

    found = plan(
        open_project(args.project),
        method=args.method,
        start=start_of(args.weights),
        device=args.device or "auto",
    )
    rows = []
    for item in found.advice:
        for number, line in enumerate(wrap(item.why, _WIDTH)):
            rows.append(["", "", "", line] if number else [item.name, item.value, item.basis, line])
    text = f"{found.headline()}\n\n{table(['choice', 'recommended', 'rests on', 'why'], rows)}"
    carried_out = f"medssl pretrain {args.project} --recommended"
    if args.weights is not None:
        carried_out += f" --weights {args.weights}"
    sink.result(found.model_dump(mode="json"), f"{text}\n\nTo do so: {carried_out}")
    return DONE


def compare(args: argparse.Namespace, sink: Sink) -> int:
    """Compare methods on the project's own annotations."""
    from napari_medssl.engine.job import CompareJob
    from napari_medssl.engine.method_plan import settled, what_it_takes

    project = open_project(args.project)
    job: dict[str, Any] = read_config(args.config) if args.config else {}
    if job.get("kind", "compare") != "compare":
        raise ConfigError(f"{args.config}: is a job of kind {job['kind']!r}, not a comparison.")
    job |= {"kind": "compare", "project": str(project.path)}
    for name in ("methods", "minutes", "seed", "device"):
        if getattr(args, name) is not None:
            job[name] = getattr(args, name)
    assign(job, args.settings, fields(CompareJob.model_json_schema()))
    if args.estimate:
        _, planned = settled(CompareJob.parse(job, where="job"), project)
        text = what_it_takes(planned)
        sink.result({"text": text, "seconds": sum(planned.expected.values())}, text)
        return DONE
    code = run_job(job, sink)
    if code == DONE:
        found = next(iter(comparisons_of(project).values()))
        data = found.model_dump(mode="json", include={"candidates"})
        best = None if found.best is None else found.best.title
        data |= {"best": best, "verdict": found.verdict()}
        sink.result(data, f"\n{table(HEAD, found.rows())}")
    return code


def start_of(weights: str | None) -> Start | None:
    """Say what kind of start ``--weights`` asks for; None where it was not given."""
    if weights is None:
        return None
    return "none" if weights == "none" else "imagenet" if weights == "imagenet" else "file"


def groups(args: argparse.Namespace, sink: Sink) -> int:
    """Show or change the groups and the classes of whole images."""
    project = open_project(args.project)
    changes: dict[str, Any] = image_rules(args)
    for name, setting in _SETTINGS.items():
        if getattr(args, f"no_{name}"):
            changes[setting] = None
    if changes:
        project.update(**changes)
    data, text = told(project)
    sink.result(data, text)
    return DONE


def told(project: Project, *, only_given: bool = False) -> tuple[dict[str, Any], str]:
    """Say what groups and classes the images of a project have, for programs and for people."""
    data: dict[str, Any] = {}
    parts = []
    for name, setting in _SETTINGS.items():
        rule: ImageRule | None = getattr(project.settings, setting)
        if rule is not None:
            report = check_rule(rule, project.images, folder=project.path)
            data[setting] = {
                "rule": rule.model_dump(mode="json"),
                "report": report.model_dump(mode="json"),
            }
            parts.append(f"{_WORDS[name]}: {report.text()}")
        elif not only_given:
            data[setting] = None
            parts.append(f"{_WORDS[name]}: none given (--{name}-csv or --{name}-pattern).")
    return data, "\n".join(parts)


def image_rules(args: argparse.Namespace) -> dict[str, ImageRule]:
    """Read the options for groups and labels into settings of a project; those that were not given are left out.

    Raises
    ------
    ConfigError
        If they contradict each other, or a table lacks its column.
    """
    found: dict[str, ImageRule] = {}
    for name, setting in _SETTINGS.items():
        csv, column = getattr(args, f"{name}_csv"), getattr(args, f"{name}_column")
        pattern = getattr(args, f"{name}_pattern")
        if pattern is not None and (csv or column) is not None:
            raise ConfigError(f"--{name}-pattern and --{name}-csv exclude each other.")
        if pattern is not None:
            found[setting] = PatternRule.parse({"pattern": pattern}, where=f"--{name}-pattern")
        elif csv is not None and column is not None:
            found[setting] = table_rule(csv, column)
        elif csv is not None:
            columns = ", ".join(table_columns(given(csv)))
            raise ConfigError(
                f"--{name}-csv {csv}: which column?",
                advice=f"Give --{name}-column; there are: {columns}.",
            )
        elif column is not None:
            raise ConfigError(f"--{name}-column {column}: of which table? Give --{name}-csv.")
    return found
