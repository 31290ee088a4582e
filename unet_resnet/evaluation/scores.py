"""How well was found what the true masks show? The sheet of a run, its files, and its worst photos.
"""

import json
from pathlib import Path
from typing import Any

from unet_resnet.inference import overlay
from unet_resnet.files import check_ours, csv_lines, one_line, written_whole
from unet_resnet.images import MARK, SOFTWARE, read_photo, write_png
from unet_resnet.evaluation.sheet import ScoreSheet
from unet_resnet.metrics import SCORES, Counts

WORST, CELL = 12, 320  # photos on the contact sheet, side of a picture in pixels
LONGEST = 44  # letters of a name on it
HEAD = f'"software": "{SOFTWARE}"'.encode()  # stands first in scores.json


def check_output(output: Path) -> None:
    """Raise FileExistsError where a sheet would take the place of a user's file."""
    marks = {"scores.json": HEAD, "scores.csv": b"ois_oracle", "worst.png": MARK}
    for name, mark in marks.items():
        check_ours(output / name, mark)


def dice_of(row: dict[str, Any]) -> float:
    """Of photos without cracks, for which the sheet says None, 1 if nothing was predicted."""
    return Counts(row["tp"], row["fp"], row["fn"], row["tn"]).dice


def write_scores(sheet: ScoreSheet, photos: dict[str, Path], output: Path,
                 about: dict[str, Any]) -> None:
    """Print the sheet; write scores.json, scores.csv, and worst.png: the lowest Dice first."""
    print(sheet.table())
    content = {"software": SOFTWARE} | about | sheet.summary()
    texts = {"scores.json": (json.dumps(content, indent=1) + "\n").encode(),
             "scores.csv": csv_lines(sheet.rows[0], *(row.values() for row in sheet.rows))}
    for name, text in texts.items():
        with written_whole(output / name) as file:
            file.write(text)
    cells = []
    worst = sorted(sheet.rows, key=lambda row: (dice_of(row), -row["fp"] - row["fn"]))
    wrong = [row for row in worst if row["fp"] + row["fn"]] or worst[:1]
    for row in wrong[:WORST]:
        name = one_line(row["name"])
        lines = (f"{name if len(name) <= LONGEST else '...' + name[3 - LONGEST:]}\n"
                 f"{row['tp']} found, {row['fp']} false, {row['fn']} missed")
        for path in (photos[row["name"]], output / f"{row['name']}_overlay.png"):
            cells.append(overlay.fit(read_photo(path), CELL))
        cells[-2] = overlay.caption(cells[-2], lines)
    rows = [cells[i:i + 6] for i in range(0, len(cells), 6)]
    write_png(output / "worst.png", overlay.sheet(rows, CELL))
    total = Counts(*(sum(row[name] for row in sheet.rows) for name in ("tp", "fp", "fn", "tn")))
    scores = ", ".join(f"{name} {getattr(total, name):.3f}" for name in SCORES)
    print(f"\n{len(sheet.rows)} photos, pooled: {scores}; scores.json, scores.csv and worst.png "
          f"are in {output}")
