"""What is a user told when a training fails?"""

import re

from torch.distributed import DistError

from unet_resnet.device import is_out_of_memory
from unet_resnet.files import one_line


def explain(error: Exception) -> str:
    """One line on an error that a user can cause; "" for one that deserves its traceback."""
    if is_out_of_memory(error):
        return ("out of memory; use a smaller --micro-batch, --recompute, a smaller --crop, or "
                "--device cpu")
    if isinstance(error, DistError) or "Connection closed" in str(error):
        return "another process of this training has ended; what was reached is saved"
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        reason = str(error).partition("\n")[0]
        return f"--compile does not work here ({one_line(reason)}); omit it"
    if isinstance(error, (OSError, ValueError)):
        # One from a worker carries a traceback, which ends with the message.
        return one_line(re.sub(r"^\w+Error: ", "", str(error).splitlines()[-1]))
    if "DataLoader worker" in str(error):  # killed: memory is short, or a decoder crashed
        return one_line(str(error).splitlines()[0])
    return ""
