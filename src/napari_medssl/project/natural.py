"""The order of names that people expect."""

from __future__ import annotations

import re

__all__ = ["natural"]


def natural(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key by which ``a2.png`` comes before ``a10.png``."""
    parts = tuple(
        (0, int(part), part) if part.isdecimal() and part.isascii() else (1, 0, part.casefold())
        for part in re.split(r"([0-9]+)", name)
        if part
    )
    return parts, name
