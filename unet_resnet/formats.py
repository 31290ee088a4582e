"""What kind of picture is a file, by its first bytes, whatever its name?"""

import re
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

# First bytes by kind. Many cameras' raw files are TIFF.
SIGNATURES = {kind: re.compile(start, re.DOTALL) for kind, start in {
    "JPEG": rb"\xff\xd8\xff", "PNG": rb"\x89PNG\r\n\x1a\n", "BMP": rb"BM.{4}\0{4}",
    "TIFF": rb"II[*+]\0|MM\0[*+]", "WEBP": rb"RIFF.{4}WEBP", "GIF": rb"GIF8[79]a",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG 2000": rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
    "Photoshop": rb"8BPS\0", "EXR": rb"v/1\x01", "PNM": rb"P[1-6]\s+[#\d]",
    "camera raw": rb"FUJIFILMCCD-RAW|II(RO|RS|U\0)|\0MRM|FOVb|....ftypcrx ",
}.items()}
# Brands in the first box of an ISO media file; HEIC and AVIF share mif1.
BRANDS = {"AVIF": re.compile(rb"avi[fs]"), "HEIC": re.compile(rb"hei[cmsx]|hev[cmsx]|mif1|msf1")}


def kind_of(path: Path) -> str:
    """Such as "JPEG", "HEIC" or "GIF"; "" for anything but a picture."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a named pipe would wait for a writer
            return ""
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError:
        return ""
    if start[4:8] == b"ftyp":
        brands = start[8:int.from_bytes(start[:4], "big")]
        for kind, brand in BRANDS.items():
            if brand.search(brands):
                return kind
    return next((kind for kind, form in SIGNATURES.items() if form.match(start)), "")


def passed_over(paths: Iterable[Path]) -> str:
    """What is said of pictures that are not read because of their endings, or "" if none are."""
    kinds, endings = Counter(), defaultdict(set)
    for path in paths:
        if kind := kind_of(path):
            kinds[kind] += 1
            endings[kind].add(path.suffix or "no ending")
    found = ", ".join(f"{count} {kind} ({' '.join(sorted(endings[kind]))})"
                      for kind, count in kinds.most_common())
    return f"pictures not read: {found}; save them as .jpg or .png first" if kinds else ""
