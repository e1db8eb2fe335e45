"""What is recommended for which folder and computer, and that the plan can be carried out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from napari_medssl import Project
from napari_medssl.errors import MedsslError
from napari_medssl.events import Device
from napari_medssl.learn.bundled import ENCODER
from napari_medssl.learn.folder_facts import look_at, sides, structure_size
from napari_medssl.learn.machine import Machine, this_machine
from napari_medssl.learn.networks import NetworkConfig
from napari_medssl.learn.recommend import RULES, recommend
from napari_medssl.synthetic import nuclei

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medssl.plan import Recommendation, Start

CPU = Device(name="cpu", label="CPU, 2 threads", reason="no GPU was found")
GPU = Device(name="cuda", label="NVIDIA H100 (79 GiB)", reason="a CUDA GPU is there")
GB = 2**30


class Computer(Machine):
    """A computer of known speed."""

    seconds = 0.01

    def seconds_per_view(
        self, network: NetworkConfig, *, channels: tuple[str, ...], patch: int, batch: int
    ) -> float:
        return self.seconds


class Slow(Computer):
    seconds = 5.0


def cells(rng: np.random.Generator) -> NDArray[np.uint8]:
    return nuclei(rng, shape=(128, 128)).image


def noise(rng: np.random.Generator) -> NDArray[np.uint8]:
    grey = cv2.GaussianBlur(rng.normal(size=(128, 128)), (0, 0), 3.0)
    return (128 + 300 * grey).clip(0, 255).astype(np.uint8)


def smooth(rng: np.random.Generator) -> NDArray[np.uint8]:
    grey = cv2.GaussianBlur(rng.normal(size=(256, 256)), (0, 0), 16.0)
    return (128 + 1500 * grey).clip(0, 255).astype(np.uint8)


def folder(tmp_path: Path, draw: Callable[..., NDArray[np.uint8]], count: int) -> Project:
    (tmp_path / "images").mkdir()
    for number in range(count):
        path = tmp_path / "images" / f"{number:05}.png"
        if number < 8:
            cv2.imwrite(str(path), draw(np.random.default_rng(number)))
        else:
            path.hardlink_to(tmp_path / "images" / f"{number % 8:05}.png")
    return Project.create(tmp_path / "images", quick=True)


def values(found: Recommendation) -> dict[str, str]:
    return {item.name: item.value for item in found.advice}


def test_every_choice_has_a_reason_and_the_plan_is_a_job_that_is_accepted(
    project: Project,
) -> None:
    from napari_medssl.engine.job import parse_job

    found = recommend(project, machine=Computer(CPU, 8 * GB))
    assert [item.name for item in found.advice] == list(RULES)
    assert all(item.why.endswith(".") and item.why[0].isupper() for item in found.advice)
    job = parse_job({"kind": "pretrain", "project": str(project.path), **found.job})
    assert job.model_dump()["training"]["steps"] == found.job["training"]["steps"]
    assert found == recommend(project, machine=Computer(CPU, 8 * GB))


def test_two_sided_images_get_medsass_and_others_do_not(tmp_path: Path) -> None:
    machine = Computer(CPU, 8 * GB)
    for name, draw, method in (("cells", cells, "medsass"), ("noise", noise, "pix2rep_v2")):
        (tmp_path / name).mkdir()
        found = recommend(folder(tmp_path / name, draw, 8), machine=machine)
        assert found.job["method"] == method
        assert found.job["network"] == {"encoder": ENCODER, "encoder_weights": "imagenet"}
        chosen = recommend(
            Project.open(tmp_path / name / "images-medssl"), method="pix2rep", machine=machine
        )
        assert chosen.job["method"] == "pix2rep"


@pytest.mark.parametrize(
    ("name", "clear"), [("dsb2018_fluo", True), ("sunnybrook_lv", False), ("usiigaci_phase", False)]
)
def test_otsu_is_trusted_on_the_nuclei_alone(
    real_data: Path, tmp_path: Path, name: str, clear: bool
) -> None:
    project = Project.create(real_data / name / "images", project=tmp_path / "p", quick=True)
    facts = look_at(project)
    assert facts.two_sided > 0.8 if clear else facts.two_sided < 0.2


@pytest.mark.parametrize(
    ("start", "method", "said"),
    [
        (None, "dicoh", "Nothing is downloaded"),
        ("imagenet", "dicoh", "chose"),
        ("file", "dicoh", "chose"),
        ("none", "pix2rep_v2", "chose"),
    ],
)
def test_what_it_starts_from_can_be_chosen_and_decides_the_method(
    tmp_path: Path, start: Start | None, method: str, said: str
) -> None:
    project = folder(tmp_path, smooth, 4)
    found = recommend(project, start=start, machine=Computer(CPU, 8 * GB))
    assert found.job["network"]["encoder_weights"] == (start or "imagenet")
    assert found.job["method"] == method
    assert said in {item.name: item.why for item in found.advice}["start"]


@pytest.mark.parametrize("count", [1, 20, 20_000])
def test_folders_of_every_size_get_a_plan_that_ends(tmp_path: Path, count: int) -> None:
    found = recommend(folder(tmp_path, cells, count), machine=Computer(CPU, 8 * GB))
    assert found.facts.n_looked_at == min(count, 32)
    assert 400 <= found.job["training"]["steps"] <= 1500
    assert 0 < found.minutes <= 60
    assert values(found)["time"].startswith("about ")


def test_a_slow_or_small_computer_gets_less(project: Project) -> None:
    slow = recommend(project, machine=Slow(CPU, 8 * GB))
    assert slow.job["training"]["steps"] == 300
    assert slow.minutes == pytest.approx(300 * 4 * 5 / 1.14 / 60)
    assert "more would take longer than 30 minutes" in slow.model_dump_json()
    small = recommend(project, machine=Computer(CPU, 20 * 2**20))
    assert small.job["training"]["batch_size"] < 4
    assert small.job["training"]["patch_size"] == 64  # as large as the images
    assert small.job["scale"] == {"rule": "fixed", "value": 1.0}


def test_a_gpu_gets_larger_batches_of_the_same_network(project: Project) -> None:
    found = recommend(project, machine=Computer(GPU, 70 * GB))
    assert found.job["network"]["encoder"] == ENCODER
    assert found.job["training"]["batch_size"] == 16
    assert found.headline().endswith("on NVIDIA H100 (79 GiB)")


def test_hot_pixels_change_nothing_about_a_folder(tmp_path: Path) -> None:
    def spoilt(rng: np.random.Generator) -> NDArray[np.uint16]:
        image = cells(rng).astype(np.uint16)
        image[rng.integers(0, 128, 3), rng.integers(0, 128, 3)] = 65535
        return image

    facts = {}
    for name, draw in (("sound", cells), ("spoilt", spoilt)):
        (tmp_path / name).mkdir()
        facts[name] = look_at(folder(tmp_path / name, draw, 4))
    for measure in ("separability", "steadiness", "structure"):
        spoilt_by, sound = getattr(facts["spoilt"], measure), getattr(facts["sound"], measure)
        assert spoilt_by == pytest.approx(sound, rel=0.05), measure


def test_images_that_vanish_are_left_to_others_and_none_is_said(tmp_path: Path) -> None:
    project = folder(tmp_path, cells, 4)
    (tmp_path / "images" / "00001.png").unlink()
    assert look_at(project).n_looked_at == 3
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    with pytest.raises(MedsslError, match="Not one of the images"):
        look_at(project)


@pytest.mark.parametrize("diameter", [8, 16, 32, 64])
@pytest.mark.parametrize("zoom", [1, 5])
def test_the_size_of_discs_is_found(diameter: int, zoom: int) -> None:
    grey = np.zeros((256, 256), np.float32)
    for y in range(diameter, 256 - diameter // 2, 2 * diameter):
        for x in range(diameter, 256 - diameter // 2, 2 * diameter):
            cv2.circle(grey, (x, y), diameter // 2, 1.0, -1)
    grey = np.asarray(cv2.resize(grey, None, fx=zoom, fy=zoom), np.float32)
    assert structure_size(grey) == pytest.approx(zoom * diameter, rel=0.3)


@pytest.mark.parametrize(("gap", "expected"), [(0.0, 2 / np.pi), (4.0, 0.8), (20.0, 0.99)])
def test_separability_is_otsus_criterion(gap: float, expected: float) -> None:
    rng = np.random.default_rng(0)
    grey = cv2.GaussianBlur(rng.normal(size=(256, 256)), (0, 0), 8.0)
    grey /= grey.std()
    grey[:, 128:] += gap
    measured: Any = sides(grey.astype(np.float32))
    assert measured.separability == pytest.approx(expected, abs=0.03)
    assert measured.clear == (gap > 0)
    flat = sides(np.ones((32, 32), np.float32))
    assert (flat.separability, flat.steadiness, flat.clear) == (0, 0, False)


def test_this_machine_times_the_network_and_leaves_randomness_alone() -> None:
    import torch

    before = torch.random.get_rng_state()
    machine = this_machine("cpu")
    network = NetworkConfig(encoder="mobilenet_v2", encoder_depth=3)
    seconds = machine.seconds_per_view(network, channels=("grey",), patch=32, batch=8)
    assert 0 < seconds < 10
    assert machine.memory > 0
    assert torch.equal(torch.random.get_rng_state(), before)
