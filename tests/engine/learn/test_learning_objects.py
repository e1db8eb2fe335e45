"""Objects in training: what is known of them, the second last layer, and what is found in its map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_medssl import finetune, predict, pretrain
from napari_medssl.config import ConfigError
from napari_medssl.engine.api import evaluate
from napari_medssl.engine.predictor import way_of
from napari_medssl.engine.protocol import Request
from napari_medssl.engine.serve import Interactive
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.objects import ObjectScore
from napari_medssl.instances.finding import find_objects
from napari_medssl.instances.watershed import distance_target
from napari_medssl.learn.augment import cut, draw_view
from napari_medssl.learn.finetune import FinetuneConfig, FinetuneTask
from napari_medssl.learn.finetune.distances import known_distance, taught_objects
from napari_medssl.learn.losses import distance_loss
from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.learn.objects import way_to_objects
from napari_medssl.learn.patches import step_rng
from napari_medssl.learn.predict import predict_maps
from napari_medssl.learn.transfer import transfer
from napari_medssl.learn.weights import load_model, save_model, save_part
from napari_medssl.project import ClassInfo, Normalisation, load_truth, read_labels
from napari_medssl.project.checkpoint import read_ids, read_map
from napari_medssl.project.working_scale import ScaleRule

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medssl.project import Project

CPU = torch.device("cpu")
LAYER = "distance.0.weight"
NO_CHOICE: dict[str, Any] = {"answer": "network", "estimate": False}
CLASSES = (
    ClassInfo(value=1, name="background", color="#000000"),
    ClassInfo(value=2, name="nucleus", color="#ff0000"),
)


def touching() -> tuple[np.ndarray, np.ndarray]:
    """Two squares that touch and one that stands alone, all annotated."""
    ids = np.zeros((40, 60), np.int32)
    ids[10:20, 10:20], ids[10:20, 20:30], ids[25:35, 40:50] = 3, 7, 9
    return np.where(ids > 0, 2, 1).astype(np.uint16), ids


def model(*, objects: bool = True, head: Any = "network", **network: Any) -> SegmentationModel:
    torch.manual_seed(0)
    spec = ModelSpec(
        network=NetworkConfig(**({"encoder": "mobilenet_v2", "encoder_depth": 3} | network)),
        channels=("grey",),
        classes=CLASSES,
        normalisation=Normalisation(),
        head=head,
        objects=objects,
    )
    return SegmentationModel(spec).eval()


# -- what is known ----------------------------------------------------------------------------------


def test_objects_that_may_go_on_where_nothing_is_annotated_are_left_out() -> None:
    labels, ids = touching()
    known = known_distance(labels, ids)
    np.testing.assert_array_equal(known, distance_target(ids))
    labels[12, 9] = 0  # beside the first square
    ids[30, 45] = 0  # of the class, but of no object: within the third
    known = known_distance(labels, ids)
    unknown = np.isin(ids, (3, 9))
    unknown[12, 9] = unknown[30, 45] = True
    np.testing.assert_array_equal(np.isnan(known), unknown)
    np.testing.assert_array_equal(known[~unknown], distance_target(ids)[~unknown])


def test_ids_outside_the_classes_mean_nothing() -> None:
    labels, ids = touching()
    ids[0:5, 0:5] = 11
    assert not known_distance(labels, ids)[:5, :5].any()


def test_objects_come_from_the_classes_only_where_that_is_asked_for(project: Project) -> None:
    drawn, named = project.images[:2]
    labels = np.ones((64, 64), np.uint16)
    labels[5:15, 5:15] = labels[40:50, 40:50] = 2
    project.objects.write(drawn, np.zeros((64, 64), int))
    for source, counts in (("drawn", (0, 0)), ("classes", (0, 2))):
        config = FinetuneConfig(objects=True, objects_from=source)
        found = [taught_objects(project, name, labels, config).max() for name in (drawn, named)]
        assert tuple(found) == counts


@pytest.mark.parametrize("seed", range(8))
def test_a_view_of_the_map_is_the_map_of_the_view(seed: int) -> None:
    """Turned, mirrored and scaled ids have the distances that the view of the whole map shows."""
    ids = np.zeros((160, 160), np.int32)
    ids[20:60, 20:60], ids[20:60, 60:100], ids[90:140, 60:130] = 1, 2, 3
    view = draw_view(np.random.default_rng(seed), ids.shape, 230, crop=(0.8, 1.25), centre=(80, 80))
    seen = cut(distance_target(ids), view)
    again = distance_target(cut(ids.astype(np.uint16), view, labels=True))
    whole = np.zeros(seen.shape, bool)  # beyond the image it is mirrored
    whole[20:-20, 20:-20] = True
    inside = cut((ids > 0).astype(np.uint8), view, labels=True) > 0
    assert np.abs(seen - again)[whole & inside].mean() < 0.03


def test_unknown_pixels_stay_unknown_in_every_view() -> None:
    known = np.ones((50, 50), np.float32)
    known[20:30, 30:] = np.nan
    for seed in range(10):
        view = draw_view(np.random.default_rng(seed), known.shape, 32)
        unknown = cut(np.isnan(known).astype(np.uint8), view, labels=True) > 0
        assert np.isnan(cut(known, view)[unknown]).all()


def test_the_loss_is_smooth_l1_of_the_known_pixels() -> None:
    target = torch.tensor([[[0.0, 0.5], [1.0, torch.nan]]])
    prediction = torch.tensor([[[[0.25, 0.5], [2.5, 9.0]]]], requires_grad=True)
    loss = distance_loss(prediction, target)
    assert float(loss.detach()) == pytest.approx((0.5 * 0.25**2 + 0 + (1.5 - 0.5)) / 3)
    loss.backward()  # type: ignore[no-untyped-call]
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()
    assert float(prediction.grad[0, 0, 1, 1]) == 0
    assert float(distance_loss(prediction.detach(), torch.full((1, 2, 2), torch.nan))) == 0


# -- the network ------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["unet", "deeplabv3"])
def test_a_layer_of_distances_changes_nothing_for_the_classes(architecture: str) -> None:
    with_layer = model(architecture=architecture, encoder_depth=5)
    without = model(architecture=architecture, encoder_depth=5, objects=False)
    planes = np.random.default_rng(0).random((1, 70, 64), np.float32)
    for factor in (1.0, 2.0):
        maps = predict_maps(with_layer, planes, factor=factor, device=CPU)
        plain = predict_maps(without, planes, factor=factor, device=CPU)
        np.testing.assert_allclose(maps.chances, plain.chances, atol=1e-6)
        assert maps.distance is not None
        assert maps.distance.shape == (70, 64)
        assert plain.distance is None


def test_the_layer_is_kept_and_exported_where_it_has_a_place(tmp_path: Path) -> None:
    made = model()
    save_model(made, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert again.spec.objects
    assert torch.equal(again.state_dict()[LAYER], made.state_dict()[LAYER])
    save_part(made, tmp_path / "smp.safetensors", part="whole", names="smp")
    save_part(model(objects=False), tmp_path / "plain.safetensors", part="whole", names="smp")
    smp, plain = (load_file(tmp_path / f"{name}.safetensors") for name in ("smp", "plain"))
    assert smp.keys() == plain.keys()


@pytest.mark.parametrize(
    ("mine", "its", "taken", "told"),
    [
        (True, True, True, "^Taken"),
        (True, False, False, "layer of distances is new"),
        (False, True, False, "left out: this run does not learn objects"),
    ],
)
def test_distances_are_taken_over_where_both_have_them(
    mine: bool, its: bool, taken: bool, told: str
) -> None:
    start, source = model(objects=mine), model(objects=its)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.fill_(0.5)
    if its:
        source.distance_learned.fill_(True)
    report = transfer(start, source, name="run")
    assert float(start.net.segmentation_head[0].weight.detach().mean()) == 0.5
    assert mine is hasattr(start, "distance")
    if mine:
        assert bool((start.state_dict()[LAYER] == 0.5).all()) is taken
        assert bool(start.distance_learned) is taken
    text = report.text()
    assert ("istances" in text) is (told != "^Taken")
    if told != "^Taken":
        assert told in text


# -- found in a prediction --------------------------------------------------------------------------


def test_touching_objects_are_told_apart_by_distance_and_by_necks_but_not_by_connection() -> None:
    labels, ids = touching()
    distance = distance_target(ids)
    labels[30, :] = 1  # objects lie within the classes
    found = find_objects(labels, distance, "distance")
    assert found.max() == 3
    assert not found[30].any()
    cells = np.zeros((40, 80), bool)
    ys, xs = np.ogrid[:40, :80]
    for x in (30, 48):
        cells |= (ys - 20) ** 2 + (xs - x) ** 2 <= 100
    classes = np.where(cells, 2, 1).astype(np.uint16)
    assert find_objects(classes, None, "separate").max() == 2
    assert find_objects(classes, None, "connected").max() == 1
    classes[:, :39][cells[:, :39]] = 3
    assert find_objects(classes, None, "connected").max() == 2  # two classes are two objects


def test_specks_are_told_from_small_objects_of_another_class() -> None:
    labels = np.ones((60, 90), np.uint16)
    labels[5:35, 5:35] = 2  # 900 pixels
    labels[40:45, 5:15] = 2  # 50 pixels: above a twentieth
    labels[::4, 40::4] = 2  # many specks, of a pixel each
    labels[50:55, 5:11] = 3  # 30 pixels, and typical of their class
    found = find_objects(labels, None, "separate")
    assert sorted(np.bincount(found.ravel())[1:].tolist()) == [30, 50, 900]
    assert not found[::4, 40::4].any()
    assert find_objects(labels, None, "separate", specks=True).max() > 100
    labels, distance = np.full((60, 90), 2, np.uint16), np.zeros((60, 90), np.float32)
    distance[5:35, 5:35] = distance[5:35, 45:75] = distance[40:45, 5:10] = 0.9
    assert find_objects(labels, distance, "distance").max() == 2
    assert find_objects(labels, distance, "distance", specks=True).max() == 3


def test_where_objects_come_from_is_said_or_refused() -> None:
    plain, learned = model(objects=False).spec, model().spec
    assert way_to_objects(plain, "auto", run="r") is None
    assert way_to_objects(learned, "auto", run="r") == "distance"
    assert way_to_objects(plain, "separate", run="r") == "separate"
    with pytest.raises(MedsslError, match="has not learned objects"):
        way_to_objects(plain, "distance", run="r")


# -- a run ------------------------------------------------------------------------------------------


def test_a_run_learns_objects_and_goes_on_with_them(
    annotated_project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    project, training = annotated_project, tiny_training | {"objects": True}
    source = pretrain(project, network=tiny_network, training=tiny_training)
    run = finetune(project, from_run=source.name, training=training, **NO_CHOICE)
    learned = load_model(run.best_path)
    assert learned.spec.objects
    assert bool(learned.distance_learned)
    assert run.metrics()["distance"][-1][1] > 0
    after = finetune(project, from_run=run.name, mode="frozen", training=training, **NO_CHOICE)
    assert load_model(after.best_path).spec.objects


def test_unknown_distances_stay_unknown_in_patches_at_a_coarser_scale(project: Project) -> None:
    labels, ids = (np.zeros((64, 64), int) for _ in range(2))
    labels[8:56, 8:56] = 1
    ids[20:30, 20:30], ids[20:30, 40:50] = 1, 2
    labels[ids > 0] = 2
    labels[20:30, 50:54] = 0  # the second may go on there
    name = project.images[0]
    project.annotations.write(name, labels.astype(np.uint16))
    project.objects.write(name, ids)
    made = model()
    made.spec = made.spec.model_copy(update={"scale": ScaleRule(value=2)})
    task = FinetuneTask(
        mode="full",
        model=made,
        project=project,
        images=(name,),
        config=FinetuneConfig(objects=True, patch_size=32, batch_size=4),
        seed=0,
    )
    item = task._load(name)
    assert item.distance is not None
    assert item.distance.shape == (32, 32)
    assert np.isnan(item.distance[10:15, 20:25]).all()
    assert np.isfinite(item.distance[10:15, 10:15]).all()
    for step in range(5):
        batch = task.batch(step_rng(0, step))
        known = np.isfinite(batch["distance"])
        assert known.any()
        assert not known[batch["targets"].sum(1) == 0].any()
        assert known.sum() < (batch["targets"].sum(1) > 0).sum()


def test_training_lowers_the_distance_loss(
    annotated_project: Project, tiny_network: dict[str, Any]
) -> None:
    training = {
        "steps": 30,
        "batch_size": 4,
        "patch_size": 64,
        "objects": True,
        "learning_rate": 3e-3,
    }
    run = finetune(annotated_project, network=tiny_network, training=training, **NO_CHOICE)
    losses = [value for _, value in run.metrics()["distance"]]
    assert losses[-1] < 0.5 * losses[0]


def test_without_a_known_object_nothing_begins(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    labels = np.zeros((64, 64), np.uint16)
    labels[10:20, 10:20], labels[30:40, 30:40] = 1, 2  # a scribble, and not what is around it
    project.annotations.write(project.images[0], labels)
    training = tiny_training | {"objects": True, "objects_from": "classes"}
    with pytest.raises(MedsslError, match="none of them is annotated with all that is around"):
        finetune(project, network=tiny_network, training=training)
    with pytest.raises(ConfigError, match="classes alone"):
        finetune(project, mode="probe", training=training)


def test_predicted_objects_are_stored_and_scored(
    nuclei_folder: Path,
    annotated_project: Project,
    tiny_network: dict[str, Any],
    tiny_training: dict[str, Any],
) -> None:
    project, masks = annotated_project, nuclei_folder / "masks"
    training = tiny_training | {"objects": True}
    run = finetune(
        project, network=tiny_network, training=training, images=project.images[:4], **NO_CHOICE
    )
    image = project.images[5]
    objects, distance = (
        path(run.name, image)
        for path in (project.predicted_objects_path, project.predicted_distance_path)
    )
    predict(project, run=run.name, images=[image])
    ids = read_ids(objects)
    assert read_map(distance).shape == ids.shape == (64, 64)
    assert not ids[read_labels(project.prediction_path(run.name, image)) < 2].any()

    def scored(objects: Any) -> Any:
        return evaluate(project, run=run.name, truth=masks, masks_as="instances", objects=objects)

    found = scored("connected")
    assert not distance.exists()  # it would belong to another prediction
    ids, truth = read_ids(objects), load_truth(project, masks, masks_as="instances").objects(image)
    by_hand = ObjectScore.of(image, ids, truth)
    assert [row.image for row in found.objects.images] == list(project.images[4:])
    assert found.objects.images[1] == by_hand
    assert f"AJI+ over 2 images: {found.objects.mean['aji_plus']:.4f}" in found.table()
    # A run without a map of distances renews what is there in the way it was found in.
    plain = finetune(project, mode="probe", from_run=run.name, images=project.images[:4])
    for wanted in ("separate", "auto"):
        predict(project, run=plain.name, images=[image], objects=wanted)
        assert way_of(project.predicted_objects_path(plain.name, image)) == "separate"
    without = scored("none")
    assert not objects.exists()
    assert without.objects is None
    asked = Request(id=1, request="predict", project=str(project.path), run=run.name, image=image)
    Interactive(tell=print).answer(asked)
    assert objects.is_file()
    assert distance.is_file()
