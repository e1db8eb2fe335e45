"""What the engine can do, for forms and for ``medssl describe``."""

from __future__ import annotations

from napari_medssl import __version__
from napari_medssl.engine.job import JOBS, ResumeJob
from napari_medssl.engine.protocol import Description, Method
from napari_medssl.learn.devices import choose_device
from napari_medssl.learn.networks import encoder_names
from napari_medssl.learn.pretext import methods

__all__ = ["describe"]


def describe() -> Description:
    """List the methods, the jobs with their settings, the encoders and the device."""
    return Description(
        version=__version__,
        device=choose_device(),
        encoders=encoder_names(),
        jobs={
            kind: job.model_json_schema()
            for kind, job in JOBS.items()
            if job is not ResumeJob  # has no settings
        },
        methods=[
            Method(
                key=key,
                title=method.title,
                summary=method.summary(),
                paper=method.paper,
                config_schema=method.config_type.model_json_schema(),
            )
            for key, method in methods().items()
        ],
    )
