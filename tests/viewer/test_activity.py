"""Long work of ours in napari's activity dock."""

from __future__ import annotations

import threading

from napari.utils import progress
from qtpy.QtWidgets import QLabel

from napari_medssl.widgets.activity import Activity
from napari_medssl.widgets.long_work import LongWork
from napari_medssl.widgets.session import Session


def shown(session: Session) -> list[str]:
    """Give the texts in the activity dock."""
    dialog = session.viewer.window._qt_window._activity_dialog
    return [label.text() for label in dialog._baseWidget.findChildren(QLabel) if label.text()]


def test_long_work_is_in_the_dock_while_it_runs_and_short_work_never(
    make_napari_viewer, fake_engine, until, qtbot
) -> None:
    session = Session.of(make_napari_viewer(show=True))
    work = LongWork(session)
    qtbot.addWidget(work)
    go_on, results = threading.Event(), []

    def slow(tell) -> str:
        tell(1, 4)
        go_on.wait(20)
        return "done"

    work.start("placing the cells", slow, doing="placing", on_result=results.append)
    until(lambda: any("placing the cells" in text for text in shown(session)))
    bar = next(bar for bar in progress._all_instances if bar.desc.startswith("placing"))
    assert (bar.n, bar.total) == (1, 4)
    go_on.set()
    until(lambda: results == ["done"])
    assert bar not in progress._all_instances
    work.start("a moment", lambda tell: None, doing="this", on_result=results.append)
    until(lambda: len(results) == 2)
    qtbot.wait(700)
    assert not any("a moment" in text for text in shown(session))
    ended: list[bool] = []
    early = Activity(session, "ended while its bar is made")

    def end(_: object) -> None:
        if any("ended while" in bar.desc for bar in progress._all_instances):
            early.close()
            ended.append(True)

    progress._all_instances.events.changed.connect(end)
    until(lambda: bool(ended))
    progress._all_instances.events.changed.disconnect(end)
    until(lambda: not any("ended while" in bar.desc for bar in progress._all_instances))
    Activity(session, "what a closing viewer ends", 3)
    until(lambda: any("closing" in bar.desc for bar in progress._all_instances))
    session.shut_down()
    assert not progress._all_instances
