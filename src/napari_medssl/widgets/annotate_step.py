"""Step "Annotate": the parts of the loop in one column: choose an image, paint, see, train, go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QTabBar, QVBoxLayout, QWidget

from napari_medssl.widgets.annotate_header import AnnotateHeader
from napari_medssl.widgets.annotate_tools import AnnotateTools
from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.class_box import ClassBox
from napari_medssl.widgets.learn_bar import LearnBar
from napari_medssl.widgets.live_bar import LiveBar
from napari_medssl.widgets.objects_page import ObjectsPage
from napari_medssl.widgets.suggest_bar import SuggestBar
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medssl.widgets.session import Session

__all__ = ["AnnotateStep"]

# The parts, each a widget made for a session. Above the tabs and below them every page sees the same.
ABOVE: tuple[Callable[[Session], QWidget], ...] = (SuggestBar,)
"""Between the image's head and the tabs: what to annotate next."""
PAGES: dict[str, Callable[[Session], QWidget]] = {"Objects": ObjectsPage}
"""More tabs beside "Classes": title -> page."""
BELOW: tuple[Callable[[Session], QWidget], ...] = (LearnBar,)
"""Under the tabs: training."""


class AnnotateStep(QWidget):
    """Annotates the open image.

    Parameters
    ----------
    session : Session
        Whose open image is annotated.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.annotator = Annotator.of(session)
        self.header = AnnotateHeader(session)
        self.classes = ClassBox(session)
        self.tools = AnnotateTools(session)
        self.live = LiveBar(session)
        self.tabs = QTabBar()
        self.tabs.setAccessibleName("What to annotate")
        self.tabs.setDrawBase(False)
        self.tabs.setExpanding(True)
        self.tabs.setStyleSheet(
            "QTabBar::tab:selected { font-weight: bold; }"
        )  # not by colour alone
        painting = QWidget()
        column = QVBoxLayout(painting)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.classes)
        column.addWidget(self.tools)
        column.addWidget(self.live)  # learns from what is painted here; the objects need the room
        self.pages: dict[str, QWidget] = {"Classes": painting}
        self.pages |= {title: make(session) for title, make in PAGES.items()}
        for title in self.pages:
            self.tabs.addTab(title)
        self.tabs.setVisible(len(self.pages) > 1)
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        set_role(self.hint, "hint")
        self.above = [make(session) for make in ABOVE]
        self.below = [make(session) for make in BELOW]
        self._lay_out()
        self.tabs.currentChanged.connect(self._show_page)
        self._show_page(0)
        self.annotator.hint.connect(self._say)
        self.annotator.saving.changed.connect(self._on_saving)
        session.image_changed.connect(self._on_image)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 4)
        column.setSpacing(3)  # with a hint shown, too, all of it fits a screen 800 pixels high
        column.addWidget(self.header)
        for part in self.above:
            column.addWidget(part)
        column.addWidget(self.tabs)
        for page in self.pages.values():
            column.addWidget(page)
        column.addWidget(self.hint)
        for part in self.below:
            column.addWidget(part)
        column.addStretch(1)

    def _on_image(self) -> None:
        self._say("")

    def _on_saving(self) -> None:
        if self.annotator.state == "unsaved":  # with a new stroke the last sentence is out of date
            self._say("")

    def _say(self, sentence: str) -> None:
        self.hint.setText(sentence)
        self.hint.setVisible(bool(sentence))

    def _show_page(self, index: int) -> None:
        # the page alone takes room, not the tallest of all as in a stack
        self._say("")
        for number, page in enumerate(self.pages.values()):
            page.setVisible(number == index)
