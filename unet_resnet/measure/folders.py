"""How much was found in each folder of a survey? Sums of its photos and of the folders below it."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any


class Folders:
    """Sums of rows of photos by folder, relative to the one that all have in common, "."."""

    def __init__(self, blank: Mapping[str, Any]) -> None:
        """blank: the row of a photo without cracks."""
        self.lengths = [column for column in blank if column.startswith("length_")]
        self.widths = [column for column in blank if column.startswith("width_max_")]
        self.nothing = {"photos": 0, "photos_with_cracks": 0, "cracks": 0, "wide": 0,
                        **dict.fromkeys(self.lengths, 0.0),
                        **dict.fromkeys([*self.widths, "widest_photo"])}
        self.sums = {PurePosixPath("."): self.nothing.copy()}

    def add(self, row: Mapping[str, Any]) -> None:
        for folder in PurePosixPath(row["photo"]).parents:
            sums = self.sums.setdefault(folder, self.nothing.copy())
            sums["photos"] += 1
            sums["photos_with_cracks"] += row["cracks"] > 0
            for column in ("cracks", "wide", *self.lengths):
                sums[column] = round(sums[column] + row[column], 4)  # exact: so are the rows'
            if (row["width_max_px"] or 0) > (sums["width_max_px"] or 0):
                sums["widest_photo"] = row["photo"]
                sums |= {column: row[column] for column in self.widths}

    def rows(self) -> list[dict[str, Any]]:
        """A row per folder, followed by those of the folders in it."""
        return [{"folder": str(folder), **sums} for folder, sums in sorted(self.sums.items())]
