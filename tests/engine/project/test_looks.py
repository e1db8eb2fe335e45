"""How images were looked at, and what is predicted, as the project folder holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.project.looks import MOST, Look, View, read_looks, write_looks

if TYPE_CHECKING:
    from pathlib import Path


def test_looks_come_back_and_the_oldest_are_forgotten(tmp_path: Path) -> None:
    look = Look(contrast=(3.0, 250.5), channels=("grey",), view=View(centre=(4.0, 5.5), zoom=2.5))
    looks = {f"{number}.png": Look() for number in range(MOST)} | {"last.png": look}
    write_looks(tmp_path, looks)
    found = read_looks(tmp_path)
    assert found["last.png"] == look
    assert len(found) == MOST
    assert "0.png" not in found


def test_what_cannot_be_read_is_told_with_what_to_do(tmp_path: Path) -> None:
    assert read_looks(tmp_path) == {}
    for content in ('{"schema_version": 99, "images": []}', '{"schema_version": 1, "ima'):
        (tmp_path / "views.json").write_text(content, encoding="utf-8")
        with pytest.raises(MedsslError) as told:
            read_looks(tmp_path)
        assert "views.json" in str(told.value)
        assert "delete it" in told.value.advice
