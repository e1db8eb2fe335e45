"""The root of every error that the user can mend."""

from __future__ import annotations

__all__ = ["MedsslError"]


class MedsslError(Exception):
    """Something the user can act on.

    Parameters
    ----------
    message : str
        What happened, with the value and the reason, as a sentence.
    advice : str
        What to do about it, as a sentence; may be empty.
    """

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()
