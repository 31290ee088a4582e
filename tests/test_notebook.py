"""Does the notebook run from top to bottom?"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]


def test_the_notebook_runs():
    """Each cell, without an error; and ten pictures teach what it did not know."""
    notebook = nbformat.read(ROOT / "notebooks" / "crack_segmentation.ipynb", as_version=4)
    NotebookClient(notebook, timeout=240, kernel_name="python3",
                   resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code"
               for output in cell.outputs]
    pictures = [output for output in outputs if "image/jpeg" in output.get("data", {})]
    text = "".join(output.get("text", "") for output in outputs)
    assert len(pictures) == 4
    assert "greatest (mm)" in text and "epoch 3/3" in text
    before, after = (float(line.split()[-1]) for line in text.splitlines() if "  Dice " in line)
    assert after > before + 0.3, "ten pictures teach it"
