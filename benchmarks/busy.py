"""How long does a prediction take beside another busy process, and what do spinning threads cost?

    python benchmarks/busy.py

OpenMP threads wait for each other by spinning, by default through 300,000 rounds (GCC's libgomp,
which PyTorch's Linux builds use). While another process uses their cores, this only wastes time.
Each row predicts 448x448 pixels in a separate process, alone and beside a process that multiplies
matrices on all cores.
"""

import os
import subprocess
import sys
from statistics import median

BUSY = "import torch; a = torch.rand(1500, 1500)\nwhile True: a @ a"
TIMED = """
import time, torch
from unet_resnet import UNetResNet
from unet_resnet.device import pick_precision
from unet_resnet.inference.predictor import Predictor, optimized_function
cpu = torch.device("cpu")
precision = pick_precision("auto", cpu)
predict = Predictor(optimized_function(UNetResNet().eval(), cpu, precision), 0.5, {}, cpu)
photo = torch.zeros(3, 448, 448, dtype=torch.uint8)
for turn in range(9):
    began = time.perf_counter()
    predict(photo)
    if turn > 1:
        print(time.perf_counter() - began)
"""


def seconds(spins: str | None) -> float:
    environment = os.environ | ({"GOMP_SPINCOUNT": spins} if spins else {})
    lines = subprocess.run([sys.executable, "-c", TIMED], env=environment, check=True, text=True,
                           capture_output=True).stdout.split()
    return median(map(float, lines))


def main() -> None:
    os.environ.pop("GOMP_SPINCOUNT", None)
    print("GOMP_SPINCOUNT     alone    beside a busy process")
    for spins in (None, "100", "1000", "10000"):
        alone = seconds(spins)
        environment = os.environ | ({"GOMP_SPINCOUNT": spins} if spins else {})
        busy = subprocess.Popen([sys.executable, "-c", BUSY], env=environment)
        try:
            beside = seconds(spins)
        finally:
            busy.kill()
        print(f"{spins or 'default':>14}  {alone:6.2f} s  {beside:6.2f} s, {beside / alone:.1f} "
              "times", flush=True)


if __name__ == "__main__":
    main()
