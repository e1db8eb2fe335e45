"""Short work off the GUI thread: reading a folder, opening an image, saving labels."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Lane", "background", "wait_for_background"]

Lane = Literal["reading", "saving", "checking", "fitting", "advising", "live"]

# Threads of our own, not Qt's: napari's workers share Qt's global pool, and a `QThreadPool` may be deleted before
# the last save is in it. Python waits for these at its end. What is painted never queues behind what is read.
_THREADS: dict[Lane, int] = {
    "reading": 2,
    "saving": 1,
    "checking": 1,
    "fitting": 1,
    "advising": 1,
    "live": 1,
}
_pools: dict[Lane, ThreadPoolExecutor] = {}
_running: dict[Future[None], Lane] = {}
_answers: set[_Answer] = set()  # keeps the receivers alive until they were called
_log = logging.getLogger(__name__)


class _Answer(QObject):
    """Lives in the GUI thread, so Qt queues what the task's thread emits."""

    finished = Signal(object, object)  # result, error (None when it worked)

    def __init__(
        self, on_result: Callable[[Any], None], on_failed: Callable[[BaseException], None]
    ) -> None:
        super().__init__()
        self.on_result = on_result
        self.on_failed = on_failed
        self.finished.connect(self._deliver)

    def _deliver(self, result: Any, error: BaseException | None) -> None:
        _answers.discard(self)
        if error is None:
            self.on_result(result)
        else:
            self.on_failed(error)


def background(
    work: Callable[[], Any],
    *,
    on_result: Callable[[Any], None],
    on_failed: Callable[[BaseException], None],
    lane: Lane = "reading",
) -> None:
    """Call `work` in a thread, then one of the callbacks in the GUI thread.

    Parameters
    ----------
    work : callable
        Must touch neither Qt objects nor napari layers.
    on_result : callable
        Receives what `work` returned.
    on_failed : callable
        Receives what `work` raised, whatever it was.
    lane : {"reading", "saving", "checking", "fitting", "advising", "live"}
        Lanes do not wait for each other; tasks on the lanes of one thread (all but ``reading``) are done one by one,
        in order.
    """
    if lane not in _pools:
        _pools[lane] = ThreadPoolExecutor(_THREADS[lane], thread_name_prefix=f"medssl-{lane}")
    answer = _Answer(on_result, on_failed)
    _answers.add(answer)
    future = _pools[lane].submit(_run, work, answer)
    _running[future] = lane
    future.add_done_callback(_forget)


def wait_for_background(seconds: float = 5.0, *, lane: Lane | None = None) -> bool:
    """Wait until no task is left in the threads (of one lane): for shutdown and for tests."""
    waited_for = [future for future, its in list(_running.items()) if lane in (None, its)]
    return not wait(waited_for, timeout=seconds).not_done


def _run(work: Callable[[], Any], answer: _Answer) -> None:
    result, problem = None, None
    try:
        result = work()
    except Exception as error:  # noqa: BLE001 - handed to the asker, who must see every failure
        problem = error
    try:
        answer.finished.emit(result, problem)
    except RuntimeError:  # Qt is gone: the process is ending, and nobody is left to ask or to tell
        if problem is not None:
            _log.error("failed while the program was ending", exc_info=problem)


def _forget(future: Future[None]) -> None:
    _running.pop(future, None)
