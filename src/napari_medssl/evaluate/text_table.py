"""A table of words, to be laid out as Markdown or HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["TextTable"]


class TextTable(NamedTuple):
    """The cells of a table; all columns but the first are numbers."""

    head: Sequence[str]
    body: Sequence[Sequence[str]]
    text: str = ""
    """What it shows, in a sentence or two; stands above it."""

    def markdown(self) -> str:
        """Lay text and table out as Markdown."""
        lines = [self.head, ["---", *["---:"] * (len(self.head) - 1)], *self.body]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"{self.text}\n\n{table}" if self.text else table
