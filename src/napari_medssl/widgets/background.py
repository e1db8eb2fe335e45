"""Short work off the GUI thread: reading a folder, opening an image, saving labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QRunnable, QThreadPool, Signal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["background", "wait_for_background"]

# A pool of our own: napari's workers share the global one, which has only as many threads as cores.
_pools: list[QThreadPool] = []
_answers: set[_Answer] = set()  # keeps the receivers alive until they were called


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


class _Task(QRunnable):
    def __init__(self, work: Callable[[], Any], answer: _Answer) -> None:
        super().__init__()
        self.work = work
        self.answer = answer

    def run(self) -> None:
        result, problem = None, None
        try:
            result = self.work()
        except Exception as error:  # noqa: BLE001 - handed to the asker, who must see every failure
            problem = error
        self.answer.finished.emit(result, problem)


def background(
    work: Callable[[], Any],
    *,
    on_result: Callable[[Any], None],
    on_failed: Callable[[BaseException], None],
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
    """
    if not _pools:
        pool = QThreadPool()
        pool.setMaxThreadCount(2)
        _pools.append(pool)
    answer = _Answer(on_result, on_failed)
    _answers.add(answer)
    _pools[0].start(_Task(work, answer))


def wait_for_background(milliseconds: int = 5000) -> bool:
    """Wait until no task is left in the threads: for shutdown (a last save) and for tests."""
    return not _pools or bool(_pools[0].waitForDone(milliseconds))
