"""Which images are predicted by the run that is applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import Signal

from napari_medssl.project.image_files import label_files
from napari_medssl.project.prediction_table import predicted_images, weights_digest
from napari_medssl.project.project import PREDICTED_MAPS
from napari_medssl.widgets.one_by_one import OneByOne
from napari_medssl.widgets.per_session import PerSession

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_medssl.project import Project
    from napari_medssl.project.project import PredictedMap
    from napari_medssl.widgets.session import Session

__all__ = ["PredictedImages"]


class _Found(NamedTuple):
    names: tuple[str, ...]
    done: frozenset[str]
    maps: dict[PredictedMap, frozenset[str]]


_NOTHING = _Found((), frozenset(), {})


class PredictedImages(PerSession):
    """Follows the predictions on disk; one per session, see `PredictedImages.of`.

    Parameters
    ----------
    session : Session
        Whose project.
    """

    changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._found = _NOTHING
        self._key: tuple[Project, str] | None = None
        self._work = OneByOne(session, self.refresh)
        session.runs_changed.connect(self.refresh)
        session.images_changed.connect(self.refresh)
        session.jobs.idle.connect(self.refresh)
        session.predictions.applied_changed.connect(self.refresh)
        session.saved_prediction.connect(self._on_saved)
        self.refresh()

    @property
    def names(self) -> tuple[str, ...]:
        """The images that have a prediction to look at, in the order of the project."""
        return self._found.names

    def done(self, maps: Collection[PredictedMap] = ()) -> frozenset[str]:
        """Give those that a job which skips what is done skips: predicted by these very weights, with these maps."""
        done = self._found.done
        for which in maps:
            done &= self._found.maps.get(which, frozenset())
        return done

    def refresh(self) -> None:
        """Look again; returns at once."""
        session = self._session
        project, name = session.project, session.predictions.name
        if project is None or name is None or self._key != (project, name):
            self._key = None  # nothing of another run is shown as if it were of this one
            self._show(_NOTHING)
        if project is None or name is None:
            return
        if self._work.postponed():
            return
        foreign = session.predictions.foreign

        def look() -> _Found:
            digest = foreign.weights if foreign is not None else _weights(project, name)
            return _look(project, name, digest)

        def show(found: _Found) -> None:
            if (session.project, session.predictions.name) == (project, name):
                self._key = (project, name)
                self._show(found)

        def failed(error: BaseException) -> None:
            session.show_error(error, doing="listing the predictions")

        self._work.start(look, on_result=show, on_failed=failed)

    def _show(self, found: _Found) -> None:
        if found != self._found:
            self._found = found
            self.changed.emit()

    def _on_saved(self, name: str, image: str) -> None:
        """Count an image at once while a job goes through the folder; all is looked at again at its end."""
        project, found = self._session.project, self._found
        if self._key != (project, name) or project is None:
            return
        if image not in found.names:
            have = {*found.names, image}
            found = found._replace(names=tuple(key for key in project.images if key in have))
        active = self._session.active
        kept = active.job if active is not None and active.kind == "predict" else {}
        asked = {"probability": kept.get("probabilities"), "uncertainty": kept.get("uncertainty")}
        maps = {key: names | {image} if asked[key] else names for key, names in found.maps.items()}
        self._show(found._replace(done=found.done | {image}, maps=maps))


def _weights(project: Project, run: str) -> str:
    weights = project.run(run).weights()
    return "" if weights is None else weights_digest(weights)


def _look(project: Project, name: str, weights: str) -> _Found:
    # whole folders at once: to look for each image of 20,000 takes half a minute
    def stored(folder: str) -> set[str]:
        return {image for image, _ in label_files(project.prediction_path(folder, "-").parent)}

    labels = stored(name)
    done = predicted_images(project, name, weights) & set(project.images)
    return _Found(
        tuple(image for image in project.images if image in labels),
        done,
        {which: done & stored(f"{name}.{which}") for which in PREDICTED_MAPS},
    )
