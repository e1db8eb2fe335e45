"""Explore, section "Colours": the open image in the colours of its features, the t-SNE map beside it, clusters."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.errors import MedsslError
from napari_medssl.explore.similarity import EmbeddingError
from napari_medssl.widgets.colour_layers import ColourLayers
from napari_medssl.widgets.drawn_region import drawn_region
from napari_medssl.widgets.feature_store import FeatureStore
from napari_medssl.widgets.long_work import LongWork
from napari_medssl.widgets.map_panel import MapPanel
from napari_medssl.widgets.one_by_one import OneByOne
from napari_medssl.widgets.pixel_clicks import PixelClicks
from napari_medssl.widgets.session import in_use
from napari_medssl.widgets.store_bar import StoreBar
from napari_medssl.widgets.theme import colors_of, set_role

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qtpy.QtGui import QHideEvent, QShowEvent

    from napari_medssl.explore.colouring import Colouring, Painted
    from napari_medssl.explore.colours import Kind
    from napari_medssl.widgets.explorer import Explorer
    from napari_medssl.widgets.feature_store import Standing
    from napari_medssl.widgets.long_work import Progress
    from napari_medssl.widgets.session import Session

__all__ = ["ColoursSection"]

_KINDS = (
    ("Main directions (PCA)", "pca", "Three main directions of the features as red, green, blue."),
    ("Map of the features (t-SNE)", "tsne", "Places on a flat map, and the map beside the image."),
    ("Clusters (k-means)", "kmeans", "Groups of alike features, as a layer of labels."),
)
_DOING = {"pca": "Main directions", "tsne": "Map", "kmeans": "Clusters"}
_MOST_SHARES = 12


class ColoursSection(QWidget):
    """Fits a colouring on the folder's stored features, and shows it on whichever image is open.

    Parameters
    ----------
    session : Session
        Whose open image is coloured.
    explorer : Explorer
        The session's.
    """

    def __init__(self, session: Session, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._explorer = explorer
        self._store = FeatureStore.of(session)
        self._layers = ColourLayers.of(session)
        self._colouring: Colouring | None = None
        self._of: tuple[object, ...] = ()
        self._standing: Standing | None = None
        self._painted: Painted | None = None
        self._why = ""
        self._painting = OneByOne(session, self._paint)
        self._clicks = PixelClicks(session, self)
        self._build()
        self.kind.activated.connect(self.refresh)
        self.show_button.clicked.connect(self.fit)
        self.opacity.valueChanged.connect(lambda value: self._layers.set_opacity(value / 100))
        self.remove.clicked.connect(self.clear)
        self.work.changed.connect(self.refresh)
        self.map.lit.connect(self._on_lit)
        self.map.region_wanted.connect(self._on_region)
        self._clicks.clicked.connect(self._on_pixel)
        self._store.changed.connect(self._on_store)
        explorer.changed.connect(self._on_explorer)
        session.image_closing.connect(self._on_image_closing)
        session.image_changed.connect(self._paint)
        session.project_changed.connect(self._on_store)
        session.viewer.events.theme.connect(self._on_theme)
        self.destroyed.connect(partial(_leave, self, session))
        self.refresh()

    def _build(self) -> None:
        self.bar = StoreBar(self._session)
        self.kind = QComboBox()
        self.kind.setAccessibleName("Colours by")
        for number, (title, kind, tip) in enumerate(_KINDS):
            self.kind.addItem(title, kind)
            self.kind.setItemData(number, tip, Qt.ItemDataRole.ToolTipRole)
        self.clusters = QSpinBox()
        self.clusters.setRange(2, 64)
        self.clusters.setValue(8)
        self.clusters.setAccessibleName("Number of clusters")
        self.clusters.setToolTip("How many clusters.")
        self.show_button = QPushButton("Show")
        self.show_button.setToolTip("Fit the colours on the stored features and show them.")
        set_role(self.show_button, "primary")
        self.work = LongWork(self._session)
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        set_role(self.hint, "hint")
        self.map = MapPanel(colors_of(self._session.viewer.theme))
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setValue(100)
        self.opacity.setAccessibleName("Opacity of the colours")
        self.opacity.setToolTip("How strongly the colours cover the image.")
        self.remove = QPushButton("Remove")
        self.remove.setToolTip("Remove the colours from the image.")
        choice = QHBoxLayout()
        choice.addWidget(self.kind, 1)
        choice.addWidget(self.clusters)
        choice.addWidget(self.show_button)
        self.shown = QWidget()
        row = QHBoxLayout(self.shown)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel("Opacity"))
        row.addWidget(self.opacity, 1)
        row.addWidget(self.remove)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.bar)
        column.addLayout(choice)
        column.addWidget(self.work)
        column.addWidget(self.hint)
        column.addWidget(self.shown)
        column.addWidget(self.map)

    # -- commands --------------------------------------------------------------------------------

    def fit(self) -> None:
        """Fit the chosen colouring on the folder, then show it; returns at once."""
        session, standing, project = self._session, self._store.standing, self._session.project
        store = standing.usable if standing is not None else None
        if store is None or project is None:
            return
        kind: Kind = self.kind.currentData()
        clusters = self.clusters.value()
        annotated = session.overview.annotated.images if kind == "tsne" else ()
        key = self._store.identity

        def work(progress: Progress) -> Colouring:
            from napari_medssl.explore.colouring import Colouring  # scikit-learn takes a second
            from napari_medssl.explore.labelled import MOST_IMAGES, evenly

            stored = [name for name in annotated if name in store.index.images]
            labels = (
                (name, project.annotations.read(name)) for name in evenly(stored, MOST_IMAGES)
            )
            return Colouring.of(store, kind, clusters=clusters, labels=labels, progress=progress)

        def fitted(colouring: Colouring) -> None:
            if key == self._store.identity:
                self._forget()
                self._colouring, self._of = colouring, key
                if colouring.places is not None:
                    self.map.show_map(colouring, project.settings.classes)
                self._standing = None  # more may have been stored since the fit began
                self._on_store()

        self.work.start(
            f"{_DOING[kind]} of {len(store)} images ...",
            work,
            doing="colouring the features",
            on_result=fitted,
        )
        self.work.stop.setEnabled(kind == "tsne")
        self.work.stop.setToolTip("" if kind == "tsne" else "This takes a few seconds.")

    def clear(self) -> None:
        """Remove the colours, and forget what was fitted."""
        self._forget()
        self.refresh()

    def refresh(self) -> None:
        """Show what is true now."""
        standing, kind = self._store.standing, self.kind.currentData()
        self.clusters.setVisible(kind == "kmeans")
        self.show_button.setEnabled(
            standing is not None and bool(standing.stored) and not self.work.running
        )
        self.shown.setVisible(self._colouring is not None)
        on_map = self._colouring is not None and self._colouring.places is not None
        self.map.setVisible(on_map)
        self._on_explorer()
        text = self._hint()
        self.hint.setText(text)
        self.hint.setVisible(bool(text))

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Catch up with what changed while another section was open."""
        super().showEvent(event)
        self._paint()

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802
        """Leave the clicks in the image to others."""
        super().hideEvent(event)
        self._clicks.set_on(False)

    # -- showing ---------------------------------------------------------------------------------

    def _hint(self) -> str:
        standing, painted = self._store.standing, self._painted
        if standing is not None and not standing.stored:
            return "Colours are fitted on the stored features of the folder: store them first."
        if self._why:
            return self._why
        if painted is not None and painted.clusters is not None:
            return f"Share of this image by cluster: {_shares(painted.clusters)}."
        if self._colouring is None:
            return str(self.kind.currentData(Qt.ItemDataRole.ToolTipRole))
        return ""

    def _paint(self) -> None:
        """Colour the open image, unless that is done; one at a time, and the image that is open then is next."""
        session, colouring, image = self._session, self._colouring, self._session.image
        done = self._painted is not None and self._painted.image == image
        theirs = self._of != self._store.identity  # of another run or project, or not known yet
        if (
            colouring is None
            or image is None
            or done
            or theirs
            or self._why
            or not self.isVisible()
        ):
            self.refresh()
            return
        if self._painting.postponed():
            return

        def current() -> bool:
            return colouring is self._colouring and image == session.image

        def painted(result: Painted) -> None:
            if current():
                self._why = ""
                self._show(result)

        def failed(error: BaseException) -> None:
            if not current():
                return
            if isinstance(error, EmbeddingError):  # not stored yet: no reason for an alarm
                self._why = error.message
                self.refresh()
            else:
                self._why = f"{image} could not be coloured."
                self.refresh()
                session.show_error(error, doing=f"colouring {image}")

        self._painting.start(lambda: colouring.paint(image), on_result=painted, on_failed=failed)

    def _show(self, painted: Painted) -> None:
        layer, colouring = self._session.image_layer, self._colouring
        if layer is None or colouring is None:
            return
        if layer.data.shape[:2] != painted.picture.shape[:2]:
            self._why = "The image changed since its features were stored: store them again."
            self.refresh()
            return
        self._painted = painted
        if painted.clusters is not None:
            self._layers.show_clusters(painted.clusters, colouring.palette)
        else:
            name = "colours (PCA)" if painted.grid is None else "colours (t-SNE)"
            self._layers.show_picture(painted.picture, name)
        if painted.grid is not None:
            self.map.show_image(painted)
        self.refresh()

    def _on_lit(self, cells: NDArray[np.bool_] | None) -> None:
        painted = self._painted
        self._layers.light_up(None if cells is None or painted is None else painted.pixels(cells))

    def _on_region(self) -> None:
        image, painted = self._session.image_layer, self._painted
        if image is None or painted is None:
            return
        try:
            mask = drawn_region(self._session.viewer, image)
        except MedsslError as error:
            self._session.show_error(error)
            return
        self.map.ring(painted.cells(mask), "The region")

    def _on_pixel(self, y: int, x: int) -> None:
        painted = self._painted
        if painted is None or painted.grid is None:
            return
        cells = np.zeros(painted.grid.shape[:2], bool)
        cells[y // painted.stride, x // painted.stride] = True
        self.map.ring(cells, f"The pixel at y {y}, x {x}")

    # -- what others change ----------------------------------------------------------------------

    def _on_store(self) -> None:
        standing = self._store.standing
        store = standing.usable if standing is not None else None
        if standing is None or standing is self._standing:
            self._paint()
            return
        self._standing, self._why = (
            standing,
            "",
        )  # what stood against colouring may be stored by now
        if self._colouring is not None:
            former = self._colouring.store.index
            if (
                store is None
                or self._of != self._store.identity
                or not former.made_alike(store.index)
            ):
                self._forget()  # they are other features
            else:
                self._colouring = replace(self._colouring, store=store)
                image = self._painted.image if self._painted is not None else ""
                if former.images.get(image) != store.index.images.get(image):
                    self._painted = None  # that image was stored anew
        self._paint()

    def _on_explorer(self) -> None:
        """Leave the clicks in the image to the query while it takes them."""
        on_map = self._colouring is not None and self._colouring.places is not None
        self._clicks.set_on(on_map and self.isVisible() and not self._explorer.active)

    def _on_image_closing(self) -> None:
        self._painted, self._why = None, ""
        self.map.show_image(None)

    def _forget(self) -> None:
        self._layers.clear()
        self._colouring = self._painted = None
        self._why = ""
        self.map.show_map(None, ())

    def _on_theme(self) -> None:
        self.map.set_colors(colors_of(self._session.viewer.theme))


def _leave(section: ColoursSection, session: Session, *_: object) -> None:
    """Take the colours of a section that is gone off the image: nobody else could."""
    if in_use(session):
        section._colouring = None
        section._clicks.set_on(False)
        section._layers.clear()


def _shares(clusters: NDArray[np.uint16]) -> str:
    counts = np.bincount(clusters.ravel())
    order = np.argsort(-counts, kind="stable")
    parts = [
        f"{number}: {counts[number] / clusters.size:.0%}" for number in order if counts[number]
    ]
    more = f" and {len(parts) - _MOST_SHARES} more" if len(parts) > _MOST_SHARES else ""
    return ", ".join(parts[:_MOST_SHARES]) + more
