"""How well does a network find what the true masks show? The score sheet, and its files."""

import itertools
import json
import math
import operator
from collections.abc import Collection, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unet_resnet.evaluation.matching import Match, match_skeletons, match_within
from unet_resnet.files import align, atomic_write, csv_lines, fingerprint, one_line
from unet_resnet.images import read_photo, write_png
from unet_resnet.inference import overlay
from unet_resnet.metrics import SCORES, Counts, best_threshold, count, histogram
from unet_resnet.morphology import width_classes

TOLERANCES = (2, 5)  # pixels
WIDTH_LIMITS = (5, 20, 50)  # pixels, the limits of the classes of crack width
CLASSES = ("below_5px", "5_to_20px", "20_to_50px", "from_50px")
WORST, CELL = 12, 320  # photos in worst.png; side of each picture in pixels
LONGEST = 44  # characters of a photo's name in it
_PLAIN = ["images", *SCORES, "cldice"]
_TOLERANT = [f"{name}_{tolerance}px" for tolerance in TOLERANCES for name in SCORES]
TABLES = (  # of the terminal: title, block of the summary, keys
    ("Pooled over all pixels of all images", "pooled",
     [*_PLAIN, "ods_oracle", "ods_oracle_threshold", "lost_by_threshold"]),
    ("Recall by the width of the true crack, and the share of its pixels", "recall_by_width",
     [f"{what}_{name}" for what in ("recall", "share") for name in CLASSES]),
    ("Pooled over all pixels of all images, with a tolerance", "pooled", _TOLERANT),
    ("Mean over the images with cracks", "mean_over_images", [*_PLAIN, "ois_oracle"]),
    ("Mean over the images with cracks, with a tolerance", "mean_over_images", _TOLERANT),
    ("Images without cracks", "crack_free",
     ["images", "false_alarm_share", "false_pixels_per_megapixel"]),
    ("Pixel accuracy, background included", "pooled", ["accuracy", "all_black_accuracy"]))


class ScoreSheet:
    """Scores of a data set, one image at a time, per source and in total.

    Only numbers are kept, so the set need not fit in memory, and the order of the images does not
    matter. An image without cracks counts in the pooled scores, where its false alarms cost
    precision, and in a separate block; the mean over images leaves it out, because a black answer
    would score 1. A score that is not defined (no crack pixel in the truth, no crack-free image)
    is None.

    ODS and OIS are Dice at the best threshold of the set and of each image (Arbelaez et al., 2011).
    They choose it by the truth, so their keys say oracle. OIS is the mean of the images' Dice here;
    that paper pools their counts. `lost_by_threshold` is what Dice loses against ODS because all
    sources share one threshold. Recall by width (`width_classes`) is pooled, beside the share of
    true pixels in each class.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = float(threshold)
        self.rows: list[dict] = []  # one flat dict per image
        self.counts: list[dict[str, Counts | Match]] = []  # per image, by the ending of their keys
        self.histograms: dict[str, Tensor] = {}  # per source; their sum is the whole set's
        self._widths: dict[str, Tensor] = {}  # per source: found and true pixels of each class

    def add(self, name: str, source: str, probability: Tensor, truth: Tensor) -> None:
        """One image: probability in 0..1 and truth, bool or 0/1; (h, w) or (1, h, w) each."""
        probability, truth = (plane.detach().cpu().reshape(plane.shape[-2:])
                              for plane in (probability, truth))
        if not ((truth == 0) | (truth == 1)).all():
            raise ValueError(f"{name}: found {truth.max()} in the truth, expected 0 and 1")
        truth, prediction = truth == 1, probability >= self.threshold
        bins = histogram(probability, truth)
        counts: dict[str, Counts | Match] = {
            "": count(prediction, truth), "cldice": match_skeletons(prediction, truth)}
        for tolerance in TOLERANCES:
            counts[f"_{tolerance}px"] = match_within(prediction, truth, tolerance)
        self.counts.append(counts)
        self.histograms[source] = self.histograms.get(source, 0) + bins
        self._widths[source] = self._widths.get(source, 0) + found_by_width(prediction, truth)
        self.rows.append({"name": name, "source": source, "pixels": truth.numel(),
                          **vars(counts[""]), **_scores(counts, bins, "ois_oracle")})

    def summary(self) -> dict:
        """All scores, ready for JSON: the threshold, the total and the same per source."""
        sources = sorted(self.histograms)
        return {"threshold": self.threshold, "total": self._summary(sources),
                "sources": {source: self._summary([source]) for source in sources}}

    def _summary(self, sources: Sequence[str]) -> dict:
        rows, counts = zip(*[(row, counts) for row, counts in zip(self.rows, self.counts)
                             if row["source"] in sources])
        pooled = {kind: reduce(operator.add, (image[kind] for image in counts))
                  for kind in counts[0]}
        scores = _scores(pooled, sum(self.histograms[source] for source in sources), "ods_oracle")
        found, true = sum(self._widths[source] for source in sources).tolist()
        cracked = [row for row in rows if row["tp"] + row["fn"]]
        blank = [row for row in rows if not row["tp"] + row["fn"]]
        return {
            "pooled": {"images": len(rows), "pixels": pooled[""].pixels, **scores,
                       "lost_by_threshold": scores["ods_oracle"] - scores["dice"] if cracked
                       else None,
                       "accuracy": pooled[""].accuracy,
                       "all_black_accuracy": pooled[""].black_accuracy},
            "recall_by_width": {f"recall_{name}": _ratio(part, whole)
                                for name, part, whole in zip(CLASSES, found, true)}
            | {f"share_{name}": _ratio(part, sum(true)) for name, part in zip(CLASSES, true)},
            "mean_over_images": {"images": len(cracked), **{
                key: _mean([row[key] for row in cracked])
                for key in [*scores, "ois_oracle"] if key in rows[0]}},
            "crack_free": {"images": len(blank),
                           "false_alarm_share": _mean([row["fp"] > 0 for row in blank]),
                           "false_pixels_per_megapixel": _ratio(
                               1e6 * sum(row["fp"] for row in blank),
                               sum(row["pixels"] for row in blank))},
        }

    def main_scores(self) -> dict[str, dict[str, float | None]]:
        """The few scores of the report; empty without photos."""
        if not self.rows:
            return {}
        total, names = self.summary()["total"], ("iou", "dice", "precision", "recall", "cldice")
        return {title: {name: total[block][name] for name in names} for title, block in (
            ("pooled", "pooled"), ("mean over the images with cracks", "mean_over_images"))}

    def table(self) -> str:
        """The summary for a terminal; headings are the keys of the JSON, broken at each `_`."""
        summary = self.summary()
        groups = {**summary["sources"], "total": summary["total"]}
        parts = [f"Scores of the crack class, threshold {self.threshold:g}"]
        for title, block, keys in TABLES:
            headings = itertools.zip_longest(*(key.split("_") for key in keys), fillvalue="")
            lines = [("", *words) for words in headings]
            for name, group in groups.items():
                lines.append((name, *(_text(group[block][key]) for key in keys)))
            parts.append(f"{title}\n{align(lines)}")
        return "\n\n".join([*parts, "oracle: the threshold was chosen by the truth"])


def found_by_width(prediction: Tensor, truth: Tensor) -> Tensor:
    """True crack pixels found, and all of them, in each class of crack width: (2, 4) int64.

    Both masks (h, w) bool; the classes are those of `WIDTH_LIMITS`.
    """
    classes = width_classes(truth.byte(), WIDTH_LIMITS)
    return torch.stack([classes[mask].bincount(minlength=len(CLASSES))
                        for mask in (truth & prediction, truth)])


def _scores(counts: dict[str, Counts | Match], histogram: Tensor,
            oracle: str) -> dict[str, float | None]:
    scores = {name + ending: getattr(numbers, name) for ending, numbers in counts.items()
              for name in SCORES if ending != "cldice"}
    scores["cldice"] = counts["cldice"].dice
    threshold, scores[oracle] = best_threshold([histogram])
    scores[f"{oracle}_threshold"] = threshold
    return scores if counts[""].tp + counts[""].fn else dict.fromkeys(scores)


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None  # fsum: the order cannot matter


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def write_scores(sheet: ScoreSheet, photos: dict[str, Path], output: Path,
                 about: dict[str, Any], validation: Collection[str | None]) -> None:
    """Print the sheet; write scores.json, scores.csv, and worst.png.

    photos: the files by the names in the sheet; `output` already has NAME_overlay.png of each.
    validation: hashes of the photos on which epoch and threshold were chosen.
    """
    scored = {fingerprint(photos[row["name"]]) for row in sheet.rows}
    chose = len(scored.intersection(validation))
    if chose:
        print(f"epoch and threshold were chosen on {chose} of these photos: their scores are "
              "slightly optimistic")
    print(sheet.table())
    about = about | {"validation_photos": chose} | sheet.summary()
    texts = {"scores.json": (json.dumps(about, indent=1) + "\n").encode(),
             "scores.csv": csv_lines(sheet.rows[0], *(row.values() for row in sheet.rows))}
    for name, text in texts.items():
        with atomic_write(output / name) as file:
            file.write(text)
    write_png(output / "worst.png", worst_photos(sheet, photos, output))
    print(f"\nscores.json, scores.csv and worst.png are in {output}")


def worst_photos(sheet: ScoreSheet, photos: dict[str, Path], output: Path) -> Tensor:
    """The photos of the lowest Dice, each beside its overlay, as one picture (3, h, w) uint8."""
    wrong = [row for row in sheet.rows if row["fp"] + row["fn"]] or sheet.rows[:1]
    worst = sorted(wrong, key=lambda row: (row["dice"] or 0.0, -row["fp"] - row["fn"]))
    cells = []
    for row in worst[:WORST]:
        name = one_line(row["name"])
        text = (f"{name if len(name) <= LONGEST else '...' + name[3 - LONGEST:]}\n"
                f"{row['tp']} found, {row['fp']} false, {row['fn']} missed")
        photo, painted = (overlay.fit(read_photo(path), CELL) for path in (
            photos[row["name"]], output / f"{row['name']}_overlay.png"))
        cells += [overlay.caption(photo, text), painted]
    return overlay.contact_sheet([cells[i:i + 6] for i in range(0, len(cells), 6)], CELL)
