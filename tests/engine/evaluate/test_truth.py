"""Which images test a run: none that taught it, nor others of their group or file. Nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.truth import AnnotationTruth, OnlyRelatedError, held_out
from napari_medssl.project import PatternRule, Project, Run


def tuned(project: Project, *images: str) -> Run:
    run = project.new_run("finetune")
    run.write_job({"kind": "finetune", "network": {}, "images": list(images)})
    return run


def test_a_patient_that_taught_tests_only_where_it_is_asked_for(nuclei_folder: Path) -> None:
    """field_0 to field_2 are of one patient; the others have no group, so each stands alone."""
    project = Project.create(nuclei_folder / "images", groups=PatternRule(pattern="(field_)[012]"))
    truth: dict[str, Any] = dict.fromkeys(project.images[:5])
    run = tuned(project, "field_0.png")
    found = held_out(project, run, project.images, truth)
    assert found.scored == ("field_3.png", "field_4.png")
    assert found.learned == ("field_0.png",)
    assert found.related == ("field_1.png", "field_2.png")
    every = held_out(project, run, project.images, truth, units="image")
    assert every.scored == ("field_1.png", "field_2.png", "field_3.png", "field_4.png")
    assert every.related == found.related


def test_of_a_single_stack_nothing_is_left_but_the_way_out_is_told(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "stack.tif",
        np.random.default_rng(0).integers(0, 255, (4, 32, 32), np.uint8),
        imagej=True,
        metadata={"axes": "ZYX"},
    )
    project = Project.create(tmp_path)
    first, second, third, _ = project.images
    truth: dict[str, Any] = dict.fromkeys((first, second, third))
    with pytest.raises(OnlyRelatedError, match=r'all 2 images .*units "image"') as refused:
        held_out(project, tuned(project, first), project.images, truth)
    assert refused.value.count == 2
    found = held_out(project, tuned(project, first), project.images, truth, units="image")
    assert found.scored == (second, third)
    with pytest.raises(MedsslError, match="learned by heart"):
        held_out(project, tuned(project, *truth), project.images, truth, units="image")


def test_partly_annotated_images_are_known_without_reading_them(project: Project) -> None:
    whole, partly = project.images[:2]
    labels = np.ones((64, 64), np.uint16)
    project.annotations.write(whole, labels)
    labels[0, 0] = 0
    project.annotations.write(partly, labels, done=True)
    truth = AnnotationTruth(project)
    assert [truth.partly(name) for name in truth] == [False, True]
