"""Exceptions that nobody caught: those of our code are shown like every other failure, and never as a traceback."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING
from weakref import WeakSet

from qtpy.QtCore import QTimer

from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from napari_medssl.widgets.session import Session

__all__ = ["catch_crashes", "is_ours"]

_sessions: WeakSet[Session] = WeakSet()
_hook: Callable[[type[BaseException], BaseException, TracebackType | None], object] = sys.excepthook
_thread_hook: Callable[[threading.ExceptHookArgs], object] = threading.excepthook
_passing_on = threading.local()


def catch_crashes(session: Session) -> None:
    """Show a session's uncaught exceptions (of slots, callbacks, threads) as its problems, until it ends."""
    _sessions.add(session)
    _install()
    # napari.run() puts its own hooks over those there are when its event loop starts
    QTimer.singleShot(0, _install)


def is_ours(error: BaseException) -> bool:
    """Tell whether an exception, or one that led to it, passed through this package."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        item = todo.pop()
        if item is None or id(item) in seen:
            continue
        seen.add(id(item))
        trace = item.__traceback__
        while trace is not None:
            if str(trace.tb_frame.f_globals.get("__name__", "")).startswith("napari_medssl."):
                return True
            trace = trace.tb_next
        todo += [item.__cause__, item.__context__]
    return False


def _install() -> None:
    global _hook, _thread_hook
    if sys.excepthook is not _on_exception:
        _hook, sys.excepthook = sys.excepthook, _on_exception
    if threading.excepthook is not _on_thread_exception:
        _thread_hook, threading.excepthook = threading.excepthook, _on_thread_exception


def _on_exception(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if _tell(error):
        return
    if getattr(_passing_on, "now", False):  # a hook over ours handed it back
        sys.__excepthook__(kind, error, trace)
        return
    _passing_on.now = True
    try:
        _hook(kind, error, trace)
    finally:
        _passing_on.now = False


def _on_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or not _tell(args.exc_value):
        _thread_hook(args)


def _tell(error: BaseException) -> bool:
    """Show an exception in a session; False if it is not ours or no session is left."""
    if not isinstance(error, Exception) or not is_ours(error):
        return False
    session = next((item for item in _sessions if not item.closed), None)
    if session is None:
        return False
    session.crashed.emit(Problem.of(error))
    return True
