"""Runs are written as the engine writes them; nothing is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medssl.evaluate.measured import measured_on
from napari_medssl.explore.labelled import evenly
from napari_medssl.project import TableRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medssl.project import Project, Run


def tuned(project: Project, images: Sequence[str]) -> Run:
    run = project.new_run("finetune")
    network = {"encoder_weights": "none", "weights_file": None}
    job = {"kind": "finetune", "network": network, "from_run": None, "images": list(images)}
    run.write_job(job)
    return run


@pytest.fixture
def project(annotated_project: Project) -> Project:
    """Six annotated images: two of the patient p, the others alone."""
    images = annotated_project.images
    table = annotated_project.path / "patients.csv"
    rows = [f"{name},{'p' if n < 2 else n}" for n, name in enumerate(images)]
    table.write_text("\n".join(["image,patient", *rows]))
    annotated_project.update(groups=TableRule(table=table.name, column="patient"))
    return annotated_project


def test_what_taught_and_others_of_its_patient_are_left_out(project: Project) -> None:
    names = project.images
    run = tuned(project, names[:1])
    found = measured_on(project, [run])
    assert found.names == names[2:]
    assert found.notes == (
        "2 of 6 annotated images taught or are of the group or file of one that did: they are left out of what is"
        " measured by annotations.",
    )
    assert measured_on(project, [run], names[:4]).names == names[2:4]
    both = measured_on(project, [run, tuned(project, names[4:5])])
    assert both.names == (names[2], names[3], names[5])


def test_where_too_few_are_left_all_are_taken_and_it_is_said(project: Project) -> None:
    names = project.images
    run = tuned(project, names[2:5])
    assert measured_on(project, [run]).names == (*names[:2], names[5])  # two groups
    project.annotations.write(names[5], np.ones(project.shape(names[5]), np.uint16))
    found = measured_on(project, [run])  # of two classes, one is left in one group alone
    assert found.names == names
    (note,) = found.notes
    assert note.startswith("3 of 6 annotated images taught, and the others are too few")


def test_what_nobody_knows_and_what_is_damaged_is_said(project: Project) -> None:
    project.annotations.path(project.images[3]).write_bytes(b"no TIFF")
    run = tuned(project, ())
    run.write_job({**run.job, "from_run": "20200101-medsass-01"})
    found = measured_on(project, [run])
    assert project.images[3] not in found.names
    assert len(found.names) == 5
    damaged, unknown = found.notes
    assert project.images[3] in damaged
    assert "20200101-medsass-01" in unknown


def test_evenly_reaches_over_the_whole_list() -> None:
    names = [f"{n:03}" for n in range(100)]
    chosen = evenly(names, 40)
    assert len(set(chosen)) == 40
    assert (chosen[0], chosen[-1]) == ("000", "097")
    assert evenly(names[:3], 40) == ("000", "001", "002")
