"""Image files of all kinds: read as viewers show them, refused where that is not safe or not possible."""

import io
import pathlib
import resource
import struct
import zlib

import cv2
import numpy as np
import pytest
from faults import images
from PIL import Image, ImageOps, PngImagePlugin

from data import decode


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def photograph(height, width):
    return cv2.resize(noise(6, 8), (width, height), interpolation=cv2.INTER_CUBIC)


def encode(image, kind="JPEG", **options):
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, kind, **options)
    return file.getvalue()


def whole_box(height, width):
    return 0, 0, height, width


# The end of a JPEG

JPEG = encode(photograph(48, 64), quality=95)
PROGRESSIVE = encode(photograph(48, 64), quality=95, progressive=True)
RESTARTS = encode(photograph(48, 64), quality=95, restart_marker_blocks=2)
VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + np.random.default_rng(1).bytes(20_000)
AFTER = {
    "padding": bytes(4096),
    "a video": VIDEO,
    "another JPEG": encode(noise(20, 30)),
    "fill bytes": b"\xff" * 3000,
    "markers of no image": b"\xff\x20\0\4ab" * 3 + b"\xff\xd9",
}


@pytest.mark.parametrize("jpeg", [JPEG, PROGRESSIVE, RESTARTS], ids=["", "progressive", "restarts"])
@pytest.mark.parametrize("after", AFTER)
def test_what_follows_a_jpegs_end_changes_nothing(jpeg, after):
    longer = jpeg + AFTER[after]
    np.testing.assert_array_equal(decode.decode(longer, True), decode.decode(jpeg, True))
    crops = [decode.decode_crop(file, whole_box, 16) for file in (longer, jpeg)]
    np.testing.assert_array_equal(*crops)


@pytest.mark.parametrize("jpeg", [JPEG, PROGRESSIVE, RESTARTS], ids=["", "progressive", "restarts"])
@pytest.mark.parametrize("after", ["nothing", *AFTER])
def test_a_cut_jpeg_is_refused_whatever_follows(jpeg, after):
    for part in (0.5, 0.8):
        cut = jpeg[: int(len(jpeg) * part)] + AFTER.get(after, b"")
        for read in (
            lambda file: decode.decode(file, exact=True),
            lambda file: decode.decode_crop(file, whole_box, 16),
        ):
            with pytest.raises(ValueError, match="cut off"):
                read(cut)


def test_the_thumbnail_inside_a_cut_jpeg_does_not_end_it():
    exif = Image.Exif()
    exif[0x9286] = encode(noise(8, 8))  # as a comment
    jpeg = encode(photograph(48, 64), exif=exif)
    assert decode.decode(jpeg, exact=True).shape == (48, 64, 3)
    with pytest.raises(ValueError, match="cut off"):
        decode.decode(jpeg[:-40], exact=True)


# Only these formats


@pytest.mark.parametrize("kind", ["PPM", "PCX", "TGA", "ICO", "SGI", "JPEG2000"])
def test_other_formats_of_pillow_are_not_read(kind):
    with pytest.raises(ValueError, match="no image that can be read .*JPEG, PNG"):
        decode.decode(encode(noise(16, 16), kind), exact=True)


def test_postscript_starts_no_interpreter(monkeypatch):
    monkeypatch.setattr("subprocess.Popen", lambda *args, **kwargs: pytest.fail("a program ran"))
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(ValueError, match="no image that can be read"):
        decode.decode(program, exact=True)


@pytest.mark.parametrize("kind", [kind for kind in decode.FORMATS if kind != "HEIF"])
def test_every_format_is_read(kind):
    decoded = decode.decode(encode(Image.new("RGB", (6, 5), (200, 100, 50)), kind), exact=True)
    np.testing.assert_allclose(decoded, np.broadcast_to((200, 100, 50), (5, 6, 3)), atol=4)


def test_the_first_picture_of_a_moving_one_is_read():
    frames = [Image.new("RGB", (6, 5), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "TIFF"):
        encoded = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        decoded = decode.decode(encoded, exact=True)
        np.testing.assert_allclose(decoded, np.broadcast_to((255, 0, 0), (5, 6, 3)), atol=4)


def test_pixels_of_32_bits_are_refused_since_their_white_is_unknown():
    grey = Image.fromarray(np.random.default_rng(0).random((5, 6), np.float32))
    with pytest.raises(ValueError, match="32 bits.*convert"):
        decode.decode(encode(grey, "TIFF"), exact=True)


def test_a_png_with_a_long_text_is_read():
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 3_000_000, zip=True)
    image = noise(5, 6)
    decoded = decode.decode(encode(image, "PNG", pnginfo=info), exact=True)
    np.testing.assert_array_equal(decoded, image)


# Bombs


def claiming(kind, width, height):
    """Returns a file of a few bytes that claims this size."""
    file = bytearray(encode(Image.new("RGB", (60, 40)), kind))
    if kind == "JPEG":
        at = file.index(b"\xff\xc0")
        file[at + 5 : at + 9] = struct.pack(">HH", height, width)
    elif kind == "BMP":
        file[18:26] = struct.pack("<ii", width, height)
    elif kind == "GIF":
        file[6:10] = struct.pack("<HH", width, height)
    elif kind == "TIFF":
        for tag, value in ((256, width), (257, height)):
            at = file.index(struct.pack("<HHI", tag, 4, 1))
            file[at + 8 : at + 12] = struct.pack("<I", value)
    return bytes(file)


BOMBS = {
    "JPEG": claiming("JPEG", 12000, 12000),
    "JPEG, the largest": claiming("JPEG", 65500, 65500),
    "BMP": claiming("BMP", 9000, 9000),
    "BMP, the largest": claiming("BMP", 2**30, 2**30),
    "GIF": claiming("GIF", 65535, 65535),
    "TIFF": claiming("TIFF", 100_000, 100_000),
    "PNG": encode(Image.new("1", (8193, 8193)), "PNG"),
    "WebP": encode(Image.new("RGB", (16383, 4100)), "WEBP", quality=0, method=0),
}


@pytest.mark.parametrize("name", BOMBS)
def test_an_image_of_too_many_pixels_is_refused_before_it_takes_memory(name):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"pixels"):
        decode.decode(BOMBS[name], exact=True)
    with pytest.raises(ValueError, match=r"pixels"):
        decode.decode_crop(BOMBS[name], whole_box, 8)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # kB


def test_the_limit_names_size_and_limit():
    with pytest.raises(ValueError, match="12,000 x 12,000 pixels .* 67,108,864"):
        decode.decode(BOMBS["JPEG"], exact=True)


def tiled_tiff(side):
    """Returns a grey TIFF of 16 x 16 pixels, in one compressed tile of this side."""
    pixels = zlib.compress(bytes(16 * 16))
    values = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side}
    values |= {324: 8 + 2 + 12 * 10 + 4, 325: len(pixels)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4) + pixels


def test_a_tiff_of_tiles_larger_than_the_limit_is_refused():
    assert decode.decode(tiled_tiff(16), exact=True).shape == (16, 16, 3)
    with pytest.raises(ValueError, match="32,768 x 32,768 pixels"):
        decode.decode(tiled_tiff(2**15), exact=True)


def test_a_jpeg_of_endless_scans_is_refused():
    scan = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
    with pytest.raises(ValueError, match="scans"):
        decode.decode(PROGRESSIVE[:-2] + scan * 200 + PROGRESSIVE[-2:], exact=True)


@pytest.mark.parametrize("shape", [(1, 4000), (4000, 1), (3, 60_000), (2, 2)])
def test_a_strip_takes_no_memory_but_for_its_centre(shape, monkeypatch):
    sizes = []
    resize = Image.Image.resize

    def counting(image, size, *args):
        sizes.append(size[0] * size[1])
        return resize(image, size, *args)

    monkeypatch.setattr(Image.Image, "resize", counting)
    assert decode.center(noise(*shape), 256, 224).shape == (224, 224, 3)
    assert max(sizes) <= decode.MAX_RESIZED


@pytest.mark.parametrize("height, width", [(9, 200), (9, 201), (200, 9), (10, 333)])
@pytest.mark.parametrize("limit", ["MAX_RESIZED", "LARGE"])
@pytest.mark.parametrize("form", [("bilinear",), ("bicubic",), ("bicubic", True)])
def test_the_centre_is_the_same_without_the_whole(height, width, limit, form, monkeypatch):
    image = photograph(height, width)
    expected = decode.center(image, 32, 28, *form).astype(int)
    monkeypatch.setattr(decode, limit, 100)
    monkeypatch.setattr(decode, "STRIP_PIXELS", 1000)
    tolerance = 1 if limit == "LARGE" else 6  # the strip's new length is rounded down, too
    assert np.abs(decode.center(image, 32, 28, *form) - expected).max() <= tolerance


@pytest.mark.parametrize("shape", [(1, 70_000), (70_000, 1)])
def test_a_strip_is_squashed_to_a_length_only(shape, monkeypatch):
    with pytest.raises(ValueError, match="a side of 70,000 pixels is above the 65,536"):
        decode.center(noise(*shape), 256, 224, squash=True)
    monkeypatch.setattr(decode, "MAX_SQUASHED", 70_000)
    assert decode.center(noise(*shape), 256, 224, squash=True).shape == (224, 224, 3)


@pytest.mark.parametrize(
    "kind, mode", [("PNG", "RGB"), ("PNG", "P"), ("PNG", "I;16"), ("TIFF", "1")]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_the_same_where_they_are_converted_in_strips(kind, mode, channels, monkeypatch):
    image = Image.fromarray(noise(23, 17))
    image = image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)
    encoded = encode(image, kind)
    expected = decode.decode(encoded, True, channels)
    monkeypatch.setattr(decode, "STRIP_PIXELS", 17 * 5)
    np.testing.assert_array_equal(decode.decode(encoded, True, channels), expected)


# Orientation


def turned(kind, orientation):
    exif = Image.Exif()
    exif[decode.ORIENTATION] = orientation
    return encode(photograph(48, 64), kind, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_photograph_is_turned_as_viewers_turn_it(kind, orientation):
    if kind not in decode.FORMATS:
        pytest.skip("this Pillow reads no AVIF")
    encoded = turned(kind, orientation)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))))
    np.testing.assert_array_equal(decode.decode(encoded, exact=True), shown)
    crop = decode.decode_crop(encoded, whole_box, 24)
    expected = cv2.resize(shown, (24, 24), interpolation=cv2.INTER_AREA)
    assert np.abs(crop.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_published_weights_see_photographs_as_they_are_stored(kind):
    encoded = turned(kind, 6)
    stored = np.asarray(Image.open(io.BytesIO(encoded)))
    decoded = decode.decode(encoded, exact=True, exif_orientation=False)
    np.testing.assert_array_equal(decoded, stored)
    crops = [
        decode.decode_crop(file, whole_box, 24, exif_orientation=False)
        for file in (encoded, encode(photograph(48, 64), kind))
    ]
    np.testing.assert_array_equal(*crops)


def test_damaged_metadata_turn_nothing():
    encoded = bytearray(turned("JPEG", 6))
    at = encoded.index(b"Exif")
    encoded[at + 8 : at + 14] = b"\xff" * 6
    assert decode.decode(bytes(encoded), exact=True).shape == (48, 64, 3)


# Grey


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_grey_is_pillows_grey(kind, mode):
    encoded = encode(Image.fromarray(photograph(20, 24)).convert(mode), kind)
    grey = np.asarray(Image.open(io.BytesIO(encoded)).convert("L"))
    decoded = decode.decode(encoded, exact=True, channels=1)
    np.testing.assert_array_equal(decoded, grey[:, :, None])
    assert decode.center(decoded, 18, 16).shape == (16, 16, 1)
    crop = decode.decode_crop(encoded, lambda h, w: (2, 2, 16, 16), 16, channels=1)
    assert np.abs(crop[:, :, 0].astype(int) - grey[2:18, 2:18]).max() <= 12  # the fast decoder


# Damage


@pytest.mark.parametrize("kind", images.FORMATS)
def test_damaged_images_are_decoded_or_refused(kind, capfd):
    seen = images.campaign(kind, tries=60)
    assert seen["decoded"] + seen["refused"] == 60 and seen["refused"] > 5
    assert seen["peak_mb"] < 200


def test_the_campaign_repeats_itself():
    file = images.whole("PNG")[0]
    first, again = (images.damaged(file, np.random.default_rng(3)) for _ in range(2))
    assert first == again != file
    assert pathlib.Path(images.__file__).name == "images.py"
