"""Drive the real plugin with the real engine and photograph every step for README and tutorial.

    xvfb-run -s "-screen 0 1280x800x24" python scripts/screenshots.py

Images are made by `napari_medssl.synthetic`, or taken from the folder that MEDSSL_TEST_DATA names. torch stays
in the engine's process: beside GL it crashes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile
from driving import DrivenWindow

from napari_medssl.synthetic import nuclei
from napari_medssl.widgets.session import Session

ROOT = Path(__file__).parents[1]
COUNT = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--steps", type=int, default=300, help="steps of the pretraining")
    parser.add_argument("--theme", choices=["dark", "light"], default="dark")
    parser.add_argument("--threads", type=int, help="limit the engine's CPU threads")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        Session.home = Path(folder) / "home"
        images, truths = make_images(Path(folder) / "nuclei")
        tour = Tour(options.out, theme=options.theme)
        tour.go(images, truths, steps=options.steps, threads=options.threads)
    return 0


def make_images(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Make (or copy) a folder of images; return it with labels for the first few."""
    folder.mkdir(parents=True)
    truths: dict[str, np.ndarray] = {}
    data = os.environ.get("MEDSSL_TEST_DATA")
    if data:
        source = Path(data) / "dsb2018_fluo"
        for path in sorted((source / "images").iterdir())[:COUNT]:
            shutil.copy(path, folder)
        return folder, truths
    for number in range(COUNT):
        field = nuclei(np.random.default_rng(number), shape=(256, 256))
        name = f"nuclei_{number + 1:02d}.tif"
        tifffile.imwrite(folder / name, field.image)
        truths[name] = field.labels
    return folder, truths


class Tour(DrivenWindow):
    """A viewer, and what a user would do in it."""

    def go(
        self, images: Path, truths: dict[str, np.ndarray], *, steps: int, threads: int | None
    ) -> None:
        """Walk through the steps."""
        session = self.session
        content = {title: step.content for title, step in self.workspace.steps.items()}
        self.wait(seconds=0.5)
        content["Project"].use_folder(images)
        self.wait(until=lambda: session.image is not None and session.description is not None)
        self.shot("project")

        self.workspace.open_step("Pretrain")
        content["Pretrain"].preview_button.click()
        self.wait(until=lambda: session.layer("preview") is not None)
        self.shot("preview")
        content["Pretrain"].preview.close_button.click()
        content["Pretrain"].job_form.set_values(
            {
                "training": {
                    "steps": steps,
                    "batch_size": 4,
                    "validate_every": 25,
                },
                "threads": threads,
            }
        )
        content["Pretrain"].start.click()
        self.wait(
            until=lambda: session.active is not None and session.active.step >= steps * 2 // 3
        )
        self.shot("pretrain")

        self.workspace.open_step("Annotate")
        self.wait(until=lambda: session.labels_layer is not None)
        self.paint(truths)
        self.wait(until=lambda: len(session.overview.annotated.pixels) == 2)
        self.shot("annotate")
        self.wait(until=lambda: session.active is None and session.current_run is not None)

        self.workspace.open_step("Finetune")
        content["Finetune"].job_form.set_values({"threads": threads})
        content["Finetune"].train.click()
        self.wait(until=lambda: session.active is not None)
        self.wait(until=lambda: session.active is None)
        self.wait(until=lambda: session.prediction_layer is not None)
        self.shot("finetune")

        self.workspace.open_step("Predict")
        content["Predict"].folder.click()
        self.wait(until=lambda: session.active is not None)
        self.wait(until=lambda: session.active is None)
        content["Predict"].images.next.click()
        self.wait(until=lambda: session.image == session.project.images[1])
        self.wait(until=lambda: session.prediction_layer is not None)
        self.shot("predict")
        self.evaluate(images.with_name("masks"), truths)

        self.workspace.open_step("Explore")
        explorer, similar = content["Explore"].explorer, content["Explore"].sections["Similar"]
        similar.explore.click()
        y, x = self.bright_pixel()
        explorer.ask(y, x)
        self.wait(until=lambda: session.layer("heat") is not None)
        similar.folder.store.start.click()
        self.wait(until=lambda: session.active is not None)
        self.wait(until=lambda: session.active is None and similar.folder.start.isEnabled())
        self.shot("explore")
        similar.folder.start.click()
        self.wait(until=lambda: len(similar.folder.gallery.matches.matches) == COUNT)
        area = self.workspace.steps["Explore"].area
        area.verticalScrollBar().setValue(area.verticalScrollBar().maximum())
        self.shot("explore-gallery")
        similar.folds["All images"].set_open(False)
        similar.folds["Make labels"].set_open(True)
        self.wait(until=similar.labels.this.isEnabled)
        self.shot("explore-labels")
        similar.clear.click()
        self.explore_folder()
        self.viewer.close()
        self.wait(seconds=0.2)

    def evaluate(self, masks: Path, truths: dict[str, np.ndarray]) -> None:
        """Score the run against true masks and open the worst image; without such masks there is nothing to show."""
        if not truths:
            return
        masks.mkdir()
        for name, truth in truths.items():
            tifffile.imwrite(masks / name, (truth > 0).astype(np.uint8))
        self.workspace.open_step("Evaluate")
        step = self.workspace.steps["Evaluate"].content
        step.truth.use_folder(masks)
        self.wait(until=step.evaluate.isEnabled)
        step.evaluate.click()
        self.wait(until=lambda: self.session.active is not None)
        self.wait(until=lambda: self.session.active is None)
        table = step.pages["Images"].table
        self.wait(until=lambda: table.numbers.rowCount() > 0)
        table.setCurrentIndex(table.model().index(0, 0))
        self.wait(until=lambda: self.session.layer("errors") is not None)
        self.shot("evaluate")

    def explore_folder(self) -> None:
        """Show the sections of Explore that look at the folder and at several runs."""
        panel = self.workspace.steps["Explore"].content
        colours = panel.open_section("Colours")
        colours.kind.setCurrentIndex(colours.kind.findData("tsne"))
        self.wait(until=colours.show_button.isEnabled)
        colours.show_button.click()
        self.wait(until=lambda: self.session.layer("colours") is not None)
        self.wait(seconds=0.5)
        places = colours.map.scatter.box.viewRect()
        across, down = places.center().x() + 0.1 * places.width(), places.center().y()
        turns = np.linspace(0, 2 * np.pi, 60)
        corners = np.stack(
            [
                across + 0.15 * places.width() * np.cos(turns),
                down + 0.3 * places.height() * np.sin(turns),
            ],
            axis=1,
        )
        colours.map.scatter.box.drawing.emit(corners)
        colours.map.scatter.box.drawn.emit(corners)
        self.shot("explore-colours")
        colours.remove.click()

        images = panel.open_section("Images")
        self.wait(until=images.show_button.isEnabled)
        images.show_button.click()
        self.wait(until=lambda: images.near.list.count() > 0)
        self.wait(seconds=4.0)  # the pictures are read
        self.shot("explore-images")

        compare = panel.open_section("Compare")
        compare.compare_button.click()
        self.wait(until=lambda: compare.view is not None and not compare.progress.isVisible())
        compare.view.clicked.emit(*self.bright_pixel())
        self.wait(seconds=5.0)
        path = self.out / f"explore-compare{self.suffix}.png"
        compare.view.window().grab().save(str(path))
        print(path)

    def paint(self, truths: dict[str, np.ndarray]) -> None:
        """Scribble on a few objects and between them."""
        layer = self.session.labels_layer
        grey = self.session.project.grey(self.session.image)
        truth = truths.get(self.session.image)
        inside = truth > 0 if truth is not None else grey > np.percentile(grey, 95)
        outside = truth == 0 if truth is not None else grey < np.percentile(grey, 40)
        rng = np.random.default_rng(3)
        layer.brush_size = 5
        for value, mask, count in ((2, inside, 14), (1, outside, 14)):
            layer.selected_label = value
            where = np.argwhere(mask)
            for y, x in where[rng.integers(len(where), size=count)]:
                steps = rng.integers(-1, 2, size=(14, 2)).cumsum(axis=0)
                for dy, dx in steps:
                    point = np.clip((y + dy, x + dx), 0, np.array(mask.shape) - 1)
                    if mask[tuple(point)]:
                        layer.paint(tuple(point), value)

    def bright_pixel(self) -> tuple[int, int]:
        """Give a pixel of an object, away from the border."""
        grey = self.session.project.grey(self.session.image)[40:-40, 40:-40]
        y, x = np.unravel_index(np.argmax(grey), grey.shape)
        return int(y) + 40, int(x) + 40


if __name__ == "__main__":
    sys.exit(main())
