"""How does a training with workers stop when asked to, and lose nothing?"""

import atexit
import multiprocessing
import signal
import sys

import torch

from unet_resnet.training.processes import Group

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Ctrl-C and SIGTERM, by which a cluster stops a run, are counted, and obeyed at the next
    `check`. A second signal stops at once, without saving.

    One of several processes does not stop alone, but with the others at `check_together`. There a
    second signal means the same as the first, because torchrun sends its own after that of the
    terminal, and kills processes that do not listen.
    """

    def __init__(self, group: Group) -> None:
        self.signals, self.group = 0, group
        for number in NUMBERS:
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
    """For workers: signals reach all processes, but only the main process reacts to them."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)


def kill_workers() -> None:
    """At exit multiprocessing would send SIGTERM, which workers ignore, and wait for ever."""
    if hasattr(signal, "SIGCHLD"):  # torch's handler would raise an error for each of them
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in multiprocessing.active_children():
        worker.kill()
