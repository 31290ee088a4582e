"""How does a training with workers stop when it is told to, and lose nothing?"""

import atexit
import multiprocessing
import signal
import sys


class Stop:
    """Ctrl-C and SIGTERM are noted, and obeyed at the next `check`. A second signal stops at once,
    without saving.

    SIGTERM is how a cluster stops a run; and a shell's background job is born deaf to SIGINT.
    With `patient`, for one of a group, `check` lets the signals pass, for a group has to agree
    first. A second one means the same as the first: torchrun sends its own after that of the
    terminal, and ends those that do not listen.
    """

    def __init__(self, patient: bool = False) -> None:
        self.signals, self.patient = 0, patient
        self.agreed = 0.0  # signals that all processes of a training know of
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.receive)
        atexit.register(kill_workers)

    def receive(self, number: int, frame: object) -> None:
        self.signals += 1
        if self.signals > 1 and not self.patient:
            sys.exit("stopped at once; last.pt is as it was")

    def check(self) -> None:
        if self.signals and not self.patient:
            raise KeyboardInterrupt


def ignore_signals(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal, and a cluster's SIGTERM every process of the
    job; the main one alone shall answer."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def kill_workers() -> None:
    """At exit multiprocessing sends SIGTERM to workers still alive, which are deaf to it, and then
    waits for them: for ever, where an error holds on to a loader that was not read to its end."""
    for worker in multiprocessing.active_children():
        worker.kill()
