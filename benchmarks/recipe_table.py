"""The runs of recipe.py as a table, a line per recipe.

    python benchmarks/recipe_table.py recipe.jsonl --seen DeepCrack CRACK500 masonry

Means are over the sources with cracks, each counting the same; --seen and --unseen name those that
all recipes have in common.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

Row = dict[str, Any]  # a line of recipe.jsonl

UNIQUE = ("seed", "workers", "device", "output")  # settings that do not define a recipe


def mean_score(row: Row, part: str, score: str, sources: Sequence[str]) -> float | None:
    """Of the part "seen" or "unseen": of these sources with cracks, of all if none is named."""
    values = [scores[score] for source, scores in row[part].items()
              if scores[score] is not None and (not sources or source in sources)]
    return mean(values) if values else None


COLUMNS: dict[str, tuple[Callable[[Row], float | None], int]] = {  # value of a row, decimals
    "recall from 50 px": (lambda row: row["recall_by_width"]["recall_from_50px"], 3),
    "some at x1": (lambda row: row["enlarged"]["x1"], 3),
    "at x4": (lambda row: row["enlarged"]["x4"], 3),
    "false px per Mpx": (lambda row: row["crack_free"]["false_pixels_per_megapixel"], 0)}


def cell(values: Sequence[float | None], decimals: int) -> str:
    """The mean of the seeds and, of more than one, half their range."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    text = f"{mean(known):,.{decimals}f}"
    return text if len(known) == 1 else f"{text} ± {(max(known) - min(known)) / 2:,.{decimals}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path)
    parser.add_argument("--seen", nargs="+", default=[], metavar="SOURCE")
    parser.add_argument("--unseen", nargs="+", default=[], metavar="SOURCE")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.rows.read_text().splitlines()]
    columns = {
        "seen": (lambda row: mean_score(row, "seen", "dice", args.seen), 3),
        "unseen": (lambda row: mean_score(row, "unseen", "dice", args.unseen), 3),
        "lost by the threshold": (
            lambda row: mean_score(row, "unseen", "lost_by_threshold", args.unseen), 3)} | COLUMNS
    recipes: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        different = {name: value for name, value in row["settings"].items() if name not in UNIQUE
                     and any(other["settings"].get(name) != value for other in rows)}
        recipe = ", ".join(f"{name} {value}" for name, value in different.items())
        recipes[recipe or "the same"].append(row)
    titles = ["recipe", "seeds", *columns]
    print("| " + " | ".join(titles) + " |\n|" + "---|" * len(titles))
    for recipe, runs in recipes.items():
        seeds = " ".join(str(seed) for seed in sorted(row["settings"]["seed"] for row in runs))
        cells = [cell([value(row) for row in runs], decimals)
                 for value, decimals in columns.values()]
        print("| " + " | ".join([recipe, seeds, *cells]) + " |")


if __name__ == "__main__":
    main()
