"""From ``--config`` and ``--set key=value`` to the settings of a job.

Works on the JSON Schemas that the engine publishes, so that it knows no job and no method by name.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from napari_medssl.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Fields", "assign", "fields", "read_config"]

Fields = dict[str, dict[str, Any]]
"""Leaf settings by dotted key, each with its JSON Schema."""


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a job, or a part of one, from a YAML or JSON file.

    Raises
    ------
    ConfigError
        If the file cannot be read or does not hold settings by name.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}).") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML ({error}).") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path}: holds {type(data).__name__}, where settings by name are needed.",
            advice="Copy the job.json of a run folder to see the form.",
        )
    return data


def fields(schema: Mapping[str, Any]) -> Fields:
    """Flatten a JSON Schema: every leaf setting by its dotted key.

    Parameters
    ----------
    schema : mapping
        The JSON Schema of an object, references included in ``$defs``.
    """
    found: Fields = {}
    _collect(schema, schema.get("$defs", {}), "", found)
    return found


def assign(job: dict[str, Any], settings: Iterable[str], known: Fields) -> None:
    """Put ``key=value`` settings into a job, in place.

    Parameters
    ----------
    job : dict
        The job, as read from JSON.
    settings : iterable of str
        Each ``key=value``; the key dotted, or its last part alone where only one setting ends so.
        Values are YAML scalars or lists.
    known : dict
        All settings there are, from `fields`.

    Raises
    ------
    ConfigError
        If a setting has no ``=``, its key is unknown or ambiguous, or its value is not YAML.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(
                f"--set {setting}: a setting is given as key=value.",
                advice="For example --set training.steps=300.",
            )
        path = _resolve(key.strip(), known).split(".")
        try:
            value = _number(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {setting}: {text!r} is not a YAML value.") from error
        place = job
        for part in path[:-1]:
            inner = place.get(part)
            if not isinstance(inner, dict):
                inner = place[part] = {}
            place = inner
        place[path[-1]] = value


def _number(value: object) -> object:
    """Read ``1e-3`` as a number: YAML 1.1 takes it for text, people do not."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _resolve(key: str, known: Fields) -> str:
    if key in known:
        return key
    candidates = [name for name in known if name.rsplit(".", 1)[-1] == key]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise ConfigError(
            f"--set {key}: several settings have this name.",
            advice="Say which: " + ", ".join(candidates) + ".",
        )
    last_parts = {name.rsplit(".", 1)[-1]: name for name in known} | {name: name for name in known}
    close = difflib.get_close_matches(key, last_parts, n=3, cutoff=0.6)
    advice = "Did you mean " + " or ".join(dict.fromkeys(last_parts[name] for name in close)) + "?"
    raise ConfigError(
        f"--set {key}: there is no such setting (known: {', '.join(known)}).",
        advice=advice if close else "",
    )


def _collect(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str, found: Fields
) -> None:
    for name, raw in schema.get("properties", {}).items():
        field = _dereference(raw, definitions)
        if field.get("properties"):
            _collect(field, definitions, f"{prefix}{name}.", found)
        else:
            found[prefix + name] = field


def _dereference(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Follow ``$ref``; what stands beside the reference (default, description) wins."""
    merged = dict(field)
    while "$ref" in merged:
        name = str(merged.pop("$ref")).rsplit("/", 1)[-1]
        merged = {**definitions[name], **merged}
    return merged
