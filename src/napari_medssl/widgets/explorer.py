"""Similarity by click: collects the examples, asks for the features they need, and maps the open image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from qtpy.QtCore import Signal

from napari_medssl.errors import MedsslError
from napari_medssl.explore.query import Point, Query, Region
from napari_medssl.widgets.features import Features
from napari_medssl.widgets.gl_guard import guard_canvas
from napari_medssl.widgets.heat_view import HeatView
from napari_medssl.widgets.one_by_one import OneByOne
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.pixel_clicks import PixelClicks, is_drawing, pixel_at
from napari_medssl.widgets.problem import Problem
from napari_medssl.widgets.shortcuts import bind_on_our_layers

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterator

    import napari
    import numpy as np
    from napari.layers import Image, Layer
    from numpy.typing import NDArray

    from napari_medssl.explore.store import EmbeddingStore
    from napari_medssl.widgets.features import State
    from napari_medssl.widgets.session import Session

__all__ = ["Explorer", "Part"]

Part = Point | Region


class _Shown(NamedTuple):
    """What a map answers."""

    query: Query
    features: Hashable
    """Of which network, source and image."""
    fine: bool
    """Whether it is of the open image's own features, not of the stored ones."""


class Explorer(PerSession):
    """One per session; get it with `Explorer.of`.

    The examples stay when another image is opened: they may lie in several, and are asked of each.

    Parameters
    ----------
    session : Session
        Whose open image is explored.
    """

    changed = Signal()
    """Anything that a panel shows."""
    query_changed = Signal()
    """`query` differs."""
    heat_changed = Signal()
    """Another map is shown, or none."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        guard_canvas(session.viewer)
        self.active = False
        self.following = False
        self.counter = False
        """Whether a plain click adds a counter-example, as one with Alt does."""
        self.parts: tuple[Part, ...] = ()
        """Examples and counter-examples, in the order in which they were given."""
        self.how: Literal["mean", "max"] = "mean"
        """How several examples make one map; with counter-examples it is always the contrast."""
        self._former: list[tuple[Part, ...]] = []
        self._cursor: tuple[int, int] | None = None
        self._going: tuple[str, int, int] | None = None
        self._match: tuple[int, int] | None = None
        self._clicks = PixelClicks(session, self, modifiers=("Shift", "Alt"))
        self._clicks.clicked.connect(self._on_click)
        self.view = HeatView(session)
        self.view.changed.connect(self.changed)
        self.features = Features(session)
        self.features.arrived.connect(self._compare)
        self.features.changed.connect(self.changed)
        self._stored: EmbeddingStore | None = None
        self._stored_names: frozenset[str] = frozenset()
        self._shown: _Shown | None = None
        self._comparing = OneByOne(session, self._compare)
        session.image_closing.connect(self._on_image_closing)
        session.image_changed.connect(self._on_image)
        session.runs_changed.connect(self._on_runs)
        session.project_changed.connect(self._on_project)
        self._project = session.project
        keys = {"Q": self._on_key, "W": self._on_hold, "Shift-Q": self._on_undo}
        bind_on_our_layers(session.viewer, keys)

    # -- what is asked ---------------------------------------------------------------------------

    @property
    def query(self) -> Query | None:
        """What is asked; None without an example."""
        if not any(part.positive for part in self.parts):
            return None
        counters = any(not part.positive for part in self.parts)
        return Query(
            points=tuple(part for part in self.parts if isinstance(part, Point)),
            regions=tuple(part for part in self.parts if isinstance(part, Region)),
            how="contrast" if counters else self.how,
        )

    def ask(self, y: int, x: int, *, add: bool = False, positive: bool = True) -> None:
        """Compare the image with a pixel.

        Parameters
        ----------
        y, x : int
            The pixel.
        add : bool
            Keep the examples given before; a counter-example always does.
        positive : bool
            Whether it is an example.

        A pixel outside the image is not asked.
        """
        image = self.session.image
        layer = self.session.image_layer
        if image is None or layer is None:
            return
        if not (0 <= y < layer.data.shape[0] and 0 <= x < layer.data.shape[1]):
            return
        point = Point(image=image, y=y, x=x, positive=positive)
        self._change((*self.parts, point) if add or not positive else (point,))

    def add_region(self, mask: NDArray[np.bool_], *, positive: bool = True) -> None:
        """Add a region of the open image, bool ``(Y, X)``, to the examples, or to the counter-examples."""
        if self.session.image is not None:
            region = Region.of(self.session.image, mask, positive=positive)
            self._change((*self.parts, region))

    def set_query(self, query: Query) -> None:
        """Ask what was kept earlier, of this image."""
        if query.how != "contrast":
            self.how = "max" if query.how == "max" else "mean"
        self._change((*query.points, *query.regions))

    def set_how(self, how: Literal["mean", "max"]) -> None:
        """Compare with the examples' mean, or with the nearest of them."""
        if how != self.how:
            self.how = how
            self.query_changed.emit()
            self._compare()
            self.changed.emit()

    def undo(self) -> None:
        """Take back the last change of the examples."""
        if self._former:
            self._change(self._former.pop(), undoing=True)

    @property
    def can_undo(self) -> bool:
        """Whether there is a change of the examples to take back."""
        return bool(self._former)

    def clear(self) -> None:
        """Forget the examples and remove the map."""
        self._cursor = self._match = None
        self.view.clear()
        self._shown = None
        self.heat_changed.emit()
        if self.parts:
            self._change(())
        self.changed.emit()

    def _change(self, parts: tuple[Part, ...], *, undoing: bool = False) -> None:
        if not undoing:
            self._former.append(self.parts)
        self.parts = parts
        self._match = None
        self._mark()
        self.query_changed.emit()
        if self.query is None:
            self._remove_map()
        self._compare()
        self.changed.emit()

    # -- commands --------------------------------------------------------------------------------

    def set_active(self, on: bool) -> None:
        """React to clicks in the image, or no longer."""
        if on == self.active:
            return
        self.active = on
        self._clicks.set_on(on)
        viewer = self.session.viewer
        if on:
            viewer.mouse_move_callbacks.append(self._on_move)
            self._stop_painting()
            self._show_all()
        else:
            viewer.mouse_move_callbacks.remove(self._on_move)
            self.set_following(False)
        self.changed.emit()

    def set_following(self, on: bool) -> None:
        """Compare with the pixel under the cursor, wherever it goes, or with the examples again."""
        if on == self.following:
            return
        if on:
            self.set_active(True)
        self.following = on
        self._cursor = None
        if not on:
            self._compare()
        self.changed.emit()

    def set_counter(self, on: bool) -> None:
        """Make a plain click a counter-example, for where the window manager takes Alt+click."""
        self.counter = on
        self.changed.emit()

    def set_source(self, source: str) -> None:
        """Look at other features of the network, see `napari_medssl.embed`."""
        if source != self.source:
            self.features.source = source
            self.changed.emit()
            self._on_runs()

    def set_full(self, on: bool) -> None:
        """Ask for a feature for every pixel of the open image, or for as many as the engine chooses."""
        if on != self.features.full:
            self.features.full = on
            self.changed.emit()
            self._on_runs()

    @property
    def source(self) -> str:
        """What of the network is looked at."""
        return self.features.source

    def go_to(self, image: str, y: int, x: int) -> None:
        """Open an image with its map, and look at a pixel of it."""
        self._going = (image, y, x)
        self.set_active(True)
        if image == self.session.image:
            self._arrive()
        else:
            self.session.open_image(image)

    def _arrive(self) -> None:
        going, self._going = self._going, None
        layer = self.session.image_layer
        if going is None or layer is None or going[0] != self.session.image:
            return
        self._match = going[1:]
        viewer, camera = self.session.viewer, self.session.viewer.scene.camera
        before = camera.zoom
        viewer.reset_view()
        camera.zoom = max(
            before, 2 * camera.zoom
        )  # else what is centred leaves half of the canvas empty
        camera.center = (*camera.center[:-2], *layer.data_to_world(going[1:])[-2:])
        self._mark()

    # -- mouse and keys --------------------------------------------------------------------------

    def _on_key(self, _: Layer) -> None:
        self.set_active(not self.active)

    def _on_undo(self, _: Layer) -> None:
        self.undo()

    def _on_hold(self, _: Layer) -> Iterator[None]:
        was = self.active
        self.set_following(True)
        yield
        self.set_following(False)
        if not was:
            self.set_active(False)

    def _on_click(self, y: int, x: int) -> None:
        held = self._clicks.held
        self.ask(y, x, add="Shift" in held, positive="Alt" not in held and not self.counter)

    def _on_move(self, viewer: napari.Viewer, event: Any) -> None:
        if not self.following or is_drawing(viewer):
            return
        pixel = pixel_at(self.session, event.position)
        if pixel is not None and pixel != self._cursor:
            self._cursor = pixel
            self._compare()

    def _stop_painting(self) -> None:
        # a click cannot both paint and ask
        viewer, layer = self.session.viewer, self.session.image_layer
        if layer is not None and viewer.dims.ndisplay == 2 and is_drawing(viewer):
            viewer.layers.selection.active = layer

    # -- the map ---------------------------------------------------------------------------------

    @property
    def heat(self) -> Image | None:
        """The layer with the map."""
        return self.view.heat

    @property
    def state(self) -> State:
        """Where the features are that the map needs."""
        return self.features.state

    @property
    def answered(self) -> bool:
        """Whether the map that is shown answers what is asked now, of the network and image as they are now."""
        image, query = self.session.image, self._asked()
        return (
            self.heat is not None
            and self._shown is not None
            and image is not None
            and self._shown[:2] == (query, self.features.key(image))
        )

    @property
    def first(self) -> bool:
        """Whether the map that is shown is of the stored features, until the finer ones are here."""
        return self.heat is not None and self._shown is not None and not self._shown.fine

    def offer_stored(self, store: EmbeddingStore | None, names: Collection[str]) -> None:
        """Take these images' stored features for a first map, until the finer ones are here."""
        self._stored, self._stored_names = store, frozenset(names)
        if store is not None and self.state == "computing" and not self.answered:
            self._compare()

    def _compare(self) -> None:
        """Map the open image; one comparison at a time, in a thread, and the newest question is next."""
        image, query = self.session.image, self._asked()
        if image is None:
            return
        names = [image] if query is None else [image, *query.images]
        fine = self.features.get(names)
        self.changed.emit()
        store = self._stored if self._stored_names.issuperset(names) else None
        key = self.features.key(image)
        nothing = query is None or (fine is None and store is None)
        other = self._shown is not None and self._shown.features != key
        if (nothing or other) and self._shown is not None and not self.answered:
            self._remove_map()  # it would pass for the answer until the features are here
        if query is None or nothing:
            return
        if self._comparing.postponed():
            return

        def work() -> NDArray[np.float32]:
            pixels = (
                store.pixels if fine is None and store is not None else (fine or {}).__getitem__
            )
            return pixels(image).heat(query.prototypes(pixels))

        def done(heat: NDArray[np.float32]) -> None:
            same = key == self.features.key(image)
            true = same and (store is self._stored if fine is None else self.features.has(fine))
            if true and image == self.session.image and self._asked() is not None:
                self._show(heat, _Shown(query, key, fine is not None))

        def failed(error: BaseException) -> None:
            if not self.answered:
                self._remove_map()
            self.session.problem.emit(Problem.of(error, doing="comparing the pixels"))

        self._comparing.start(work, on_result=done, on_failed=failed)

    def _asked(self) -> Query | None:
        """Give what the map answers now: the pixel under the cursor while it is followed, else the query."""
        if self._cursor is None or self.session.image is None:
            return self.query
        y, x = self._cursor
        return Query(points=(Point(image=self.session.image, y=y, x=x),))

    def _show(self, heat: NDArray[np.float32], shown: _Shown) -> None:
        try:
            self.view.show(heat, contrast=shown.query.how == "contrast")
        except MedsslError as error:
            self._remove_map()
            self.session.show_error(error, doing="showing the map")
            return
        self._shown = shown
        self.heat_changed.emit()
        self.changed.emit()

    def _remove_map(self) -> None:
        self._shown = None
        self.view.remove_map()
        self.heat_changed.emit()

    def _mark(self) -> None:
        try:
            self.view.show_examples(self.parts, match=self._match)
        except MedsslError as error:  # a region that was drawn on a larger image of the same name
            self.session.show_error(error, doing="marking the examples")

    def _show_all(self) -> None:
        self._mark()
        self._compare()

    # -- what others change ----------------------------------------------------------------------

    def _on_image_closing(self) -> None:
        if self.session.on_screen:
            self._cursor = self._match = None
            self.view.clear()
            self._shown = None
            self.heat_changed.emit()

    def _on_image(self) -> None:
        if self._going is not None:
            self._arrive()
        if self.active:
            self._show_all()
        self.changed.emit()

    def _on_runs(self) -> None:
        if self.active or self.heat is not None:
            self._compare()
        self.changed.emit()

    def _on_project(self) -> None:
        if self.session.project is not self._project:  # the examples are of images of the other one
            self._project = self.session.project
            self.parts, self._former = (), []
            self.view.clear()
            self._shown = None
            self.heat_changed.emit()
            self.query_changed.emit()
        self.changed.emit()
