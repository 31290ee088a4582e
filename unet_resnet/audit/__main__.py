"""What does a data set contain, and what is wrong with it? `python -m unet_resnet.audit FOLDER`

Or masks from a labelling program's shapes: `python -m unet_resnet.audit --from FILE --to masks`
"""

import argparse
import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unet_resnet.audit.annotations import read
from unet_resnet.audit.findings import Finding, Record, audit
from unet_resnet.audit.folders import Part, find, nothing_in, notes
from unet_resnet.audit.groups import group_of
from unet_resnet.audit.polygons import choose, write
from unet_resnet.files import align, check_new, one_line, run, written_whole


def main() -> int:
    """Draw masks, or print the report; exit status 1 if something would spoil training."""
    parser = argparse.ArgumentParser(prog="python -m unet_resnet.audit", allow_abbrev=False,
                                     description="Report on a data set and its faults.")
    parser.add_argument("folder", type=Path, nargs="*",
                        help="data sets (with images/ and masks/, or with train/, val/ and test/ "
                        "that contain these), or a folder of photos and a folder of masks")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="also write it to a new file, with all files of each finding")
    parser.add_argument("--masks-unturned", action="store_true",
                        help="masks are drawn on the photos as stored, before EXIF turns them")
    add_drawing_flags(parser)
    args = parser.parse_args()
    if args.annotations and args.to and not (args.folder or args.json):
        drawings = read(args.annotations, args.photos)
        labels = choose(drawings, args.label)
        print(labels, write(drawings, args.to, args.line_width), sep="\n")
        return 0
    if not args.folder or args.annotations or args.to:
        parser.error("wanted data sets to report on, or --from FILE_OR_FOLDER --to FOLDER alone")
    if args.json:
        check_new(args.json)
    parts = find(args.folder)
    remarks = notes(args.folder, parts)
    if not any(part.pairs or part.without_mask or part.without_image for part in parts.values()):
        raise nothing_in(args.folder[0], remarks)
    records, findings, _ = audit(parts, unturned=args.masks_unturned)
    print(screen(parts, records, findings, remarks))
    if args.json:
        content = {"pairs": {name: len(part.pairs) for name, part in parts.items()},
                   "sources": summarise(records),
                   "findings": [vars(finding) | {
                       "count": len(finding.files),
                       "files": [{"file": str(path), "detail": detail}
                                 for path, detail in finding.files]} for finding in findings],
                   "not_used": remarks}
        check_new(args.json)  # reading a large set takes minutes
        with written_whole(args.json) as file:
            file.write((json.dumps(content, indent=1) + "\n").encode())
    return int(any(finding.severity == "error" for finding in findings))


def add_drawing_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("masks from shapes (labelme, COCO, YOLO, CVAT)")
    group.add_argument("--from", type=Path, dest="annotations", metavar="FILE_OR_FOLDER",
                       help="what the labelling program saved or exported")
    group.add_argument("--to", type=Path, metavar="FOLDER",
                       help="masks are written here; existing ones are never overwritten")
    group.add_argument("--label", nargs="+", default=[],
                       help="labels that mean crack (default: all but the background's)")
    group.add_argument("--line-width", type=positive, default=3, metavar="PIXELS",
                       help="width of shapes that are lines (default: %(default)s)")
    group.add_argument("--photos", type=Path, metavar="FOLDER",
                       help="the photos: YOLO files need them; others are checked for their size")


def positive(text: str) -> float:
    if not 0 < (number := float(text)) < math.inf:
        raise ValueError
    return number


def summarise(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Numbers of each source, ready for JSON."""
    sources: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        sources[record.pair.source].append(record)
    summary = {}
    for source, some in sorted(sources.items()):
        sizes = [record.size for record in some if record.size]
        pixels = sum(height * width for height, width in sizes)
        cracks = sum(record.crack_pixels for record in some)
        widths = [record.width for record in some if record.width]
        summary[source] = {
            "pairs": len(some),
            "photographs": len({group_of(record.pair.image.stem) for record in some}),
            "sizes": dict(Counter(f"{width}x{height}" for height, width in sizes).most_common()),
            "masks": dict(Counter(record.values for record in some).most_common()),
            "without_cracks": sum(not record.crack_pixels for record in some),
            "crack_share": cracks / pixels if pixels else None,
            "median_crack_width": statistics.median(widths) if widths else None,
            "crack_area_if_read_above_0":
                sum(record.drawn_pixels for record in some) / cracks if cracks else None}
    return summary


def screen(parts: dict[str, Part], records: Sequence[Record], findings: Sequence[Finding],
           remarks: Sequence[str]) -> str:
    """The report as text for a terminal."""
    def number(form: str, value: float | None) -> str:
        return "-" if value is None else form.format(value)

    def commonest(counts: dict[str, int]) -> str:
        more = f" +{len(counts) - 1}" if len(counts) > 1 else ""
        return next(iter(counts), "-") + more

    rows = [("source", "pairs", "photographs", "no cracks", "cracks", "width px", "> 0 gives",
             "commonest size", "commonest mask")]
    for source, found in summarise(records).items():
        rows.append((one_line(source), str(found["pairs"]), str(found["photographs"]),
                     str(found["without_cracks"]), number("{:.2%}", found["crack_share"]),
                     number("{:.1f}", found["median_crack_width"]),
                     number("x {:.2f}", found["crack_area_if_read_above_0"]),
                     commonest(found["sizes"]), commonest(found["masks"])))
    counts = ", ".join(f"{len(part.pairs)} pairs in {name}" for name, part in parts.items())
    errors = sum(finding.severity == "error" for finding in findings)
    verdict = (f"kinds of error: {errors}; training would be spoiled" if errors
               else "nothing here would spoil training")
    return "\n".join([align(rows), "", counts, *map(one_line, remarks),
                      *(finding.line() for finding in findings), verdict])


if __name__ == "__main__":
    run(main, "unet_resnet.audit")
