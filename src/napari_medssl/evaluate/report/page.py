"""One HTML file with everything in it: no script, no font, no picture comes from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg

from napari_medssl.project.checkpoint import atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

__all__ = ["Report"]

_SHORT = 10
"""Rows of a table that a page does not part."""
_ITEMS = 4
"""Of a long list among settings that are shown."""
_DPI = 170  # sharp on high-resolution screens and on paper

_STYLE = """
:root { --ink: #1f2328; --faint: #59636e; --line: #d9dee3; --soft: #f5f7f9; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.2rem 1.2rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .5rem; padding-top: 1.1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.7rem 0 .3rem; }
p { margin: .5rem 0; max-width: 46rem; }
.lead { font-size: 1.08rem; color: var(--faint); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .9rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .32rem .8rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { font-size: .82rem; font-weight: 600; color: var(--faint); border-bottom: 2px solid var(--line); }
table.text td, table.text th { text-align: left; }
table.settings { font-size: .82rem; }
table.settings td { overflow-wrap: anywhere; max-width: 20rem; padding-top: .16rem; padding-bottom: .16rem; }
ul { max-width: 46rem; margin: .6rem 0; padding-left: 1.2rem; }
li { margin: .2rem 0; }
li.warning { list-style: "! "; }
tr.best td { font-weight: 600; }
tr.best td:first-child { box-shadow: -.6rem 0 0 #fff, -.75rem 0 0 var(--accent); }
figure { margin: 1.1rem 0 1.6rem; break-inside: avoid; }
figure:not(:has(figcaption)) { margin-bottom: .3rem; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption, .note { color: var(--faint); font-size: .88rem; max-width: 46rem; margin-top: .4rem; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .75rem .9rem;
  font: .82rem/1.5 ui-monospace, SFMono-Regular, Consolas, "Liberation Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; }
@media print { body { font-size: 10.5pt; } main { padding: 0; max-width: none; }
  h2, h3 { break-after: avoid; } pre, tr, table.short { break-inside: avoid; } thead { display: table-header-group; }
  .scroll { overflow-x: visible; } }
"""


class Report:
    """Collects the parts of a report in reading order; `write` makes the file.

    Parameters
    ----------
    title : str
        The heading.
    lead : str
        What it is about, in a sentence or two.
    """

    def __init__(self, title: str, *, lead: str) -> None:
        self._title = title
        self._parts = [f"<h1>{escape(title)}</h1>", f'<p class="lead">{escape(lead)}</p>']

    def section(self, title: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{escape(title)}</h2>")

    def subsection(self, title: str) -> None:
        """Begin a part of a section."""
        self._parts.append(f"<h3>{escape(title)}</h3>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def note(self, text: str) -> None:
        """Add a paragraph in small print."""
        self._parts.append(f'<p class="note">{escape(text)}</p>')

    def points(self, texts: Sequence[str], *, warnings: bool = False) -> None:
        """Add a list of sentences; `warnings` are marked by an exclamation mark."""
        mark = ' class="warning"' if warnings else ""
        items = "".join(f"<li{mark}>{escape(text)}</li>" for text in texts)
        self._parts.append(f"<ul>{items}</ul>")

    def settings(self, jobs: Mapping[str, Mapping[str, Any]]) -> None:
        """Add a table of the settings of jobs, a column each.

        Parameters
        ----------
        jobs : mapping of str to mapping
            Title -> settings, which may be nested.
        """
        columns = {title: _flat(job) for title, job in jobs.items()}
        keys = dict.fromkeys(key for column in columns.values() for key in column)
        rows = [[key, *(own.get(key, "") for own in columns.values())] for key in keys]
        self._table(["setting", *columns], rows, kind="text settings")

    def table(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        best: int | None = None,
        text: bool = False,
    ) -> None:
        """Add a table.

        Parameters
        ----------
        head, rows : sequence of str, sequence of sequence of str
            The cells.
        best : int, optional
            Index of a row to stress.
        text : bool
            Whether the cells are words (flush left) rather than numbers (flush right).
        """
        self._table(head, rows, kind="text" if text else "", best=best)

    def _table(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        kind: str,
        best: int | None = None,
    ) -> None:
        body = "".join(
            f"<tr{' class=best' if index == best else ''}>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in row)
            + "</tr>"
            for index, row in enumerate(rows)
        )
        heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
        kind = f"{kind} short".lstrip() if len(rows) <= _SHORT else kind
        of = f' class="{kind}"' if kind else ""
        self._parts.append(
            f'<div class="scroll"><table{of}><thead><tr>{heads}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def figure(self, figure: Figure, *, caption: str, alt: str) -> None:
        """Add a figure, as a PNG inside the file.

        Parameters
        ----------
        figure : matplotlib.figure.Figure
            The figure.
        caption : str
            What to see in it; may be empty where the next figure belongs to it.
        alt : str
            What it shows, for those who do not see it.
        """
        buffer = io.BytesIO()
        figure.set_dpi(_DPI)
        FigureCanvasAgg(figure)
        figure.savefig(buffer, format="png")
        width, _ = figure.get_size_inches()
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._parts.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alt)}" '
            f'style="width: {width * 96:.0f}px">{told}</figure>'
        )

    def commands(self, lines: Sequence[str]) -> None:
        """Add command lines."""
        self._parts.append(f"<pre>{escape(chr(10).join(lines))}</pre>")

    def write(self, path: Path) -> None:
        """Write the file, atomically."""
        page = (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self._title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
            "<body>\n<main>\n" + "\n".join(self._parts) + "\n</main>\n</body>\n</html>\n"
        )
        with atomic(path) as temporary:
            temporary.write_text(page, encoding="utf-8")


def _flat(job: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in job.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            more = f", ... ({len(value)} in all)" if len(value) > _ITEMS else ""
            flat[prefix + key] = ", ".join(map(str, value[:_ITEMS])) + more
        else:
            flat[prefix + key] = "" if value is None else str(value)
    return flat
