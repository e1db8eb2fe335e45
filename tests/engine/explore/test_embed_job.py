"""The embed job and the Python interface of Explore, on a small trained network."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from napari_medssl import (
    Project,
    Run,
    colours,
    compare,
    embed,
    label_similar,
    make_query,
    neighbours,
    pretrain,
    rank,
    similar,
)
from napari_medssl.config import ConfigError
from napari_medssl.engine.exploring import FullFeatures
from napari_medssl.engine.job import execute
from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Event, Note, Saved
from napari_medssl.explore.store import EmbeddingStore
from napari_medssl.explore.store_plan import decoded_bytes
from napari_medssl.learn.control import Control
from napari_medssl.synthetic import nuclei

CPU = "cpu"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a short Pix2Rep run and a short MedSASS run, all images annotated."""
    place = tmp_path_factory.mktemp("explore")
    rng = np.random.default_rng(7)
    for kind in ("images", "masks"):
        (place / kind).mkdir()
    for number in range(6):
        field = nuclei(rng, shape=(64, 72))
        cv2.imwrite(str(place / "images" / f"{number}.png"), field.image)
        cv2.imwrite(str(place / "masks" / f"{number}.png"), field.labels)
    project = Project.create(
        place / "images", masks=place / "masks", masks_as="instances", project=place / "project"
    )
    training = {"steps": 3, "batch_size": 2, "patch_size": 32}
    for method in ("pix2rep", "medsass"):
        pretrain(project, method, network={"encoder_depth": 3}, training=training, device=CPU)
    return place


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Project:
    shutil.copytree(trained, tmp_path / "copy")
    return Project.open(tmp_path / "copy" / "project")


@pytest.fixture
def run(project: Project) -> Run:
    return next(run for run in project.runs() if run.method == "pix2rep")


def saved(project: Project, run: Run, **options: object) -> tuple[list[str], EmbeddingStore]:
    events: list[Event] = []
    store = embed(project, run=run.name, device=CPU, on_event=events.append, **options)
    return [event.image for event in events if isinstance(event, Saved)], store


def test_the_defaults_stay_below_the_decoded_images_and_say_so_before(
    project: Project, run: Run
) -> None:
    events: list[Event] = []
    store = embed(project, run=run.name, device=CPU, on_event=events.append)
    assert store.names == project.images
    assert store.nbytes <= decoded_bytes(project) == 6 * 64 * 72 * 2
    kinds = [event.event for event in events]
    assert kinds[:2] == ["started", "note"]
    assert kinds[-1] == "done"
    note = events[1]
    assert isinstance(note, Note)
    assert f"{store.dimensions} features for every {store.stride} x {store.stride}" in note.text


def test_only_what_changed_is_made_again(project: Project, run: Run) -> None:
    everything, store = saved(project, run)
    assert everything == list(project.images)
    assert saved(project, run)[0] == []
    touched = project.image_path("1.png")
    touched.touch()  # another time, the same content
    assert saved(Project.open(project.path), run)[0] == []
    image = cv2.imread(str(project.image_path("2.png")), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(project.image_path("2.png")), image[::-1])
    changed = Project.open(project.path)
    assert store.outdated(changed, run) == ("1.png", "2.png")
    again, store = saved(changed, run)
    assert again == ["2.png"]
    assert store.outdated(changed, run) == ()
    before = store.read("0.png").copy()
    project.image_path("5.png").unlink()
    gone = Project.open(project.path)
    assert saved(gone, run)[0] == []
    assert not store.path("5.png").exists()
    np.testing.assert_array_equal(store.read("0.png"), before)


def test_other_weights_or_another_grid_make_everything_anew(project: Project, run: Run) -> None:
    saved(project, run)
    names, store = saved(project, run, stride=8, dimensions=12)
    assert (len(names), store.stride, store.dimensions) == (6, 8, 12)
    assert saved(project, run)[0] == []  # what is there and fits the budget is kept
    other = next(other for other in project.runs() if other.method == "medsass")
    weights = run.weights("best")
    assert weights is not None
    shutil.copyfile(other.weights("best"), weights)
    assert store.outdated(project, run) == project.images
    assert len(saved(project, run)[0]) == 6


def test_a_stopped_job_goes_on_where_it_was(project: Project, run: Run) -> None:
    control = Control()
    job = {"kind": "embed", "project": str(project.path), "run": run.name, "device": CPU}
    done = []
    for event in execute(job, control=control):
        if isinstance(event, Saved):
            done.append(event.image)
            if len(done) == 2:
                control.stop()
    assert isinstance(event, Done)
    assert event.stopped
    assert "2 of 6" in event.summary
    events = execute(job)
    for event in events:  # and one that is killed between two images
        if isinstance(event, Saved):
            done.append(event.image)
            break
    events.close()
    rest, _ = saved(project, run)
    assert sorted(done + rest) == sorted(project.images)


def test_an_image_that_vanishes_meanwhile_is_left_out_in_words(project: Project, run: Run) -> None:
    job = {"kind": "embed", "project": str(project.path), "run": run.name, "device": CPU}
    events = []
    for event in execute(job):
        events.append(event)
        if event.event == "started":
            project.image_path("3.png").unlink()
    assert any(isinstance(e, Note) and e.text.startswith("Left out 3.png") for e in events)
    assert "5 images" in events[-1].summary
    assert "3.png" not in EmbeddingStore.open(project, run).names


def test_stored_features_are_those_of_the_network(project: Project, run: Run) -> None:
    store = embed(project, run=run.name, stride=2, dimensions=64, device=CPU)
    full = FullFeatures(project, run, device=CPU)("4.png")
    for y, x in ((0, 0), (31, 40), (63, 71)):
        cell = store.pixels("4.png").at(y, x)
        block = full.direction(_block(full.shape, y // 2 * 2, x // 2 * 2))
        assert float(cell @ block) > 0.95


@pytest.mark.parametrize("source", ["decoder-2", "encoder-1", "projector"])
def test_every_source_can_be_stored(project: Project, run: Run, source: str) -> None:
    store = embed(project, run=run.name, source=source, stride=4, dimensions=16, device=CPU)
    stored = np.concatenate([store.flat(name) for name in store.names])
    assert np.isfinite(stored).all()
    assert stored.std(0)[0] > 0
    spread = np.var(stored, axis=0)
    assert spread[:4].sum() > spread[4:8].sum() > spread[8:12].sum()  # principal components
    again = FullFeatures(project, run, source=source, device=CPU)("0.png")
    assert again.shape == (64, 72)


def test_sources_that_there_are_not_are_refused_in_words(project: Project, run: Run) -> None:
    with pytest.raises(ConfigError, match=r"no source 'middle'; there are mix"):
        embed(project, run=run.name, source="middle", device=CPU)
    with pytest.raises(MedsslError, match=r"no decoder stage 7.*decoder-1 to decoder-3"):
        embed(project, run=run.name, source="decoder-7", device=CPU)
    medsass = next(run for run in project.runs() if run.method == "medsass")
    with pytest.raises(MedsslError, match="MedSASS has no projector"):
        embed(project, run=medsass.name, source="projector", device=CPU)
    with pytest.raises(MedsslError, match="medssl embed"):
        EmbeddingStore.open(project, medsass, source="projector")
    (run.path / "state.pt").unlink()
    with pytest.raises(MedsslError, match="no weights for its projector"):
        embed(project, run=run.name, source="projector", device=CPU)


def test_the_border_is_like_the_middle(project: Project, run: Run) -> None:
    """On a flat image every pixel is alike; without the mirrored frame, zero padding makes a ring."""
    flat = np.full((64, 64), 1000, np.uint16)
    flat[32, 32] = 1001  # a constant image is no usable one
    cv2.imwrite(str(project.image_path("0.png")), flat)
    heat = similar(Project.open(project.path), run=run.name, image="0.png", at=(10, 32), device=CPU)
    ring = np.concatenate([heat[0], heat[-1], heat[:, 0], heat[:, -1]])
    assert np.median(ring) > 0.99


def test_rank_finds_the_query_first_and_least_last(project: Project, run: Run) -> None:
    query = make_query("2.png", [(20, 30), (21, 30)], negatives=[(60, 5)])
    matches = rank(project, run=run.name, query=query, threshold=0.0, device=CPU)
    assert {match.image for match in matches} == set(project.images)
    assert all(0 < match.share < 1 for match in matches)
    assert [m.score for m in matches] == sorted((m.score for m in matches), reverse=True)
    assert rank(project, run=run.name, query=query, least=True, device=CPU)[0] == matches[
        -1
    ]._replace(share=0.0)


def test_labels_from_similarity_spare_what_was_drawn(project: Project, run: Run) -> None:
    before = project.annotations.read("0.png")
    project.annotations.clear("1.png")
    query = make_query("0.png", (20, 30))
    options = {"run": run.name, "query": query, "threshold": -1.0, "label": 2, "device": CPU}
    labelled = label_similar(project, images=["0.png", "1.png"], **options)
    assert labelled == {"1.png": 64 * 72}
    np.testing.assert_array_equal(project.annotations.read("0.png"), before)
    covered = label_similar(project, images=["0.png"], overwrite=True, **options)
    assert covered == {"0.png": int(np.count_nonzero(before != 2))}
    with pytest.raises(MedsslError, match=r"no class 'nerve'.*1 \(background\)"):
        label_similar(project, **(options | {"label": "nerve"}))


def test_neighbours_colours_and_comparison(project: Project, run: Run) -> None:
    near = neighbours(project, run=run.name, image="0.png", count=3, device=CPU)
    far = neighbours(project, run=run.name, image="0.png", count=2, farthest=True, device=CPU)
    assert near[-1].distance <= far[-1].distance <= far[0].distance
    view, pictures = colours(project, run=run.name, kind="pca", images=["1.png"], device=CPU)
    assert view.kind == "pca"
    assert pictures["1.png"].shape == (64, 72, 3)
    both = [other.name for other in project.runs()]
    query = make_query("0.png", (20, 30))
    compared = compare(project, runs=both, image="3.png", query=query, device=CPU)
    assert [item.run for item in compared] == both
    assert not np.allclose(compared[0].heat, compared[1].heat)
    for item in compared:
        assert item.separability is not None
        assert item.separability.images == 6
    before, after = compare(
        project, runs=both[:1], image="3.png", query=query, before=True, device=CPU
    )
    assert before.at_start
    assert not np.allclose(before.heat, after.heat)
    np.testing.assert_array_equal(after.heat, compared[0].heat)
    assert before.separability is not None
    assert before.separability.images == 6
    project.annotations.path("5.png").write_bytes(b"no TIFF")
    (item,) = compare(project, runs=both[:1], image="3.png", query=query, device=CPU)
    assert item.separability is not None
    assert item.separability.images == 5
    assert any("annotation of 5.png was left out" in note for note in item.notes)


def _block(shape: tuple[int, int], y: int, x: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[y : y + 2, x : x + 2] = True
    return mask
