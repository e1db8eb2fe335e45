"""What suggestions are worth: Dice of the live probe with k annotated images, suggested ones against random ones.

    python benchmarks/suggest.py PROJECT TRUTH --run RUN --csv scores.csv [--k 5] [--draws 5]

The features of RUN must be stored (medssl embed), of all images: they need no truth. Every draw divides the images
anew into a pool to annotate from and a third to test on; groups of the project (patients) are never on both sides.
Annotating an image means to take its whole truth. `random` is the mean over several random choices from the same pool;
`typical` and `farthest` choose all k images before anything is annotated; `uncertain` begins with two typical ones,
`mixture` with three, and then asks a probe on the stored features, fitted anew, for each further one.

Dice is the mean over units (images, or groups) of all their pixels. Stop and start it as you like: finished rows of
the CSV are not made again.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_medssl import Project
from napari_medssl.engine.experiment.scoring import Scorer
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.label_efficiency import lines_of, paired
from napari_medssl.evaluate.results import Cell, Row, Table
from napari_medssl.explore.live_probe import Annotated, LiveConfig, LiveProbe
from napari_medssl.explore.neighbours import Folder
from napari_medssl.explore.store import EmbeddingStore
from napari_medssl.explore.suggest import suggest
from napari_medssl.explore.uncertainty import SHARE, uncertain_images
from napari_medssl.project import load_truth

ARMS = ("random", "typical", "farthest", "uncertain", "mixture")
FIRST = {"uncertain": 2, "mixture": 3}
"""Typical images that are annotated before a probe is asked."""


@dataclass(frozen=True)
class Bench:
    """What every cell needs."""

    project: Project
    store: EmbeddingStore
    folder: Folder
    truth: Mapping[str, np.ndarray]
    units: Mapping[str, str]
    config: LiveConfig
    run: str
    test: int
    random: int
    pool: int
    share: float

    def divide(self, draw: int) -> tuple[list[str], list[str]]:
        """Give pool and test images."""
        rng = np.random.default_rng(draw)
        units = rng.permutation(sorted(set(self.units.values()))).tolist()
        tested = set(units[: max(1, len(units) // 3)])
        pool = [name for name in self.units if self.units[name] not in tested]
        test = [name for name in self.units if self.units[name] in tested]
        some = rng.permutation(sorted(tested))[: self.test].tolist()
        return (
            rng.permutation(pool)[: self.pool].tolist(),
            [name for name in test if self.units[name] in some],
        )

    def annotated(self, names: Sequence[str]) -> list[Annotated]:
        """Annotate these images wholly."""
        return [Annotated(name, 0, lambda name=name: self.truth[name]) for name in names]

    def known(self, names: Sequence[str]) -> set[int]:
        """Give the label values that these images show."""
        return {int(v) for name in names for v in np.unique(self.truth[name])} - {0}

    def choose(self, arm: str, pool: list[str], k: int, draw: int) -> list[list[str]]:
        """Give the images to annotate: several choices of `random`, one of the others."""
        if arm == "random":
            rng = np.random.default_rng((draw, 1))
            return [rng.choice(pool, k, replace=False).tolist() for _ in range(self.random)]
        diversity = "farthest" if arm == "farthest" else "typical"
        first = min(k, FIRST.get(arm, k))
        found = suggest(
            self.store, self.folder, annotated=[], count=first,
            diversity=diversity, candidates=pool, seed=draw,
        )  # fmt: skip
        chosen = [item.image for item in found]
        while len(chosen) < k:
            uncertain = None
            if len(self.known(chosen)) > 1:
                layer = LiveProbe(self.store.grid, self.project.planes, self.config).fit_features(
                    self.annotated(chosen)
                )
                left = [name for name in pool if name not in chosen]
                measured = uncertain_images(
                    self.store, layer.probabilities, names=left, share=self.share
                )
                uncertain = {item.image: item for item in measured}
            found = suggest(
                self.store, self.folder, annotated=chosen, count=1,
                uncertain=uncertain, candidates=pool, seed=draw,
            )  # fmt: skip
            chosen.append(found[0].image)
        return [chosen]

    def score(self, chosen: Sequence[str], test: Sequence[str]) -> dict[str, float]:
        """Fit the probe to the chosen images and score it on the test images."""
        classes = [info.value for info in self.project.settings.classes[1:]]
        scorer = Scorer(self.units, classes)
        values = self.known(chosen)
        only = next(iter(values), 1)  # images of one class alone teach no more than that
        probe = LiveProbe(self.store.grid, self.project.planes, self.config)
        for name in test:
            if len(values) > 1:
                found = probe.predict(self.annotated(chosen), name)
                assert found is not None  # nobody else asks
                labels = found.labels
            else:
                labels = np.full(self.truth[name].shape, only, np.uint16)
            scorer.add(name, labels, self.truth[name])
        return scorer.scores()

    def row(self, cell: Cell) -> Row:
        """Compute a cell."""
        began = time.monotonic()
        pool, test = self.divide(cell.draw)
        scores = [
            self.score(chosen, test) for chosen in self.choose(cell.arm, pool, cell.k, cell.draw)
        ]
        mean = {key: statistics.fmean(each[key] for each in scores) for key in scores[0]}
        return Row(
            project=self.project.name,
            arm=cell.arm,
            method=self.run,
            start="",
            downstream=cell.downstream,
            k=cell.k,
            draw=cell.draw,
            scored_on=cell.scored_on,
            **mean,
            units=len({self.units[name] for name in test}),
            images=len(test),
            seconds=time.monotonic() - began,
        )


def main() -> None:
    """Measure what is not in the CSV yet, then print the differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--run", required=True)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--source", default="mix")
    parser.add_argument("--k", type=int, nargs="+", default=[5])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first-draw", type=int, default=0, help="others for what is tuned")
    parser.add_argument("--share", type=float, default=SHARE, help="of an image, for `uncertain`")
    parser.add_argument("--random", type=int, default=5, help="random choices per draw")
    parser.add_argument("--test", type=int, default=40, help="test units at most")
    parser.add_argument("--pool", type=int, default=500, help="images to choose from at most")
    parser.add_argument("--l2", type=float, default=LiveConfig().l2)
    parser.add_argument("--balanced", action="store_true", help="as live prediction does")
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=ARMS[:4])
    options = parser.parse_args()
    project = Project.open(options.project)
    run = project.run(options.run)
    store = EmbeddingStore.open(project, run, source=options.source)
    truth = load_truth(project, options.truth)
    groups = project.groups()
    names = [name for name in store.names if name in truth]
    if len(names) < 3:
        raise MedsslError(f"{len(names)} images have both stored features and truth; at least 3.")
    bench = Bench(
        project=project,
        store=store,
        folder=Folder.of(store),
        truth={name: truth[name] for name in names},
        units={name: groups.get(name, name) for name in names},
        config=LiveConfig(l2=options.l2, balanced=options.balanced),
        run=run.name,
        test=options.test,
        random=options.random,
        pool=options.pool,
        share=options.share,
    )
    table = Table(options.csv)
    for draw in range(options.first_draw, options.first_draw + options.draws):
        for k in options.k:
            for arm in options.arms:
                cell = Cell(arm, "probe", k, draw, "test")
                if cell not in table:
                    table.add([bench.row(cell)])
                    print(arm, k, draw, round(table.rows[-1].dice, 4), flush=True)
    _print(table)


def _print(table: Table) -> None:
    lines = {line.arm: line for line in lines_of(table.rows, scored_on="test")}
    for line in lines.values():
        for k in line.scores:
            print(f"{line.arm:10} k = {k:3}  Dice {line.mean(k):.4f} ± {line.spread(k):.4f}")
    for arm, line in lines.items():
        if arm == "random" or "random" not in lines:
            continue
        for item in paired(line, lines["random"]):
            print(
                f"{arm:10} k = {item.k:3}  minus random {item.mean:+.4f}"
                f" [{item.low:+.4f}, {item.high:+.4f}] ({item.pairs} draws)"
            )


if __name__ == "__main__":
    main()
