"""How are programs compared on a machine of varying speed? In turn, in one process."""

import statistics
import time
from collections.abc import Callable

import torch


def interleave(sides: dict[str, Callable[[], object]], rounds: int,
               warmup: int = 2) -> dict[str, float]:
    """The median seconds of each side over `rounds`, A B C A B C ..., after `warmup` rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(warmup + rounds):
        for name, side in sides.items():
            began = time.perf_counter()
            side()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(times[warmup:]) for name, times in seconds.items()}


def table(heading: str, unit: str, amounts: dict[str, float], peers: tuple[str, ...]) -> str:
    """A line for each side: the amount, and its ratio to each peer's."""
    lines = [f"{heading:38}{unit:>12}" + "".join(f"{'/ ' + peer:>20}" for peer in peers)]
    for name, amount in amounts.items():
        ratios = "".join(f"{amount / amounts[peer]:20.2f}" for peer in peers)
        lines.append(f"{name:38}{amount:12.3f}{ratios}")
    return "\n".join(lines)


def machine() -> str:
    """The hardware and the torch version, for the line above the figures."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{torch.get_num_threads()} CPU threads, torch {torch.__version__}"
