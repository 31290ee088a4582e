"""What the README says is what is run."""

import re
from pathlib import Path

from conftest import ROOT

README = (ROOT / "README.md").read_text()


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


def test_links_lead_to_files():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links and all((ROOT / link).is_file() for link in links)


def test_every_module_is_in_the_tour():
    modules = {path.name for path in Path(ROOT / "unet_resnet").glob("*.py")} - {"__init__.py"}
    assert modules <= {Path(link).name for link in re.findall(r"\]\(([^)]+\.py)\)", README)}


def test_the_first_command_stands_at_the_top():
    assert any(line.startswith("python train.py") for line in README.splitlines()[:15])
