"""Pretext methods: what a network can learn from images alone.

A method is one file in this folder, found by itself: a class that derives from `PretextMethod`,
names itself in its class statement, and brings a strict `config_type`. Other packages add methods by
the entry-point group ``napari_medssl.pretext``, each entry naming such a class.

    class MyMethod(PretextMethod, key="mymethod", title="My method"):
        ...
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points

from napari_medssl.config import ConfigError
from napari_medssl.learn.pretext.base import Layer, PretextMethod

__all__ = ["Layer", "PretextMethod", "method", "methods"]


def methods() -> dict[str, type[PretextMethod]]:
    """All pretext methods, those of this folder and those of installed packages, in the order of their keys."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    for entry in entry_points(group="napari_medssl.pretext"):
        entry.load()
    return dict(sorted(PretextMethod.registry.items()))


def method(key: str) -> type[PretextMethod]:
    """Give the method of this key.

    Raises
    ------
    ConfigError
        Naming the methods there are.
    """
    known = methods()
    if key not in known:
        raise ConfigError(f"There is no pretext method {key!r}; known: {', '.join(known)}.")
    return known[key]
