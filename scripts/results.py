"""Bring the results of experiments into the documentation: CSV, plot and tables of each.

    python scripts/results.py EXPERIMENT_FOLDER NAME     # docs/results/NAME.csv, .md and -test.png

The page that tells what they mean, docs/results.md, is written by hand.
"""

import shutil
import sys
from pathlib import Path

from napari_medssl.engine.experiment.workplace import read_plan
from napari_medssl.evaluate.report.efficiency import write_markdown
from napari_medssl.evaluate.results import Table

RESULTS = Path(__file__).parent.parent / "docs" / "results"


def main() -> None:
    folder, name = Path(sys.argv[1]), sys.argv[2]
    table = Table(folder / "results.csv")
    plan = read_plan(folder)
    pool = plan["pool"] if plan["rates"] else None
    scratch = RESULTS / f".{name}"
    scratch.mkdir(parents=True)
    try:
        for path in write_markdown(table.rows, scratch, title=name, pool=pool):
            if path.suffix == ".md":
                text = path.read_text(encoding="utf-8").replace("](dice-", f"]({name}-")
                (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
            else:
                shutil.copyfile(path, RESULTS / path.name.replace("dice-", f"{name}-"))
    finally:
        shutil.rmtree(scratch)
    shutil.copyfile(table.path, RESULTS / f"{name}.csv")
    print(f"{len(table.rows)} cells of {name}")


if __name__ == "__main__":
    main()
