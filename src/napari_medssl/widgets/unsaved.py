"""What was drawn is saved before something closes; the question that is asked if it cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QMessageBox

from napari_medssl.errors import MedsslError
from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.object_editor import ObjectEditor

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_medssl.widgets.session import Session

__all__ = ["ask_about_unsaved", "check_saved", "flush_all", "save_all"]


def flush_all(session: Session) -> dict[str, BaseException]:
    """Save labels and objects before returning: something is about to close.

    Returns
    -------
    dict
        Name of the image -> why it cannot be saved; empty when everything is on the disk.
    """
    failed: dict[str, BaseException] = {}
    for keeper in _keepers(session):
        failed |= keeper.flush()
    return failed


def save_all(session: Session) -> None:
    """Send labels and objects to the disk; returns at once, what follows in the lane ``saving`` finds them there."""
    for keeper in _keepers(session):
        keeper.saving.save()


def check_saved(session: Session) -> None:
    """Refuse to go on from what is on the disk while something newer cannot be written.

    Raises
    ------
    MedsslError
        If that is so.
    """
    unsaved = dict.fromkeys(name for keeper in _keepers(session) for name in keeper.store.unsaved)
    if unsaved:
        names = ", ".join(list(unsaved)[:3]) + (" and others" if len(unsaved) > 3 else "")
        raise MedsslError(
            f"What you painted last on {names} is not saved, so nothing can learn from it.",
            advice="Make room on the disk, or make the project's folder writable, then try again.",
        )


def ask_about_unsaved(
    session: Session, parent: QWidget, *, on_leave: Callable[[], None]
) -> QMessageBox | None:
    """Save everything, and make the question to ask if something cannot be saved.

    Parameters
    ----------
    session : Session
        Whose labels and objects these are.
    parent : QWidget
        The window to ask in.
    on_leave : callable
        Called if the user wants to try again, or to leave without saving.

    Returns
    -------
    QMessageBox or None
        To be opened by the caller; None when everything is on the disk.
    """
    failed = flush_all(session)
    if not failed:
        return None
    names = ", ".join(list(failed)[:3]) + (" and others" if len(failed) > 3 else "")
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Warning)
    box.setWindowTitle("Not everything is saved")
    box.setText(f"What you painted last on {names} is not saved.")
    box.setInformativeText(f"{next(iter(failed.values()))}")
    again = box.addButton("Try again", QMessageBox.ButtonRole.AcceptRole)
    lose = box.addButton("Leave and lose it", QMessageBox.ButtonRole.DestructiveRole)
    stay = box.addButton("Stay", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(stay)
    box.setEscapeButton(stay)

    def answered() -> None:
        if box.clickedButton() is lose:
            for keeper in _keepers(session):
                keeper.store.discard()
        if box.clickedButton() in (again, lose):
            QTimer.singleShot(0, on_leave)  # when the box is gone: it may be asked again

    box.finished.connect(answered)
    return box


def _keepers(session: Session) -> list[Annotator | ObjectEditor]:
    found = (Annotator.find(session), ObjectEditor.find(session))
    return [keeper for keeper in found if keeper is not None]
