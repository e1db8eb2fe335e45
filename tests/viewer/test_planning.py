"""The recommendation, and groups and labels of whole images, in the Project step; with the fake engine."""

from __future__ import annotations

import json

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_medssl.project import PatternRule, TableRule
from napari_medssl.widgets.planner import Planner
from napari_medssl.widgets.problem import Problem
from napari_medssl.widgets.text_dialog import TextDialog


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(Planner, "SETTLE_MS", 50)


def test_the_plan_is_shown_with_reasons_and_fills_the_form(opened, until):
    card = opened.steps["Project"].content.plan
    until(lambda: card.use.isVisible())
    assert card.headline.text() == (
        "Recommended: Fake, ResNet-50, 64 px, batch 4, 77 steps, about 6 minutes on this CPU"
    )
    assert "This is why it is ResNet-50." in card.reasons.text()
    assert not card.again.isVisible()
    card.use.click()
    assert opened.open_title == "Pretrain"
    job = opened.steps["Pretrain"].content.job()
    assert (job["method"], job["network"]["encoder"]) == ("fake", "resnet50")
    assert job["network"]["encoder_weights"] == "imagenet"
    expected = {"steps": 77, "batch_size": 4, "patch_size": 64, "learning_rate": 4.7e-4}
    assert expected.items() <= job["training"].items()
    assert opened.session.active is None
    assert opened.problems == []


def test_the_user_says_what_the_plan_starts_from(opened, until):
    card, planner = opened.steps["Project"].content.plan, opened.session.planner
    until(lambda: card.imagenet.isVisible())
    assert card.imagenet.isChecked()  # as the engine found them on this computer
    card.imagenet.click()
    assert planner.plan is None
    assert card.imagenet.isVisible()
    assert not card.imagenet.isChecked()
    until(lambda: card.use.isVisible())
    assert not card.imagenet.isChecked()
    card.use.click()
    assert opened.steps["Pretrain"].content.job()["network"]["encoder_weights"] == "none"
    card.imagenet.click()
    until(lambda: planner.plan is not None)
    card.use.click()
    assert opened.steps["Pretrain"].content.job()["network"]["encoder_weights"] == "imagenet"
    assert opened.problems == []


def test_the_engine_is_asked_once_for_a_state_and_failing_is_told(opened, until, image_folder):
    session = opened.session
    card = opened.steps["Project"].content.plan
    until(lambda: session.planner.plan is not None)
    asked = []
    session.request = lambda kind, **rest: asked.append((kind, rest))
    session.project_changed.emit()
    assert session.planner.plan is not None
    opened.session.project.update(channels=("red", "green", "blue"))
    session.project_changed.emit()
    assert session.planner.plan is None
    until(lambda: len(asked) == 1)
    asked[0][1]["on_failed"](Problem("There is not enough memory.", "Close other programs."))
    assert card.headline.text().endswith("There is not enough memory. Close other programs.")
    session.images_changed.emit()
    card.again.click()
    until(lambda: len(asked) == 2)
    assert opened.problems == []


def test_methods_are_compared_once_the_time_is_accepted(opened, until, monkeypatch):
    session = opened.session
    button = opened.steps["Project"].content.plan.compare
    until(lambda: session.planner.plan is not None)
    button.click()
    until(lambda: button.box is not None)
    assert "Expected to take about 6 min." in button.box.informativeText()
    asked = []
    request = session.request
    monkeypatch.setattr(
        session, "request", lambda kind, **more: (asked.append(kind), request(kind, **more))[1]
    )
    next(one for one in button.box.buttons() if one.text() == "Start").click()
    until(lambda: button.findChild(TextDialog) is not None)
    dialog = button.findChild(TextDialog)
    assert dialog.heading.text().startswith("Fake is ahead (leave-one-out Dice")
    assert "0.750 ± 0.050" in dialog.text.toPlainText()
    dialog.close()
    until(lambda: "recommend" in asked)  # the plan may be another now
    assert opened.problems == []


def test_a_pattern_tells_at_once_what_it_gives_and_is_kept(opened, until):
    rules = opened.steps["Project"].content.rules
    rules.set_open(True)
    row = rules.groups
    QTest.keyClicks(row.pattern, "([ab]")
    until(lambda: row.told.text() == "This is no regular expression yet.")
    assert not row.keep.isEnabled()
    QTest.keyClicks(row.pattern, ")")
    until(lambda: row.told.text().startswith("2 of 3 images, 2 values: a (1), b (1)."))
    opened.session.images_changed.emit()
    assert row.pattern.text() == "([ab])"  # what is being typed stays
    row.keep.click()
    until(lambda: opened.session.project.groups() == {"a.png": "a", "b.png": "b"})
    until(lambda: row.forget.isEnabled())
    stored = json.loads((opened.session.project.path / "project.json").read_text())
    assert stored["groups"] == {"kind": "pattern", "pattern": "([ab])"}
    row.forget.click()
    until(lambda: opened.session.project.settings.groups is None)
    until(lambda: row.pattern.text() == "")
    QTest.keyClicks(row.pattern, "zzz")
    QTest.keyClick(row.pattern, Qt.Key.Key_Return)
    until(lambda: len(opened.problems) == 1)
    assert "finds nothing in the names of the 3 images" in opened.problems[0].sentence
    assert opened.session.project.settings.groups is None


def test_a_table_is_taken_by_its_column(opened, until, image_folder, tmp_path):
    table = image_folder.parent / "plates.csv"
    table.write_text("image;plate;class\na;1;x\nb;2;x\nc;2;y\n")
    rules = opened.steps["Project"].content.rules
    rules.set_open(True)
    rules.labels.use_table(table)
    assert rules.labels.dialog.column.currentText() == "class"
    rules.labels.dialog.accept()
    project = opened.session.project
    until(lambda: project.image_labels() == {"a.png": "x", "b.png": "x", "c.png": "y"})
    assert project.settings.image_labels == TableRule(table="../plates.csv", column="class")
    until(lambda: "Column class of plates.csv." in rules.labels.told.text())
    rules.labels.use_table(tmp_path / "missing.csv")
    assert "cannot be read" in opened.problems[0].sentence
    project.update(groups=PatternRule(pattern="a"))
    opened.session.project_changed.emit()
    until(lambda: rules.groups.pattern.text() == "a")
