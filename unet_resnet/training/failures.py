"""What does a training print when it fails?"""

import re
from collections.abc import Callable
from typing import NoReturn

from torch.distributed import DistError

from unet_resnet import files

PEER_GONE = ("Connection closed", "Connection reset", "Broken pipe")  # gloo's RuntimeErrors
KILLED = "DataLoader worker (pid"  # memory was short, or a decoder crashed


def explain(error: Exception) -> str:
    """A line on an error that a user can fix; "" for one that deserves its traceback."""
    if files.is_out_of_memory(error):
        return ("out of memory; use a smaller --micro-batch, --recompute, a smaller --crop, or "
                "--device cpu")
    lost = isinstance(error, RuntimeError) and any(words in str(error) for words in PEER_GONE)
    if lost or isinstance(error, DistError):
        return "another process of this training has ended; what was reached is saved"
    if isinstance(error, (OSError, ValueError, FloatingPointError)) or KILLED in str(error):
        # An error in a worker carries its traceback, which ends with the message.
        return re.sub(r"^\w+Error: ", "", (str(error) or repr(error)).splitlines()[-1])
    return ""


def run(main: Callable[[], None]) -> NoReturn:
    """`files.run` of train.py."""
    files.run(main, "train.py", explain)
