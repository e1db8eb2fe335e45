from __future__ import annotations

import json
from typing import Any

import pytest

from napari_medssl import Project
from napari_medssl.errors import MedsslError
from napari_medssl.project import ClassInfo

OLD = {
    "schema_version": 1,
    "image_root": "../images",
    "recursive": True,
    "excluded": [],
    "channels": ["grey"],
    "classes": [
        {"value": 1, "name": "background", "color": "#808080"},
        {"value": 2, "name": "nucleus", "color": "#e69f00"},
    ],
    "mask_values": {"0": 1, "255": 2},
    "task": "semantic",
    "normalisation": {"low": 2.0, "high": 99.0},
}


def test_a_project_of_the_first_schema_opens_and_is_rewritten_only_when_it_changes(
    project: Project,
) -> None:
    file = project.path / "project.json"
    text = json.dumps(OLD)
    file.write_text(text)
    opened = Project.open(project.path)
    assert opened.settings.schema_version == 4
    assert opened.settings.classes[1].name == "nucleus"
    assert opened.settings.normalisation.low == 2
    assert opened.settings.mask_values == {0: 1, 255: 2}
    assert opened.images == project.images
    assert file.read_text() == text
    classes = (*opened.settings.classes, ClassInfo(value=3, name="debris", color="#123456"))
    opened.update(classes=classes)
    assert (project.path / "project.json.v1.bak").read_text() == text
    assert json.loads(file.read_text())["schema_version"] == 4
    again = Project.open(project.path)
    assert again.settings == opened.settings
    again.update(recursive=False)
    assert (project.path / "project.json.v1.bak").read_text() == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_root": "/etc"}, "not relative"),
        ({"image_root": "C:/Windows"}, "not relative"),
        ({"image_root": "C:images"}, "not relative"),
        ({"image_root": "..\\..\\images"}, "not relative"),
        ({"image_root": ""}, "image_root"),
        ({"image_root": "a\0b"}, "no path has"),
        ({"image_root": "\ud800"}, "image_root"),
        ({"excluded": ["../secret"]}, "leads out of the image folder"),
        ({"excluded": ["a/../../b"]}, "leads out of the image folder"),
        ({"excluded": ["/etc"]}, "not relative"),
        ({"channels": ["a", "b"]}, "without channel_indices"),
        ({"channels": ["a", "a"], "channel_indices": [0, 1]}, "names that differ"),
        ({"channels": ["a"], "channel_indices": [-1]}, "count from 0"),
        ({"channels": [], "channel_indices": []}, "at least one"),
        ({"axes": {"QYX": "CY"}}, "one capital letter per axis"),
        ({"axes": {"QYX": "CYY"}}, "one Y and one X"),
        ({"schema_version": "2"}, "schema_version"),
        ({"schema_version": True}, "schema_version"),
        ({"schema_version": 0}, "schema_version"),
        ({"classes": [{"value": 1}]}, "classes"),
        (
            {"removed_classes": [{"value": 2, "name": "x", "color": "#000000"}]},
            "belongs to one class",
        ),
        ({"groups": {"kind": "pattern", "pattern": "("}}, "no regular expression"),
        ({"groups": {"kind": "table", "column": "a"}}, "table: is missing"),
        ({"image_labels": {"kind": "magic"}}, "image_labels"),
        ({"surprise": 1}, "there is no such setting"),
    ],
)
def test_settings_that_make_no_sense_or_lead_elsewhere_are_refused_in_words(
    project: Project, change: dict[str, Any], message: str
) -> None:
    file = project.path / "project.json"
    text = json.dumps(json.loads(file.read_text()) | change)
    file.write_text(text)
    with pytest.raises(MedsslError, match=message):
        Project.open(project.path)
    assert file.read_text() == text


def test_a_sibling_is_where_the_images_may_be(project: Project) -> None:
    assert project.settings.image_root == "../images"
    opened = Project.open(project.path)
    for name in ("../x", "/x", "a/../../x", "", "a\\b", "a\0b", "\ud800"):
        for make in (
            opened.annotations.path,
            lambda item: opened.prediction_path("run", item),
            lambda item: opened.prediction_path(item, "a.png"),
            lambda item: opened.embedding_path("run", item),
            lambda item: opened.embedding_path(item, "a.png"),
        ):
            with pytest.raises(MedsslError):
                make(name)
