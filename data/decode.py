"""From an encoded file to the pixels that a network sees, on the host, uint8.

Training decodes fast (libjpeg-turbo's fast DCT and upsampling) and resizes with OpenCV; evaluation
decodes exactly and resizes with Pillow, as the people did whose weights are published. Both
release the GIL, so reading threads run side by side.
"""

import io
import math

import cv2
import numpy as np
import simplejpeg
from PIL import Image

cv2.setNumThreads(0)  # the reading threads are the parallelism


def decode(encoded: bytes, exact: bool) -> np.ndarray:
    """Returns the image as uint8 RGB [height, width, 3].

    Raises:
      ValueError, OSError: it cannot be decoded, or a part of it is missing.
    """
    if _jpeg_size(encoded) is None:
        return _decode_with_pillow(encoded)
    return simplejpeg.decode_jpeg(encoded, fastdct=not exact, fastupsample=not exact, strict=False)


def decode_crop(encoded: bytes, draw_box, size: int) -> np.ndarray:
    """Returns a box of the image, resized to `size` x `size`; a JPEG is decoded down to it only.

    Args:
      encoded: the file.
      draw_box: `f(height, width) -> (top, left, height, width)`.
      size: of the result.

    Raises:
      ValueError, OSError: it cannot be decoded, or a part of it is missing.
    """
    jpeg_size = _jpeg_size(encoded)
    if jpeg_size is None:
        image = _decode_with_pillow(encoded)
        return crop(image, draw_box(*image.shape[:2]), size)
    box = draw_box(*jpeg_size)
    upper_part = _with_height(encoded, int(box[0] + box[2]))
    image = simplejpeg.decode_jpeg(upper_part, fastdct=True, fastupsample=True, strict=False)
    return crop(image, box, size)


def _jpeg_size(encoded: bytes) -> tuple[int, int] | None:
    """Returns (height, width) of a JPEG that simplejpeg decodes, None for what Pillow has to."""
    if encoded[:2] != b"\xff\xd8":
        return None
    if b"\xff\xd9" not in encoded[-1024:]:
        raise ValueError("the JPEG file is cut off")
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded, strict=False)
    except (KeyError, ValueError):  # an unusual chroma sampling, or damaged: Pillow knows
        return None
    return None if colours in ("CMYK", "YCCK") else (height, width)


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


def _decode_with_pillow(encoded: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if image.mode.startswith("I;16"):  # Pillow would clip, not scale
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            elif image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")
            return np.asarray(image.convert("RGB"))
    except (SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error


def random_resized_box(rng: np.random.Generator, height: int, width: int, min_area: float):
    """Draws a box (top, left, height, width) of random area and aspect ratio.

    Szegedy et al., arXiv:1409.4842, section 6: area 8 % to 100 %, aspect ratio 3/4 to 4/3. Ten
    draws, then the largest centred box with an allowed aspect ratio.
    """
    for _ in range(10):
        area = height * width * rng.uniform(min_area, 1.0)
        aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
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
    return cv2.resize(part, (size, size), interpolation=method)


def center(image: np.ndarray, resize: int, size: int) -> np.ndarray:
    """Resizes the shorter side to `resize` pixels and cuts out the central `size` x `size`."""
    height, width = image.shape[:2]
    shorter = min(height, width)
    if shorter != resize:
        height, width = resize * height // shorter, resize * width // shorter
        image = np.asarray(
            Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        )
    top, left = round((height - size) / 2), round((width - size) / 2)
    return image[top : top + size, left : left + size]
