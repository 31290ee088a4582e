"""What the README says is what is run."""

import re
from pathlib import Path

import pytest
from conftest import ROOT

README_PATH, DOCS = ROOT / "README.md", sorted(Path(ROOT, "docs").glob("*.md"))
README = README_PATH.read_text("utf-8")


def blocks(language: str = "") -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for name, text in fenced if name == language]


def test_ci_runs_the_readmes_test_command():
    commands = [block.strip() for block in blocks() if "pytest" in block]
    assert len(commands) == 1
    assert commands[0] in (ROOT / ".ci" / "run").read_text().splitlines()


def test_python_blocks_run():
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    assert blocks("python")


@pytest.mark.parametrize("page", [README_PATH, ROOT / "MODEL_CARD.md", *DOCS], ids=lambda p: p.name)
def test_links_lead_to_files(page):
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text("utf-8")):
        assert (page.parent / link).is_file(), link


def test_the_house_has_every_file_and_room():
    house = next(block for block in blocks() if block.startswith("train.py"))
    package = ROOT / "unet_resnet"
    files = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    rooms = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    lines = {line.split()[0] for line in house.splitlines()}
    assert files | rooms <= lines
    assert all((ROOT / name).exists() or (package / name).exists() for name in lines)


def test_it_is_short():
    assert len(README.split()) <= 1500


def test_the_first_command_stands_at_the_top():
    assert any(line.startswith("python train.py") for line in README.splitlines()[:15])
