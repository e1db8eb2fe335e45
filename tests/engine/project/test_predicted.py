"""Which images are predicted, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.project.predicted import predicted_by_run

if TYPE_CHECKING:
    from napari_medssl.project import Project


def test_labels_count_and_what_lies_beside_them_does_not(project: Project) -> None:
    assert predicted_by_run(project) == {}
    first, second = project.images[:2]
    for path in (
        project.prediction_path("20260101-a-01", first),
        project.prediction_path("20260101-a-01", "gone.png"),
        project.prediction_path("20260101-b-02", second),
        project.prediction_path("20260101-c-03.0123abcd", first),  # a run of another project
        project.predicted_objects_path("20260101-a-01", second),
        project.predicted_distance_path("20260101-a-01", second),
        project.predicted_map_path("20260101-a-01", second, "probability"),
        project.predicted_map_path("20260101-a-01", second, "uncertainty"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert predicted_by_run(project) == {
        "20260101-a-01": {first},
        "20260101-b-02": {second},
        "20260101-c-03.0123abcd": {first},
    }
