"""Build wheel and sdist, install each in an environment of its own, and look for what users need there.

The environments are new, but see the libraries that the project's own environment already has, one by one and without
the project's editable installation: installing gigabytes of PyTorch twice would prove nothing about these packages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "napari_medssl"

# Runs inside each new environment; its one argument is where that environment keeps its packages.
CHECK = """
import importlib.metadata, pathlib, sys

import napari_medssl

home = pathlib.Path(napari_medssl.__file__).parent
assert home.parent == pathlib.Path(sys.argv[1]), f"imported from {home}, not from the package under test"
version = importlib.metadata.version("napari-medssl")
assert napari_medssl.__version__ == version, (napari_medssl.__version__, version)
assert (home / "py.typed").is_file(), "py.typed is missing: the types would not be seen"

from npe2 import PluginManager

manager = PluginManager.instance()
manager.discover()
manifest = manager.get_manifest("napari-medssl")
manifest.validate_imports()
assert "torch" not in sys.modules, "looking at the plugin's commands imported torch"
found = len(manifest.contributions.commands)
print(f"  napari finds version {version} and its {found} commands; none of them imports torch")
"""


def call(*command: str | Path) -> str:
    """Run a command outside the source tree and return what it printed; end the script where it fails."""
    # PYTHONPATH would let the source tree in
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    words = [str(part) for part in command]
    done = subprocess.run(
        words,
        env=environment,
        cwd=tempfile.gettempdir(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\nfailed ({done.returncode}): {' '.join(words)}")
    return done.stdout


def build(folder: Path) -> list[Path]:
    """Build the sdist from the tree and the wheel from the sdist, as an index would offer them."""
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    packages = sorted(folder.iterdir())
    if {package.suffix for package in packages} != {".gz", ".whl"}:
        sys.exit(f"expected one wheel and one sdist, found {[file.name for file in packages]}")
    return packages


def link_libraries(folder: Path) -> None:
    """Fill `folder` with links to everything installed beside this script but the project itself."""
    folder.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        ours = NAME in entry.name.replace("-", "_")
        if not ours and entry.suffix != ".pth" and entry.name != "__pycache__":
            (folder / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())


def check(package: Path, folder: Path, libraries: Path) -> None:
    """Install one package in a new environment under `folder` and look at it there."""
    venv.create(folder, with_pip=False)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / Path(sys.executable).name
    home = Path(
        call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    (home / "libraries.pth").write_text(f"{libraries}\n", encoding="utf-8")
    install = ("install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    call(sys.executable, "-m", "pip", "--python", python, *install, package)
    script = folder / "check.py"
    script.write_text(CHECK, encoding="utf-8")
    print(call(python, script, home), end="")
    call(scripts / "medssl", "--help")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="medssl-dist-") as name:
        folder = Path(name)
        libraries = folder / "libraries"
        link_libraries(libraries)
        for package in build(folder / "dist"):
            print(package.name)
            check(package, folder / package.suffix.lstrip("."), libraries)


if __name__ == "__main__":
    main()
