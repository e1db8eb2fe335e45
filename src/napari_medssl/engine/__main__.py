"""``python -m napari_medssl.engine run JOB | describe | serve``: see `napari_medssl.engine.protocol`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pydantic import ValidationError

from napari_medssl.engine.protocol import IDLE_SECONDS, Command, Request
from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Event, Failed, Note, Result

if TYPE_CHECKING:
    from napari_medssl.learn.control import Control

DONE, FAILED, STOPPED = 0, 1, 130


class Output:
    """Writes events as JSON lines to the real standard output, which nothing else may use.

    Libraries that print would tear the protocol, so file descriptor 1 is given to standard error.
    """

    def __init__(self) -> None:
        self._stream: TextIO | None = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
        self.broken = threading.Event()
        """Set when the reader has gone."""
        sys.stdout.flush()
        os.dup2(2, 1)

    def __call__(self, message: Event) -> None:
        """Write one event."""
        self.line(message.model_dump_json())

    def line(self, text: str) -> None:
        """Write one line."""
        if self._stream is None:
            return
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except OSError:  # a broken pipe, or whatever else a system calls it
            self.broken.set()
            with contextlib.suppress(OSError):  # what is still in its buffer goes nowhere
                self._stream.close()
            self._stream = None


def failure(error: Exception, *, request: int | None = None) -> Failed:
    """Say what an exception means, with the traceback as details for the log."""
    details = "".join(traceback.format_exception(error))
    if isinstance(error, MedsslError):
        return Failed(error=error.message, advice=error.advice, details=details, id=request)
    return Failed(
        error=f"An unexpected error: {type(error).__name__}: {error}",
        advice="This is a defect of napari-medssl; please report it with the log.",
        details=details,
        id=request,
    )


def run(path: Path, *, controlled: bool) -> int:
    """Carry out one job file."""
    output = Output()
    from napari_medssl.engine.job import execute  # torch comes with it
    from napari_medssl.learn.control import Control

    control = Control()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: control.stop())
    if controlled:
        if hasattr(os, "nice"):
            os.nice(10)  # the viewer, and whatever else the user does, comes first
        threading.Thread(target=_listen, args=(control,), daemon=True).start()
    try:
        job = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        output(Failed(error=f"The job file {path} cannot be read: {error}"))
        return FAILED
    stopped = False
    try:
        for event in execute(job, control=control):
            output(event)
            if output.broken.is_set():
                control.stop()
            stopped = isinstance(event, Done) and event.stopped
    except Exception as error:  # noqa: BLE001 (the process's edge: everything becomes a Failed event)
        output(failure(error))
        _log(error)
        return FAILED
    return STOPPED if stopped else DONE


def _log(error: Exception) -> None:
    with contextlib.suppress(OSError):  # the viewer that kept the log may have gone
        traceback.print_exception(error)


def _listen(control: Control) -> None:
    for line in sys.stdin:
        with contextlib.suppress(ValidationError):  # a line of a newer viewer changes nothing here
            command = Command.model_validate_json(line).command
            {"pause": control.pause, "resume": control.resume, "stop": control.stop}[command]()
    control.stop()  # the viewer has gone


def serve() -> int:
    """Answer requests until the viewer goes, or nobody has asked for a while."""
    output = Output()
    requests: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            requests.put(line)
        requests.put(None)

    threading.Thread(target=read, daemon=True).start()
    from napari_medssl.engine.serve import Interactive

    interactive = Interactive(tell=lambda text: output(Note(level="warning", text=text)))
    while not output.broken.is_set():
        try:
            line = requests.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            return DONE
        if line is None:
            return DONE
        try:
            request = Request.model_validate_json(line)
        except ValidationError as error:
            output(Failed(error=f"Not a request: {error}"))
            continue
        try:
            output(Result(id=request.id, data=interactive.answer(request)))
        except Exception as error:  # noqa: BLE001 (one failed request does not end the engine)
            output(failure(error, request=request.id))
            _log(error)
    return DONE


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m napari_medssl.engine", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="carry out one job file, events on stdout")
    run_parser.add_argument("job", type=Path)
    run_parser.add_argument(
        "--control", action="store_true", help="read pause, resume and stop from stdin"
    )
    commands.add_parser("describe", help="print methods, jobs, encoders and device as JSON")
    commands.add_parser("serve", help="answer requests from stdin")
    arguments = parser.parse_args()
    if arguments.command == "run":
        return run(arguments.job, controlled=arguments.control)
    if arguments.command == "serve":
        return serve()
    output = Output()
    from napari_medssl.engine.describe import describe

    output.line(describe().model_dump_json())
    return DONE


if __name__ == "__main__":
    sys.exit(main())
