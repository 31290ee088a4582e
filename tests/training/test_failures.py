"""Does a user read one line on what went wrong, and a programmer the traceback?"""

import pytest
import torch
from torch.utils.data import DataLoader

from unet_resnet.training.failures import explain


class Broken(torch.utils.data.Dataset):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise self.error


@pytest.mark.parametrize("error, line", [
    (ValueError("a.png: damaged"), "a.png: damaged"), (OSError("no disk"), "no disk"),
    (IndexError("a mistake of ours"), "")])
def test_an_error_in_a_worker(error, line):
    with pytest.raises(type(error)) as caught:
        next(iter(DataLoader(Broken(error), num_workers=1)))
    assert "DataLoader worker" in str(caught.value) and explain(caught.value) == line


@pytest.mark.parametrize("error, words", [
    (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "killed by signal"),
    (FloatingPointError("not finite"), "not finite"),
    (RuntimeError("Connection closed by peer"), "another process"),
    (torch.OutOfMemoryError("CUDA out of memory"), "smaller --micro-batch"),
    (RuntimeError("Caught MemoryError in DataLoader worker process 0.\nTraceback ...\n"
                  "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 364. TiB for an "
                  "array"), "smaller --micro-batch"), (OSError(), "OSError()"),
    (TypeError("ours"), None), (RuntimeError("size of tensors"), None)])
def test_what_a_user_can_mend_is_a_line(error, words):
    assert words in explain(error) if words else not explain(error)
