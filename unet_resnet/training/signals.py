"""How does a training with workers stop when asked to, and lose nothing?"""

import atexit
import multiprocessing
import signal
import sys

import torch

from unet_resnet.training.processes import Group


class Stop:
    """Ctrl-C and SIGTERM are counted, and obeyed at the next `check`. A second signal stops at
    once, without saving.

    SIGTERM is how a cluster stops a run; a background job of a shell ignores SIGINT.
    One of several processes does not stop alone, but with the others at `check_together`. There a
    second signal means the same as the first, because torchrun sends its own after that of the
    terminal, and kills processes that do not listen.
    """

    def __init__(self, group: Group) -> None:
        self.signals, self.group = 0, group
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.receive)
        atexit.register(kill_workers)

    def receive(self, number: int, frame: object) -> None:
        self.signals += 1
        if self.signals > 1 and self.group.size == 1:
            sys.exit("stopped at once; last.pt is as it was")

    def check(self) -> None:
        if self.signals and self.group.size == 1:
            raise KeyboardInterrupt

    def check_together(self, device: torch.device) -> None:
        """Stops all processes if one has received a signal; all must call it."""
        if self.group.any(self.signals > 0, device):
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
