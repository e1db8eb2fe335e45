"""What nobody caught is told in the banner, in words, with the details on demand; logs are kept small."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from napari.utils.notifications import notification_manager
from qtpy.QtCore import QTimer
from qtpy.QtGui import QGuiApplication

from napari_medssl.widgets import project_step
from napari_medssl.widgets.logs import open_log, rotate
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from pathlib import Path


def test_an_exception_in_a_slot_is_told_in_the_banner(opened, until, monkeypatch, crashes) -> None:
    def broken(*_: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(project_step, "use_layer", broken)
    opened.session.viewer.add_image(opened.session.image_layer.data, name="loose")
    before = len(notification_manager.records)
    opened.steps["Project"].content.layer.click()
    banner = opened.banner
    until(lambda: banner.problem is not None)
    assert banner.sentence.text() == "Something unexpected happened: KeyError: 'lost'"
    assert len(notification_manager.records) == before  # nothing of it in napari's own corner
    banner.details.click()
    banner.dialog.copy.click()
    copied = QGuiApplication.clipboard().text()
    assert "in broken" in copied
    assert "napari-medssl " in copied
    banner.dialog.close()
    assert "KeyError" in opened.session.telling.log.read_text()
    crashes.clear()


def test_an_exception_in_a_thread_of_ours_is_told_too(opened, until, crashes) -> None:
    code = compile("def work():\n    raise ValueError('in a thread')", "x", "exec")
    scope = {"__name__": "napari_medssl.test"}
    exec(code, scope)
    thread = threading.Thread(target=scope["work"])
    thread.start()
    thread.join()
    until(lambda: opened.banner.problem is not None)
    assert "in a thread" in opened.banner.sentence.text()
    crashes.clear()


def test_exceptions_of_others_go_where_they_went(opened, qtbot) -> None:
    def theirs() -> None:
        raise ValueError("not ours")

    with qtbot.capture_exceptions() as caught:
        # as its slot is in this module, nothing of the package is in the traceback
        QTimer.singleShot(0, theirs)
        qtbot.wait(100)
    assert [str(error) for _, error, _ in caught] == ["not ours"]
    assert opened.banner.problem is None


def test_problems_wait_behind_each_other(opened) -> None:
    session, banner = opened.session, opened.banner
    session.problem.emit(Problem("First.", about="one"))
    session.problem.emit(Problem("Second."))
    session.problem.emit(Problem("Second."))
    assert banner.dismiss.text() == "Dismiss (1 more)"
    session.problem.emit(Problem("First is over.", level="good", about="one"))
    assert banner.sentence.text() == "First is over."
    banner.dismiss.click()
    assert banner.sentence.text() == "Second."
    banner.dismiss.click()
    assert not banner.isVisible()


def test_without_a_widget_napari_tells(opened) -> None:
    opened.session.viewer.window.remove_dock_widget(opened)
    opened.session.problem.emit(Problem("The disk is full.", "Make room."))
    assert notification_manager.records[-1].message == "The disk is full. Make room."


def test_logs_rotate(tmp_path: Path) -> None:
    log = tmp_path / "serve.log"
    for number in range(7):
        log.write_text(f"{number}" * 1_000_001)
        rotate(log)
        assert not log.exists()
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == [f"serve.log.{number}" for number in range(1, 5)]
    assert log.with_name("serve.log.1").read_text()[0] == "6"
    log.write_text("small")
    rotate(log)
    assert log.read_text() == "small"


def test_a_log_opens_in_a_window_where_no_program_opens_it(qtbot, tmp_path, monkeypatch) -> None:
    from qtpy.QtGui import QDesktopServices

    log = tmp_path / "a.log"
    log.write_text("what happened")
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda _: False)
    dialog = open_log(log)
    qtbot.addWidget(dialog)
    assert dialog.text.toPlainText() == "what happened"
