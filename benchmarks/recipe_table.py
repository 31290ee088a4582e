"""The table of recipe.md, from the rows of recipe.py: `python benchmarks/recipe_table.py ROWS`."""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

Row = dict[str, Any]  # of recipe.jsonl

COLUMNS = {  # of recipe.md: what a row has in it, and its decimals
    "seen": (lambda row: row["seen"], 3), "unseen": (lambda row: row["unseen"], 3),
    "other cameras": (lambda row: row["others"], 3), "masonry": (lambda row: row["masonry"], 3),
    "stress": (lambda row: mean(row["stress"].values()), 3),
    "clean photos": (lambda row: row["clean_scenes"], 2),
    "false px per Mpx": (lambda row: row["false_per_megapixel"], 0)}


def cell(values: Sequence[float], decimals: int) -> str:
    """The mean and, of more than one, half the range."""
    text = f"{mean(values):,.{decimals}f}"
    return text if len(values) == 1 else f"{text} ± {(max(values) - min(values)) / 2:,.{decimals}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path)
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for line in parser.parse_args().rows.read_text().splitlines():
        row = json.loads(line)
        groups[row["without"], row["change"], row["steps"]].append(row)
    titles = ["without", "change", "updates", "seeds", *COLUMNS]
    print("| " + " | ".join(titles) + " |\n|" + "---|" * len(titles))
    for (without, change, steps), rows in groups.items():
        seeds = " ".join(str(row["seed"]) for row in sorted(rows, key=lambda row: row["seed"]))
        cells = [cell([value(row) for row in rows], decimals)
                 for value, decimals in COLUMNS.values()]
        print("| " + " | ".join([without, change, str(steps), seeds, *cells]) + " |")


if __name__ == "__main__":
    main()
