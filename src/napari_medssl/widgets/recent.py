"""The projects that were open last."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["Recent"]

_KEPT = 8


class Recent:
    """A short list of project folders, newest first, kept in a small file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def projects(self) -> list[Path]:
        """Return the remembered projects that still exist."""
        return [path for path in self._read() if (path / "project.json").is_file()]

    def add(self, project: Path) -> None:
        """Put a project first."""
        kept = [project, *(path for path in self._read() if path != project)][:_KEPT]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps([str(path) for path in kept], indent=1), encoding="utf-8")
        temporary.replace(self.path)

    def _read(self) -> list[Path]:
        if not self.path.is_file():
            return []
        try:
            listed = json.loads(self.path.read_text(encoding="utf-8"))
        except json.JSONDecodeError:  # only a convenience; the next `add` writes it anew
            return []
        return [Path(item) for item in listed if isinstance(item, str)]
