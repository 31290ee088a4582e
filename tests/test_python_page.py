"""What docs/python.md says is what runs, and PyTorch Hub loads the clone it is pointed to."""

import csv
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from PIL import Image

from unet_resnet.images import write_png
from unet_resnet.synthetic import pavement

PAGE = (ROOT / "docs/python.md").read_text("utf-8")


@pytest.fixture
def names(tmp_path, monkeypatch) -> dict:
    """What the blocks of the page, run one after the other beside a few photos, have defined."""
    (tmp_path / "photos").mkdir()
    for seed, name in enumerate(("bridge", "photos/a", "photos/b")):
        photo, mask = pavement.render(seed, size=256)
        photo = photo[:, :200 + 20 * seed]
        Image.fromarray(photo.permute(1, 2, 0).numpy()).save(tmp_path / f"{name}.jpg", quality=95)
    write_png(tmp_path / "bridge_mask.png", 255 * pavement.render(0, size=256)[1][:, :200])
    monkeypatch.chdir(tmp_path)
    found = {}
    for block in re.findall(r"^```py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(block.replace("path/of/clone", str(ROOT)), "python.md", "exec"), found)
    return found


def test_the_blocks_run_and_agree(names, tmp_path):
    assert names["probability"].shape == names["crack"].shape == (200, 256)
    assert [each.shape for each in names["probabilities"]] == [(64, 64)] * 2
    assert names["counts"].dice > 0.3 and len(names["found"].cracks) > 0
    assert names["sheet"].rows[0]["dice"] == names["counts"].dice
    with open(tmp_path / "survey/photos.csv") as file:
        rows = [*csv.DictReader(file)]
    assert [row["photo"] for row in rows] == ["a", "b"]
    assert float(rows[1]["length_px"]) == pytest.approx(names["found"].total.length, abs=1e-3)
    assert (tmp_path / "survey/a_widths.png").is_file()
    assert names["logits"].shape == (1, 1, 200, 333)


def test_the_hub_loads_the_clone(tmp_path):
    """And not what is installed; then `predict` can be imported, too."""
    code = ("import torch; predictor = torch.hub.load(sys.argv[1], 'cracks', source='local', "
            "device='cpu', threshold=0.25); import unet_resnet; "
            "result = unet_resnet.predict(predictor, torch.zeros(3, 40, 50)); "
            "print(unet_resnet.__file__, predictor.threshold, *result.shape)")
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}", ROOT], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{ROOT}/unet_resnet/__init__.py 0.25 40 50"
