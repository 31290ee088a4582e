"""What does a training print when it fails?"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed import DistError

from unet_resnet.device import is_out_of_memory
from unet_resnet.files import one_line, print_safely

PEER_GONE = ("Connection closed", "Connection reset", "Broken pipe")  # gloo's RuntimeErrors


def explain(error: Exception) -> str:
    """One line on an error that a user can cause; "" for one that deserves its traceback."""
    if is_out_of_memory(error):
        return ("out of memory; use a smaller --micro-batch, --recompute, a smaller --crop, or "
                "--device cpu")
    lost = isinstance(error, RuntimeError) and any(words in str(error) for words in PEER_GONE)
    if lost or isinstance(error, DistError):
        return "another process of this training has ended; what was reached is saved"
    # The last is of one that was killed: memory is short, or a decoder crashed.
    if (isinstance(error, (OSError, ValueError, FloatingPointError))
            or "DataLoader worker" in str(error)):
        # An error in a worker carries its traceback, which ends with the message.
        return one_line(re.sub(r"^\w+Error: ", "", str(error).splitlines()[-1]))
    return ""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """An error in the block that a user can cause ends the program in one line."""
    print_safely()
    try:
        yield
    except KeyboardInterrupt:
        sys.exit("train.py: stopped before or after training")
    except Exception as error:
        if not (line := explain(error)):
            raise
        sys.exit(f"train.py: {line}")
