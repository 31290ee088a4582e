"""What does a data set contain, and what is wrong with it? `python -m unet_resnet.audit FOLDER`

Or masks from a labelling program's shapes: `python -m unet_resnet.audit --from FILE --to masks`
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unet_resnet.audit.annotations import read
from unet_resnet.audit.findings import BLACK, Finding, Record, audit
from unet_resnet.audit.folders import Part, find, notes
from unet_resnet.audit.groups import photographs
from unet_resnet.audit.polygons import select_labels, write
from unet_resnet.files import Parser, align, atomic_write, check_new, number, one_line, run


def parse_arguments() -> argparse.Namespace:
    parser = Parser(prog="python -m unet_resnet.audit", allow_abbrev=False,
                    description="Report on a data set and its faults.")
    parser.add_argument("folder", type=Path, nargs="*",
                        help="data sets (with images/ and masks/, or with train/, val/ and test/ "
                        "that contain these), or a folder of photos and a folder of masks")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="also write it to a new file, with all files of each finding")
    parser.add_argument("--masks-unturned", action="store_true",
                        help="masks are drawn on the photos as stored, before EXIF turns them")
    group = parser.add_argument_group("masks from shapes (labelme, COCO, YOLO, CVAT)")
    group.add_argument("--from", type=Path, dest="annotations", metavar="FILE_OR_FOLDER",
                       help="what the labelling program saved or exported")
    group.add_argument("--to", type=Path, metavar="FOLDER",
                       help="masks are written here; existing ones are never overwritten")
    group.add_argument("--label", nargs="+", default=[],
                       help="labels that mean crack (default: all but the background's)")
    group.add_argument("--line-width", type=number(1e-9, 1e9), default=3, metavar="PIXELS",
                       help="width of shapes that are lines (default: %(default)s)")
    group.add_argument("--photos", type=Path, metavar="FOLDER",
                       help="the photos: YOLO files need them; others are checked for their size")
    args = parser.parse_args()
    report, masks = (args.folder, args.json), (args.annotations, args.to)
    if not (args.folder and not any(masks) or all(masks) and not any(report)):
        parser.error("expected data sets to report on, or --from FILE_OR_FOLDER --to FOLDER alone")
    return args


def main() -> int:
    """Draw masks, or print the report; exit status 1 if something would spoil training."""
    args = parse_arguments()
    if args.annotations:
        drawings = read(args.annotations, args.photos)
        labels = select_labels(drawings, args.label)
        print(labels, write(drawings, args.to, args.line_width), sep="\n")
        return 0
    if args.json:
        check_new(args.json)
    parts = find(args.folder)
    remarks = notes(parts)
    records, findings, _ = audit(parts, args.masks_unturned)
    sources = summarise(records)
    print(screen(parts, sources, findings, remarks))
    if args.json:
        content = {"pairs": {name: len(part.pairs) for name, part in parts.items()},
                   "sources": sources,
                   "findings": [vars(finding) | {
                       "count": len(finding.files),
                       "files": [{"file": str(path), "detail": detail}
                                 for path, detail in finding.files]} for finding in findings],
                   "not_used": remarks}
        with atomic_write(args.json) as file:
            file.write((json.dumps(content, indent=1) + "\n").encode())
    return int(any(finding.severity == "error" for finding in findings))


def summarise(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Numbers of each source, ready for JSON."""
    sources: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        sources[record.pair.source].append(record)
    summary = {}
    for source, some in sorted(sources.items()):
        sizes = Counter(f"{record.size[1]}x{record.size[0]}" for record in some if record.size)
        pixels = sum(record.size[0] * record.size[1] for record in some if record.size)
        summary[source] = {
            "pairs": len(some),
            "photographs": len({*photographs([record.pair for record in some])}),
            "without_cracks": sum((BLACK, "") in record.findings for record in some),
            "crack_share": sum(record.crack_pixels for record in some) / max(1, pixels),
            "sizes": dict(sizes.most_common())}
    return summary


def screen(parts: dict[str, Part], sources: dict[str, dict[str, Any]],
           findings: Sequence[Finding], remarks: Sequence[str]) -> str:
    """The report as text for a terminal."""
    rows = [("source", "pairs", "photographs", "without cracks", "crack pixels", "sizes")]
    for source, found in sources.items():
        size, *others = found["sizes"] or ["-"]
        rows.append((one_line(source), str(found["pairs"]), str(found["photographs"]),
                     str(found["without_cracks"]), f"{found['crack_share']:.2%}",
                     f"{size} +{len(others)}" if others else size))
    counts = ", ".join(f"{len(part.pairs)} pairs" + f" in {name}" * (len(parts) > 1)
                       for name, part in parts.items())
    errors = sum(finding.severity == "error" for finding in findings)
    verdict = "the errors would spoil a training" if errors else "no errors found"
    return "\n".join([align(rows), "", counts, *remarks,
                      *(finding.line() for finding in findings), verdict])


if __name__ == "__main__":
    run(main, "unet_resnet.audit")
