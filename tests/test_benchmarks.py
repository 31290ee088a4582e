"""Do the scripts behind the numbers and pictures run? Small and short; what they measure is not
looked at."""

import json
from pathlib import Path

import pytest
import torch
from conftest import refused, run_script
from torch import Generator

from unet_resnet.images import read_photo, write_png


def write_set(folder: Path, *names: str) -> None:
    """Photos of noise, and masks with a line in it; none in those of scenes."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for index, name in enumerate(names):
        noise, mask = Generator().manual_seed(index), torch.zeros(1, 48, 64, dtype=torch.uint8)
        photo = torch.randint(256, (3, 48, 64), generator=noise).byte()
        mask[:, 20:23] = 255 * ("scene" not in name)
        write_png(folder / "images" / f"{name}.png", photo)
        write_png(folder / "masks" / f"{name}.png", mask)


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    write_set(folder / "crackmix", *(f"{source}_{i:03d}" for i in range(10)
                                     for source in ("CFD", "DeepCrack")))
    write_set(folder / "confusers", *(f"{wall}_{i}{end}" for i in range(10)
                                      for wall, end in (("masonry_a", "_1"), ("scene", ""))))
    write_set(folder / "others", "Volker_DSC01", "Rissbilder_for_Florian_1")
    return folder


def study(sets: Path, *arguments: str) -> tuple[str, ...]:
    return ("benchmarks/recipe.py", "--data", sets / "crackmix", "--confusers", sets / "confusers",
            "--others", sets / "others", "--weights", "none", "--steps", 1, *arguments)


def test_a_row_of_the_study_and_its_table(sets, tmp_path):
    outcome = run_script(tmp_path, *study(sets, "--change", "taken_far"))
    assert outcome.status == 0, outcome.err
    row = json.loads((tmp_path / "recipe.jsonl").read_text())
    assert row["change"] == "taken_far" and len(row["stress"]) == 6
    table = run_script(tmp_path, "benchmarks/recipe_table.py", "recipe.jsonl").out.splitlines()
    assert len(table) == 3 and table[2].startswith("| DeepCrack | taken_far | 1 | 0 |")
    assert len({line.count("|") for line in table}) == 1


def test_a_source_that_is_not_there_is_named_before_the_training(sets, tmp_path):
    refused(run_script(tmp_path, *study(sets, "--without", "deepcrack")), "recipe.py",
            "deepcrack", "CFD, DeepCrack")


def test_pictures_of_augmentations_and_failures(trained, sets, tmp_path):
    photo, mask = (sets / "crackmix" / part / "CFD_000.png" for part in ("images", "masks"))
    for name, *arguments in (("augmentations", photo, mask),
                             ("failures", "--checkpoint", trained / "runs/walls-1")):
        outcome = run_script(tmp_path, f"benchmarks/{name}.py", *arguments)
        assert outcome.status == 0, outcome.err
        assert read_photo(tmp_path / f"{name}.png").shape[2] > 1000
    refused(run_script(tmp_path, "benchmarks/augmentations.py", photo), "augmentations.py", "mask")
