from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# The hook sees every socket of the process, whichever library opens it.
CHILD = """
import sys

def refuse(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple) or event == "socket.getaddrinfo":
        raise SystemExit(f"NETWORK {event} {arguments[1:]}")
    if event in ("os.system", "os.exec") or (event == "subprocess.Popen" and arguments[1] is str):
        raise SystemExit(f"SHELL {arguments}")

sys.addaudithook(refuse)
from napari_medssl.cli import main

images, masks, project = sys.argv[1:]
small = ["--set", "training.steps=2", "--set", "training.batch_size=2", "--set", "patch_size=32"]
for line in (
    ["init", images, "--project", project, "--masks", masks],
    ["pretrain", project, *small],
    ["finetune", project, *small],
    ["predict", project, "--run", "latest"],
    ["describe"],
):
    assert main(line) == 0, line
print("ALL DONE")
"""


def test_the_whole_loop_opens_no_connection_and_no_shell(nuclei_folder: Path) -> None:
    folder = nuclei_folder
    arguments = [str(folder / "images"), str(folder / "masks"), str(folder / "project")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "hub")}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "ALL DONE" in done.stdout, done.stdout[-1000:] + done.stderr[-3000:]
    assert (
        "weights of EfficientNet-Lite0 come with medssl" in done.stderr
    )  # not from random numbers
