"""The job schemas of the engine, prepared for forms, and the jobs that forms describe."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from napari_medssl.widgets.form import resolve

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_medssl.engine.protocol import Description
    from napari_medssl.widgets.form import Form

__all__ = ["job_of", "job_schema"]

_PATCH = ("training", "patch_size")


def job_schema(
    description: Description, kind: str, *, fold: Collection[str] = ("device", "threads", "seed")
) -> dict[str, Any]:
    """Return the schema of a job with the encoders as a choice and some properties folded.

    Parameters
    ----------
    description : Description
        What the engine said.
    kind : str
        ``pretrain``, ``finetune`` or ``predict``.
    fold : collection of str
        Properties of the job that belong under "Advanced".
    """
    schema = copy.deepcopy(description.jobs[kind])
    definitions = schema.setdefault("$defs", {})
    properties = schema["properties"]
    for name in fold:
        if name in properties:
            properties[name]["advanced"] = True
    if "network" in properties:
        network = resolve(properties["network"], definitions)
        encoder = network["properties"]["encoder"]
        default = encoder.get("default")
        names = list(description.encoders)
        encoder["enum"] = names if default in names or default is None else [default, *names]
        properties["network"] = network
    return schema


def job_of(form: Form) -> dict[str, Any]:
    """Return what the form of a training says, without a patch size where the engine is to choose that, too.

    Raises
    ------
    napari_medssl.config.ConfigError
        If a text field holds what its type does not allow.
    """
    job = form.values()
    if job["scale"] is None and form.is_default(*_PATCH):
        del job["training"]["patch_size"]
    return job
