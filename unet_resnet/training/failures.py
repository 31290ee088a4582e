"""What is a user told when a training fails?"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed import DistError
from tqdm import tqdm

from unet_resnet.device import is_out_of_memory
from unet_resnet.files import one_line


def explain(error: Exception) -> str:
    """One line on an error that a user can cause; "" for one that deserves its traceback."""
    if is_out_of_memory(error):
        return ("out of memory; use a smaller --micro-batch, --recompute, a smaller --crop, or "
                "--device cpu")
    if isinstance(error, DistError) or "Connection closed" in str(error):
        return "another process of this training has ended; what was reached is saved"
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")) or (
            "torch.compile" in str(error)):  # a version of Python that it does not support
        reason = str(error).partition("\n")[0]
        return f"--compile does not work here ({one_line(reason)}); omit it"
    if isinstance(error, (OSError, ValueError)):
        # One from a worker carries a traceback, which ends with the message.
        return one_line(re.sub(r"^\w+Error: ", "", str(error).splitlines()[-1]))
    if "DataLoader worker" in str(error):  # killed: memory is short, or a decoder crashed
        return one_line(str(error).splitlines()[0])
    return ""


@contextmanager
def in_one_line() -> Iterator[None]:
    """An error in the block that a user can cause ends the program in one line."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit("train.py: stopped before or after training")
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        if not (line := explain(error)):
            raise
        sys.exit(f"train.py: {line}")


@contextmanager
def survived(kind: type[OSError]) -> Iterator[None]:
    """Training goes on without the file: by the next time there may be space, say."""
    try:
        yield
    except kind as error:
        tqdm.write(f"{error}; training goes on")
