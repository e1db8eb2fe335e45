"""Strict, frozen configuration: the base of every setting that is written to disk or shown in a form."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_medssl.errors import MedsslError

__all__ = ["Config", "ConfigError", "advanced", "explain", "refuse_newer", "version_of"]


class ConfigError(MedsslError, ValueError):
    """A setting was refused; the message names the setting, the value, the reason and what is allowed."""


class Config(BaseModel):
    """Base of all settings: unknown keys are refused, instances never change, defaults are checked too."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True
    )

    @classmethod
    def parse(cls, data: object, *, where: str = "") -> Any:
        """Validate `data`, raising one readable `ConfigError` instead of pydantic's report.

        Parameters
        ----------
        data : object
            Usually a dict read from JSON or YAML.
        where : str
            Where the data came from, for the message (a file name, a job).
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(explain(error, cls, where=where)) from error


def advanced(default: Any, **kwargs: Any) -> Any:
    """Give a field that forms keep folded away under "advanced"."""
    return Field(default, json_schema_extra={"advanced": True}, **kwargs)


def explain(error: ValidationError, model: type[BaseModel], *, where: str = "") -> str:
    """Say in sentences what pydantic refused: one line per setting, with value and reason.

    Parameters
    ----------
    error : ValidationError
        What pydantic raised.
    model : type of BaseModel
        The model that refused; its fields are listed when an unknown key was given.
    where : str
        Where the data came from.
    """
    lines = []
    for item in error.errors(include_url=False):
        if item["type"] == "default_factory_not_called":
            continue  # a default that follows from another setting, which was refused
        key = ".".join(str(part) for part in item["loc"]) or "(whole)"
        if item["type"] == "extra_forbidden":
            known = ", ".join(_fields_at(model, item["loc"][:-1]))
            lines.append(f"{key}: there is no such setting (known: {known})")
        elif item["type"] == "missing":
            lines.append(f"{key}: is missing")
        else:
            lines.append(f"{key} = {item['input']!r}: {item['msg']}")
    prefix = f"{where}: " if where else ""
    return prefix + "; ".join(lines)


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    current: type[BaseModel] = model
    for part in loc:
        field = current.model_fields.get(str(part))
        annotation = field.annotation if field is not None else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        current = annotation
    return list(current.model_fields)


def version_of(stored: object) -> int | None:
    """Give the ``schema_version`` of what was read from a file; None where it has none."""
    version = stored.get("schema_version") if isinstance(stored, dict) else None
    return version if isinstance(version, int) and not isinstance(version, bool) else None


def refuse_newer(stored: object, known: int, *, what: str, purpose: str = "use it") -> None:
    """Refuse what a newer version of this program wrote, whose meaning cannot be known.

    Parameters
    ----------
    stored : object
        What was read from a file.
    known : int
        The newest ``schema_version`` that can be read.
    what : str
        What it is, to begin a sentence with.
    purpose : str
        What updating is good for: "Update napari-medssl to ...".

    Raises
    ------
    MedsslError
        If it is newer.
    """
    version = version_of(stored)
    if version is not None and version > known:
        raise MedsslError(
            f"{what} was made by a newer napari-medssl (schema {version}; this one knows {known})."
            " Nothing was changed.",
            advice=f"Update napari-medssl to {purpose}.",
        )
