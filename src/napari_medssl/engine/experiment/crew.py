"""Several workers at once: processes of this computer, or of a Dask cluster."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import platform
import shutil
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from threadpoolctl import threadpool_limits

from napari_medssl.engine.experiment.ground import survey
from napari_medssl.engine.experiment.orders import Incoming, Orders, Outgoing, obeying, order_of
from napari_medssl.engine.experiment.plan import ExperimentJob
from napari_medssl.engine.experiment.tasks import Outcome, ended_before
from napari_medssl.engine.experiment.working import Worker
from napari_medssl.errors import MedsslError
from napari_medssl.events import Paused, Resumed
from napari_medssl.learn.control import Control, pausing
from napari_medssl.project import Project

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from concurrent.futures import Executor, Future

    from napari_medssl.engine.experiment.tasks import Report, Task

__all__ = ["Crew", "Errand", "at_once", "cluster", "processes"]

ORDERS = "orders.json"
REPORTS = "reports"
"""Folder of what workers tell; nothing in it is needed later."""
LOOK = 0.2
"""Seconds between two looks at what they tell."""
PATIENCE = 60.0
"""Seconds to wait for workers that were told to stop; those of a cluster may be gone."""


class Crew(NamedTuple):
    """Who carries out tasks."""

    executor: Executor
    text: str
    """Says who, as a sentence."""


@dataclass(frozen=True)
class Errand:
    """All that a worker needs to know, wherever it is: folders are at the same paths for all."""

    job: str
    """`ExperimentJob` as JSON, its paths absolute."""
    folder: str
    """The experiment's."""
    ground: str
    """`Ground.digest`: truth, and its division."""


def at_once(
    tasks: list[Task], errand: Errand, executor: Executor, control: Control
) -> Generator[Report, None, None]:
    """Have tasks carried out side by side.

    Parameters
    ----------
    tasks : list of Task
        Each is handed out as soon as the pretraining that it needs is done; pretrainings come first.
    errand : Errand
        What they belong to.
    executor : concurrent.futures.Executor
        Who carries them out.
    control : Control
        Pauses and stops all of them.

    Yields
    ------
    tuple of (Task, Event or Outcome)
        What comes of them, as it comes.

    Raises
    ------
    MedsslError
        If a worker stopped though nobody asked for it.
    """
    folder = Path(errand.folder)
    orders, reports = Orders(folder / ORDERS), folder / REPORTS
    shutil.rmtree(reports, ignore_errors=True)  # of a session that was killed
    reports.mkdir()
    waiting = sorted(tasks, key=lambda task: task.work != "pretraining")
    running: dict[Future[Outcome], tuple[Task, Incoming]] = {}
    pretrainings: dict[tuple[str, int], Outcome] = {}
    last = float("inf")

    def hand_out() -> Iterator[Report]:
        for task in [t for t in waiting if not t.pretrained or t.start in pretrainings]:
            waiting.remove(task)
            if (outcome := ended_before(task, pretrainings)) is not None:
                yield task, outcome
                continue
            path = reports / f"{orders.session}-{tasks.index(task)}.jsonl"
            future = executor.submit(_carry_out, errand, orders.session, task, path)
            running[future] = task, Incoming(path)

    try:
        yield from hand_out()
        while running and time.monotonic() < last:
            finished, _ = wait(running, timeout=LOOK, return_when=FIRST_COMPLETED)
            for task, incoming in running.values():
                for event in incoming.new():
                    yield task, event
            for future in finished:
                task, _ = running.pop(future)
                outcome = future.result()
                if outcome.how == "stopped" and not control.stopped:
                    raise MedsslError(
                        f"A worker stopped, for it could no longer read {orders.path}, or found it written by another"
                        " start of this experiment.",
                        advice="What was finished is kept. Look whether the folder is there, and start the experiment"
                        " again.",
                    )
                if task.work == "pretraining":
                    pretrainings[task.start] = outcome
                yield task, outcome
            if control.paused and not control.stopped:
                orders.give("pause")
                for change in pausing(control, 0):
                    yield tasks[0], change  # it is the same for all of them
                orders.give("run")
            if control.stopped and last == float("inf"):
                orders.give("stop")
                waiting.clear()
                last = time.monotonic() + PATIENCE
            yield from hand_out()
    finally:
        orders.give("stop")
    shutil.rmtree(reports, ignore_errors=True)


@contextlib.contextmanager
def processes(count: int, *, threads: int) -> Iterator[Crew]:
    """Have so many processes of this computer.

    Parameters
    ----------
    count : int
        Processes.
    threads : int
        Threads that each computes with.

    Raises
    ------
    MedsslError
        From inside, if one of them died. What was finished is in the table.
    """
    executor = ProcessPoolExecutor(
        count,
        mp_context=multiprocessing.get_context("spawn"),  # a fork would copy the state of CUDA
        initializer=_begin,
        initargs=(threads,),
    )
    each = f"{threads} thread{'s' if threads > 1 else ''}"
    try:
        yield Crew(executor, f"{count} worker processes, each with {each}.")
    except BrokenProcessPool as error:
        raise _died() from error
    finally:
        executor.shutdown(cancel_futures=True)


def _begin(threads: int) -> None:
    """Begin a process: quiet, and never alive longer than the one that started it."""
    os.dup2(2, 1)  # standard output may be an engine's, where nothing but events belongs
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; who hands out tasks decides
    threadpool_limits(threads)  # numpy's; torch is given its number by each task
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)  # it was killed; what is under way goes on from its checkpoint next time

    threading.Thread(target=watch, name="parent", daemon=True).start()


@contextlib.contextmanager
def cluster(address: str) -> Iterator[Crew]:
    """Have the workers of a Dask cluster.

    Parameters
    ----------
    address : str
        Of its scheduler, such as ``tcp://node7:8786``.

    Raises
    ------
    MedsslError
        If dask.distributed is not installed, or nobody answers at the address; from inside, if a task's workers died
        again and again.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise MedsslError(
            "Workers on other computers need dask.distributed, which is not installed.",
            advice='pip install "napari-medssl[cluster]", here and where the workers are.',
        ) from error
    try:
        client = Client(address, timeout="15s", set_as_default=False)
    except (OSError, ValueError) as error:  # a TimeoutError is an OSError
        raise MedsslError(
            f"No Dask scheduler answers at {address}: {error}.",
            advice="Start one with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`.",
        ) from error
    with client:
        executor = client.get_executor(pure=False)
        there = len(client.nthreads())
        try:
            has = f"{there} worker{'' if there == 1 else 's'}"
            yield Crew(executor, f"The Dask cluster at {address} has {has} now.")
        except KilledWorker as error:
            raise _died() from error
        finally:
            # They were waited for; where there is no worker, it would be for ever.
            executor.shutdown(wait=False)


def _died() -> MedsslError:
    return MedsslError(
        "A worker's process ended in the middle of its work: killed by somebody, or by the system for want of memory.",
        advice="What was finished is kept. Start the experiment again, with fewer workers if memory was short; a script"
        ' of your own calls it under `if __name__ == "__main__":`, as worker processes read the script, too.',
    )


# -- in the worker -----------------------------------------------------------------------------------

_ALONE = threading.Lock()
"""A process computes one task at a time: Accelerate's state and the number of threads are the process's."""


def _carry_out(errand: Errand, session: str, task: Task, reports: Path) -> Outcome:
    orders = Path(errand.folder) / ORDERS
    with _ALONE:
        if order_of(orders, session) == "stop":
            return Outcome("stopped")
        worker, control = _worker(errand, session)
        outgoing = Outgoing(reports)
        with obeying(control, orders, session):
            events = worker.attempt(task)
            while True:
                try:
                    event = next(events)
                except StopIteration as end:
                    outcome: Outcome = end.value
                    return outcome
                if not isinstance(event, Paused | Resumed):  # told by who hands out tasks
                    outgoing.send(event)


@functools.lru_cache(maxsize=1)
def _worker(errand: Errand, session: str) -> tuple[Worker, Control]:
    """Read truth once for all tasks of a session."""
    del session  # another one has a control of its own
    job = ExperimentJob.model_validate_json(errand.job)
    project = Project.open(job.project)
    ground = survey(project, job)
    if ground.digest != errand.ground:
        raise MedsslError(
            f"A worker on {platform.node()} finds other images, masks or groups in {project.path} than were found"
            " where the experiment was started.",
            advice="All workers need the same folders at the same paths.",
        )
    control = Control()
    return Worker(job, project, Path(errand.folder), ground, control), control
