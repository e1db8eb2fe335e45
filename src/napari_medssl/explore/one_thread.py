"""Products of small matrices on one thread."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["one_thread"]

_working = threading.Lock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep products of matrices on one thread, for as long as a probe is fitted or applied.

    They are too small to gain from more, and while a run trains the threads wait for each other: on two busy cores
    a live prediction took up to 3 s with two of them and 0.1 s with one. The number is the process's, so others who
    ask for the same wait until it is theirs: hold it briefly.
    """
    with _working, _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
