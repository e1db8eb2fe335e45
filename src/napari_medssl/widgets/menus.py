"""The entries in napari's Layers menus: they open the right widget at the right place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari import current_viewer
from napari.utils.notifications import show_info

from napari_medssl.widgets.layers import marked
from napari_medssl.widgets.session import Session
from napari_medssl.widgets.use_layer import use_layer

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

    from napari_medssl.widgets.workspace import Workspace

__all__ = ["annotate_layer", "evaluate_layer", "explore_layer", "segment_layer", "use_this_layer"]

_PLUGIN = "napari-medssl"


def segment_layer() -> None:
    """Open the workspace where the open image is segmented, or at the first step towards that."""
    steps = ("Predict", "Finetune", "Annotate")
    # Predict is possible before anything is trained, for runs of other projects; nobody asked for one of those here
    trained = Session.of(_viewer()).current_run is not None
    _open(*(steps if trained else steps[1:]))


def annotate_layer() -> None:
    """Open the workspace where the open image is painted on."""
    _open("Annotate")


def evaluate_layer() -> None:
    """Open the workspace where the current run is scored."""
    _open("Evaluate")


def explore_layer() -> None:
    """Open the Explore widget, ready for a click, or the workspace if no network is trained yet."""
    viewer = _viewer()
    session = Session.of(viewer)
    _open_image_of(viewer, session)
    if session.current_run is None:
        _open("Explore")
        return
    from napari_medssl.widgets.explorer import Explorer

    viewer.window.add_plugin_dock_widget(_PLUGIN, "Explore", tabify=True)
    Explorer.of(session).set_active(True)


def use_this_layer() -> None:
    """Open the workspace and store the selected layer in the open project, or in a new one."""
    session = Session.of(_viewer())
    _, workspace = session.viewer.window.add_plugin_dock_widget(_PLUGIN, "Workspace")
    workspace.open_step("Project")
    use_layer(session, workspace)


def _viewer() -> napari.Viewer:
    viewer = current_viewer()
    if viewer is None:
        raise RuntimeError("There is no napari viewer.")
    return viewer


def _open(*titles: str) -> None:
    """Open the workspace at the first of these steps that is possible, else at the step to take first."""
    viewer = _viewer()
    session = Session.of(viewer)
    _, widget = viewer.window.add_plugin_dock_widget(_PLUGIN, "Workspace")
    workspace: Workspace = widget
    _open_image_of(viewer, session)
    for title in titles:
        if workspace.steps[title].possible:
            workspace.open_step(title)
            return
    wanted = workspace.steps[titles[0]]
    if session.project is None:
        workspace.open_step("Project")
        show_info(
            "MedSSL works on a folder of images: choose the folder that holds yours in the step "
            "Project."
        )
    else:
        workspace.open_step("Pretrain")
        show_info(f"{titles[0]}: {wanted.info.why_not(session)}.")


def _open_image_of(viewer: napari.Viewer, session: Session) -> None:
    """Open the selected layer's file in the project, if it is one of the project's images."""
    layer = viewer.layers.selection.active
    project = session.project
    if project is None or layer is None or marked(layer):
        return
    name = _name_in(project.image_root, layer)
    if name in project.images and name != session.image:
        session.open_image(name)


def _name_in(root: Path, layer: Layer) -> str | None:
    if layer.source.path is None:
        return None
    path = Path(layer.source.path).resolve()
    return (
        path.relative_to(root.resolve()).as_posix() if path.is_relative_to(root.resolve()) else None
    )
