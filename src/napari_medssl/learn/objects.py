"""How the objects of a run's predictions are found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from napari_medssl.instances.finding import How
    from napari_medssl.learn.networks import ModelSpec

__all__ = ["ObjectsFrom", "way_to_objects"]

ObjectsFrom = Literal["auto", "none", "distance", "separate", "connected"]


def way_to_objects(spec: ModelSpec, wanted: ObjectsFrom, *, run: str) -> How | None:
    """Say how the objects of a run's predictions are found.

    Parameters
    ----------
    spec : ModelSpec
        Of the run's model.
    wanted : {"auto", "none", "distance", "separate", "connected"}
        ``auto``: in the map of distances where the model has one, else there are none.
    run : str
        Its name, for the message.

    Returns
    -------
    {"distance", "separate", "connected"} or None
        None where they are not told apart.

    Raises
    ------
    MedsslError
        If a map of distances is asked for that the model does not have.
    """
    if wanted == "auto":
        return "distance" if spec.objects else None
    if wanted == "distance" and not spec.objects:
        raise MedsslError(
            f"The run {run} has not learned objects, so it has no map of distances to find them in.",
            advice='Fine-tune with objects switched on, or part the classes at their necks ("separate").',
        )
    return None if wanted == "none" else wanted
