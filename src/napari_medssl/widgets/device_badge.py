"""Where jobs run, and why there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QWidget

from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.widgets.session import Session

__all__ = ["DeviceBadge"]


class DeviceBadge(QLabel):
    """A framed word, CPU or GPU, with the reason as its tooltip.

    Parameters
    ----------
    session : Session
        Knows the device.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        session.busy_changed.connect(self.refresh)
        session.description_changed.connect(self.refresh)
        session.run_event.connect(self.refresh)
        self.refresh()

    def refresh(self, _: object = None) -> None:
        """Show the device that the session knows now."""
        device = self._session.device
        if device is None:
            self.setText("...")
            self.setToolTip("The engine has not said yet which device it uses.")
            return
        text = {"cpu": "CPU", "cuda": "GPU", "mps": "GPU"}[device.name]
        if self.text() != text:
            self.setText(text)
            set_role(self, "cpu" if device.name == "cpu" else "gpu")
        self.setToolTip(f"{device.label}: {device.reason}")
        self.setAccessibleName(f"Device: {device.label}")
