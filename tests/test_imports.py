"""Do imports keep the house rule: rooms use the core, and only the scripts compose rooms?"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "unet_resnet"

CORE = frozenset(path.stem for path in Path(ROOT, PACKAGE).glob("*.py")) - {"__init__"}
# What a room may import besides itself.
ROOMS = dict.fromkeys(("training", "audit", "synthetic", "inference", "measure"), {"core"})
ROOMS |= dict.fromkeys(("evaluation", "report", "video"), {"core", "inference"})
ROOMS |= {"export": {"core", "inference", "synthetic"}, "core": {"core"}}
THIRD_PARTY = {"torch", "numpy", "PIL", "tqdm"}
ALSO = {"imagenet": {"torchvision"},  # for its ImageNet weights; importing it takes seconds
        "report": {"jinja2"},  # comes with torch
        # Extras, which each room names where they are missing.
        "export": {"onnx", "onnxruntime"}, "inference": {"onnxruntime"}, "video": {"av"},
        "measure": {"ezdxf", "scipy", "skimage"}}


def room_of(module: str) -> str:
    """`core` for unet_resnet.model, `audit` for unet_resnet.audit.groups, `script` for train."""
    package, _, rest = module.partition(".")
    first = rest.partition(".")[0]
    if package != PACKAGE:
        return "script"
    return first if first in ROOMS else "core"


def imported(source: str) -> set[str]:
    """Every module that a source imports, anywhere in it, by its absolute dotted name."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join([PACKAGE] * bool(node.level) + [node.module] * bool(node.module))
            # `from unet_resnet import tiling` imports a module, `from torch import nn` from one.
            names |= ({f"{origin}.{alias.name}" for alias in node.names} if origin == PACKAGE
                      else {origin})
    return names


def faults(module: str, source: str) -> list[str]:
    """What a module (by its dotted name) imports against the rule."""
    room, found = room_of(module), []
    for name in sorted(imported(source)):
        top = name.partition(".")[0]
        other = room_of(name)
        if top == PACKAGE:
            if room != "script" and other not in ROOMS[room] | {room}:
                found.append(f"{module} imports {name}")
        elif top not in sys.stdlib_module_names and top not in (
                THIRD_PARTY | ALSO.get(room, set()) | ALSO.get(module.rpartition(".")[2], set())):
            found.append(f"{module} imports {top}")
    return found


def test_imports_keep_the_rule():
    files = [*Path(ROOT, PACKAGE).rglob("*.py"), ROOT / "train.py", ROOT / "infer.py"]
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    assert [fault for path in files if path != ROOT / PACKAGE / "__init__.py"
            for fault in faults(names[path], path.read_text("utf-8"))] == []


def test_each_room_says_what_it_is_for():
    for room in ROOMS.keys() - {"core"}:
        source = Path(ROOT, PACKAGE, room, "__init__.py").read_text("utf-8")
        assert len(ast.get_docstring(ast.parse(source)).splitlines()) == 1, room


@pytest.mark.parametrize("module, source", [
    ("unet_resnet.losses", "def f():\n    from unet_resnet.audit.groups import X"),
    ("unet_resnet.tiling", "from unet_resnet.inference import predictor"),
    ("unet_resnet.tiling", "import train"),
    ("unet_resnet.audit.groups", "from unet_resnet.measure.widths import measure"),
    ("unet_resnet.report.page", "from unet_resnet.evaluation import sheet"),
    ("unet_resnet.augment", "from torchvision.transforms import v2"),
    ("unet_resnet.audit.findings", "import scipy"),
    ("train", "import cv2"),
    ("train", "from infer import main"),
])
def test_a_broken_rule_is_noticed(module, source):
    assert len(faults(module, source)) == 1


def test_the_network_alone_is_light():
    """torchvision takes seconds to import, and only ImageNet weights need it."""
    code = (f"import sys; from {PACKAGE} import UNetResNet; "
            "print(*{'torchvision', 'scipy', 'onnxruntime'} & sys.modules.keys())")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr


@pytest.mark.parametrize("script", ["train.py", "infer.py"])
def test_waiting_threads_do_not_spin_unless_the_user_says_so(script):
    """OpenMP reads the variable when torch is imported."""
    source = Path(ROOT, script).read_text("utf-8")
    assert source.index('os.environ.setdefault("GOMP_SPINCOUNT"') < source.index("\nimport torch")
