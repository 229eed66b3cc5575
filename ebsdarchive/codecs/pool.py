"""Runs block functions on all cores, in order, with a bounded number of blocks in memory.

HDF5 allows one thread at a time in a process, so blocks go to other processes. They are started
without importing the caller's script, so that no ``if __name__ == "__main__"`` is needed.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from ebsdarchive.errors import EbsdArchiveError

__all__ = ["cores", "ordered_map"]

Result = TypeVar("Result")


def cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def ordered_map(
    function: Callable[..., Result], jobs: Iterable[tuple[Any, ...]], workers: int
) -> Generator[Result, None, None]:
    """Results of ``function(*job)`` in the order of `jobs`.

    At most `workers` + 1 jobs are taken from the iterable ahead of the results that were consumed.
    With one worker everything happens in this process. The caller closes the generator: an error
    of the caller's own would else keep the workers alive for as long as its traceback lives.
    """
    if workers <= 1:
        for job in jobs:
            yield function(*job)
        return
    from loky import ProcessPoolExecutor
    from loky.backend.resource_tracker import ensure_running
    from loky.process_executor import BrokenProcessPool

    ensure_running()  # its start unblocks signals, so it must not happen while they are blocked
    pool = ProcessPoolExecutor(max_workers=workers, initializer=_ignore_signals)
    pending: deque[Any] = deque()
    finished = False
    try:
        for job in jobs:
            with _signals_blocked():
                pending.append(pool.submit(function, *job))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        finished = True
    except BrokenProcessPool as error:
        raise EbsdArchiveError(
            "worker: expected it to finish its block, found it ended (killed, or out of memory?); "
            "nothing was changed, run again"
        ) from error
    finally:
        _end(pool, finished)


def _end(pool: Any, finished: bool) -> None:
    """Shut a pool down, and leave no worker alive where that does not come to its end."""
    workers = list((pool._processes or {}).values())
    ended = False
    try:
        if not finished:
            _kill(workers)  # at once: an interrupted pool may wait for them forever
        pool.shutdown(wait=True, kill_workers=not finished)
        ended = True
    finally:
        if not ended:
            _kill(workers)


def _kill(workers: list[Any]) -> None:
    for worker in workers:
        with suppress(OSError):
            os.kill(worker.pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def _ignore_signals() -> None:
    """For good, in a worker: what it was started with may have been undone on the way."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Let processes that are started here inherit that they are not to be interrupted.

    Ctrl-C goes to all processes of a terminal, and is the main process's to answer. A worker that
    would only learn so when it has loaded Python would die with a traceback before.
    """
    if not hasattr(signal, "pthread_sigmask"):  # not on POSIX
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
