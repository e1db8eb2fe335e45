"""ImageNet weights: those that come with medssl, and others, fetched by the real client from a local server."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from typing import TYPE_CHECKING

import pytest
import segmentation_models_pytorch as smp
import skimage
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save

from napari_medssl.errors import MedsslError
from napari_medssl.learn import bundled
from napari_medssl.learn.imagenet import announce, imagenet_state
from napari_medssl.learn.weights import read_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHILD = """
import json
from napari_medssl.errors import MedsslError
from napari_medssl.learn.imagenet import announce, imagenet_state

def attempt():
    try:
        told = announce("mobilenet_v2")
        state = imagenet_state("mobilenet_v2", 3)
        return {"told": told, "shape": list(state["features.0.0.weight"].shape)}
    except MedsslError as error:
        return {"error": str(error)}

print(json.dumps([attempt(), attempt()]))
"""


class Server(ThreadingHTTPServer):
    """Answers as a hub does, with one file."""

    content = b""
    announced = ""
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        if "/resolve/" not in self.path:  # the client's other questions
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("ETag", f'"{self.server.announced}"')
        self.send_header("X-Repo-Commit", self.path.split("/resolve/")[1].split("/")[0])
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        if "/resolve/" in self.path:
            self.wfile.write(self.server.content)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[Server]:
    donor = smp.encoders.get_encoder("mobilenet_v2", depth=3, weights=None)
    server = Server(("127.0.0.1", 0), Handler)
    server.content = save({key: value.clone() for key, value in donor.state_dict().items()})
    server.announced = hashlib.sha256(server.content).hexdigest()
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def attempts(port: int, home: Path) -> list[dict[str, object]]:
    """Ask for the weights twice in a process that knows only our server."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "no_proxy": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    answers: list[dict[str, object]] = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_a_download_tells_address_size_and_checksum_and_happens_once(
    server: Server, tmp_path: Path
) -> None:
    first, second = attempts(server.server_port, tmp_path)
    told = str(first["told"])
    assert f"127.0.0.1:{server.server_port}/smp-hub/mobilenet_v2.imagenet/resolve/" in told
    assert f"{len(server.content) / 1e6:.1f} MB" in told
    assert server.announced in told
    assert "licence: see smp-hub/mobilenet_v2.imagenet" in told
    assert first["shape"] == second["shape"] == [32, 3, 3, 3]
    assert "downloaded before" in str(second["told"])
    assert sum("GET" in line and "/resolve/" in line for line in server.asked) == 1, server.asked


def test_a_download_that_is_not_what_was_announced_is_removed(
    server: Server, tmp_path: Path
) -> None:
    server.announced = "0" * 64
    first, second = attempts(server.server_port, tmp_path)
    assert "not 000" in str(first["error"])
    assert "removed" in str(first["error"])
    assert "error" in second  # it was not taken from the cache
    assert not list(tmp_path.rglob("*.safetensors"))


def test_without_a_server_the_address_and_the_way_out_are_told(tmp_path: Path) -> None:
    first, _ = attempts(9, tmp_path)  # nobody listens there
    assert "could not be downloaded from http://127.0.0.1:9/" in str(first["error"])
    assert "give the file" in str(first["error"])


# -- those that come with medssl --------------------------------------------------------------------


@pytest.mark.parametrize("depth", [3, 5])
def test_the_bundled_weights_fill_the_whole_encoder(depth: int) -> None:
    assert "come with medssl (Apache-2.0" in announce(bundled.ENCODER)
    state = imagenet_state(bundled.ENCODER, depth)
    encoder = smp.encoders.get_encoder(bundled.ENCODER, depth=depth, weights=None)
    shapes = {name: value.shape for name, value in encoder.state_dict().items()}
    assert {name: value.shape for name, value in state.items()} == shapes


def test_the_bundled_weights_classify_photographs() -> None:
    network = timm.create_model("tf_efficientnet_lite0").eval()
    file = read_tensors(bundled.bundled_file())
    network.load_state_dict({bundled.timm_name(name): value for name, value in file.items()})
    classes = {"cat": 285, "coffee": 967, "rocket": 657}  # Egyptian cat, espresso, missile
    for name, expected in classes.items():
        photograph = torch.tensor(getattr(skimage.data, name)()).permute(2, 0, 1) / 255  # (3, Y, X)
        height, width = photograph.shape[1:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = photograph[None, :, top : top + side, left : left + side]
        small = F.interpolate(square, size=(224, 224), mode="bilinear", antialias=True)
        with torch.no_grad():
            assert network((small - 0.5) / 0.5).argmax().item() == expected, name


def test_bundled_weights_that_were_changed_or_are_missing_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, version = bundled.PACKAGE.partition(" ")
    assert metadata.version(name) == version
    real = bundled.bundled_file()
    for folder in (
        real.parents[2] / f"{real.parents[1].name}-{version}.dist-info",
        real.parents[1],
    ):
        shutil.copytree(folder, tmp_path / folder.name)
    monkeypatch.syspath_prepend(tmp_path)
    copy = bundled.bundled_file()
    assert copy.is_relative_to(tmp_path)
    copy.write_bytes(b"no weights")
    expected = hashlib.sha256(real.read_bytes()).hexdigest()
    found = hashlib.sha256(b"no weights").hexdigest()
    with pytest.raises(MedsslError, match=rf"have the sha256 {found}, not {expected}"):
        imagenet_state(bundled.ENCODER, 5)
    copy.unlink()
    with pytest.raises(MedsslError, match="There are no ImageNet weights"):
        imagenet_state(bundled.ENCODER, 5)
    monkeypatch.setattr(bundled, "PACKAGE", "no-such-package 0.1.0")
    with pytest.raises(MedsslError, match=r"no-such-package.*is not installed.*no-such-package==0"):
        imagenet_state(bundled.ENCODER, 5)
