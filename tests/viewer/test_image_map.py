"""The folder as a map of its images, and the neighbours of the open one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from clicks import add_run
from qtpy.QtCore import Qt
from stored import click_on, store_features

from napari_medssl.explore.neighbours import Folder
from napari_medssl.project import PatternRule
from napari_medssl.widgets.feature_store import FeatureStore

if TYPE_CHECKING:
    from napari_medssl.widgets.explore import ExploreWidget


def test_the_map_opens_images_and_knows_their_groups(trained: ExploreWidget, until) -> None:
    session = trained.panel.explorer.session
    section = trained.panel.open_section("Images")
    session.project.update(groups=PatternRule(pattern="[ab]"))
    session.project_changed.emit()
    store_features(trained, until)
    until(section.show_button.isEnabled)
    section.show_button.click()
    until(lambda: section.map.isVisible() and section.near.list.count() == 2)
    folder = Folder.of(FeatureStore.of(session).standing.usable)
    expected = folder.nearest("a.png")
    shown = [section.near.list.item(row) for row in range(2)]
    assert [item.data(Qt.ItemDataRole.UserRole) for item in shown] == [n.image for n in expected]
    assert [float(item.text()) for item in shown] == pytest.approx(
        [n.distance for n in expected], abs=0.01
    )
    until(lambda: not shown[0].icon().isNull())
    # groups: told apart in the legend, and said when the cursor is over an image
    section.by.setCurrentIndex(section.by.findData("group"))
    section.by.activated.emit(section.by.currentIndex())
    assert "a&nbsp;(1)" in section.map.scatter.legend.text()
    assert "b&nbsp;(1)" in section.map.scatter.legend.text()
    # a click on the point opens the image
    number = folder.names.index("c.png")
    click_on(section.map.scatter, *folder.layout()[number])
    until(lambda: session.image == "c.png")
    until(lambda: section.near.list.item(0).toolTip() != expected[0].image)
    assert "c.png" not in [
        section.near.list.item(r).data(Qt.ItemDataRole.UserRole) for r in range(2)
    ]
    section.far.list.itemClicked.emit(section.far.list.item(0))
    until(lambda: session.image == folder.nearest("c.png", farthest=True)[0].image)
    # another run: its features are not stored, and nothing of the former one is shown
    add_run(trained, until)
    until(lambda: "store them first" in section.hint.text())
    assert section.map.isHidden()
    assert section.near.isHidden()
    assert trained.problems == []
