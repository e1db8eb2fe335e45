"""Groups and classes of whole images: from a table or from names."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from napari_medssl import Project
from napari_medssl.errors import MedsslError
from napari_medssl.project import (
    ImageRule,
    PatternRule,
    TableRule,
    check_rule,
    table_columns,
    table_rule,
)
from napari_medssl.project.image_rules import assign

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("p1/a.png", "p1/b.png", "p2/a.png", "p2/c.tif/t0", "p2/c.tif/t1", "d.nii.gz/z0")


def values_of(tmp_path: Path, text: str, column: str, **options: str) -> dict[str, str]:
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    return assign(table_rule(tmp_path / "list.csv", column, **options), NAMES, folder=tmp_path)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("p[0-9]", ["p1", "p1", "p2", "p2", "p2", None]),
        ("p([0-9])/", ["1", "1", "2", "2", "2", None]),
        ("[^/]+$", ["a.png", "b.png", "a.png", "c.tif", "c.tif", "d.nii.gz"]),
        ("/t([0-9])", [None, None, None, "0", "1", None]),
        ("(x)?a", [None] * 6),
    ],
)
def test_a_pattern_looks_at_the_file_first_and_then_at_the_plane(
    tmp_path: Path, pattern: str, expected: list[str | None]
) -> None:
    rule = PatternRule(pattern=pattern)
    wanted = {name: value for name, value in zip(NAMES, expected, strict=True) if value}
    if wanted:
        assert assign(rule, NAMES, folder=tmp_path) == wanted
    else:
        with pytest.raises(MedsslError, match="finds nothing in the names of the 6 images"):
            assign(rule, NAMES, folder=tmp_path)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_may_name_images_in_any_column_with_or_without_folder_and_extension(
    tmp_path: Path, separator: str
) -> None:
    rows = [
        ("patient", "file", "n"),
        ("Ann", "p1\\a.png", "1"),
        ('"Bo, the second"', "b", "2"),
        ("Cy", "p2/c", "3"),
        ("Di", "c.tif/t1", "no such name"),
        ("Ed", "p2/c.tif/t1", "its own value"),
        ("", "p2/a.png", "no value"),
        ("Flo", "d", ""),
    ]
    text = "\ufeff" + "\n".join(separator.join(row) for row in rows) + "\n\n"
    assert values_of(tmp_path, text, "patient") == {
        "p1/a.png": "Ann",
        "p1/b.png": "Bo, the second",
        "p2/c.tif/t0": "Cy",
        "p2/c.tif/t1": "Ed",
        "d.nii.gz/z0": "Flo",
    }
    assert table_columns(tmp_path / "list.csv") == rows[0]


def test_what_tables_write_for_nothing_is_no_value(tmp_path: Path) -> None:
    text = "file,patient\np1/a.png,NA\np1/b.png,-\np2/a.png, NaN \np2/c.tif,nancy\nd.nii.gz,\n"
    assert values_of(tmp_path, text, "patient") == {
        "p2/c.tif/t0": "nancy",
        "p2/c.tif/t1": "nancy",
    }


def test_a_name_that_two_files_have_names_neither(tmp_path: Path) -> None:
    assert values_of(tmp_path, "file,group\na.png,1\nb.png,2\n", "group") == {"p1/b.png": "2"}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {"column": "x"}, "is empty"),
        ("file,group\nb,1\n", {"column": "x"}, "no column 'x'. Its columns are 'file', 'group'"),
        ("file,group\nb,1\n", {"column": "group", "image_column": "y"}, "no column 'y'"),
        ("file,group\nz,1\n", {"column": "group"}, "no column names any of the 6 images, such as"),
        ("file,id,group\nb,z,1\n", {"column": "group", "image_column": "id"}, "'id' names none"),
        ("file,group\nb,\n", {"column": "group"}, "with a value in 'group' beside it"),
        ("file,group\nb,1\nb.png,2\n", {"column": "group"}, "two values .*: 1 and 2"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, text: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(MedsslError, match=message):
        values_of(tmp_path, text, **options)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MedsslError, match=r"cannot be read: No such file"):
        table_rule(tmp_path / "missing.csv", "x")
    (tmp_path / "list.csv").write_bytes("file,größe\n".encode("latin-1"))
    with pytest.raises(MedsslError, match=r"not text in UTF-8"):
        table_rule(tmp_path / "list.csv", "x")


def test_rules_are_kept_relative_to_the_project_and_move_with_it(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text("image,plate\ncell2,A\ncell3,B\n")
    names = PatternRule(pattern="wide|more")
    project = Project.create(
        folder, groups=table_rule(tmp_path / "list.csv", "plate"), image_labels=names
    )
    assert project.settings.groups == TableRule(table="../list.csv", column="plate")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for item in (project.path, folder, tmp_path / "list.csv"):
        shutil.move(item, moved)
    project = Project.open(moved / project.name)
    assert project.groups() == {"cell2.png": "A", "cell3.png": "B"}
    assert project.image_labels() == {"more/cell1.png": "more", "more/wide.png": "more"}
    project.update(image_labels=None)
    assert Project.open(project.path).image_labels() == {}
    (moved / "list.csv").unlink()
    with pytest.raises(MedsslError, match=r"list\.csv cannot be read"):
        project.groups()


@pytest.mark.parametrize(
    "rule", [PatternRule(pattern="nothing"), TableRule(table="missing.csv", column="x")]
)
def test_a_rule_that_gives_nothing_is_not_kept(
    folder: Path, project: Project, tmp_path: Path, rule: ImageRule
) -> None:
    before = (project.path / "project.json").read_bytes()
    with pytest.raises(MedsslError):
        project.update(groups=rule)
    assert (project.path / "project.json").read_bytes() == before
    with pytest.raises(MedsslError):
        Project.create(folder, project=tmp_path / "new", groups=rule)
    assert not (tmp_path / "new" / "project.json").exists()


def test_the_report_counts_and_gives_examples(project: Project) -> None:
    rule = PatternRule(pattern="cell(1)")
    report = check_rule(rule, project.images, folder=project.path)
    assert report.values == {"1": 3}
    assert report.text().splitlines() == [
        "3 of 12 images, 1 value: 1 (3).",
        "For example cell1.png is 1; cell10.png is 1; more/cell1.png is 1.",
        "Without a value: cell2.png, cell3.png, cell4.png and 6 more.",
    ]


def test_sunnybrook_patients_by_table_and_by_name(real_data: Path, tmp_path: Path) -> None:
    data = real_data / "sunnybrook_lv"
    project = Project.create(
        data / "images",
        project=tmp_path / "project",
        groups=table_rule(data / "LIST.tsv", "patient"),
        quick=True,
    )
    by_table = project.groups()
    assert (len(by_table), len(set(by_table.values()))) == (526, 30)
    project.update(groups=PatternRule(pattern=r"SC-[A-Z]+-(?:[A-Z]+-)?\d+"))
    assert project.groups() == by_table
