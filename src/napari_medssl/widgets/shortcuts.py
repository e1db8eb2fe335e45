"""Keys that work on our own layers only, so that nothing of napari's or of other plugins is taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.key_bindings import coerce_keybinding

from napari_medssl.widgets.layers import marked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import napari
    from napari.layers import Layer

__all__ = ["bind_on_our_layers"]


def bind_on_our_layers(
    viewer: napari.Viewer, keys: Mapping[str, Callable[[Layer], Any]]
) -> Callable[[], None]:
    """Bind keys on every layer of ours that is there, and on those that come; returns what ends this.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers.
    keys : mapping of str to callable
        What each key does; called with the layer. A generator is run to its first ``yield`` when the
        key goes down, and on when it comes up.
    """

    def bind(layer: Layer) -> None:
        if marked(layer):
            for key, function in keys.items():
                layer.bind_key(key, function, overwrite=True)

    def on_inserted(event: Any) -> None:
        bind(event.value)

    for layer in viewer.layers:
        bind(layer)
    viewer.layers.events.inserted.connect(on_inserted)

    def end() -> None:
        viewer.layers.events.inserted.disconnect(on_inserted)
        for layer in viewer.layers:
            for key, function in keys.items():
                if (
                    layer.keymap.get(coerce_keybinding(key)) is function
                ):  # else bound anew meanwhile
                    layer.bind_key(key, None)

    return end
