"""A window with text to read and to copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QFontDatabase, QGuiApplication
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLabel, QPlainTextEdit, QVBoxLayout

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QPushButton, QWidget

__all__ = ["TextDialog"]


class TextDialog(QDialog):
    """Shows text as it is, with a button that copies all of it.

    Parameters
    ----------
    title : str
        Of the window.
    text : str
        The text.
    heading : str
        Shown over it.
    copy : str
        The words on the button that copies.
    """

    def __init__(
        self,
        title: str,
        text: str = "",
        *,
        heading: str = "",
        copy: str = "Copy",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(title)
        self.resize(720, 420)
        self.heading = QLabel(heading)
        self.heading.setWordWrap(True)
        self.heading.setTextFormat(Qt.TextFormat.PlainText)
        self.text = QPlainTextEdit(text)
        self.text.setReadOnly(True)
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.text.setAccessibleName(title)
        self._buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self._buttons.rejected.connect(self.close)
        self.copy = self.add_button(copy, self._copy)
        column = QVBoxLayout(self)
        column.addWidget(self.heading)
        column.addWidget(self.text, 1)
        column.addWidget(self._buttons)

    def add_button(self, words: str, pressed: Callable[[], object]) -> QPushButton:
        """Add a button at the bottom."""
        button = self._buttons.addButton(words, QDialogButtonBox.ButtonRole.ActionRole)
        assert button is not None
        button.clicked.connect(lambda: pressed())
        return button

    def report(self) -> str:
        """Return what is copied."""
        return f"{self.heading.text()}\n\n{self.text.toPlainText()}".strip()

    def _copy(self) -> None:
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self.report())
