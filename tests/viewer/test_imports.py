"""The viewer's process never holds torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import napari_medssl.widgets


def test_importing_every_widget_module_imports_no_torch():
    folder = Path(napari_medssl.widgets.__file__).parent
    names = sorted(f"napari_medssl.widgets.{path.stem}" for path in folder.glob("[!_]*.py"))
    assert "napari_medssl.widgets.workspace" in names
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "heavy = {'torch', 'torchvision', 'timm', 'accelerate', 'segmentation_models_pytorch'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert answer.stdout.strip() == "[]", answer.stderr
