"""What there is one of in a session, made when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

if TYPE_CHECKING:
    from typing import Self

    from napari_medssl.widgets.session import Session

__all__ = ["PerSession"]


class PerSession(QObject):
    """One per session; get it with `of`.

    Parameters
    ----------
    session : Session
        Which; it owns the object.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session

    @property
    def session(self) -> Session:
        """Whose it is."""
        return self._session

    @classmethod
    def of(cls, session: Session) -> Self:
        """Return the session's, making it on first use."""
        return cls.find(session) or cls(session)

    @classmethod
    def find(cls, session: Session) -> Self | None:
        """Return the session's, if it was ever used."""
        found = session.findChild(cls)
        return found if isinstance(found, cls) else None
