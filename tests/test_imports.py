"""Do imports go one way, as the design's table says?"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "unet_resnet"

LEVELS = (  # a module imports from lower levels only, never from its own
    {"encoder", "decoder", "losses", "morphology", "light", "compact", "tiling", "files", "groups",
     "pictures", "hardware", "signals", "group", "branches", "page", "stream", "tensors",
     "preflight", "windows"},
    {"model", "metrics", "images", "sample", "centreline", "memory", "confusers"},
    {"augment", "stress", "checkpoint", "fold", "recompute", "pairs", "measure", "report", "video",
     "scores", "imagenet", "record"},
    {"audit", "export", "tables", "drawing", "prediction", "arguments", "workers"},
    {"data"},
    {"photos", "results", "run"},
    {"film"},
    {"__init__"},
    {"train", "infer"},
)
LEVEL = {module: level for level, modules in enumerate(LEVELS) for module in modules}
THIRD_PARTY = {"torch", "numpy", "PIL", "tqdm"}
ALSO = {"imagenet": {"torchvision"},  # for its ImageNet weights; importing it takes seconds
        # Extras, of which each module says what to install.
        "export": {"onnxruntime"}, "video": {"av"}, "measure": {"scipy", "skimage"},
        "centreline": {"scipy"}}


def imported(source: str) -> set[str]:
    """Every module that a source imports, anywhere in it, by its absolute dotted name."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = [PACKAGE] * bool(node.level) + [node.module] * bool(node.module)
            origin = ".".join(parts)
            # `from unet_resnet import tiling` imports a module, `from torch import nn` from one.
            names |= ({f"{origin}.{alias.name}" for alias in node.names} if origin == PACKAGE
                      else {origin})
    return names


def faults(sources: dict[str, str]) -> list[str]:
    """What in these modules breaks the rule, a line each."""
    found = [f"{module}.py has no level: add it to LEVELS in {Path(__file__).name}"
             for module in sources if module not in LEVEL]
    for module in sources.keys() & LEVEL.keys():
        for name in sorted(imported(sources[module])):
            top, _, rest = name.partition(".")
            if top == PACKAGE:
                part = rest.split(".")[0]
                level = LEVEL[part if part in LEVEL else "__init__"]
                if level >= LEVEL[module]:
                    found.append(f"{module} (level {LEVEL[module]}) imports {name} "
                                 f"(level {level})")
            elif (top not in sys.stdlib_module_names
                  and top not in THIRD_PARTY | ALSO.get(module, set())):
                found.append(f"{module} imports {top}")
    return sorted(found)


def test_imports_go_one_way():
    files = [*(ROOT / PACKAGE).glob("*.py"), ROOT / "train.py", ROOT / "infer.py"]
    assert faults({path.stem: path.read_text("utf-8") for path in files}) == []


@pytest.mark.parametrize("module, source, fault", [
    ("encoder", "import unet_resnet.decoder", "imports unet_resnet.decoder"),
    ("losses", "def f():\n    from unet_resnet.model import X", "imports unet_resnet.model"),
    ("tiling", "from unet_resnet import model", "imports unet_resnet.model"),
    ("tiling", "from unet_resnet import UNetResNet", "imports unet_resnet.UNetResNet"),
    ("model", "from .metrics import count", "imports unet_resnet.metrics"),
    ("model", "from . import checkpoint", "imports unet_resnet.checkpoint"),
    ("data", "import os, train", "data imports train"),
    ("augment", "from torchvision.transforms import v2", "augment imports torchvision"),
    ("train", "import cv2", "train imports cv2"),
    ("train", "from infer import main", "train imports infer"),
    ("television", "import torch", "television.py has no level: add it to LEVELS"),
])
def test_a_broken_rule_is_noticed(module, source, fault):
    assert len(faults({module: source})) == 1 and fault in faults({module: source})[0]


@pytest.mark.parametrize("module, source", [
    ("model", "from unet_resnet.encoder import ResNetEncoder\nfrom torch import nn"),
    ("imagenet", "from torchvision import models\nfrom unet_resnet import encoder"),
    ("train", "from unet_resnet import UNetResNet, checkpoint, tiling\nimport csv"),
])
def test_a_kept_rule_is_not(module, source):
    assert faults({module: source}) == []


def test_the_network_alone_is_light():
    """torchvision takes seconds to import, and only a download of weights needs it."""
    code = (f"import sys; from {PACKAGE} import UNetResNet; "
            "print(*{'torchvision', 'PIL'} & sys.modules.keys())")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr
