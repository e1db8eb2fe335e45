"""Bring the results of experiments into the documentation: CSV, plot and tables of each.

    python scripts/results.py EXPERIMENT_FOLDER NAME     # docs/results/NAME.csv, .md and -test.png

The page that tells what they mean, docs/results.md, is written by hand.
"""

import shutil
import sys
from pathlib import Path

from napari_medssl.evaluate.annotation_table import iqc_table
from napari_medssl.evaluate.report.efficiency import write_markdown
from napari_medssl.evaluate.results import Table
from napari_medssl.project.checkpoint import read_json

RESULTS = Path(__file__).parent.parent / "docs" / "results"


def main() -> None:
    folder, name = Path(sys.argv[1]), sys.argv[2]
    table = Table(folder / "results.csv")
    pool = max(row.k for row in table.rows)  # of an experiment over annotation rates: all of them
    rates = read_json(folder / "plan.json").get("rates")
    further = {
        on: iqc_table(table.rows, scored_on=on, pool=pool) for on in ("test", "validation") if rates
    }
    scratch = RESULTS / f".{name}"
    scratch.mkdir(parents=True)
    try:
        for path in write_markdown(table.rows, scratch, title=name, further=further):
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
