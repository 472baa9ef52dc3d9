"""Damages small images of each format, and decodes them as training and evaluation do.

Each is decoded or refused with ValueError; nothing else may happen. A process for each format, so that
a crash is seen; its peak memory is that above the process before the first image.

Example:
  python tests/faults/images.py --tries=10000
"""

import argparse
import collections
import io
import json
import pathlib
import resource
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
from data import decode  # noqa: E402 - of this checkout

SAVED = {  # mode and options of each format
    "JPEG": [
        ("RGB", {}),
        ("RGB", {"progressive": True, "subsampling": 0}),
        ("L", {"restart_marker_blocks": 1}),
        ("CMYK", {}),
    ],
    "PNG": [("RGB", {}), ("P", {}), ("LA", {}), ("I;16", {})],
    "BMP": [("RGB", {}), ("P", {}), ("1", {})],
    "WEBP": [("RGB", {}), ("RGBA", {"lossless": True})],
    "GIF": [("P", {}), ("L", {"interlace": 1})],
    "TIFF": [
        ("RGB", {}),
        ("RGB", {"compression": "jpeg"}),
        ("P", {"compression": "tiff_lzw"}),
        ("I;16", {"compression": "tiff_adobe_deflate"}),
        ("CMYK", {"compression": "packbits"}),
    ],
    "AVIF": [("RGB", {})],
}
FORMATS = [name for name in SAVED if name in decode.FORMATS]
EXTREMES = (
    b"\x00",
    b"\xff",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xd9",
)


def whole(kind: str) -> list[bytes]:
    """Returns small images of a format, each as a file with an EXIF orientation where it can have one."""
    noise = np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)
    image = Image.fromarray(np.kron(noise, np.ones((4, 4, 1), np.uint8)))
    exif = Image.Exif()
    exif[decode.ORIENTATION] = 6
    files = []
    for mode, options in SAVED[kind]:
        file = io.BytesIO()
        converted = image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)
        more = {} if kind in ("BMP", "GIF") else {"exif": exif}
        converted.save(file, kind, **options, **more)
        files.append(file.getvalue())
    return files


def damaged(file: bytes, rng: np.random.Generator) -> bytes:
    """Returns the file with one to four damages, each at a random place."""
    data = bytearray(file)
    for _ in range(rng.integers(1, 5)):
        at, length = int(rng.integers(len(data) + 1)), int(rng.geometric(0.05))
        early = int(at * rng.random() ** 3)  # headers are short and decide most
        kind = rng.integers(6)
        if kind == 0:
            data[early : early + 1] = rng.bytes(1)
        elif kind == 1:
            new = EXTREMES[rng.integers(len(EXTREMES))]
            data[early : early + len(new)] = new
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = rng.bytes(length)
        elif kind == 4:
            data[at:at] = data[early : early + length]
        else:
            del data[at:]
    return bytes(data)


def mended(kind: str, file: bytes) -> bytes:
    """Returns the file with the right checksums and lengths, so that damage reaches the decoder."""
    data = bytearray(file)
    if kind == "WEBP":
        data[4:8] = struct.pack("<I", max(0, len(data) - 8))
    at = 8
    while kind == "PNG" and at + 12 <= len(data):
        end = at + 8 + struct.unpack(">I", data[at : at + 4])[0]
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(data)


def attempt(encoded: bytes, channels: int) -> str:
    """Decodes for evaluation and for training; returns "decoded", or why it was refused."""
    try:
        image = decode.decode(encoded, exact=True, channels=channels)
        assert decode.center(image, 24, 20).shape == (20, 20, channels)
        crop = decode.decode_crop(encoded, lambda h, w: (0, 0, h, w), 20, channels=channels)
        assert crop.shape == (20, 20, channels) and crop.dtype == np.uint8
        return "decoded"
    except ValueError as error:
        return str(error)


def campaign(kind: str, tries: int) -> dict:
    """Decodes `tries` damaged images of a format, always the same ones; returns what happened."""
    files = whole(kind)
    assert {attempt(file, 3) for file in files} == {"decoded"}
    before, began = peak_memory(), time.monotonic()
    outcomes, slowest = collections.Counter(), 0.0
    for number in range(tries):
        rng = np.random.default_rng([FORMATS.index(kind), number])
        encoded = damaged(files[number % len(files)], rng)
        encoded = mended(kind, encoded) if rng.random() < 0.7 else encoded
        start = time.monotonic()
        outcome = attempt(encoded, channels=(3, 1)[number % 2])
        slowest = max(slowest, time.monotonic() - start)
        outcomes["decoded" if outcome == "decoded" else "refused"] += 1
    return {
        "format": kind,
        "decoded": outcomes["decoded"],
        "refused": outcomes["refused"],
        "peak_mb": round(peak_memory() - before),
        "seconds": round(time.monotonic() - began),
        "slowest_seconds": round(slowest, 2),
    }


def peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=10_000, help="of each format")
    parser.add_argument("--format", choices=FORMATS, help="that one alone, in this process")
    flags = parser.parse_args()
    if flags.format:
        print(json.dumps(campaign(flags.format, flags.tries)), flush=True)
        return
    command = [sys.executable, "-W", "ignore", __file__, f"--tries={flags.tries}"]
    statuses = [subprocess.run([*command, f"--format={kind}"]).returncode for kind in FORMATS]
    if any(statuses):
        sys.exit(f"images.py: exit statuses {dict(zip(FORMATS, statuses, strict=True))}")


if __name__ == "__main__":
    main()
