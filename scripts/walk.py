"""Walk through the whole loop as a user does, by clicks and keys, and photograph every step.

    MEDSSL_TEST_DATA=... xvfb-run -s "-screen 0 1280x800x24" python scripts/walk.py out/

The images are those of `dsb2018_fluo` in the folder that MEDSSL_TEST_DATA names; its masks tell where a person
would paint. The engine is the real one. A table of the clicks, keys and seconds of each step is printed at the end
and written to steps.md beside the photographs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from driving import LEFT, NONE, DrivenWindow
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLineEdit
from scipy import ndimage
from skimage.io import imread

from napari_medssl.evaluate.error_map import Outcome
from napari_medssl.widgets.live import LivePredictor
from napari_medssl.widgets.masks_dialog import MasksDialog
from napari_medssl.widgets.navigator import Navigator
from napari_medssl.widgets.object_editor import ObjectEditor
from napari_medssl.widgets.object_marks import ObjectMarks
from napari_medssl.widgets.object_preview import ObjectPreview
from napari_medssl.widgets.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_medssl.widgets.annotate_step import AnnotateStep

SHIFT = Qt.KeyboardModifier.ShiftModifier
KEY = Qt.Key


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the photographs")
    parser.add_argument("--images", type=int, default=24, help="how many images")
    parser.add_argument("--steps", type=int, default=40, help="steps of the pretraining")
    parser.add_argument("--theme", choices=["dark", "light"], default="dark")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of the engine")
    options = parser.parse_args()
    data = os.environ.get("MEDSSL_TEST_DATA")
    if not data:
        parser.error("MEDSSL_TEST_DATA names no folder; the one that has dsb2018_fluo is needed.")
    source = Path(data) / "dsb2018_fluo"
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        Session.home = Path(folder) / "home"
        images = Path(folder) / "nuclei"
        images.mkdir()
        for path in sorted((source / "images").iterdir())[: options.images]:
            shutil.copy(path, images / f"{path.stem[:8]}{path.suffix}")
        walk = Walk(options.out, theme=options.theme, masks=source / "masks")
        walk.go(images, steps=options.steps, threads=options.threads)
        (options.out / "steps.md").write_text(walk.table(), encoding="utf-8")
        print(walk.table())
    return 0


class Walk(DrivenWindow):
    """A viewer, and a user who goes once around.

    Parameters
    ----------
    out : Path
        Folder of the photographs.
    theme : str
        napari's theme.
    masks : Path
        Folder of the true masks, named as the images.
    """

    def __init__(self, out: Path, *, theme: str, masks: Path) -> None:
        super().__init__(out, theme=theme)
        self._masks = masks
        self._rows: list[tuple[str, int, int, float]] = []

    @property
    def annotate(self) -> AnnotateStep:
        """The step "Annotate"."""
        return self.workspace.steps["Annotate"].content

    def go(self, images: Path, *, steps: int, threads: int) -> None:
        """Go around."""
        self.wait(seconds=1.0)
        self.screen_shot("00-empty")
        self.pretrain(images, steps=steps, threads=threads)
        self.suggest()
        self.scribble("06-scribbles")
        self.see_live()
        self.finish_image()
        self.train()
        self.make_objects()
        self.look_at_table()
        self.predict()
        self.evaluate()
        self.viewer.close()
        self.wait(seconds=0.2)

    # -- the steps -------------------------------------------------------------------------------

    def pretrain(self, images: Path, *, steps: int, threads: int) -> None:
        """Make a project and a first network."""
        session = self.session
        content = {title: step.content for title, step in self.workspace.steps.items()}
        with self.step("Choose the folder of images", "01-project"):
            content["Project"].use_folder(images)  # what the dialog of the system calls
            self.clicks += 2
            self.wait(until=lambda: session.image is not None and session.description is not None)
        with self.step("Pretrain", "02-pretrain"):
            self.open_step("Pretrain")
            step = content["Pretrain"]
            step.job_form.set_values(  # what a user types into the settings
                {
                    "training": {"steps": steps, "batch_size": 4, "validate_every": 20},
                    "threads": threads,
                }
            )
            self.click(step.start)
            self.wait(until=lambda: session.active is not None and session.active.step > steps // 2)
            self.screen_shot("02-pretraining")
            self.wait(until=lambda: session.active is None and session.current_run is not None)
        with self.step("Store features", "03-stored"):
            self.open_step("Annotate")
            bar = self.annotate.above[0]
            self.wait(until=lambda: bar.store.isVisible() and bar.store.isEnabled())
            self.screen_shot("03-annotate")
            self.click(bar.store)
            self.wait(until=lambda: session.active is not None)
            self.screen_shot("03-storing")
            self.wait(until=lambda: bar.suggestions.stand == "ready" and session.active is None)

    def suggest(self) -> None:
        """Go to the suggested image, and where in it."""
        bar, before = self.annotate.above[0], self.session.image
        with self.step("Call the class nucleus (double click)", "03-named"):
            table = self.annotate.classes.table
            at = table.visualItemRect(table.item(2, 0)).center()
            self.click(table.viewport(), at)
            QTest.mouseDClick(table.viewport(), LEFT, NONE, at)
            self.clicks += 1
            self.wait(seconds=0.2)
            self.write("nucleus")
            self.press(KEY.Key_Return)
            self.wait(until=lambda: table.item(2, 0).text() == "nucleus", limit=10)
        with self.step("Suggest next (G)", "04-suggested"):
            self.press(KEY.Key_G)
            self.wait(until=lambda: self.session.image != before, limit=30)
            self.wait(until=lambda: self.annotate.annotator.layer is not None)
        with self.step("Show where (H)", "05-where"):
            self.wait(until=bar.where.isEnabled, limit=30)
            self.press(KEY.Key_H)
            self.wait(until=lambda: bar.where_box.shown, limit=5)

    def scribble(self, name: str) -> None:
        """Paint a stroke of each class, with the mouse."""
        with self.step("A stroke on a nucleus, one on background", name):
            nuclei = ndimage.binary_erosion(self.truth() > 0, iterations=2)
            self.paint("nucleus", nuclei)
            self.paint("background", ndimage.binary_erosion(self.truth() == 0, iterations=5))

    def see_live(self) -> None:
        """Turn on the live prediction, and its looks."""
        live, bar = LivePredictor.of(self.session), self.annotate.live
        with self.step("Live prediction (L)", "07-live"):
            self.press(KEY.Key_L)
            self.wait(until=lambda: live.result is not None, limit=120)
        with self.step("Outlines", "08-outlines"):
            self.click(bar.outlines)
        with self.step("Uncertainty", "09-uncertainty"):
            self.click(bar.uncertainty)
        with self.step("Uncertainty off, one more stroke where it is wrong", "10-corrected"):
            self.click(bar.uncertainty)
            result = live.result
            missed = ndimage.binary_erosion((self.truth() > 0) & (self.live_labels() != 2))
            if not missed.any():
                missed = ndimage.binary_erosion(self.truth() > 0, iterations=2)
            self.paint("nucleus", missed)
            self.wait(until=lambda: live.result is not result, limit=60)

    def finish_image(self) -> None:
        """Take the prediction of the nuclei, say that the rest is background, and that it is done."""
        tools, annotator = self.annotate.tools, self.annotate.annotator
        with self.step("Copy prediction (C)", "11-copied"):
            self.press(KEY.Key_C)
        with self.step("Take it back (Ctrl+Z), copy only the nuclei", "12-only"):
            self.press(KEY.Key_Z, Qt.KeyboardModifier.ControlModifier)
            self.click_menu(tools.only, "nucleus")
        with self.step("Rest is background (R)", "13-rest"):
            self.press(KEY.Key_R)
        with self.step("Mark done (M)", "14-done"):
            self.press(KEY.Key_M)
            self.wait(until=lambda: annotator.done, limit=10)

    def train(self) -> None:
        """Annotate a second image by strokes, train, and be shown the next."""
        session, learn, before = self.session, self.annotate.below[0], self.session.image
        with self.step("Suggest next (G), with its live prediction", "15-second"):
            self.press(KEY.Key_G)
            self.wait(until=lambda: session.image != before, limit=60)
            live = LivePredictor.of(session)
            self.wait(until=lambda: live.result is not None, limit=60)
        self.scribble("15-scribbles")
        second = session.image
        with self.step("Train and show next (Shift+T)", "18-next"):
            self.wait(until=learn.train.isEnabled, limit=60)
            self.screen_shot("16-before-training")
            self.press(KEY.Key_T, SHIFT)
            self.wait(until=lambda: learn.loop.job is not None and learn.loop.job.step > 10)
            self.screen_shot("17-training")
            self.wait(until=lambda: session.active is None and session.image != second)
            self.wait(until=lambda: not session.predictions.asking)
            self.wait(until=lambda: session.prediction_layer is not None, limit=60)

    def make_objects(self) -> None:
        """Take the objects of the prediction; select, split and merge some."""
        page, editor = self.annotate.pages["Objects"], ObjectEditor.of(self.session)
        with self.step("Objects", "20-objects"):
            self.click(self.annotate.tabs, self.annotate.tabs.tabRect(1).center())
            self.wait(until=lambda: editor.layer is not None)
        with self.step("Objects of the prediction, before they are taken", "21-preview"):
            self.click(page.taking.button, QPoint(20, page.taking.button.height() // 2))
            preview = ObjectPreview.of(self.session)
            self.wait(until=lambda: preview.found is not None, limit=60)
        with self.step("Leave out more specks: area from 30 px", "21-no-specks"):
            area = page.take.smallest
            self.click(area.findChild(QLineEdit))
            self.press(KEY.Key_A, Qt.KeyboardModifier.ControlModifier)
            self.write("30")
            self.press(KEY.Key_Return)
            self.wait(until=lambda: preview.settings.smallest == 30 and preview.found is not None)
        with self.step("Take them", "22-taken"):
            self.click(page.take.add)
            self.wait(until=lambda: len(editor.rows) > 0, limit=30)
        with self.step("Table, select one", "23-selected"):
            self.click(page.listing.button, QPoint(20, page.listing.button.height() // 2))
            self.click(page.pick)
            largest = max(editor.rows, key=lambda row: row.area).number
            ys, xs = np.nonzero(editor.layer.data == largest)
            middle = len(ys) // 2
            self.click_pixel((ys[middle], xs[middle]))
            self.wait(until=lambda: list(editor.selected) == [largest], limit=10)
        with self.step("Split it by a line (K)", "25-split"):
            self.press(KEY.Key_K)
            self.wait(until=lambda: ObjectMarks.of(self.session).drawing, limit=5)
            self.screen_shot("24-splitting")
            y, left, right = float(ys.mean()), float(xs.min()) - 4, float(xs.max()) + 4
            self.drag([(y, float(x)) for x in np.linspace(left, right, 12)])
            self.wait(until=lambda: len(editor.selected) > 1, limit=10)
        with self.step("Merge them (J)", "26-merged"):
            self.press(KEY.Key_J)
            self.wait(until=lambda: len(editor.selected) == 1, limit=10)

    def look_at_table(self) -> None:
        """Open the table of images, sort it, filter it."""
        window = self.viewer.window
        with self.step("All images (A)", "30-table"):
            self.press(KEY.Key_A)
            found = [d for d in window.dock_widgets.values() if isinstance(d, Navigator)]
            navigator = found[0]
        header = navigator.table.horizontalHeader()
        with self.step("Sorted by uncertainty", "31-sorted"):
            self.click(header.viewport(), QPoint(header.sectionViewportPosition(3) + 20, 8))
        with self.step("Only those that are not annotated", "32-filtered"):
            self.choose(navigator.status, "ot annotated")
        with self.step("Show all, search, open by Enter, table away (A)", "33-opened"):
            self.click(navigator.all)
            self.click(navigator.search)
            self.write(self.session.project.images[5][:4])
            navigator.table.setFocus()
            self.keys += 1
            self.press(KEY.Key_Down)
            self.press(KEY.Key_Return)
            self.wait(until=lambda: self.session.image == self.session.project.images[5], limit=20)
            self.screen_shot("33-searched")
            self.click(self.workspace.all_images)

    def predict(self) -> None:
        """Predict this image, the folder; look at the uncertainty; write masks."""
        session = self.session
        with self.step("Predict", "40-predict"):
            self.open_step("Predict")
        step = self.workspace.steps["Predict"].content
        with self.step("This image", "41-this"):
            self.click(step.this)
            self.wait(until=lambda: session.predictions.asking, limit=20)
            self.wait(until=lambda: not session.predictions.asking)
        with self.step("Keep the uncertainty; whole folder", "43-folder"):
            fold = step.options.fold
            self.click(fold.button, QPoint(20, fold.button.height() // 2))
            self.click(step.options.maps["uncertainty"])
            self.screen_shot("42-options")
            self.click(step.folder)
            self.wait(until=lambda: session.active is not None and session.active.step > 2)
            self.screen_shot("42-progress")
            self.wait(until=lambda: session.active is None)
        with self.step("Show the uncertainty", "44-uncertainty"):
            self.choose(step.shown.what, "Uncertainty")
            self.wait(until=lambda: session.layer("uncertainty") is not None, limit=30)
        with self.step("Save masks as ...", "45-masks"):
            self.click(step.masks)
            self.wait(until=lambda: self.dialog() is not None, limit=10)
        with self.step("Saved", "46-saved"):
            self.click(self.dialog().save)
            self.wait(until=lambda: session.active is not None)
            self.wait(until=lambda: session.active is None)

    def evaluate(self) -> None:
        """Score the run against the true masks, look at the worst image, and at what the features are worth."""
        session, project = self.session, self.session.project
        masks = project.image_root.with_name("masks")  # named as the images are here
        masks.mkdir()
        for name in project.images:
            source = next(self._masks.glob(f"{Path(name).stem}*"))
            shutil.copy(source, masks / f"{Path(name).stem}{source.suffix}")
        with self.step("Evaluate", "50-evaluate"):
            self.open_step("Evaluate")
            step = self.workspace.steps["Evaluate"].content
            step.truth.use_folder(masks)  # what the dialog of the system calls
            self.clicks += 2
            self.wait(until=step.evaluate.isEnabled, limit=30)
        page = step.pages["Images"]
        with self.step("Score it", "51-scores"):
            self.click(step.evaluate)
            self.wait(until=lambda: session.active is not None)
            self.wait(until=lambda: session.active is None)
            self.wait(until=page.table.isVisible, limit=20)
        with self.step("The worst image", "52-worst"):
            table = page.table
            table.scrollToTop()  # a turn of the wheel: the open image was in sight
            self.click(table.viewport(), table.visualRect(table.model().index(0, 0)).center())
            self.wait(until=lambda: session.layer("errors") is not None, limit=30)
        with self.step("Only what is missed", "53-missed"):
            for outcome in (Outcome.RIGHT, Outcome.TOO_MUCH):
                self.click(page.outcomes[outcome])
        with self.step("Spread of the scores", "54-spread"):
            self.click(page.spread.button, QPoint(20, page.spread.button.height() // 2))
        with self.step("Features, assessed", "55-features"):
            self.click(step.tabs, step.tabs.tabRect(1).center())
            features = step.pages["Features"]
            self.click(features.assess)
            self.wait(until=lambda: session.active is not None)
            self.wait(until=lambda: session.active is None)
            self.wait(until=features.table.isVisible, limit=20)
        with self.step("Class activation map", "56-activation"):
            self.click(features.show_map)
            self.wait(until=lambda: session.layer("activation") is not None, limit=120)

    # -- what a user does ------------------------------------------------------------------------

    def open_step(self, title: str) -> None:
        """Click the heading of a step."""
        self.click(self.workspace.steps[title].button)
        self.wait(until=lambda: self.workspace.open_title == title, limit=5)

    def paint(self, name: str, where: NDArray[np.bool_]) -> None:
        """Choose a class in the table, and draw a stroke over a place that is of it."""
        table, annotator = self.annotate.classes.table, self.annotate.annotator
        self.wait(until=lambda: annotator.layer is not None, limit=20)
        row = next(n for n in range(table.rowCount()) if name in table.item(n, 0).text())
        self.click(table.viewport(), table.visualItemRect(table.item(row, 0)).center())
        before = np.count_nonzero(annotator.layer.data)
        seen = self.in_sight(where)
        depth = ndimage.distance_transform_edt(seen)
        y, x = np.unravel_index(np.argmax(depth), depth.shape)
        line = [
            (float(y), float(other))
            for other in np.linspace(x - 0.7 * depth[y, x], x + 0.7 * depth[y, x], 14)
        ]
        self.drag(line)
        if np.count_nonzero(annotator.layer.data) == before:
            raise RuntimeError(f"The stroke for {name} painted nothing.")

    def in_sight(self, where: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Leave out the pixels that the canvas does not show."""
        rows, columns = np.indices(where.shape)
        first, last = self.place_of((0, 0)), self.place_of(where.shape)
        height, width = self.canvas.height(), self.canvas.width()
        down = first.y() + rows * (last.y() - first.y()) / where.shape[0]
        across = first.x() + columns * (last.x() - first.x()) / where.shape[1]
        inside = (abs(down - height / 2) < height / 2 - 30) & (
            abs(across - width / 2) < width / 2 - 30
        )
        shown = where & inside
        return shown if shown.any() else where

    def click_menu(self, button: object, text: str) -> None:
        """Open the menu of a button, photograph it, and choose an entry."""
        menu = button.popup
        menu.aboutToShow.emit()
        menu.popup(button.mapToGlobal(QPoint(0, button.height())))
        self.clicks += 1
        self.screen_shot("12-menu")
        action = next(item for item in menu.actions() if text in item.text())
        self.click(menu, menu.actionGeometry(action).center())

    def truth(self) -> NDArray[np.int32]:
        """Read the true mask of the open image."""
        path = next(self._masks.glob(f"{Path(self.session.image).stem}*"))
        return imread(path)

    def live_labels(self) -> NDArray[np.int32]:
        """Give what the live prediction says of the open image."""
        return self.session.layer("live").data

    def dialog(self) -> MasksDialog | None:
        """Give the dialog that is open."""
        return next((d for d in QApplication.topLevelWidgets() if isinstance(d, MasksDialog)), None)

    @contextmanager
    def step(self, title: str, name: str) -> Iterator[None]:
        """Count the clicks, keys and seconds of a step, and photograph its end."""
        clicks, keys, start = self.clicks, self.keys, time.monotonic()
        photographed = self.photographed
        yield
        seconds = time.monotonic() - start - (self.photographed - photographed)
        self._rows.append((title, self.clicks - clicks, self.keys - keys, seconds))
        self.screen_shot(name)

    def table(self) -> str:
        """Give clicks, keys and seconds of each step as Markdown."""
        lines = ["| step | clicks | keys | seconds |", "|---|---|---|---|"]
        lines += [f"| {t} | {c} | {k} | {s:.1f} |" for t, c, k, s in self._rows]
        return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
