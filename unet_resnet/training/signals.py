"""How does a training with workers stop when asked to, and lose nothing?"""

import atexit
import multiprocessing
import signal
import sys


class Stop:
    """Ctrl-C and SIGTERM are counted, and obeyed at the next `check`. A second signal stops at
    once, without saving.

    SIGTERM is how a cluster stops a run; a background job of a shell ignores SIGINT.
    One of several processes does not stop alone: `check` lets the signals pass, and train.py asks
    all processes after each window. There a second signal means the same as the first, because
    torchrun sends its own after that of the terminal, and kills processes that do not listen.
    """

    def __init__(self, alone: bool = True) -> None:
        self.signals, self.alone = 0, alone
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.receive)
        atexit.register(kill_workers)

    def receive(self, number: int, frame: object) -> None:
        self.signals += 1
        if self.signals > 1 and self.alone:
            sys.exit("stopped at once; last.pt is as it was")

    def check(self) -> None:
        if self.signals and self.alone:
            raise KeyboardInterrupt


def ignore_signals(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal, and a cluster's SIGTERM every process of the
    job; only the main process shall answer."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def kill_workers() -> None:
    """At exit multiprocessing sends SIGTERM to workers that are still alive and waits for them:
    forever, because they ignore it and an error keeps their unfinished loader alive."""
    for worker in multiprocessing.active_children():
        worker.kill()
