"""From an encoded file to the pixels that a network sees, on the host, uint8.

Training decodes fast (libjpeg-turbo's fast DCT and upsampling) and resizes with OpenCV; evaluation
decodes exactly and resizes with Pillow, as torchvision and timm did for their weights; Caffe and
TensorFlow, from which other published weights come, resize in ways of their own. Both release the
GIL, so reading threads run side by side.

Files come from anywhere. Only FORMATS are read, whatever a file's name says, and an image of more than
MAX_PIXELS is refused before any pixel is decoded. An image of just as many takes 0.2 GB as a JPEG, 0.5 as
a PNG or TIFF, 0.6 as an AVIF, 0.8 as a progressive JPEG of four colours and, the most, 1.1 GB as a WebP;
a photograph of 12 million pixels takes 0.04 to 0.1 GB. Each reading thread takes as much.
"""

import io
import math
import re
import warnings
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import Image, PngImagePlugin, features

try:
    import pillow_heif
except ImportError:
    pillow_heif = None

FORMATS = {  # as Pillow names them, and the suffixes of their files
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
}
if "avif" in features.modules and features.check("avif"):
    FORMATS["AVIF"] = (".avif",)
if pillow_heif:
    pillow_heif.register_heif_opener()
    FORMATS["HEIF"] = (".heic", ".heif", ".hif")
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
MAX_PIXELS = 2**26  # a camera of 64 million, a page of A4 at 600 dots per inch
MAX_RESIZED = 2**24  # pixels; what only a strip many times as long as wide becomes
MAX_SQUASHED = 2**16  # pixels a side, as a JPEG may have; Pillow's memory grows with the side
LARGE = 2**25  # pixels of an image of which no copy is made
MAX_SCANS = 100  # of a progressive JPEG: each costs time, 10 are usual
ASPECTS = ("log_uniform", "uniform")  # of random resized crops
INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
STRIP_PIXELS = 2**20  # that are converted at a time, as Pillow's own copy of an image takes memory

cv2.setNumThreads(0)  # the reading threads are the parallelism
warnings.simplefilter("error", Image.DecompressionBombWarning)  # from 90 million pixels on
# Text is bounded in total; one long chunk, as programs that paint write, is no attack.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


def decode(
    encoded: bytes, exact: bool, channels: int = 3, exif_orientation: bool = True
) -> np.ndarray:
    """Returns the image as uint8 [height, width, channels].

    Args:
      encoded: the file.
      exact: as Pillow decodes it, rather than fast.
      channels: 3, RGB; or 1, grey as Pillow's mode L.
      exif_orientation: turn it as its metadata say and viewers show it; a TIFF and a HEIC always are.

    Raises:
      ValueError: it is no image of FORMATS, is too large, cannot be decoded, or a part of it is missing.
    """
    jpeg = _jpeg_header(encoded)
    if jpeg is None:
        return _decode_with_pillow(encoded, channels, exif_orientation)
    image = _decode_jpeg(encoded, fast=not exact)
    orientation = _jpeg_orientation(encoded) if exif_orientation and jpeg.has_metadata else 1
    return turn(to_channels(image, channels), orientation)


def decode_crop(
    encoded: bytes, draw_box, size: int, channels: int = 3, exif_orientation: bool = True
) -> np.ndarray:
    """Returns a box of the image, resized to `size` x `size`; a JPEG is decoded down to it only.

    Args:
      encoded: the file.
      draw_box: `f(height, width) -> (top, left, height, width)`, in the image as it is stored.
      size: of the result.
      channels: see `decode`.
      exif_orientation: see `decode`; the box is turned once it is cut out.

    Raises:
      ValueError: see `decode`.
    """
    jpeg = _jpeg_header(encoded)
    if jpeg is None:
        image = _decode_with_pillow(encoded, channels, exif_orientation)
        return crop(image, draw_box(*image.shape[:2]), size)
    box = draw_box(jpeg.height, jpeg.width)
    image = _decode_jpeg(_with_height(encoded, int(box[0] + box[2])), fast=True)
    orientation = _jpeg_orientation(encoded) if exif_orientation and jpeg.has_metadata else 1
    return turn(to_channels(crop(image, box, size), channels), orientation)


# JPEG


class _Jpeg(NamedTuple):
    height: int
    width: int
    has_metadata: bool


# A marker, but for those that stand between the pieces of one scan.
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
EOI, SOS, APP1 = 0xD9, 0xDA, 0xE1
# Markers that may follow a frame header.
SEGMENTS = {0xC4, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}


def _jpeg_header(encoded: bytes) -> _Jpeg | None:
    """Reads a JPEG that simplejpeg decodes; returns None for what Pillow has to."""
    if encoded[:2] != b"\xff\xd8":
        return None
    has_metadata = _check_whole(encoded)
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded, strict=False)
    except (KeyError, ValueError):  # an unusual chroma sampling, or damaged: Pillow knows
        return None
    _check_size(height, width)
    return None if colours in ("CMYK", "YCCK") else _Jpeg(height, width, has_metadata)


def _check_whole(jpeg: bytes) -> bool:
    """Walks from marker to marker to the image's end; returns whether there are EXIF or XMP data.

    What follows the end does not matter: phones append videos. A file that was cut has no end, or, with
    something appended, markers in its scan that cannot be there.
    """
    at, scans, has_metadata = 2, 0, False
    while found := MARKER.search(jpeg, at):
        at = found.end()
        marker = jpeg[at - 1]
        if marker == EOI:
            return has_metadata
        if scans and marker not in SEGMENTS:
            break
        scans += marker == SOS
        if scans > MAX_SCANS:
            raise ValueError(f"the JPEG file has more than {MAX_SCANS} scans")
        has_metadata |= marker == APP1
        at += int.from_bytes(jpeg[at : at + 2])
    raise ValueError("the JPEG file is cut off, or damaged within")


def _decode_jpeg(encoded: bytes | bytearray, fast: bool) -> np.ndarray:
    return simplejpeg.decode_jpeg(encoded, fastdct=fast, fastupsample=fast, strict=False)


def _with_height(jpeg: bytes, height: int) -> bytes | bytearray:
    """Returns the file with a smaller `height` in its frame header: decoders stop there."""
    at = 2
    while jpeg[at + 1] not in (0xC0, 0xC1, 0xC2):  # what libjpeg knows of frame headers
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])
        if jpeg[at : at + 1] != b"\xff" or at + 9 > len(jpeg):
            return jpeg
    shorter = bytearray(jpeg)
    shorter[at + 5 : at + 7] = height.to_bytes(2)  # after the marker, the length, the precision
    return shorter


def _jpeg_orientation(encoded: bytes) -> int:
    try:
        with Image.open(io.BytesIO(encoded), formats=("JPEG",)) as image:
            return _orientation(image)
    except Exception:  # whatever is wrong in the header, the image was decoded
        return 1


# Other formats

TILE_WIDTH, TILE_LENGTH = 322, 323  # tags of a TIFF file
ORIENTATION = 0x0112  # of EXIF


def _decode_with_pillow(encoded: bytes, channels: int, exif_orientation: bool) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(encoded), formats=tuple(FORMATS)) as image:
            _check_size(image.height, image.width)
            if image.format == "TIFF":  # which may be cut into tiles larger than itself
                _check_size(*(int(image.tag_v2.get(tag, 0)) for tag in (TILE_LENGTH, TILE_WIDTH)))
            image.load()
            pixels = _by_strips(
                lambda first, last: _rows(image, first, last, channels), image.height, image.width
            )
            return turn(pixels, _orientation(image) if exif_orientation else 1)
    except Image.UnidentifiedImageError:
        raise ValueError(f"no image that can be read ({', '.join(FORMATS)})") from None
    except Exception as error:  # damaged files raise errors of all kinds out of Pillow's readers
        raise ValueError(f"{error or type(error).__name__}") from error


def _rows(image: Image.Image, first: int, last: int, channels: int) -> np.ndarray:
    image = image.crop((0, first, image.width, last))
    if image.mode in ("I", "F"):
        raise ValueError("pixels of 32 bits do not say which value is white: convert it to 8 bits")
    if image.mode.startswith("I;16"):  # Pillow would clip, not scale
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return _pixels(image.convert("RGB" if channels == 3 else "L"))


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"{width:,} x {height:,} pixels are more than the {MAX_PIXELS:,} that an image may have"
        )


def _orientation(image: Image.Image) -> int:
    """Returns how the image is to be turned, 1 to 8 as EXIF says it; 1, not at all."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged metadata, of which viewers make nothing either
        return 1


# From pixels to pixels


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Returns [height, width, channels] as EXIF's `orientation`, 1 to 8, means it to be shown."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Returns [height, width, `channels`], which are 1 or 3: grey as Pillow's mode L, or RGB."""
    height, width, now = image.shape
    if now == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    return _by_strips(lambda a, b: _pixels(_image(image[a:b]).convert("L")), height, width)


def _by_strips(read, height: int, width: int) -> np.ndarray:
    """Puts together what `read(first, last)` makes of some rows of an image of this size."""
    rows = max(1, STRIP_PIXELS // width)
    if rows >= height:
        return read(0, height)
    strip = read(0, rows)
    whole = np.empty((height, *strip.shape[1:]), np.uint8)
    whole[:rows] = strip
    for first in range(rows, height, rows):
        last = min(first + rows, height)
        whole[first:last] = read(first, last)
    return whole


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _pixels(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def random_resized_box(
    rng: np.random.Generator, height: int, width: int, min_area: float, aspect: str = "log_uniform"
):
    """Draws a box (top, left, height, width) of random area and aspect ratio.

    Szegedy et al., arXiv:1409.4842, section 6: area 8 % to 100 %, aspect ratio 3/4 to 4/3. Ten
    draws, then the largest centred box with an allowed aspect ratio.

    Args:
      rng: of the draws.
      height: of the image.
      width: of the image.
      min_area: of the box, as a part of the image.
      aspect: one of ASPECTS. "log_uniform", as in torchvision: a ratio is as likely as its inverse.
        "uniform", which favours wide boxes: their median is 25/24.
    """
    for _ in range(10):
        area = height * width * rng.uniform(min_area, 1.0)
        ratio = (
            rng.uniform(3 / 4, 4 / 3)
            if aspect == "uniform"
            else math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        )
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return rng.integers(height - h + 1), rng.integers(width - w + 1), h, w
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    return (height - h) // 2, (width - w) // 2, h, w


def scale_jitter_box(rng: np.random.Generator, height: int, width: int, size: int, scales):
    """Draws the box that a crop of `size` is, once the shorter side has a random length of `scales`.

    Simonyan and Zisserman, arXiv:1409.1556, section 3.1; He et al., arXiv:1512.03385, section 3.4.
    """
    shorter = min(height, width)
    side = round(size * shorter / rng.integers(scales[0], scales[1] + 1))
    side = min(shorter, max(1, side))
    return rng.integers(height - side + 1), rng.integers(width - side + 1), side, side


def crop(image: np.ndarray, box, size: int) -> np.ndarray:
    """Cuts the box (top, left, height, width) out of `image` and resizes it to `size` x `size`."""
    top, left, height, width = box
    part = image[top : top + height, left : left + width]
    halves = min(height, width) >= 2 * size  # below that, bilinear resizing skips no pixel
    method = cv2.INTER_AREA if halves else cv2.INTER_LINEAR
    return cv2.resize(part, (size, size), interpolation=method).reshape(size, size, -1)


def center(
    image: np.ndarray,
    resize: int,
    size: int,
    interpolation: str = "bilinear",
    squash: bool = False,
) -> np.ndarray:
    """Resizes the shorter side to `resize` pixels and cuts out the central `size` x `size`.

    The pixels are torchvision's and timm's; for images of more than LARGE pixels, and for strips that
    would become more than MAX_RESIZED, they are the same but for rounding.

    Args:
      image: uint8 [height, width, channels].
      resize: pixels, at least `size`.
      size: of the result.
      interpolation: one of INTERPOLATIONS; both see all pixels of an image that becomes smaller.
      squash: resize both sides to `resize` pixels, whatever the shape (timm's crop_mode "squash").

    Raises:
      ValueError: a side has more than MAX_SQUASHED pixels, and is to be squashed.
    """
    method = INTERPOLATIONS[interpolation]
    shorter, longer = sorted(image.shape[:2])
    if squash and longer > MAX_SQUASHED:
        raise ValueError(
            f"a side of {longer:,} pixels is above the {MAX_SQUASHED:,} to be squashed"
        )
    if not squash and resize * resize * longer // shorter > MAX_RESIZED:
        image = _middle(image)
    rows, columns = image.shape[:2]
    height = resize if squash else resize * rows // shorter
    width = resize if squash else resize * columns // shorter
    top, left = round((height - size) / 2), round((width - size) / 2)
    if (rows, columns) == (height, width):
        return image[top : top + size, left : left + size]
    if rows * columns > LARGE:  # first along the width alone, as Pillow would copy it all
        image = _by_strips(
            lambda a, b: _pixels(_image(image[a:b]).resize((width, b - a), method)), rows, columns
        )
    resized = _image(image).resize((width, height), method)
    return _pixels(resized.crop((left, top, left + size, top + size)))


def _middle(image: np.ndarray) -> np.ndarray:
    """Cuts a strip down to four times its width, and leaves its centre where it is."""
    height, width = image.shape[:2]
    around = [(side - 4 * min(height, width)) // 2 for side in (height, width)]
    top, left = (max(0, pixels) for pixels in around)
    return image[top : height - top, left : width - left]
