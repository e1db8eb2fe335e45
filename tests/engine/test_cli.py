"""The command line end to end, on a folder of a few tiny images."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_medssl.cli import main
from napari_medssl.events import AnyEvent, Progress, parse_event
from napari_medssl.project import Project
from napari_medssl.synthetic import nuclei

SMALL = (
    *("--device", "cpu", "--set", "training.batch_size=2", "--set", "training.patch_size=32"),
    *("--set", "network.encoder_depth=3"),
)
STEPS = ("--set", "training.steps=3")


@dataclass
class Shell:
    """Runs command lines; keeps what they print."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *argv: object, code: int = 0) -> str:
        """Run, check the exit code, give standard output."""
        self.capsys.readouterr()
        got = main([str(part) for part in argv])
        printed = self.capsys.readouterr()
        assert got == code, printed.err
        self.error = printed.err
        return printed.out

    def events(self, *argv: object, code: int = 0) -> list[AnyEvent]:
        """Run with --json; every line must be an event."""
        return [parse_event(line) for line in self(*argv, "--json", code=code).splitlines()]


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, their truth, a project that was pretrained and fine-tuned."""
    place = tmp_path_factory.mktemp("shell")
    rng = np.random.default_rng(0)
    for number in range(4):
        field = nuclei(rng, shape=(64, 80))
        for part, array in (("images", field.image), ("truth", field.labels)):
            path = place / part / f"n{number}.tif"
            path.parent.mkdir(exist_ok=True)
            tifffile.imwrite(path, array)
    images, project = str(place / "images"), str(place / "project")
    masks = ["--masks", str(place / "truth"), "--masks-as", "instances"]
    assert main(["init", images, "--project", project, *masks]) == 0
    assert main(["pretrain", project, *SMALL, *STEPS]) == 0
    taught = ["--images", "n0.tif", "n1.tif"]
    assert main(["finetune", project, "--mode", "full", *taught, *SMALL[:-2], *STEPS]) == 0
    return place


@pytest.fixture
def project(folder: Path) -> Project:
    return Project.open(folder / "project")


def test_init_says_what_it_found(folder: Path, shell: Shell, tmp_path: Path) -> None:
    out = shell("init", folder / "images", "--project", tmp_path / "p", "--masks", folder / "truth")
    assert "4 images" in out
    assert "64 x 80" in out
    assert str(tmp_path / "p") in out
    (event,) = shell.events("init", folder / "images", "--project", tmp_path / "q")
    assert event.event == "result"
    assert event.data["images"] == ["n0.tif", "n1.tif", "n2.tif", "n3.tif"]


def test_trainings_are_recorded(project: Project) -> None:
    finetuned, pretrained = project.runs()
    assert (pretrained.kind, pretrained.status) == ("pretrain", "done")
    assert pretrained.job["training"]["steps"] == 3
    assert pretrained.job["network"]["encoder_depth"] == 3
    assert (finetuned.kind, finetuned.job["mode"]) == ("finetune", "full")
    assert finetuned.job["from_run"] == pretrained.name  # by itself, the newest pretraining
    assert finetuned.weights() is not None


def test_runs(project: Project, shell: Shell) -> None:
    lines = shell("runs", project.path).splitlines()
    assert lines[0].split()[:6] == ["run", "kind", "method", "status", "steps", "best"]
    assert "done" in lines[2]
    assert "3/3" in lines[2]
    (event,) = shell.events("runs", project.path)
    assert event.event == "result"
    finetuned, pretrained = event.data["runs"]
    assert (finetuned["kind"], pretrained["kind"]) == ("finetune", "pretrain")
    assert finetuned["ancestry"][1:] == [pretrained["run"]]  # ImageNet comes first
    assert lines[2].endswith(pretrained["run"])


def test_predict_project_and_bare_folder(folder: Path, project: Project, shell: Shell) -> None:
    shell("predict", project.path, "--run", "latest", "--images", "n2.tif", "--device", "cpu")
    inside = project.prediction_path(project.runs()[0].name, "n2.tif")
    run, out = project.runs()[0].path, folder / "segmented"
    shell("predict", folder / "images", "--run", run, "--out", out, "--device", "cpu")
    assert sorted(path.name for path in out.iterdir()) == [f"n{k}.tif" for k in range(4)]
    labels = tifffile.imread(out / "n2.tif")
    assert labels.dtype == np.uint16
    assert labels.shape == (64, 80)
    assert set(np.unique(labels)) <= {1, 2}
    np.testing.assert_array_equal(labels, tifffile.imread(inside))


def test_skip_done_leaves_predictions_alone(folder: Path, project: Project, shell: Shell) -> None:
    out = folder / "kept"
    argv = ["predict", project.path, "--run", "latest", "--out", out, "--device", "cpu"]
    shell(*argv, "--images", "n0.tif")
    before = (out / "n0.tif").stat().st_mtime_ns
    events = shell.events(*argv, "--skip-done")
    assert {event.image for event in events if event.event == "saved"} == {
        "n1.tif",
        "n2.tif",
        "n3.tif",
    }
    assert (out / "n0.tif").stat().st_mtime_ns == before


def test_evaluate(folder: Path, project: Project, shell: Shell) -> None:
    run = project.runs()[0]
    argv = ["evaluate", project.path, "--run", "latest"]
    argv += ["--truth", folder / "truth", "--masks-as", "instances"]
    out = shell(*argv, "--images", "n2.tif", "n3.tif", "--device", "cpu")
    assert "mean over 2 images" in out
    stored = json.loads((run.path / "evaluation.json").read_text())
    assert stored["run"] == run.name
    assert [row["image"] for row in stored["images"]] == ["n2.tif", "n3.tif"]
    events = shell.events(*argv, "--out", folder / "scores.csv", "--device", "cpu")
    assert events[-1].event == "result"
    assert 0 <= events[-1].data["mean"]["foreground"]["dice"] <= 1
    with (folder / "scores.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["n2.tif", "n3.tif"]
    assert set(events[-1].data["skipped"]) == {"n0.tif", "n1.tif"}  # these taught
    shell(*argv, "--images", "n0.tif", code=1)


def test_similar(folder: Path, project: Project, shell: Shell) -> None:
    run = project.runs()[-1].name
    argv = ["similar", project.path, "--run", run, "--image", "n1.tif", "--device", "cpu"]
    out = shell(*argv, "--at", "20,30", "--out", folder / "heat.tif")
    assert "most alike" in out
    heat = tifffile.imread(folder / "heat.tif")
    assert heat.dtype == np.float32
    assert heat.shape == (64, 80)
    assert heat[20, 30] == pytest.approx(1, abs=1e-3)
    assert heat.min() >= -1.001
    shell(*argv, "--at", "20,30", "--out", folder / "heat.png")
    assert (folder / "heat.png").is_file()
    shell(*argv, "--at", "20", "--out", folder / "heat.png", code=2)
    shell(*argv, "--at", "20,30", "--out", folder / "heat.jpg", code=2)
    shell(*argv, "--at", "20,3000", "--out", folder / "heat.tif", code=1)


def test_describe(shell: Shell) -> None:
    assert "medsass" in shell("describe")
    out = shell("describe", "medsass")
    for part in ("method_config.polarity", "auto | bright | dark", "training.steps", "network."):
        assert part in out
    assert "mode" in shell("describe", "finetune")
    (event,) = shell.events("describe")
    assert event.event == "result"
    assert {"methods", "jobs", "encoders"} <= set(event.data)
    shell("describe", "medsas", code=2)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "usage"),
        (("frobnicate",), "invalid choice"),
        (("pretrain",), "required: PROJECT"),
        (("pretrain", "no-such-project"), "no-such-project"),
        (("pretrain", "{project}", "--set", "stepz=3"), "training.steps"),
        (("pretrain", "{project}", "--set", "steps=-1"), "steps"),
        (("pretrain", "{project}", "--method", "medsas"), "medsass"),
        (("pretrain", "{project}", "--set", "polarity=grey"), "bright"),
        (("pretrain", "{project}", "--config", "none.yaml"), "none.yaml"),
        (("finetune", "{project}", "--from", "nothing"), "nothing"),
        (("finetune", "{project}", "--mode", "half"), "invalid choice"),
        (("predict", "{project}", "--run", "nothing"), "nothing"),
        (("predict", "{images}", "--run", "latest"), "--out"),
        (("predict", "{images}", "--run", "latest", "--out", "x"), "folder"),
        (("resume", "{project}", "nothing"), "nothing"),
    ],
)
def test_wrong_command_lines(
    argv: tuple[str, ...], said: str, folder: Path, project: Project, shell: Shell
) -> None:
    before = len(project.runs())
    places = {"project": folder / "project", "images": folder / "images"}
    shell(*(part.format(**places) for part in argv), code=2)
    assert said in shell.error
    assert "Traceback" not in shell.error
    assert len(project.runs()) == before


def test_failure_is_an_event_too(folder: Path, shell: Shell) -> None:
    argv = ["finetune", folder / "project", "--images", "none.tif", "--device", "cpu"]
    events = shell.events(*argv, code=1)
    assert events[-1].event == "failed"
    assert "none.tif" in events[-1].error


def test_config_file_and_repeat_of_a_job(
    folder: Path, project: Project, shell: Shell, tmp_path: Path
) -> None:
    first = project.runs()[-1]
    again = [*("--config", first.job_path), "--set", "steps=1", "--seed", "5"]
    copy = tmp_path / "p"
    shell("init", folder / "images", "--project", copy)
    shell("pretrain", copy, *again)
    job = Project.open(copy).run("latest").job
    assert job["training"] == {**first.job["training"], "steps": 1}
    assert job["method_config"] == first.job["method_config"]
    assert job["seed"] == 5
    shell("finetune", copy, *again, code=2)


def test_interrupt_keeps_the_run_and_resume_ends_it(
    folder: Path, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "p"
    shell("init", folder / "images", "--project", place)

    def interrupt(self: object, event: AnyEvent) -> None:
        if event.event == "started":
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("napari_medssl.cli.entry.Human.__call__", interrupt)
        shell("pretrain", place, *SMALL, *STEPS, code=130)
    run = Project.open(place).run("latest")
    assert run.status == "stopped"
    assert run.weights() is not None
    assert f"run: {run.name}" in shell("resume", place, "latest")
    assert run.status == "done"
    shell("resume", place, run.name, code=1)  # there is nothing left to do


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one child")
def test_ctrl_c_in_the_middle_of_a_training(folder: Path, shell: Shell, tmp_path: Path) -> None:
    place = tmp_path / "p"
    shell("init", folder / "images", "--project", place)
    command = [sys.executable, "-c", "from napari_medssl.cli import main; raise SystemExit(main())"]
    argv = ["pretrain", str(place), *SMALL, "--set", "training.steps=100000", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    events = []
    with subprocess.Popen(
        [*command, *argv], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            events.append(parse_event(line))
            if isinstance(events[-1], Progress) and events[-1].step > 0:
                child.send_signal(signal.SIGINT)
                break
        events += [parse_event(line) for line in child.stdout]
    assert child.returncode == 130
    assert events[-1].event == "done"
    assert events[-1].stopped
    run = Project.open(place).run("latest")
    assert run.status == "stopped"
    assert run.weights() is not None
