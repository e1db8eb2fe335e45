"""Two rows on what to annotate next: which image, why, and where in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAction,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_medssl.widgets.feature_store import FeatureStore
from napari_medssl.widgets.menu_button import MenuButton
from napari_medssl.widgets.rows import button, row
from napari_medssl.widgets.shortcuts import bind_on_our_layers
from napari_medssl.widgets.suggestions import Suggestions
from napari_medssl.widgets.theme import set_role
from napari_medssl.widgets.where_box import WhereBox

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medssl.explore.suggest import Suggestion
    from napari_medssl.widgets.session import Session

__all__ = ["SuggestBar"]

_OTHERS = 4
_WHERE = (
    "Jump to the part of this image to begin with: the most uncertain one, or before there is a prediction the one\n"
    "least like what is annotated. Press again to see the whole image."
)
_MEASURED = "In two measured folders, five suggested images taught no more than five random ones."
_NOWHERE = "Where to begin is known of suggested images, and of all once two classes are painted."


class SuggestBar(QWidget):
    """Opens the image that is best annotated next, says why, and shows where to look.

    Parameters
    ----------
    session : Session
        Whose images.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.suggestions = Suggestions.of(session)
        self.where_box = WhereBox.of(session)
        self._store = FeatureStore.of(session)
        self.next = button("Suggest next (G)", "")
        self.others = MenuButton("Others", "The next best images to annotate.")
        self.where = QPushButton("Show where (H)")
        self.where.setCheckable(True)
        self.text = QElidingLabel()
        self.text.setElideMode(Qt.TextElideMode.ElideRight)
        self.text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        set_role(self.text, "hint")
        self.store = button(
            "Store features",
            "Computes the features of every image once, and keeps them in the project.\n"
            "Suggestions compare images by them. How finely: step Explore, All images.",
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(row(self.next, self.others, self.where, stretch=self.next))
        column.addLayout(row(self.text, self.store, stretch=self.text))
        self._connect()
        self.refresh()

    def _connect(self) -> None:
        session, suggestions = self._session, self.suggestions
        self.next.clicked.connect(suggestions.open_next)
        self.where.clicked.connect(self.toggle_where)
        self.store.clicked.connect(self._store.start)
        suggestions.changed.connect(self.refresh)
        suggestions.progressed.connect(self._show_sentence)
        self.where_box.changed.connect(self.refresh)
        self._store.changed.connect(self.refresh)
        session.image_changed.connect(self.refresh)
        end = bind_on_our_layers(session.viewer, {"G": self._on_next_key, "H": self._on_where_key})
        self.destroyed.connect(lambda: end())

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Have the folder looked at, which takes a while if it is large."""
        super().showEvent(event)
        self.suggestions.watch()

    def toggle_where(self) -> None:
        """Show where in the open image to look first, or the image as a whole again."""
        image = self._session.image
        box = self.suggestions.box(image) if image is not None else None
        if self.where_box.shown:
            self.where_box.hide()
            self._session.viewer.reset_view()
        elif box is not None:
            self.where_box.show(box)
        self.refresh()

    def refresh(self) -> None:
        """Show what is true now."""
        suggestions, image = self.suggestions, self._session.image
        best = suggestions.best
        self.next.setEnabled(best is not None or suggestions.stand in ("looking", "failed"))
        self.next.setToolTip(
            f"Open {best.image}: {best.why}.\nWhat you painted is saved. {_MEASURED}"
            if best is not None
            else f"Open an image to annotate next.\n{_MEASURED}"
        )
        box = suggestions.box(image) if image is not None else None
        self.where.setEnabled(box is not None or self.where_box.shown)
        self.where.setChecked(self.where_box.shown)
        self.where.setToolTip(_WHERE if self.where.isEnabled() else _NOWHERE)
        job, active = self._store.job, self._session.active
        standing = self._store.standing
        self.store.setVisible(suggestions.stand == "not stored" and job is None)
        plan = standing.plan if standing is not None else None
        self.store.setEnabled(plan is not None and active is None)
        self._show_sentence()
        others = [item for item in suggestions.list if item is not best and item.image != image]
        self._fill_menu(others[:_OTHERS])

    def _show_sentence(self) -> None:
        self.text.setText(self._sentence(name_of=_very_short))
        self.text.setToolTip(f"{self._sentence()}\n{self._basis()}".strip())

    def _sentence(self, *, name_of: Callable[[str], str] = str) -> str:
        suggestions, image, best = self.suggestions, self._session.image, self.suggestions.best
        job = self._store.job
        if job is not None and suggestions.stand != "ready":
            if not job.total:
                return "Storing features: starting ..."
            return f"Storing features: {job.step} of {job.total} images."
        if suggestions.stand == "no run":
            return "Suggestions compare features: pretrain a network first."
        if suggestions.stand == "not stored":
            standing = self._store.standing
            why = standing.why if standing is not None else ""
            return why or "No features are stored yet."
        if suggestions.stand == "failed":
            return suggestions.why
        if suggestions.stand == "looking" and best is None:
            done, total = suggestions.progress
            so_far = f"{done} of {total} images compared" if total else "comparing the images"
            then = "; the best one opens then." if suggestions.wanted else " ..."
            return so_far.capitalize() + then
        reason = suggestions.reason(image) if image is not None else ""
        if reason:
            return f"This image: {reason}."
        if best is None:
            return "Every image with stored features is annotated."
        return f"Next: {name_of(best.image)}, {best.why}."

    def _basis(self) -> str:
        """Say by what images are compared, for the tooltip."""
        suggestions = self.suggestions
        if not suggestions.run:
            return ""
        how = (
            "Uncertain as a linear probe on these features is that learned from all your strokes, times how unlike "
            "the annotated images."
            if suggestions.by_uncertainty
            else "By how many images each stands for; by uncertainty later, when more images are annotated."
        )
        left_out = suggestions.left_out
        lacking = f"\nWithout stored features, so never suggested: {left_out}." if left_out else ""
        return f"By the features of {suggestions.run}.\n{how}{lacking}"

    def _fill_menu(self, items: list[Suggestion]) -> None:
        self.others.popup.clear()
        self.others.setEnabled(bool(items))
        for item in items:
            action = QAction(f"{_short(item.image)}: {item.why}", self.others.popup)
            action.setToolTip(item.image)
            self.others.popup.addAction(action)
            action.triggered.connect(lambda _=False, name=item.image: self.suggestions.open(name))

    def _on_next_key(self, _: object) -> None:
        self.suggestions.open_next()

    def _on_where_key(self, _: object) -> None:
        self.toggle_where()


def _short(name: str, most: int = 28) -> str:
    half = (most - 3) // 2
    return name if len(name) <= most else f"{name[:half]}...{name[half + 3 - most :]}"


def _very_short(name: str) -> str:
    return _short(name, 17)  # the reason must be seen beside it
