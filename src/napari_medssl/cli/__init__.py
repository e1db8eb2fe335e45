"""The `medssl` command: the engine's jobs from a shell. Importing it loads neither torch nor numpy."""

from napari_medssl.cli.entry import main

__all__ = ["main"]
