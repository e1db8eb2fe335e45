"""Many small pieces of work in a few threads."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

__all__ = ["in_parallel"]

PATIENCE = 0.25
"""Seconds after which an empty batch tells that nothing came."""

T = TypeVar("T")
S = TypeVar("S")


def in_parallel(
    work: Callable[[T], S],
    items: Iterable[T],
    workers: int,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[list[S]]:
    """Yield results as they come, in batches; an empty one where nothing came for a moment.

    No more work is handed out than keeps the workers busy: twenty thousand waiting tasks need memory, too.

    Parameters
    ----------
    work : callable
        Done to each item, in any order.
    items : iterable
        What to do it to.
    workers : int
        Number of threads.
    stop : callable
        Asked between batches; where it says so, what was not begun is left undone.
    """
    todo = iter(items)
    pending: set[Future[S]] = set()
    pool = ThreadPoolExecutor(workers)
    try:
        while not stop():
            pending |= {
                pool.submit(work, item) for item in islice(todo, 4 * workers - len(pending))
            }
            if not pending:
                return
            done, pending = wait(pending, PATIENCE, FIRST_COMPLETED)
            yield [future.result() for future in done]
    finally:
        pool.shutdown(cancel_futures=True)
