"""What is shown when something failed: a sentence, what to do, and the details behind a button."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """A failure in the user's words.

    Parameters
    ----------
    sentence : str
        What went wrong.
    advice : str
        What to do about it; may be empty.
    details : str
        Traceback or the end of the log, shown on request only.
    log : pathlib.Path, optional
        The whole log.
    """

    sentence: str
    advice: str = ""
    details: str = ""
    log: Path | None = None

    @classmethod
    def of(cls, error: BaseException, *, doing: str = "") -> Problem:
        """Word an exception that a background task ended with.

        Parameters
        ----------
        error : BaseException
            A `MedsslError` speaks for itself; of any other the type is named and the traceback
            goes into the details.
        doing : str
            What was being done, for example ``opening the project``.
        """
        details = "".join(traceback.format_exception(error))
        if isinstance(error, MedsslError):
            return cls(error.message, error.advice, details)
        if isinstance(error, OSError):
            where = f" ({error.filename})" if error.filename else ""
            said = f"{error.strerror or error}{where}"
        else:
            said = f"{type(error).__name__}: {error}"
        prefix = f"{doing[:1].upper()}{doing[1:]} failed: " if doing else ""
        return cls(f"{prefix}{said}", "The details tell where it happened.", details)
