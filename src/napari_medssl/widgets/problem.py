"""What is shown when something failed: a sentence, what to do, and the details behind a button."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Action", "Level", "Problem"]

Level = Literal["error", "warning", "good"]


@dataclass(frozen=True)
class Action:
    """Something that can be done about a problem, as a button."""

    text: str
    do: Callable[[], None]


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
    level : {"error", "warning", "good"}
        ``good`` is the news that an earlier problem is over.
    about : str
        What it is about, in a word; a newer problem about the same takes the place of the older one.
    actions : tuple of Action
        Offered as buttons.
    """

    sentence: str
    advice: str = ""
    details: str = ""
    log: Path | None = None
    level: Level = "error"
    about: str = ""
    actions: tuple[Action, ...] = ()

    @classmethod
    def of(cls, error: BaseException, *, doing: str = "") -> Problem:
        """Word an exception.

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
        prefix = (
            f"{doing[:1].upper()}{doing[1:]} failed" if doing else "Something unexpected happened"
        )
        return cls(
            f"{prefix}: {said}",
            "Your annotations are kept. If it happens again, copy the report (Details) and send it to us.",
            details,
        )

    @property
    def text(self) -> str:
        """Sentence and advice in one line."""
        return f"{self.sentence} {self.advice}".strip()
