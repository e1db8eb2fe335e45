"""Our few colours, taken from napari's theme and taken again when it changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari.utils.theme import get_theme

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

__all__ = ["Colors", "colors_of", "set_role", "style_sheet"]


@dataclass(frozen=True)
class Colors:
    """Colours as ``#rrggbb``."""

    background: str
    foreground: str
    text: str
    faint: str
    accent: str
    warning: str
    error: str
    good: str
    train: str
    validation: str

    @property
    def is_dark(self) -> bool:
        """Whether the background is darker than the text."""
        return _luma(self.background) < _luma(self.text)


def colors_of(theme_name: str) -> Colors:
    """Return the colours that go with a napari theme."""
    theme = get_theme(theme_name)
    background, text = _hex(theme.background), _hex(theme.text)
    dark = _luma(background) < _luma(text)
    return Colors(
        background=background,
        foreground=_hex(theme.foreground),
        text=text,
        faint=_mix(text, background, 0.35),
        accent="#3d9be9" if dark else "#0063b1",
        warning="#ffb454" if dark else "#9a5b00",
        error="#ff7b72" if dark else "#b3261e",
        good="#6ccb5f" if dark else "#2c7a1f",
        train="#4aa8ff" if dark else "#0063b1",
        validation="#ffb454" if dark else "#b35900",
    )


def style_sheet(colors: Colors) -> str:
    """Return the style sheet of our widgets; roles are set with `set_role`."""
    on_accent = "#ffffff"
    button = _mix(colors.accent, "#000000", 0.25) if colors.is_dark else colors.accent
    return f"""
    QLabel[role="hint"] {{ color: {colors.faint}; }}
    QLabel[role="warning"] {{ color: {colors.warning}; }}
    QLabel[role="error"] {{ color: {colors.error}; font-weight: bold; }}
    QLabel[role="good"] {{ color: {colors.good}; }}
    QLabel[role="heading"] {{ font-weight: bold; }}
    QLabel[role="cpu"] {{ color: {colors.error}; font-weight: bold;
        border: 1px solid {colors.error}; border-radius: 3px; padding: 0px 5px; }}
    QLabel[role="gpu"] {{ color: {colors.good}; font-weight: bold;
        border: 1px solid {colors.good}; border-radius: 3px; padding: 0px 5px; }}
    QPushButton[role="primary"] {{ background-color: {button}; color: {on_accent};
        font-weight: bold; padding: 5px 10px; }}
    QPushButton[role="primary"]:disabled {{ background-color: {colors.foreground};
        color: {colors.faint}; }}
    QPushButton[role="step"]:hover {{ background-color: {_mix(colors.foreground, colors.text, 0.12)}; }}
    QPushButton:focus, QComboBox:focus, QLineEdit:focus, QAbstractSpinBox:focus, QToolButton:focus,
    QTableView:focus, QListView:focus {{ border: 1px solid {colors.accent}; }}
    QPushButton[role="step"] {{ text-align: left; padding: 4px 8px; border: none;
        border-radius: 3px; background-color: {colors.foreground}; color: {colors.text}; }}
    QPushButton[role="step"]:checked {{ font-weight: bold;
        border-left: 3px solid {colors.accent}; }}
    QPushButton[role="step"]:disabled {{ color: {colors.faint};
        background-color: {_mix(colors.foreground, colors.background, 0.6)}; }}
    QPushButton[role="step"]:focus {{ border: 1px solid {colors.accent}; }}
    QFrame[role="banner-error"] {{ border: 1px solid {colors.error}; border-radius: 4px; }}
    QFrame[role="banner-warning"] {{ border: 1px solid {colors.warning}; border-radius: 4px; }}
    QFrame[role="banner-good"] {{ border: 1px solid {colors.good}; border-radius: 4px; }}
    QFrame[role="strip"] {{ border: 1px solid {colors.accent}; border-radius: 4px; }}
    """


def set_role(widget: QWidget, role: str) -> QWidget:
    """Give a widget a role of the style sheet; call again to change it."""
    widget.setProperty("role", role)
    style = widget.style()
    if style is not None:
        style.unpolish(widget)
        style.polish(widget)
    return widget


def _hex(color: object) -> str:
    text = color.as_hex(format="long") if hasattr(color, "as_hex") else str(color)
    return str(text)[:7]


def _parts(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _luma(color: str) -> float:
    red, green, blue = _parts(color)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _mix(color: str, other: str, share: float) -> str:
    """Mix `share` of `other` into `color`."""
    mixed = (
        round(a * (1 - share) + b * share)
        for a, b in zip(_parts(color), _parts(other), strict=True)
    )
    return "#" + "".join(f"{part:02x}" for part in mixed)
