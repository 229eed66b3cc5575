"""Ctrl-C while a file is written: neither lost, nor raised where HDF5 could not bear it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import CodeType, FrameType
from typing import Any

__all__ = ["interrupts_kept", "interrupts_postponed"]

_AGAIN_S = 0.01


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Raise a KeyboardInterrupt again that Python has swallowed.

    That happens when it is raised while an object is deleted, which h5py's objects often are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if unraisable.exc_type is KeyboardInterrupt:
            _again(signal.SIGINT)
        else:
            usual(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = usual


@contextmanager
def interrupts_postponed(functions: set[CodeType]) -> Iterator[None]:
    """Let no signal raise within some functions: it comes back when they have returned."""
    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                answer = signal.getsignal(number)
                if callable(answer):
                    signal.signal(number, _postponing(answer, functions))
                    stack.callback(signal.signal, number, answer)
        yield


def _postponing(
    answer: Callable[[int, FrameType | None], Any], functions: set[CodeType]
) -> Callable[[int, FrameType | None], Any]:
    """A signal handler that calls `answer`, or comes back later."""

    def handler(number: int, frame: FrameType | None) -> Any:
        at = frame
        while at is not None:
            if at.f_code in functions:
                return _again(number)
            at = at.f_back
        return answer(number, frame)

    return handler


def _again(number: int) -> None:
    """Raise a signal in a moment, from another thread; Python answers it in the main one."""
    timer = threading.Timer(_AGAIN_S, signal.raise_signal, [number])
    timer.daemon = True
    timer.start()
