"""Find cracks in photographs: `python infer.py photo.jpg`, or folders, or patterns."""

import argparse
import csv
import glob
import io
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from unet_resnet import checkpoint, pictures, tiling
from unet_resnet.audit import related
from unet_resnet.data import fingerprint, read_pair
from unet_resnet.files import written_whole
from unet_resnet.fold import fold_batchnorm
from unet_resnet.groups import source_of
from unet_resnet.hardware import pick_device, pick_precision, predictor
from unet_resnet.images import SOFTWARE, SUFFIXES, is_ours, read_photo, write_png
from unet_resnet.metrics import SCORES, Counts, ScoreSheet
from unet_resnet.pairs import by_stem, pictures_in

WORST, CELL = 12, 320  # photos on the contact sheet, side of a picture in pixels


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("photos", nargs="+", help="files, folders (with all below them) or patterns")
    add("--masks", type=Path, metavar="FOLDER", help="the true masks, by the photos' names: "
        "scores the predictions")
    add("--checkpoint", type=Path, help="of train.py; without, the newest runs/*/best.pt")
    add("--output", type=Path, default=Path("predictions"), help="folder for the results")
    add("--threshold", type=share, help="probability from which a pixel is crack; without, the "
        "checkpoint's")
    add("--tile", type=int, default=tiling.TILE, help="side in pixels of the pieces that a large "
        "photo is predicted in; more is faster and takes more memory")
    add("--overlap", type=share, default=0.5, help="share of a tile that its neighbour covers too")
    add("--device", default="auto", help="cpu, cuda, cuda:1, mps; auto: the fastest present")
    add("--precision", choices=("auto", "fp32", "fp16", "bf16"), default="auto",
        help="auto: what the hardware is fast at")
    args = parser.parse_args()
    if args.tile < 32:
        parser.error(f"--tile {args.tile}: at least 32")
    return args


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not in 0..1 (1 excluded)")
    return value


def find_photos(names: Sequence[str]) -> list[Path]:
    """The files meant by files, folders and patterns, in order, each once.

    What is not there stays in the list: reading it will say so, after the others are done. Of a
    folder, the results of earlier runs are left out.
    """
    photos = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            photos += sorted(file for file in path.rglob("*") if file.is_file()
                             and file.suffix.lower() in SUFFIXES and file.name[0] != "."
                             and not is_ours(file))
        elif not path.exists() and (found := sorted(glob.glob(name, recursive=True))):
            photos += find_photos(found)  # a pattern the shell has not expanded
        else:
            photos.append(path)
    return list(dict.fromkeys(photos))


def find_masks(folder: Path, photos: Sequence[Path]) -> dict[str, Path]:
    """The masks by the stem of their photo; says how many photos and masks have no partner."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    masks, doubled = by_stem(pictures_in(folder))
    if doubled:
        raise ValueError(f"{doubled[0]}: a second mask of that name; keep one of them")
    _, doubled = by_stem(photos)
    if doubled := [photo for photo in doubled if photo.stem in masks]:
        raise ValueError(f"{doubled[0]}: a second photo of that name, and one mask; score the "
                         "folders one by one")
    stems = {photo.stem for photo in photos}
    if not stems & masks.keys():
        raise ValueError(f"{folder}: no mask in it has the name of one of the photos")
    for count, what in ((len(stems - masks.keys()), "photos have no mask and are not scored"),
                        (len(masks.keys() - stems), "masks belong to none of these photos")):
        if count:
            print(f"{count} {what}")
    return masks


def name_results(photos: Sequence[Path]) -> list[str]:
    """A name for each photo's results that no other has, whatever the letter case.

    The stem where it is unique, else with the suffix, the folder, or a number as well.
    """
    forms = [lambda path: path.stem, lambda path: path.name,
             lambda path: f"{path.absolute().parent.name}_{path.name}"]
    uses = [Counter(form(path).casefold() for path in photos) for form in forms]
    names, taken = [], set()
    for path in photos:
        name = next((form(path) for form, used in zip(forms, uses)
                     if used[form(path).casefold()] == 1), None) or path.name
        base, i = name, 1
        while name.casefold() in taken:
            name, i = f"{base}_{i}", i + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def newest_checkpoint() -> Path:
    found = sorted(Path("runs").glob("*/best.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError("no runs/*/best.pt here: train one (python train.py), or name one "
                                "with --checkpoint")
    return found[-1]


def leave_out_trained(photos: Sequence[Path], trained: dict[str, str]) -> list[Path]:
    """The photos that the checkpoint was not trained on, nor on other crops of them.

    A crop is known by a name that tells its photograph, a copy by its content.
    """
    names = [Path(name) for name in trained]
    crops = related([*names, *photos], border=len(names))
    marks = set(trained.values())
    kept = [photo for i, photo in enumerate(photos, start=len(names))
            if i not in crops and not (photo.is_file() and fingerprint(photo) in marks)]
    if len(kept) < len(photos):
        print(f"{len(photos) - len(kept)} of {len(photos)} photos left out: they or other crops of"
              " them were trained on, so a score on them would mean nothing")
    if not kept:
        raise ValueError("no photo is left to score")
    return kept


def check_output(output: Path) -> None:
    """Raise FileExistsError where a sheet would take the place of a user's file."""
    marks = {"scores.json": "ods_oracle", "scores.csv": "ois_oracle", "worst.png": SOFTWARE}
    for name, mark in marks.items():
        path = output / name
        if path.exists() and mark.encode() not in path.read_bytes():
            raise FileExistsError(f"{path} exists and was not written by {SOFTWARE}; choose "
                                  "another --output")


def dice_of(row: dict[str, Any]) -> float:
    """Of photos without cracks, for which the sheet says None, 1 if nothing was predicted."""
    return Counts(row["tp"], row["fp"], row["fn"], row["tn"]).dice


def write_scores(sheet: ScoreSheet, photos: dict[str, Path], output: Path,
                 about: dict[str, Any]) -> None:
    """Print the sheet; write scores.json, scores.csv, and worst.png: the lowest Dice first."""
    print(sheet.table())
    table = io.StringIO()
    writer = csv.DictWriter(table, sheet.rows[0])
    writer.writeheader()
    writer.writerows(sheet.rows)
    texts = {"scores.json": json.dumps(about | sheet.summary(), indent=1) + "\n",
             "scores.csv": table.getvalue()}
    for name, text in texts.items():
        with written_whole(output / name) as file:
            file.write(text.encode())
    cells = []
    worst = sorted(sheet.rows, key=lambda row: (dice_of(row), -row["fp"] - row["fn"]))
    for row in worst[:WORST]:
        lines = (f"{row['name'][-44:]}\n"
                 f"{row['tp']} found, {row['fp']} false, {row['fn']} missed")
        for path in (photos[row["name"]], output / f"{row['name']}_overlay.png"):
            cells.append(pictures.fit(read_photo(path), CELL))
        cells[-2] = pictures.caption(cells[-2], lines)
    rows = [cells[i:i + 6] for i in range(0, len(cells), 6)]
    write_png(output / "worst.png", pictures.sheet(rows, CELL))
    total = Counts(*(sum(row[name] for row in sheet.rows) for name in ("tp", "fp", "fn", "tn")))
    scores = ", ".join(f"{name} {getattr(total, name):.3f}" for name in SCORES)
    print(f"\n{len(sheet.rows)} photos, pooled: {scores}; scores.json, scores.csv and worst.png "
          f"are in {output}")


def write_results(stem: Path, photo: Tensor, probability: Tensor, crack: Tensor,
                  truth: Tensor | None) -> None:
    """Three pictures of the photo's size: the probability in grey, the mask, the overlay."""
    for kind, picture in (("probability", (probability * 255).round().to(torch.uint8)),
                          ("mask", crack.to(torch.uint8) * 255),
                          ("overlay", pictures.overlay(photo, crack, truth))):
        write_png(stem.with_name(f"{stem.name}_{kind}.png"), picture)


def main() -> int:
    args = parse_arguments()
    device = pick_device(args.device)
    path = args.checkpoint or newest_checkpoint()
    model, content = checkpoint.load(path)
    threshold = content["threshold"] if args.threshold is None else args.threshold
    print(f"checkpoint {path}, threshold {threshold:.3f}, {device}")
    predict = predictor(fold_batchnorm(model).to(device, memory_format=torch.channels_last),
                        device, pick_precision(args.precision, device))
    photos, masks = find_photos(args.photos), {}
    if not photos:
        raise ValueError(f"{args.photos[0]}: no photos in it ({' '.join(SUFFIXES)})")
    if args.masks:
        photos = [photo for photo in photos if args.masks.resolve() not in photo.resolve().parents]
        masks = find_masks(args.masks, photos)
        photos = leave_out_trained(photos, content["split"]["train"])
        check_output(args.output)
    args.output.mkdir(parents=True, exist_ok=True)
    names, sheet, failed = name_results(photos), ScoreSheet(threshold), 0
    with tqdm(zip(photos, names), total=len(photos), unit="photo", leave=False) as bar:
        for photo, name in bar:
            try:
                image, truth = (read_pair(photo, masks[photo.stem]) if photo.stem in masks
                                else (read_photo(photo), None))
                probability = tiling.predict(predict, image, args.tile, args.overlap)
                crack = probability >= threshold
                write_results(args.output / name, image, probability, crack, truth)
                if truth is not None:
                    sheet.add(name, source_of(photo.stem), probability, truth)
                bar.write(f"{photo}: {crack.float().mean():.2%} crack")
            except (OSError, ValueError, torch.OutOfMemoryError) as error:
                if isinstance(error, torch.OutOfMemoryError):
                    error = f"{photo}: out of memory; use a smaller --tile"
                bar.write(f"infer.py: {error}", file=sys.stderr)
                failed += 1
    print(f"{len(photos) - failed} photos predicted, results in {args.output}"
          + f"; {failed} failed" * bool(failed))
    if sheet.rows:
        chose = len({fingerprint(photo) for photo in photos if photo.is_file()}
                    & set(content["split"]["validation"].values()))
        if chose:
            print(f"{chose} of these photos chose the checkpoint's epoch and threshold: their "
                  "scores are slightly flattered")
        write_scores(sheet, dict(zip(names, photos)), args.output,
                     {"command": sys.argv, "checkpoint": str(path), "validation_photos": chose})
    return int(failed > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("infer.py: stopped")
    except (OSError, ValueError) as error:
        sys.exit(f"infer.py: {error}")
