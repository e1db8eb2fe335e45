"""Work in a thread, one piece at a time: what changed meanwhile is looked at once, at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medssl.widgets.background import Lane
    from napari_medssl.widgets.session import Session

__all__ = ["OneByOne"]


class OneByOne:
    """Begins nothing while something runs, so that questions in quick succession do not queue up.

    Parameters
    ----------
    session : Session
        Whose threads.
    look : callable
        Begins what is due now. It asks `postponed` first, and is called again at the end of what ran while it asked.
    """

    def __init__(self, session: Session, look: Callable[[], None]) -> None:
        self._session = session
        self._look = look
        self._running = self._again = False

    def postponed(self) -> bool:
        """Tell whether something runs; `look` is then called once that has ended."""
        self._again = self._running
        return self._running

    def start(
        self,
        work: Callable[[], Any],
        *,
        on_result: Callable[[Any], None],
        on_failed: Callable[[BaseException], None],
        lane: Lane = "reading",
    ) -> None:
        """Call `work` in a thread, then a callback; as `Session.background`."""
        self._running = True

        def worked(result: Any) -> None:
            self._running = False
            on_result(result)
            self._once_more()

        def failed(error: BaseException) -> None:
            self._running = False
            on_failed(error)
            self._once_more()

        self._session.background(work, on_result=worked, on_failed=failed, lane=lane)

    def _once_more(self) -> None:
        if self._again:
            self._again = False
            self._look()
