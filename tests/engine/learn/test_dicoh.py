"""DiCoH: which cells belong together, the queue, the target network, and the loss as a whole."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F

from napari_medssl import finetune, pretrain
from napari_medssl.errors import MedsslError
from napari_medssl.learn.augment import View, matched_cells
from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.learn.patches import step_rng
from napari_medssl.learn.pretext.dicoh import DiCoH, DiCoHConfig, queue_size
from napari_medssl.learn.task import PretrainingConfig, to_device
from napari_medssl.learn.weights import load_model
from napari_medssl.project import Project
from napari_medssl.project.image_rules import PatternRule
from napari_medssl.project.working_scale import ScaleRule

if TYPE_CHECKING:
    from pathlib import Path

SMALL = {"queue": 12, "dimension": 8, "hidden": 16}
CPU = torch.device("cpu")


def make(project: Project, network: dict[str, Any] | None = None, **config: Any) -> DiCoH:
    torch.manual_seed(0)
    spec = ModelSpec(
        network=NetworkConfig(**({"encoder_depth": 3} | (network or {}))),
        channels=project.settings.channels,
        classes=DiCoH.output_classes(project),
        normalisation=project.settings.normalisation,
    )
    return DiCoH(
        config=DiCoHConfig(**(SMALL | config)),
        model=SegmentationModel(spec),
        project=project,
        training=PretrainingConfig(patch_size=32, batch_size=4),
        seed=0,
    )


def batch_of(task: DiCoH, step: int = 0) -> dict[str, torch.Tensor]:
    return to_device(task.batch(step_rng(0, step)), CPU, torch.contiguous_format)


def box(left: float, top: float, width: float, height: float, size: int = 8) -> View:
    """A view of the box; negative extents run leftwards and upwards, which mirrors it."""
    x, y = width / size, height / size
    return View(matrix=np.array([[x, 0, left + (x - 1) / 2], [0, y, top + (y - 1) / 2]]), size=size)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        # Boxes of 8 x 8 image pixels in cells of 4 x 4 view pixels: 2 x 2 cells, numbered 0 1 / 2 3.
        pytest.param((0, 0, 8, 8), (0, 0, 8, 8), [0, 1, 2, 3], id="the same"),
        pytest.param((0, 0, 8, 8), (4, 0, 8, 8), [-1, 0, -1, 2], id="half a view to the right"),
        pytest.param((0, 0, 8, 8), (4, 4, 8, 8), [-1, -1, -1, 0], id="a corner in common"),
        pytest.param((0, 0, 8, 8), (8, 0, 8, 8), [-1, -1, -1, -1], id="side by side"),
        pytest.param((0, 0, 8, 8), (8, 0, -8, 8), [1, 0, 3, 2], id="mirrored left to right"),
        pytest.param((0, 0, 8, 8), (0, 8, 8, -8), [2, 3, 0, 1], id="mirrored top to bottom"),
        pytest.param((8, 0, -8, 8), (8, 0, -8, 8), [0, 1, 2, 3], id="both mirrored"),
        pytest.param((0, 0, 8, 8), (12, 0, -8, 8), [-1, 1, -1, 3], id="mirrored, half in common"),
        pytest.param((0, 0, 8, 8), (0, 0, 16, 16), [0, 0, 0, 0], id="twice as large"),
        pytest.param((0, 0, 16, 16), (0, 0, 8, 8), [3, -1, -1, -1], id="half as large"),
        pytest.param((0, 0, 8, 8), (1, -1, 8, 8), [0, 1, 2, 3], id="a little aside: nearest"),
        pytest.param((0, 0, 8, 8), (2, 0, 8, 8), [0, 1, 2, 3], id="on the border: the second"),
        pytest.param((0, 0, 8, 8), (3, 0, 8, 8), [-1, 0, -1, 2], id="further aside"),
    ],
)
def test_cells_at_the_same_place(
    start: tuple[int, ...], end: tuple[int, ...], expected: list[int]
) -> None:
    assert matched_cells(box(*start), box(*end), 4).tolist() == expected


def test_both_views_of_a_sample_show_the_same_in_matched_cells(project: Project) -> None:
    """Without intensity changes and at one scale, matched cells have about the same mean."""
    plain = {"intensity": 0, "blur": 0, "noise": 0, "min_crop": 1, "turns": True}
    task = make(project, **plain)
    differences, shares = [], []
    for step in range(4):
        batch = task.batch(step_rng(2, step))
        means = [
            v.reshape(4, 8, 4, 8, 4).mean((2, 4)).reshape(4, 64)
            for v in (batch["query"][:, 0], batch["key"][:, 0])
        ]
        for query, key, match in zip(*means, batch["match"], strict=True):
            seen = match >= 0
            shares.append(seen.mean())
            differences.append(np.abs(query[seen] - key[match[seen]]).mean())
        spread = np.std(means[0])
    assert min(shares) > 0
    assert 0.1 < np.mean(shares) < 0.95
    assert np.mean(differences) < 0.35 * spread


def naive(task: DiCoH, batch: dict[str, torch.Tensor]) -> float:
    """Equations 1 to 5 for one batch, pixel by pixel in float64."""
    config = task.config
    with torch.no_grad():
        query, key = task.online(batch["query"]), task.target(batch["key"])
    zq, zk, hq, hk = (
        v.double().numpy() for v in (query.pixels, key.pixels, query.features, key.features)
    )
    queue, owners = task.queue.keys.double().numpy(), task.queue.images.tolist()
    tau, images = config.temperature, batch["unit"].tolist()
    hard = round(len(queue) * (1 - (config.percentile or 0) / 100))

    def term(q: np.ndarray, k: np.ndarray, image: int, keep: int | None) -> float:
        others = sorted(
            (q @ c for c, owner in zip(queue, owners, strict=True) if owner != image), reverse=True
        )
        p = math.exp(q @ k / tau)
        return -math.log(p / (p + sum(math.exp(s / tau) for s in others[:keep])))

    def unit(v: np.ndarray) -> np.ndarray:
        return v / np.linalg.norm(v)

    spatial, similar, whole = [], [], []
    for b, image in enumerate(images):
        whole.append(term(unit(zq[b].mean(0)), unit(zk[b].mean(0)), image, None))
        for i, q in enumerate(zq[b]):
            j = int(batch["match"][b, i])
            if j >= 0:
                spatial.append(term(q, zk[b, j], image, hard))
            m = int(np.argmax([unit(hq[b, i]) @ unit(h) for h in hk[b]]))
            similar.append(term(q, zk[b, m], image, hard))
    local = np.mean(spatial) + np.mean(similar)
    return float(config.local_weight * local + (1 - config.local_weight) * np.mean(whole))


@pytest.mark.parametrize("percentile", [0, 75])
def test_the_loss_is_the_papers(project: Project, percentile: float) -> None:
    task = make(project, percentile=percentile, local_weight=0.3)
    batch = batch_of(task)
    task(batch)  # fills the queue
    task.eval()  # so that both passes normalise alike
    assert task(batch)["loss"].item() == pytest.approx(naive(task, batch), rel=1e-5)


def test_hard_negatives_are_a_share_of_what_the_queue_holds(project: Project) -> None:
    """A queue that is to grow to 40 has 12 keys: the loss is that of a full queue of 12."""
    tasks = [make(project, percentile=75, queue=length) for length in (12, 40)]
    for task in tasks:
        task.queue.put(*(torch.eye(12, 8), torch.eye(12, 8), torch.arange(12) + 100))
        task.eval()
    full, growing = (task(batch_of(task)) for task in tasks)
    assert growing["loss"].item() == pytest.approx(full["loss"].item(), rel=1e-6)
    assert full["queue_filled"].item() == 1
    assert growing["queue_filled"].item() == pytest.approx(12 / 40)


def test_what_is_logged_is_about_the_target_and_other_units(project: Project) -> None:
    task = make(project, predictor=True)
    batch = batch_of(task)
    task(batch)  # fills the queue
    task.eval()
    logged = task(batch)
    with torch.no_grad():
        query, key = task.online(batch["query"], task.predict), task.target(batch["key"])
    spread = key.pixels.flatten(0, 1).std(0).mean()
    assert logged["feature_std"].item() == pytest.approx(spread.item(), rel=1e-5)
    others = [
        (query.pixels[b] @ task.queue.keys[task.queue.images != unit].T).mean().item()
        for b, unit in enumerate(batch["unit"])
    ]
    assert logged["negative_similarity"].item() == pytest.approx(np.mean(others), abs=1e-6)


def test_the_ablations_change_the_loss(project: Project) -> None:
    values = {}
    for name, config in {
        "DiCoH": {},
        "spatial only": {"positives": "spatial"},
        "similarity only": {"positives": "similarity"},
        "neither": {"positives": "none"},
        "pixel negatives": {"negatives": "pixel"},
        "own projector": {"global_projector": True},
        "predictor": {"predictor": True},
        "hard": {"percentile": 75},
        "lambda": {"local_weight": 0.2},
        "symmetrised": {"symmetrised": True},
        "encoder": {"features": "encoder"},
        "finer": {"stride": "4"},
    }.items():
        task = make(project, **config)
        losses = task(batch_of(task))
        losses["loss"].backward()
        values[name] = losses["loss"].item()
        assert math.isfinite(values[name]), name
    values.pop("finer")  # what auto takes for this network
    assert all(abs(a - b) > 1e-4 for a, b in itertools.combinations(values.values(), 2)), values


def test_no_image_is_its_own_negative(project: Project) -> None:
    task = make(project)
    batch = batch_of(task)
    task(batch)
    before = task(batch)["global_loss"]
    own = task.queue.images == batch["unit"][0]
    task.queue.keys[own] = -task.queue.keys[own]
    first = {name: value[:1] for name, value in batch.items()}
    task.eval()
    changed, task.queue.keys[own] = task(first)["loss"].item(), -task.queue.keys[own]
    assert changed == task(first)["loss"].item()
    assert before != task(batch)["global_loss"]  # the others do see them


def test_no_image_of_the_own_group_is_a_negative(project: Project) -> None:
    """Without groups, planes of one file; if there is one file alone, images again, which is told."""
    names = project.images

    def parted(task: DiCoH) -> list[tuple[str, ...]]:
        units = [int(task.sample(name, step_rng(0, 0))["unit"]) for name in task.images]
        return [
            tuple(n for n, unit in zip(task.images, units, strict=True) if unit == number)
            for number in sorted(set(units))
        ]

    assert parted(make(project)) == [(name,) for name in names]
    project.update(groups=PatternRule(pattern="field_([0-3])"))
    assert parted(make(project)) == [(name,) for name in names]  # two have no group
    project.update(groups=PatternRule(pattern="field_[0-3]|field"))
    task = make(project)
    assert parted(task) == [*((name,) for name in names[:4]), names[4:]]
    batch = batch_of(task)
    batch["unit"][:] = 4
    task.queue.put(torch.eye(8), torch.eye(8), torch.full((8,), 4))  # none but of this group
    losses = task(batch)
    assert losses["local_loss"].item() == losses["global_loss"].item() == 0
    losses["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in task.parameters())
    project.update(groups=PatternRule(pattern="field"))
    task = make(project)
    assert parted(task) == [(name,) for name in names]
    assert any("All 6 images belong to one group" in note for note in task.notes)


def test_planes_of_one_file_are_no_negatives(tmp_path: Path) -> None:
    for name in ("a", "b"):
        stack = np.random.default_rng(0).integers(0, 255, (3, 48, 48), dtype=np.uint8)
        tifffile.imwrite(tmp_path / f"{name}.tif", stack, metadata={"axes": "ZYX"}, imagej=True)
    task = make(Project.create(tmp_path))
    units = [int(task.sample(name, step_rng(0, 0))["unit"]) for name in task.images]
    assert units == [0, 0, 0, 1, 1, 1]


def test_the_queue_replaces_its_oldest_keys(project: Project) -> None:
    task = make(project, queue=5)
    vectors = F.normalize(torch.randn(8, 8), dim=1)
    task.queue.put(vectors[:3], vectors[:3], torch.arange(3))
    task.queue.put(vectors[3:7], vectors[3:7], torch.arange(3, 7))
    assert task.queue.images.tolist() == [5, 6, 2, 3, 4]
    torch.testing.assert_close(task.queue.keys[[2, 3, 4, 0, 1]], vectors[2:7])
    task.queue.put(vectors, vectors, torch.arange(8))  # more than it holds: the last stay
    assert sorted(task.queue.images.tolist()) == [3, 4, 5, 6, 7]


def test_the_queue_is_full_before_the_first_step(project: Project) -> None:
    task = make(project)
    task(batch_of(task))
    assert len(set(task.queue.images.tolist()) & set(range(len(project.images)))) > 3
    torch.testing.assert_close(task.queue.keys.norm(dim=1), torch.ones(12))
    kept = task.queue.keys.clone()
    task(batch_of(task, 1))
    assert torch.equal(task.queue.keys, kept)  # only after the step
    task.after_step(0, 100)
    assert not torch.equal(task.queue.keys, kept)


def test_the_target_follows_slowly_and_learns_nothing_itself(project: Project) -> None:
    task = make(project)
    assert not any(p.requires_grad for p in task.target.parameters())
    start = [p.clone() for p in task.target.parameters()]
    with torch.no_grad():
        for p in task.online.parameters():
            p += 1
    task.after_step(0, 1000)  # momentum 1 - 10 / 1000
    for old, new in zip(start, task.target.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.01, atol=1e-5, rtol=1e-4)


def test_collapse_is_told_once_with_a_remedy(project: Project) -> None:
    task = make(project)
    for step in range(200):
        task.watch.see(torch.tensor(0.3 if step < 60 else 0.01))
        task.after_step(step, 200)
    (note,) = task.told()
    assert note.level == "warning"
    assert "collapsed" in note.text
    assert "ImageNet" in note.text


@pytest.mark.parametrize(("images", "length"), [(10, 256), (2000, 1000), (10**6, 65536)])
def test_queue_size_follows_the_folder(images: int, length: int) -> None:
    assert queue_size(images) == length


def test_the_papers_network(project: Project) -> None:
    """DeepLabV3: the pyramid at stride 16, or the encoder without it."""
    network = {"architecture": "deeplabv3", "encoder": "resnet18", "encoder_depth": 5}
    for features in ("decoder", "encoder"):
        task = make(project, network, features=features)
        assert task.online.stride == 16
        assert task.sample(project.images[0], step_rng(0, 0))["match"].shape == (4,)
        assert torch.isfinite(task(batch_of(task))["loss"])
    assert task.model(torch.rand(2, 1, 64, 32)).shape == (2, 2, 64, 32)


def test_impossible_wishes_are_refused(project: Project, nuclei_folder: Path) -> None:
    with pytest.raises(MedsslError, match="no stage of stride 16"):
        make(project, stride="16")
    for image in sorted((nuclei_folder / "images").glob("*.png"))[1:]:
        image.unlink()
    single = Project.create(nuclei_folder / "images", project=nuclei_folder / "single")
    with pytest.raises(MedsslError, match="only one"):
        make(single)


def test_random_weights_are_warned_of(project: Project) -> None:
    assert any(
        "random weights" in note for note in make(project, {"encoder_weights": "none"}).notes
    )


def test_all_that_training_goes_on_with_is_in_the_state(project: Project) -> None:
    """Queue, target network and collapse watch."""
    first = make(project)
    for step in range(2):
        first(batch_of(first, step))["loss"].backward()
        first.after_step(step, 4)
    second = make(project)
    second.load_state_dict(first.state_dict())
    first(batch_of(first, 2)), second(batch_of(second, 2))
    for task in (first, second):
        task.after_step(2, 4)
    ours, theirs = first.state_dict(), second.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_preview_shows_both_views_beside_the_image(project: Project) -> None:
    (layer,) = DiCoH.preview(DiCoHConfig(), project, project.images[0], scale=ScaleRule(), patch=64)
    height, width = project.shape(project.images[0])
    assert layer.data.dtype == np.uint8
    assert layer.data.shape[0] >= height
    assert layer.data[:, width:].mean() > 20
    assert "same place" in layer.text


def test_a_model_records_which_stages_were_trained(project: Project) -> None:
    """Stages 16 and 8 of five; a probe on them goes on reading these alone, and fine-tuning trains all."""
    training = {"steps": 2, "batch_size": 2, "patch_size": 32}
    run = pretrain(project, "dicoh", config=SMALL, training=training, device="cpu")
    assert load_model(run.last_path).spec.trained_stages == 2
    for image in project.images[:2]:
        half = np.ones(project.shape(image), np.uint16)
        half[:20] = 2
        project.annotations.write(image, half)
    for mode, expected in (("probe", 2), ("full", None)):
        tuned = finetune(
            project,
            mode=mode,
            from_run=run.name,
            training=training,
            answer="network",
            estimate=False,
            device="cpu",
        )
        assert load_model(tuned.last_path).spec.trained_stages == expected
