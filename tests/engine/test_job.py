"""Settings that a job fills in or refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_medssl import finetune
from napari_medssl.config import ConfigError
from napari_medssl.engine.job import FinetuneJob, parse_job
from napari_medssl.learn.weights import load_model
from napari_medssl.project.working_scale import ScaleRule

if TYPE_CHECKING:
    from typing import Any

    from napari_medssl.project import Project


def test_a_preset_is_the_recipe_of_its_paper() -> None:
    training = FinetuneJob(project="p", preset="pix2rep").training
    assert training.loss == "dice"
    assert training.learning_rate == 1e-2  # the last layer
    assert training.learning_rate * training.encoder_rate == pytest.approx(5e-5)
    assert training.average == 0
    dicoh = FinetuneJob(project="p", preset="dicoh").training
    assert (dicoh.optimizer, dicoh.learning_rate, dicoh.encoder_rate) == ("adamw", 1e-4, 1)
    assert dicoh.patch_size == 352
    evaluation = FinetuneJob(project="p", preset="evaluation").training
    assert (evaluation.optimizer, evaluation.learning_rate) == ("sgd", 1e-3)
    assert evaluation.weight_decay == 1e-4
    assert FinetuneJob(project="p").training.loss == "dice_ce"


def test_a_setting_that_is_given_wins_over_the_preset() -> None:
    given = {
        "kind": "finetune",
        "project": "p",
        "preset": "pix2rep",
        "training": {"loss": "dice_ce"},
    }
    job = parse_job(given)
    assert isinstance(job, FinetuneJob)
    assert job.training.loss == "dice_ce"
    assert job.training.learning_rate == 1e-2
    assert parse_job(job.model_dump(mode="json")) == job  # as a run keeps it
    with pytest.raises(ConfigError, match=r"preset = 'nnunet'"):
        parse_job(given | {"preset": "nnunet"})
    with pytest.raises(ConfigError, match="validate_every"):
        parse_job(given | {"training": {"validate_every": 3}})


def test_what_does_not_go_together_is_refused() -> None:
    for settings, told in (
        ({"mode": "probe", "answer": "forest"}, 'answer = "forest": a linear probe predicts'),
        ({"training": {"mean_teacher": True, "average": 0}}, "mean_teacher needs the moving"),
        ({"scale": {"rule": "fit", "value": 0}}, "scale.value"),
    ):
        with pytest.raises(ConfigError, match=told):
            parse_job({"kind": "finetune", "project": "p", **settings})


@pytest.mark.parametrize("preset", ["pix2rep", "evaluation"])
def test_a_preset_trains(
    annotated_project: Project, tiny_network: dict[str, Any], preset: Any
) -> None:
    run = finetune(
        annotated_project,
        preset=preset,
        network=tiny_network,
        training={"steps": 20, "batch_size": 4, "patch_size": 64, "learning_rate": 0.02},
        scale=ScaleRule(value=2),
        estimate=False,
    )
    losses = [value for _, value in run.metrics()["loss"]]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert run.job["training"]["optimizer"] == ("sgd" if preset == "evaluation" else "adamw")
    assert load_model(run.best_path).spec.scale == ScaleRule(value=2)
