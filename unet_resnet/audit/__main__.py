"""`python -m unet_resnet.audit FOLDER` reports on a data set."""

import argparse
import json
import sys
from pathlib import Path

from unet_resnet.audit.findings import audit, screen, summarise
from unet_resnet.data import find
from unet_resnet.files import (
    check_absent, check_place, one_line, print_any_name, written_whole)
from unet_resnet.images import SUFFIXES


def main() -> int:
    """The report's command: prints it; exit status 1 if something would spoil training."""
    parser = argparse.ArgumentParser(prog="python -m unet_resnet.audit",
                                     description="Report on a data set and its faults.")
    parser.add_argument("folder", type=Path, nargs="+",
                        help="data sets (images/ and masks/, or train/ and test/ with these in "
                        "them), or the two folders of one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it to a new file")
    args = parser.parse_args()
    print_any_name()
    if args.json:
        check_place(args.json)
        check_absent(args.json)
    parts = find(args.folder)
    if not any(any(vars(part).values()) for part in parts.values()):
        raise ValueError(f"{args.folder[0]}: no pictures in it ({' '.join(SUFFIXES)})")
    records, findings = audit(parts)
    print(screen(parts, records, findings))
    if args.json:
        content = {"pairs": {name: len(part.pairs) for name, part in parts.items()},
                   "sources": summarise(records),
                   "findings": [finding.as_dict() for finding in findings],
                   "records": [record.as_dict() for record in records]}
        check_absent(args.json)  # reading a large set takes minutes
        with written_whole(args.json) as file:
            file.write((json.dumps(content, indent=1) + "\n").encode())
    return int(any(finding.severity == "error" for finding in findings))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("unet_resnet.audit: stopped")
    except (OSError, ValueError) as error:
        sys.exit(f"unet_resnet.audit: {one_line(error)}")
