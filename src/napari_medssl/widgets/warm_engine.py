"""The warm engine: one child that stays alive and answers interactive requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_medssl.engine.protocol import Request
from napari_medssl.events import Failed, Note, Result
from napari_medssl.widgets.engine_client import EngineProcess
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_medssl.events import AnyEvent

__all__ = ["WarmEngine"]


@dataclass
class _Asked:
    request: Request
    channel: str
    on_result: Callable[[dict[str, Any]], None]
    on_failed: Callable[[Problem], None]
    sent: bool = False
    retried: bool = False


class WarmEngine(QObject):
    """Starts ``engine serve`` when first asked, and again when it is asked after it went.

    On each channel the newest request wins: an older one that was not sent yet is dropped, and the
    answer to one that was sent is not delivered any more.

    Parameters
    ----------
    command : sequence of str
        How the engine is started.
    log : pathlib.Path
        Where the engine's standard error goes.
    """

    busy_changed = Signal()
    note = Signal(object)

    def __init__(self, command: Sequence[str], *, log: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.command = list(command)
        self.log = log
        self._child: EngineProcess | None = None
        self._asked: dict[int, _Asked] = {}  # in the order of asking
        self._next_id = 1

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._asked)

    @property
    def pid(self) -> int:
        """The child's process id; 0 when there is none."""
        return self._child.pid if self._child is not None else 0

    def ask(
        self,
        kind: str,
        *,
        on_result: Callable[[dict[str, Any]], None],
        on_failed: Callable[[Problem], None],
        channel: str | None = None,
        **fields: Any,
    ) -> int:
        """Send a request; returns its id.

        Parameters
        ----------
        kind : str
            One of the requests of `napari_medssl.engine.protocol.Request`.
        on_result : callable
            Receives `Result.data`.
        on_failed : callable
            Receives a `Problem`.
        channel : str, optional
            Requests on the same channel replace each other; the kind if not given.
        **fields
            The request's other fields.
        """
        request = Request(id=self._next_id, request=kind, **fields)
        self._next_id += 1
        channel = kind if channel is None else channel
        for number in [n for n, older in self._asked.items() if older.channel == channel]:
            older = self._asked[number]
            if older.sent:
                older.on_result, older.on_failed = _drop, _drop
            else:
                del self._asked[number]
        self._asked[request.id] = _Asked(request, channel, on_result, on_failed)
        self._send_next()
        self.busy_changed.emit()
        return request.id

    def shut_down(self) -> None:
        """End the child and forget what was asked: for the closing window."""
        self._asked.clear()
        if self._child is not None:
            self._child.arrived.disconnect()
            self._child.finished.disconnect()
            self._child.shut_down(patience=300)
            self._child = None

    def _send_next(self) -> None:
        # one request at a time: what waits here can still be replaced by a newer one
        if any(asked.sent for asked in self._asked.values()):
            return
        waiting = next(iter(self._asked.values()), None)
        if waiting is None:
            return
        waiting.sent = True
        child = self._child
        if child is None:
            child = EngineProcess(self.command, ["serve"], log=self.log, parent=self)
            child.arrived.connect(self._on_event)
            child.finished.connect(self._on_finished)
            self._child = child
            child.start()
        child.write_line(waiting.request.model_dump_json())

    def _on_event(self, event: AnyEvent) -> None:
        if isinstance(event, Note):
            self.note.emit(event)
        if not isinstance(event, Result | Failed) or event.id is None:
            return
        asked = self._asked.pop(event.id, None)
        if asked is None:
            return
        self._send_next()
        self.busy_changed.emit()
        if isinstance(event, Result):
            asked.on_result(event.data)
        else:
            asked.on_failed(Problem(event.error, event.advice, event.details, self.log))

    def _on_finished(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        problem = child.how_it_ended()
        child.deleteLater()
        lost = []
        for number, asked in list(self._asked.items()):
            if not asked.sent:
                continue
            if asked.retried:
                lost.append(self._asked.pop(number))
            else:  # it may have left (idle) in the moment we asked; once more is fair
                asked.sent, asked.retried = False, True
        self._send_next()
        self.busy_changed.emit()
        for asked in lost:
            asked.on_failed(problem)


def _drop(_: object) -> None:
    """Receive an answer that nobody waits for any more."""
