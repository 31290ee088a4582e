"""How is a trained network kept in a file, and read back from one that is not trusted?

A checkpoint is a plain dict of tensors, numbers and strings, from which the network is rebuilt.
PyTorch reads it with `weights_only=True`, so that it cannot run code. What PyTorch leaves unchecked
is checked here: checksums, sizes, types, and that all weights are finite.
"""

import mmap
import warnings
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import torch
from torch import Tensor

from unet_resnet.encoder import ResNetEncoder
from unet_resnet.files import written_whole
from unet_resnet.model import UNetResNet

KIND, VERSION = "unet_resnet checkpoint", 2
SHIPPED = Path(__file__).with_name("cracks.pt")  # MODEL_CARD.md says how it was made
SCALE = ":scale"  # ends the name of the scales of a tensor in 8 bits
NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.int64)

State = dict[str, Tensor]
Split = dict[str, dict[str, str | None]]  # by side (train, validation): fingerprints by file name
Setting = str | int | float | bool | None


@dataclass
class Checkpoint:
    """What a file holds. Raises ValueError for parts of other types or without sense."""

    blocks: list[int]  # of the encoder's four stages
    widths: list[int]  # of the decoder's five levels
    model: State
    threshold: float  # from this probability on, a pixel is crack
    split: Split
    history: list[dict[str, float]] = field(default_factory=list)  # one row per epoch
    settings: dict[str, Setting | list[Setting]] = field(default_factory=dict)  # train.py's flags
    masks: Split | None = None
    optimizer: dict | None = None  # this and what follows only in a last.pt
    scaler: dict[str, float] = field(default_factory=dict)  # empty unless the training is in fp16
    losses: list[float | None] = field(default_factory=list)  # of the current epoch's windows

    def __post_init__(self) -> None:
        for one in fields(self):
            if not fits(getattr(self, one.name), one.type):
                raise ValueError(f"its {one.name} has another type")
        if (len(self.blocks), len(self.widths)) != (4, 5) or min(self.blocks + self.widths) < 1:
            raise ValueError("wanted four blocks and five widths above 0")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"its threshold is {self.threshold!r:.60}, wanted 0 to 1")
        for sides in (self.split, self.masks or self.split):
            if not {"train", "validation"} <= sides.keys():
                raise ValueError("its split or masks lack train or validation")


def save(path: Path, network: UNetResNet, threshold: float = 0.5, split: Split | None = None,
         **content: Any) -> None:
    """Write a checkpoint, whole or, with an OSError, not at all; `content` are its other fields."""
    content = {"kind": KIND, "version": VERSION, "blocks": list(network.blocks),
               "widths": list(network.widths), "model": network.state_dict(),
               "threshold": threshold, "split": split or {"train": {}, "validation": {}}} | content
    with written_whole(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # torch hides a full disk, or a second Ctrl-C, behind a wrong position in the file.
            if isinstance(error.__context__, (OSError, SystemExit, KeyboardInterrupt)):
                raise error.__context__ from None
            raise


def load(path: Path) -> tuple[UNetResNet, Checkpoint]:
    """The network, on the CPU in eval mode, and the checkpoint that `path` stands for.

    Raises an OSError or ValueError, in one line that names the file, for one that cannot be read,
    is damaged, or is not a checkpoint of this version.
    """
    content = read_tensors(path := located(path))
    if not (isinstance(content, dict) and content.get("kind") == KIND):
        raise ValueError(f"{path}: not a checkpoint of train.py; pass a run's folder, or its "
                         "best.pt or last.pt")
    if not (isinstance(version := content.get("version"), int) and version == VERSION):
        raise ValueError(f"{path}: a checkpoint of format {version!r:.9}, wanted {VERSION}; if it "
                         "is newer, update unet_resnet; if it is older, train again")
    try:
        found = Checkpoint(**{one.name: content[one.name] for one in fields(Checkpoint)
                              if one.name in content})
    except (TypeError, ValueError) as error:
        raise spoilt(path, error) from error
    # Before memory is taken: a block has 17 w^2 weights, a level 9 w^2 and more, of a byte or more.
    least = 9 * sum(width**2 for width in found.widths) + 17 * sum(
        count * (maps // 4)**2 for count, maps in zip(found.blocks, ResNetEncoder.channels[1:]))
    claimed = sum(tensor.numel() for tensor in found.model.values())
    if max(least, claimed) > path.stat().st_size:
        raise ValueError(f"{path}: does not fit this network: the file is too small for {claimed} "
                         f"weights, blocks {found.blocks!r:.60} and widths {found.widths!r:.60}")
    network = UNetResNet(found.blocks, found.widths)
    network.load_state_dict(fitted(dequantize(found.model), network.state_dict(), path))
    found.model = network.state_dict()
    return network.eval(), found


def read(path: Path) -> Checkpoint:
    """What `load` gives, without the network."""
    return load(path)[1]


def spoilt(path: Path, what: object) -> ValueError:
    return ValueError(f"{path}: damaged, or not written by train.py: {what}")


def located(path: Path) -> Path:
    """The file that a name stands for: best.pt for a run's folder, SHIPPED for the word cracks."""
    if (path / "best.pt").is_file():
        return path / "best.pt"
    return SHIPPED if str(path) == "cracks" and not path.is_file() else path


def find(weights: str) -> Path | None:
    """The checkpoint, unchecked, that --weights means; None for a ResNet's weights, say."""
    path = located(Path(weights))
    if weights in ("imagenet", "none") or not path.is_file():
        return None
    with open(path, "rb") as file:
        return path if path != Path(weights) or KIND.encode() in file.read(2**24) else None


def read_tensors(path: Path) -> Any:
    """What torch.save wrote into a file, its tensors on the CPU; no code in it is run.

    Raises, in one line that names the file, an OSError if it cannot be opened, and ValueError for
    anything but an intact file of tensors, numbers and strings.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, nor a run's folder with a best.pt in it, "
                                "which train.py writes after the first epoch (see --resume)")
    with open(path, "rb") as file:
        start = file.read(20)
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if content.find(b"\nbytearray\n") >= 0:  # memory for which the file has no bytes
                    raise MemoryError
            if start.startswith(b"PK"):  # torch checks no checksums, and unpacks what is packed
                with zipfile.ZipFile(path) as archive:
                    unpacked = sum(record.file_size for record in archive.infolist())
                    if unpacked > path.stat().st_size or archive.testzip():
                        raise zipfile.BadZipFile
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of old formats
                return torch.load(path, map_location="cpu", weights_only=True)
        # torch and zipfile raise nearly anything: KeyError, EOFError, UnpicklingError, ...
        except Exception as error:
            raise ValueError(
                f"{path}: not a file of PyTorch tensors, or damaged (it begins with {start!r}); "
                "download it again, or, of a module, save the state_dict()") from error


def fits(value: Any, hint: Any) -> bool:
    """Whether a value has a type such as dict[str, Tensor], to any depth. Tensors must be dense."""
    kind, inside = get_origin(hint) or hint, get_args(hint)
    if kind is UnionType:
        return any(fits(value, one) for one in inside)
    if isinstance(value, bool) and kind is not bool or (
            not isinstance(value, (int, float) if kind is float else kind)):
        return False
    if kind is Tensor:
        return (value.layout == torch.strided and value.device.type == "cpu"
                and not value.is_nested and value.dtype in NUMBERS)
    if kind is list:
        return all(fits(one, inside[0]) for one in value)
    if kind is dict and inside:
        return all(fits(key, inside[0]) and fits(one, inside[1]) for key, one in value.items())
    return True


def fitted(state: State, wanted: State, path: Path) -> State:
    """`state`, read from `path`, in the precision of `wanted`.

    Raises ValueError, naming the tensor, unless names, shapes and types are those of `wanted` and
    all numbers are finite.
    """
    cast = {}
    for name in wanted | state:
        if name not in state or name not in wanted:
            raise ValueError(f"{path}: does not fit this network: {name!r:.80} is "
                             f"{'missing' if name in wanted else 'not a part of it'}")
        found, like = state[name], wanted[name]
        if found.shape != like.shape or found.is_floating_point() != like.is_floating_point():
            raise ValueError(f"{path}: does not fit this network: {name} is {[*found.shape]} of "
                             f"{found.dtype}, wanted {[*like.shape]} of {like.dtype}")
        cast[name] = found.to(like.dtype)
        if not cast[name].isfinite().all():
            raise ValueError(f"{path}: NaN or infinity in {name}: these weights are spoilt, take "
                             "an earlier file")
    return cast


def dequantize(state: State) -> State:
    """float32 from the 8 bits of export/small.py; tensors without scales stay as they are."""
    restored = dict(state)
    for name in [name for name in state if name + SCALE in state]:
        tensor, scale = state[name], state[name + SCALE]  # one number per output channel
        if (tensor.dtype == torch.int8
                and scale.shape == (*tensor.shape[:1], *[1] * (tensor.dim() - 1))):
            restored[name] = tensor * restored.pop(name + SCALE)
    return restored
