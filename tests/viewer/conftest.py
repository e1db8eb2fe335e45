"""Shared by the viewer's tests. They never import torch: with GL in the same process it crashes."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from qtpy.QtGui import QGuiApplication

from napari_medssl.widgets.background import wait_for_background
from napari_medssl.widgets.session import Session
from napari_medssl.widgets.telling import Telling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_medssl.widgets.problem import Problem

FAKE_ENGINE = [sys.executable, str(Path(__file__).parent / "fake_engine.py")]


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Three grey images, one colour image, and one file that is none."""
    folder = tmp_path / "cells"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("a", (64, 80)), ("b", (64, 80)), ("c", (90, 70))):
        pixels = rng.integers(0, 60, shape, dtype=np.uint8)
        pixels[20:40, 20:40] += 150
        Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def fake_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sessions start the fake engine and keep their files in the test's folder."""
    monkeypatch.setattr(Session, "engine_command", FAKE_ENGINE)
    monkeypatch.setattr(Session, "home", tmp_path / "home")
    return FAKE_ENGINE


@pytest.fixture(autouse=True)
def crashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Problem]]:
    """The exceptions that the plugin caught last of all and showed; a test that expects one empties the list."""
    told: list[Problem] = []
    show = Telling._on_crashed

    def note(telling: Telling, problem: Problem) -> None:
        told.append(problem)
        show(telling, problem)

    monkeypatch.setattr(Telling, "_on_crashed", note)
    yield told
    assert [problem.details for problem in told] == []


@pytest.fixture
def until(qtbot) -> Callable[..., None]:
    """Run the event loop until something is true."""

    def wait(condition: Callable[[], bool], seconds: float = 60) -> None:
        qtbot.waitUntil(condition, timeout=int(seconds * 1000))

    return wait


@pytest.fixture
def workspace(make_napari_viewer, fake_engine, qtbot) -> Iterator[object]:
    """A workspace in a real viewer with the fake engine."""
    from napari_medssl.widgets.workspace import Workspace

    viewer = make_napari_viewer(show=True)
    widget = Workspace(viewer)
    viewer.window.add_dock_widget(widget, name="MedSSL")
    widget.problems = []
    widget.session.problem.connect(widget.problems.append)
    yield widget
    widget.session.shut_down()
    wait_for_background()


@pytest.fixture
def opened(workspace, image_folder, until) -> object:
    """The workspace with a project of three images."""
    workspace.steps["Project"].content.use_folder(image_folder)
    until(lambda: workspace.session.image == "a.png")
    until(lambda: workspace.session.description is not None)
    return workspace


@pytest.fixture
def explore(make_napari_viewer, fake_engine, image_folder, until) -> Iterator[object]:
    """The Explore widget in a real viewer, on a project of three images without a run."""
    from napari_medssl.widgets.explore import ExploreWidget

    viewer = make_napari_viewer(show=True)
    widget = ExploreWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Explore")
    session = Session.of(viewer)
    widget.problems = []
    session.problem.connect(widget.problems.append)
    session.create_project(image_folder)
    until(lambda: session.image == "a.png")
    yield widget
    session.shut_down()
    wait_for_background()


@pytest.fixture
def trained(explore: object, until) -> object:
    """The Explore widget on a project with a run."""
    from clicks import add_run

    add_run(explore, until)
    return explore


@pytest.fixture
def close_window() -> Callable[[int], None]:
    """Close a window as the window manager does: with a WM_DELETE_WINDOW message of the X server."""
    return _close_window


_CLIENT_MESSAGE = 33


class _Data(ctypes.Union):
    _fields_ = (("l", ctypes.c_long * 5),)


class _ClientMessage(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", _Data),
    )


class _Event(ctypes.Union):
    _fields_ = (("client", _ClientMessage), ("pad", ctypes.c_long * 24))


def _close_window(window_id: int) -> None:
    name = ctypes.util.find_library("X11")
    if QGuiApplication.platformName() != "xcb" or name is None:
        pytest.skip("needs an X server")
    x11 = ctypes.CDLL(name)
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XOpenDisplay.argtypes = [ctypes.c_char_p]
    x11.XInternAtom.restype = ctypes.c_ulong
    x11.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    x11.XSendEvent.argtypes = [
        ctypes.c_void_p,
        ctypes.c_ulong,
        ctypes.c_int,
        ctypes.c_long,
        ctypes.c_void_p,
    ]
    x11.XCloseDisplay.argtypes = [ctypes.c_void_p]
    display = x11.XOpenDisplay(None)
    event = _Event()
    event.client.type = _CLIENT_MESSAGE
    event.client.window = window_id
    event.client.message_type = x11.XInternAtom(display, b"WM_PROTOCOLS", 0)
    event.client.format = 32
    event.client.data.l[0] = x11.XInternAtom(display, b"WM_DELETE_WINDOW", 0)
    x11.XSendEvent(display, window_id, 0, 0, ctypes.byref(event))
    x11.XCloseDisplay(display)
