"""What five more annotated images would buy, and evaluated runs against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_medssl.evaluate import Evaluation
from napari_medssl.evaluate.extrapolation import forecast
from napari_medssl.evaluate.learning_curve import probe_image, probe_scores
from napari_medssl.project import PatternRule
from napari_medssl.widgets.background import wait_for_background
from napari_medssl.widgets.evaluate_compare import EvaluatedRuns
from napari_medssl.widgets.more_annotations import MoreAnnotations
from napari_medssl.widgets.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medssl.project import Run

SHAPE = (48, 56)


@pytest.fixture
def session(make_napari_viewer, fake_engine, tmp_path, until) -> Iterator[Session]:
    """A session on six images with a bright square each, and a run."""
    rng = np.random.default_rng(0)
    (tmp_path / "cells").mkdir()
    for name in "abcdef":
        pixels = rng.integers(0, 120, SHAPE, dtype=np.uint8)
        pixels[10:30, 12:34] += rng.integers(20, 120, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "cells" / f"{name}.png")
    session = Session.of(make_napari_viewer())
    session.create_project(tmp_path / "cells")
    until(lambda: session.image == "a.png")
    add_run(session)
    session.refresh_runs()
    until(lambda: bool(session.usable_runs))
    yield session
    session.shut_down()
    wait_for_background()


def add_run(session: Session) -> Run:
    run = session.project.new_run("fake")
    run.write_job({"kind": "pretrain", "method": "fake"})
    run.best_path.write_bytes(b"weights")
    return run


def annotate(session: Session, names: str, until) -> None:
    labels = np.ones(SHAPE, np.uint16)
    labels[10:30, 12:34] = 2
    for name in names:
        session.project.annotations.write(f"{name}.png", labels)
    session.overview.refresh()
    until(lambda: len(session.overview.annotated.images) == len(names))


def test_the_answer_is_that_of_the_probes_or_why_there_is_none(session: Session, until) -> None:
    problems: list[object] = []
    session.problem.connect(problems.append)
    annotate(session, "abc", until)
    widget = MoreAnnotations(session, session.viewer.window._qt_window)
    assert not widget.estimate_button.isEnabled()
    assert widget.hint.text() == "It takes 4 annotated images; there are 3."
    annotate(session, "abcdef", until)
    until(widget.estimate_button.isEnabled)
    widget.estimate_button.click()
    assert not widget.estimate_button.isEnabled()
    until(lambda: bool(widget.sentence.text()))
    project, run = session.project, session.current_run
    images = {
        name: probe_image(
            name,
            project.annotations.read(name),
            np.load(project.embedding_path(run, name)),
            4,
        )
        for name in project.images
    }
    found = forecast(probe_scores(images), annotated=6)
    assert widget.sentence.text() == found.sentence()
    assert run in widget.hint.text()
    assert "(6)" in widget.hint.text()  # so few images
    curves = widget.plot.listDataItems() + widget.plot.getPlotItem().items
    assert any(np.array_equal(getattr(item, "xData", None), np.arange(1, 7)) for item in curves)
    until(widget.estimate_button.isEnabled)
    # stopped before it is known what to ask: nothing comes of it
    widget.estimate()
    widget.gathering.stop.click()
    wait_for_background()
    QApplication.processEvents()
    assert not widget.gathering.isVisibleTo(widget)
    assert widget.estimate_button.isEnabled()
    # all of one patient: nobody is left to be scored
    project.update(groups=PatternRule(pattern="png"))
    widget.estimate()
    until(lambda: "there are 1" in widget.sentence.text())
    assert not widget.plot.isVisibleTo(widget)
    assert problems == []


def test_runs_are_compared_image_by_image(session: Session, until) -> None:
    truth = np.ones(SHAPE, np.uint16)
    truth[10:30, 12:34] = 2
    for run, missed in ((session.project.runs()[0], 8), (add_run(session), 2)):
        predictions = {}
        for number, name in enumerate("bcdef"):
            predictions[name] = truth.copy()
            predictions[name][10 : 10 + missed + number] = 1
        pairs = [(f"{name}.png", labels, truth) for name, labels in predictions.items()]
        Evaluation.of(pairs, run=run.name).to_json(run.path / "evaluation.json")
    widget = EvaluatedRuns(session, session.viewer.window._qt_window)
    until(lambda: widget.runs.rowCount() == 1)
    first, second = sorted(run.name for run in session.project.runs())
    assert widget.reference.currentText() == first  # the oldest
    assert widget.runs.item(0, 0).text() == second
    assert widget.runs.item(0, 1).text() == "5"
    assert widget.runs.item(0, 2).text().startswith("+0.")
    assert f"{second} is better" in widget.text.text()
    images, difference = widget.table.numbers.rows, widget.table.numbers.measures[2].of
    assert [difference(name) for name in images] == sorted(difference(name) for name in images)
    index = widget.table.numbers.index(2, 0)
    widget.table.clicked.emit(index)
    until(lambda: session.image == index.data())
    point = widget.plot.points.points()[4]
    widget.plot.points.sigClicked.emit(widget.plot.points, [point], None)
    until(lambda: session.image == images[4])
    # the other way round
    widget.reference.setCurrentText(second)
    widget.reference.activated.emit(widget.reference.currentIndex())
    until(lambda: widget.runs.item(0, 2).text().startswith("-0."))
    widget.measure.setCurrentText("AJI+")
    widget.measure.activated.emit(widget.measure.currentIndex())
    until(lambda: "without objects" in widget.text.text())
    assert not widget.table.isVisibleTo(widget)
    widget.table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    # scores that cannot be read are told of, and the rest is compared
    session.project.run(first).path.joinpath("evaluation.json").write_text("torn")
    widget.refresh()
    until(lambda: widget.reference.count() == 1)
    until(lambda: widget.runs.item(0, 0).text() == first)
    assert "Evaluate the run again" in widget.text.text()
