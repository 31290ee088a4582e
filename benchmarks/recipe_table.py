"""The runs of recipe.py as a table: `python benchmarks/recipe_table.py recipe.jsonl`."""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

Row = dict[str, Any]  # a line of recipe.jsonl

UNIQUE = ("seed", "workers", "device", "output")  # settings that do not define a recipe


def unseen(row: Row, score: str) -> float | None:
    """The mean of a score over the sources left out that have cracks, each counting the same."""
    values = [scores[score] for scores in row["unseen"].values() if scores[score] is not None]
    return mean(values) if values else None


COLUMNS: dict[str, tuple[Callable[[Row], float | None], int]] = {  # value of a row, decimals
    "seen": (lambda row: row["macro_dice"], 3),
    "unseen": (lambda row: unseen(row, "dice"), 3),
    "lost by the threshold": (lambda row: unseen(row, "lost_by_threshold"), 3),
    "recall below 5 px": (lambda row: row["recall_by_width"]["recall_below_5px"], 3),
    "from 50 px": (lambda row: row["recall_by_width"]["recall_from_50px"], 3),
    "some at x1": (lambda row: row["enlarged"]["x1"], 3),
    "at x4": (lambda row: row["enlarged"]["x4"], 3),
    "clean photos": (lambda row: row["crack_free"]["clean_share"], 2),
    "false px per Mpx": (lambda row: row["crack_free"]["false_pixels_per_megapixel"], 0)}


def cell(values: Sequence[float | None], decimals: int) -> str:
    """The mean of the seeds and, of more than one, half their range."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    text = f"{mean(known):,.{decimals}f}"
    return text if len(known) == 1 else f"{text} ± {(max(known) - min(known)) / 2:,.{decimals}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path)
    rows = [json.loads(line) for line in parser.parse_args().rows.read_text().splitlines()]
    recipes: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        different = {name: value for name, value in row["settings"].items() if name not in UNIQUE
                     and any(other["settings"].get(name) != value for other in rows)}
        recipe = ", ".join(f"{name} {value}" for name, value in different.items())
        recipes[recipe or "the same"].append(row)
    titles = ["recipe", "seeds", *COLUMNS]
    print("| " + " | ".join(titles) + " |\n|" + "---|" * len(titles))
    for recipe, runs in recipes.items():
        seeds = " ".join(str(seed) for seed in sorted(row["settings"]["seed"] for row in runs))
        cells = [cell([value(row) for row in runs], decimals)
                 for value, decimals in COLUMNS.values()]
        print("| " + " | ".join([recipe, seeds, *cells]) + " |")


if __name__ == "__main__":
    main()
