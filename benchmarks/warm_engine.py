"""What the warm engine's answer costs beyond the network: predict a 512 x 512 image, beside the bare forward pass.

The viewer's way (a request line in, reading the image, normalising, the network, writing the label file, an
answer line out) against nothing but the forward pass of the same model on a tensor that is there, in the same
run, one after the other.

    python benchmarks/warm_engine.py [--repeats 15] [--encoder mobilenet_v2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
import torch

from napari_medssl import Project, pretrain
from napari_medssl.engine.predicting import model_of
from napari_medssl.learn.devices import choose_threads
from napari_medssl.synthetic import nuclei


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--encoder", default="mobilenet_v2")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    threads = options.threads or choose_threads()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        folder.mkdir()
        for number in range(4):
            tifffile.imwrite(folder / f"{number}.tif", nuclei(rng, shape=(512, 512)).image)
        project = Project.create(folder)
        tiny = {"steps": 2, "batch_size": 2, "patch_size": 64}
        run = pretrain(project, network={"encoder": options.encoder}, training=tiny, device="cpu")
        torch.set_num_threads(threads)  # after the training, which chooses its own number
        model = model_of(run)
        image = torch.rand(1, 1, 512, 512)
        engine = subprocess.Popen(
            [sys.executable, "-m", "napari_medssl.engine", "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert engine.stdin is not None
        assert engine.stdout is not None

        def ask(number: int) -> float:
            request = {
                "id": number,
                "request": "predict",
                "project": str(project.path),
                "run": run.name,
                "image": project.images[number % 4],
                "threads": threads,
                "device": "cpu",
            }
            began = time.perf_counter()
            engine.stdin.write(json.dumps(request) + "\n")
            engine.stdin.flush()
            answer = json.loads(engine.stdout.readline())
            if answer["event"] != "result":
                raise SystemExit(f"The engine failed: {answer}")
            return time.perf_counter() - began

        def forward() -> float:
            began = time.perf_counter()
            with torch.inference_mode():
                model(image)
            return time.perf_counter() - began

        first = ask(0)
        for number in range(1, 4):
            ask(number)
            forward()
        pairs = [(ask(number), forward()) for number in range(options.repeats)]
        engine.stdin.close()
        engine.wait()
    answers, bare = zip(*pairs, strict=True)
    extra = [a - b for a, b in pairs]
    result = {
        "encoder": options.encoder,
        "threads": threads,
        "first_answer_ms": 1e3 * first,
        "answer_ms_median": 1e3 * statistics.median(answers),
        "bare_forward_ms_median": 1e3 * statistics.median(bare),
        "extra_ms_median": 1e3 * statistics.median(extra),
        "extra_ms_max": 1e3 * max(extra),
        "repeats": options.repeats,
    }
    for name, value in result.items():
        print(f"{name:24} {value:.1f}" if isinstance(value, float) else f"{name:24} {value}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
