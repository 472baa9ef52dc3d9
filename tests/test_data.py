"""Tests data/: decoding, cropping, sources, batches and augmentation.

Example:
  pytest tests/test_data.py
"""

import io
import itertools
import json
import struct

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from record_augment import DRAWS, FACTORS, FILE, SIZE, boxes, photographs
from sklearn.datasets import load_digits
from tensorflow_datasets.core.example_serializer import ExampleSerializer

import data
from configs import common
from data import augment, decode

IMAGES = 12  # of the numbered folder: image number i is the only one of class i
RECORDED = np.load(FILE)
COLOUR = (200, 100, 50)
LUMA_OF_COLOUR = 124


def input_config(**changes):
    config = common.get_config().input
    config.update({"image_size": 8, "resize": 10, "threads": 2, "eval_split": "val"} | changes)
    return config


def noise(seed, height=20, width=24):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encode(image, kind="JPEG", **options):
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, kind, **options)
    return file.getvalue()


def write_images(folder, *names):
    folder.mkdir(parents=True)
    for i, name in enumerate(names):
        (folder / name).write_bytes(encode(noise(i)))


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """Returns a folder with the same IMAGES images in train/ and in val/, each a class."""
    root = tmp_path_factory.mktemp("numbered")
    for split, i in itertools.product(("train", "val"), range(IMAGES)):
        folder = root / split / f"{i:02d}"
        folder.mkdir(parents=True)
        (folder / "image.jpg").write_bytes(encode(noise(i)))
    return root


@pytest.fixture
def with_broken(tmp_path):
    """Returns a folder of three classes in train/ and in val/; the image of class 1 is broken."""
    for split, i in itertools.product(("train", "val"), range(3)):
        folder = tmp_path / split / str(i)
        folder.mkdir(parents=True)
        (folder / f"{split}{i}.jpg").write_bytes(b"no image" if i == 1 else encode(noise(i)))
    return tmp_path


def train_batches(root, count, batch_size, seed=0, start_step=0, **changes):
    config = input_config(source=f"folder:{root}", **changes)
    source = data.open_source(config, train=True)
    batches = data.make_train(source, config, batch_size, seed, start_step)
    return list(itertools.islice(batches, count))


def train_labels(root, count, batch_size, **options):
    batches = train_batches(root, count, batch_size, **options)
    return np.concatenate([batch["label"] for batch in batches])


def eval_batches(root, batch_size, crops=1, **changes):
    config = input_config(source=f"folder:{root}", **changes)
    return data.make_eval(data.open_source(config, train=False), config, batch_size, crops)


def in_process(monkeypatch, index, count=2):
    monkeypatch.setattr(jax, "process_index", lambda: index)
    monkeypatch.setattr(jax, "process_count", lambda: count)


def assert_same_batches(left, right):
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


# Decoding


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}])
def test_exact_decoding_gives_pillows_pixels(options):
    encoded = encode(noise(0, 41, 53), quality=90, **options)
    expected = np.asarray(Image.open(io.BytesIO(encoded)))
    np.testing.assert_array_equal(decode.decode(encoded, exact=True), expected)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    "mode, kind, options, colour",
    [
        ("RGB", "JPEG", {}, COLOUR),
        ("CMYK", "JPEG", {}, COLOUR),
        ("L", "JPEG", {}, (LUMA_OF_COLOUR,) * 3),
        ("RGB", "PNG", {}, COLOUR),
        ("RGBA", "PNG", {}, COLOUR),
        ("LA", "PNG", {}, (LUMA_OF_COLOUR,) * 3),
        ("P", "PNG", {}, COLOUR),
        ("P", "PNG", {"transparency": bytes([255] * 200 + [9])}, COLOUR),
        ("RGB", "BMP", {}, COLOUR),
        ("RGB", "WEBP", {}, COLOUR),
    ],
)
def test_every_kind_of_file_becomes_rgb(mode, kind, options, colour, exact):
    image = Image.new("RGB", (6, 5), COLOUR)
    image = image.quantize() if mode == "P" else image.convert(mode)
    decoded = decode.decode(encode(image, kind, **options), exact)
    assert decoded.shape == (5, 6, 3) and decoded.dtype == np.uint8
    np.testing.assert_allclose(decoded, np.broadcast_to(colour, (5, 6, 3)), atol=3)


def test_16_bits_of_grey_keep_their_brightness():
    grey = np.full((5, 6), 0x8040, np.uint16)
    np.testing.assert_array_equal(decode.decode(encode(grey, "PNG"), exact=True), 0x80)


def test_jpeg_of_an_unusual_sampling_decodes():
    encoded = bytearray(encode(noise(0), subsampling=2))
    encoded[encoded.index(b"\xff\xc0") + 11] = 0x14  # 4:4:1
    expected = np.asarray(Image.open(io.BytesIO(encoded)))
    np.testing.assert_array_equal(decode.decode(bytes(encoded), exact=True), expected)


JPEG, PNG, BMP = (encode(noise(0), kind) for kind in ("JPEG", "PNG", "BMP"))
IDAT = PNG.index(b"IDAT")
DAMAGED = {
    "empty": b"",
    "random bytes": noise(0).tobytes(),
    "half a JPEG": JPEG[: len(JPEG) // 2],
    "JPEG without its last byte": JPEG[:-1],
    "only the ends of a JPEG": JPEG[:2] + JPEG[-2:],
    "half a PNG": PNG[: len(PNG) // 2],
    "PNG with a chunk of a wrong length": PNG[: IDAT - 4] + struct.pack(">I", 100) + PNG[IDAT:],
    "BMP that claims a billion pixels": BMP[:18] + struct.pack("<II", 1 << 15, 1 << 15) + BMP[26:],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_raises_an_error_that_means_skip(name):
    with pytest.raises((ValueError, OSError)):
        decode.decode(DAMAGED[name], exact=True)


# Crops


def torchvision_center(image, resize, size):
    """Resize(resize) and CenterCrop(size) of torchvision, on Pillow images."""
    height, width = image.shape[:2]
    short, long = sorted((height, width))
    long = int(resize * long / short)
    height, width = (resize, long) if height <= width else (long, resize)
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    top, left = int(round((height - size) / 2)), int(round((width - size) / 2))
    return np.asarray(resized)[top : top + size, left : left + size]


@pytest.mark.parametrize(
    "height, width, resize, size",
    [
        (60, 91, 32, 28),  # landscape
        (91, 60, 32, 28),  # portrait
        (32, 47, 32, 27),  # already of this size, odd margins
        (28, 28, 28, 28),
        (10, 33, 32, 28),  # enlarged
        (300, 630, 110, 96),  # 630 * (110 / 300) is just below 231
    ],
)
def test_center_equals_torchvision(height, width, resize, size):
    image = noise(0, height, width)
    expected = torchvision_center(image, resize, size)
    np.testing.assert_array_equal(decode.center(image, resize, size), expected)


SHAPES = [(200, 300), (300, 200), (64, 64), (7, 1000), (1000, 7), (3, 5), (1, 1)]


def draw_random_resized(rng, height, width):
    return decode.random_resized_box(rng, height, width, 0.08)


def draw_scale_jitter(rng, height, width):
    return decode.scale_jitter_box(rng, height, width, 224, (256, 480))


BOXES = [draw_random_resized, draw_scale_jitter]


@pytest.mark.parametrize("draw", BOXES)
@pytest.mark.parametrize("height, width", SHAPES)
def test_random_box_lies_inside_the_image(draw, height, width):
    rng = np.random.default_rng(0)
    for _ in range(200):
        top, left, h, w = draw(rng, height, width)
        assert 0 <= top < top + h <= height and 0 <= left < left + w <= width


@pytest.mark.parametrize("draw", BOXES)
def test_random_box_is_a_function_of_the_generator(draw):
    def boxes(seed):
        rng = np.random.default_rng(seed)
        return [tuple(map(int, draw(rng, 200, 300))) for _ in range(5)]

    assert boxes(1) == boxes(1)
    assert boxes(1) != boxes(2)


@pytest.mark.parametrize("draw", BOXES)
def test_random_box_reaches_all_four_corners(draw):
    rng = np.random.default_rng(0)
    boxes = np.array([draw(rng, 40, 40) for _ in range(2000)])
    boxes = boxes[(boxes[:, 2:] < 40).all(1)]
    at_top, at_left = boxes[:, 0] == 0, boxes[:, 1] == 0
    at_bottom, at_right = boxes[:, 0] + boxes[:, 2] == 40, boxes[:, 1] + boxes[:, 3] == 40
    for vertical, horizontal in itertools.product((at_top, at_bottom), (at_left, at_right)):
        assert np.any(vertical & horizontal)


def test_random_resized_box_has_the_areas_and_aspect_ratios_of_the_paper():
    rng = np.random.default_rng(0)
    boxes = np.array([decode.random_resized_box(rng, 1000, 1000, 0.08) for _ in range(5000)])
    area, aspect = boxes[:, 2] * boxes[:, 3] / 1e6, boxes[:, 3] / boxes[:, 2]
    assert 0.0795 < area.min() < 0.09 and 0.97 < area.max() <= 1
    assert 0.745 < aspect.min() < 0.76 and 1.31 < aspect.max() < 1.34
    # Uniform, but for the large areas that do not fit at every aspect ratio: the mean is 0.478.
    assert 0.465 < area.mean() < 0.49
    assert abs(np.log(aspect).mean()) < 0.01  # 3/4 as often as 4/3


def test_aspect_ratios_are_even_in_the_logarithm_or_in_themselves():
    rng = np.random.default_rng(0)
    for aspect, inverse in (("log_uniform", np.log), ("uniform", np.asarray)):
        boxes = [decode.random_resized_box(rng, 2000, 2000, 0.08, aspect) for _ in range(4000)]
        ratios = [width / height for _, _, height, width in boxes if height * width < 2e6]
        found = np.quantile(inverse(ratios), [0, 0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(found, np.linspace(inverse(3 / 4), inverse(4 / 3), 5), atol=0.02)


def test_an_unknown_aspect_lists_the_choices(numbered):
    with pytest.raises(ValueError, match="input.aspect 'square': choose one of log_uniform, unif"):
        train_batches(numbered, 1, 4, aspect="square")


def test_random_resized_box_respects_the_smallest_area():
    rng = np.random.default_rng(0)
    boxes = np.array([decode.random_resized_box(rng, 1000, 1000, 0.5) for _ in range(500)])
    assert (boxes[:, 2] * boxes[:, 3]).min() > 0.499e6


def test_random_resized_box_of_a_narrow_strip_is_its_centre():
    rng = np.random.default_rng(0)
    assert decode.random_resized_box(rng, 12, 1000, 0.08) == (0, 492, 12, 16)
    assert decode.random_resized_box(rng, 1000, 12, 0.08) == (492, 0, 16, 12)


def test_scale_jitter_box_is_a_crop_after_resizing_to_each_scale():
    rng = np.random.default_rng(0)
    boxes = np.array(
        [decode.scale_jitter_box(rng, 960, 1200, 224, (256, 480)) for _ in range(5000)]
    )
    np.testing.assert_array_equal(boxes[:, 2], boxes[:, 3])
    shorter_sides = 960 * 224 / boxes[:, 2]
    assert 255.5 < shorter_sides.min() < 257 and 479 < shorter_sides.max() < 481
    assert 363 < shorter_sides.mean() < 373


@pytest.mark.parametrize("size", [4, 30])  # shrinks, enlarges
def test_crop_shows_the_box_and_nothing_else(size):
    image = np.zeros((30, 40, 3), np.uint8)
    image[5:15, 20:36] = COLOUR
    expected = np.broadcast_to(np.uint8(COLOUR), (size, size, 3))
    np.testing.assert_array_equal(decode.crop(image, (5, 20, 10, 16), size), expected)


# Training batches

READING = pytest.mark.parametrize(
    "changes",
    [{"crop": "random_resized"}, {"crop": "pad", "in_memory": True}],
    ids=["files", "in memory"],
)


@READING
@pytest.mark.parametrize("batch_size", [4, 5, IMAGES, 18])
def test_each_epoch_shows_each_image_once_in_a_new_order(numbered, batch_size, changes):
    steps = 3 * IMAGES // batch_size
    labels = train_labels(numbered, steps, batch_size, **changes)
    epochs = [labels[i : i + IMAGES] for i in range(0, len(labels) - IMAGES + 1, IMAGES)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(IMAGES))
    assert not np.array_equal(epochs[0], epochs[1])


@READING
def test_training_batch_has_the_promised_types(numbered, changes):
    (batch,) = train_batches(numbered, 1, 4, **changes)
    assert batch["image"].shape == (4, 8, 8, 3) and batch["image"].dtype == np.uint8
    assert batch["label"].shape == (4,) and batch["label"].dtype == np.int32


@READING
def test_resumed_batches_equal_those_of_a_run_without_a_break(numbered, changes):
    whole = train_batches(numbered, 8, 5, threads=4, **changes)
    assert_same_batches(
        whole[3:], train_batches(numbered, 5, 5, start_step=3, threads=1, **changes)
    )


@READING
def test_repeated_images_fill_a_batch_and_none_is_left_out(numbered, changes):
    changes = {"aug_repeats": 3} | changes
    labels = train_labels(numbered, 6, 6, **changes).reshape(6, 3, 2)
    assert (labels == labels[:, :1]).all()
    assert sorted(labels[:, 0].ravel()) == list(range(IMAGES))  # in three epochs of two steps
    assert_same_batches(
        train_batches(numbered, 4, 6, start_step=2, **changes),
        train_batches(numbered, 6, 6, **changes)[2:],
    )


def test_a_repeated_image_is_cropped_anew(numbered):
    (batch,) = train_batches(numbered, 1, 6, aug_repeats=3, crop="random_resized")
    assert len(np.unique(batch["image"][::2], axis=0)) == 3


def test_a_batch_that_repeats_do_not_fill_is_refused(numbered):
    with pytest.raises(ValueError, match="aug_repeats 3: batch_size 8 is no multiple"):
        train_batches(numbered, 1, 8, aug_repeats=3)


@READING
def test_another_seed_gives_another_order(numbered, changes):
    orders = [train_labels(numbered, 1, IMAGES, seed=seed, **changes) for seed in (0, 1)]
    assert not np.array_equal(*orders)


@READING
def test_shares_of_two_processes_make_up_the_batch_of_one(numbered, changes, monkeypatch):
    whole = train_batches(numbered, 4, 10, **changes)
    shares = []
    for index in (0, 1):
        in_process(monkeypatch, index)
        shares.append(train_batches(numbered, 4, 10, **changes))
    joined = [{k: np.concatenate([a[k], b[k]]) for k in a} for a, b in zip(*shares, strict=True)]
    assert_same_batches(whole, joined)


@READING
def test_a_run_goes_on_with_another_number_of_processes_where_it_was(
    numbered, changes, monkeypatch
):
    whole = train_batches(numbered, 5, 4, **changes)
    for step, count in enumerate((4, 2, 1, 2, 4)):
        shares = []
        for index in range(count):
            in_process(monkeypatch, index, count)
            shares += train_batches(numbered, 1, 4, start_step=step, **changes)
        joined = {k: np.concatenate([share[k] for share in shares]) for k in shares[0]}
        assert_same_batches([whole[step]], [joined])


@pytest.mark.parametrize("crop", ["random_resized", "scale_jitter"])
def test_random_crop_of_an_image_changes_from_epoch_to_epoch(numbered, crop):
    first, second = train_batches(numbered, 2, IMAGES, crop=crop, scales=(10, 20))
    for a, b in zip(np.argsort(first["label"]), np.argsort(second["label"]), strict=True):
        assert not np.array_equal(first["image"][a], second["image"][b])


@pytest.mark.parametrize("crop, in_memory", [("pad", False), ("center", False), ("center", True)])
def test_pad_and_center_hand_over_the_centre_of_each_image(numbered, crop, in_memory):
    (batch,) = train_batches(numbered, 1, IMAGES, crop=crop, in_memory=in_memory)
    for image, label in zip(batch["image"], batch["label"], strict=True):
        encoded = encode(noise(label))
        expected = decode.center(decode.decode(encoded, exact=in_memory), 10, 8)
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("crop", ["random_resized", "scale_jitter"])
def test_images_of_one_size_in_memory_refuse_a_crop_that_needs_the_whole_image(numbered, crop):
    with pytest.raises(ValueError, match="in_memory"):
        train_batches(numbered, 1, 4, crop=crop, in_memory=True)


def test_unknown_crop_lists_the_choices(numbered):
    with pytest.raises(ValueError, match="'cut'.*random_resized, scale_jitter, pad, center"):
        train_batches(numbered, 1, 4, crop="cut")


# Evaluation batches


IN_MEMORY = pytest.mark.parametrize("in_memory", [False, True], ids=["files", "in memory"])


@IN_MEMORY
@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_evaluation_counts_each_image_once(numbered, batch_size, in_memory):
    batches = list(eval_batches(numbered, batch_size, in_memory=in_memory))
    assert {batch["image"].shape for batch in batches} == {(batch_size, 8, 8, 3)}
    images, labels, mask = (
        np.concatenate([batch[k] for batch in batches]) for k in ("image", "label", "mask")
    )
    assert set(mask) <= {0, 1}
    np.testing.assert_array_equal(labels[mask == 1], range(IMAGES))
    for i, image in enumerate(images[mask == 1]):
        expected = torchvision_center(np.asarray(Image.open(io.BytesIO(encode(noise(i))))), 10, 8)
        np.testing.assert_array_equal(image, expected)


@IN_MEMORY
@pytest.mark.parametrize("batch_size", [2, 10, 64, 1000])
def test_two_processes_evaluate_in_step_and_count_each_image_once(
    numbered, batch_size, in_memory, monkeypatch
):
    shares = []
    for index in (0, 1):
        in_process(monkeypatch, index)
        shares.append(list(eval_batches(numbered, batch_size, in_memory=in_memory)))
    shapes = [[{k: v.shape for k, v in batch.items()} for batch in share] for share in shares]
    assert shapes[0] == shapes[1]
    assert shapes[0][0]["image"] == (batch_size // 2, 8, 8, 3)
    counted = [batch["label"][batch["mask"] == 1] for share in shares for batch in share]
    assert sorted(np.concatenate(counted)) == list(range(IMAGES))


@IN_MEMORY
def test_evaluation_can_be_repeated(numbered, in_memory):
    batches = eval_batches(numbered, 5, in_memory=in_memory)
    assert_same_batches(list(batches), list(batches))


@IN_MEMORY
def test_images_for_ten_crops_come_in_the_larger_size(numbered, in_memory):
    (batch,) = eval_batches(numbered, IMAGES, crops=10, in_memory=in_memory)
    assert batch["image"].shape == (IMAGES, 10, 10, 3)


def test_impossible_numbers_of_crops_are_refused(numbered):
    with pytest.raises(ValueError, match="1 or 10"):
        eval_batches(numbered, 4, crops=3)
    with pytest.raises(ValueError, match="input.resize"):
        eval_batches(numbered, 4, crops=10, resize=8)


@IN_MEMORY
def test_image_size_above_resize_is_refused(numbered, in_memory):
    with pytest.raises(ValueError, match="input.resize"):
        eval_batches(numbered, 4, image_size=12, in_memory=in_memory)


# Broken images


def test_evaluation_masks_a_broken_image_and_names_it_once(with_broken, capsys):
    batches = eval_batches(with_broken, 2)
    for _ in range(2):
        counted = [batch["label"][batch["mask"] == 1] for batch in batches]
        np.testing.assert_array_equal(np.concatenate(counted), [0, 2])
    assert capsys.readouterr().err.count("val1.jpg") == 1


def test_training_replaces_a_broken_image_and_names_it_once(with_broken, capsys):
    labels = train_labels(with_broken, 4, 3)
    for epoch in labels.reshape(4, 3):
        assert sorted(epoch) == [0, 2, 2]  # the next image takes its place
    assert capsys.readouterr().err.count("train1.jpg") == 1


def test_memory_leaves_a_broken_image_out_and_names_it(with_broken, capsys):
    labels = train_labels(with_broken, 3, 2, in_memory=True, crop="pad")
    for epoch in labels.reshape(3, 2):
        assert sorted(epoch) == [0, 2]
    assert capsys.readouterr().err.count("train1.jpg") == 1
    (batch,) = eval_batches(with_broken, 4, in_memory=True)
    np.testing.assert_array_equal(batch["label"][batch["mask"] == 1], [0, 2])


@IN_MEMORY
def test_too_many_broken_images_stop_the_run_and_one_is_named(with_broken, in_memory):
    changes = {"in_memory": in_memory, "crop": "pad", "max_broken_images": 0}
    with pytest.raises(ValueError, match=r"train1\.jpg.*max_broken_images"):
        train_batches(with_broken, 2, 3, **changes)
    with pytest.raises(ValueError, match=r"val1\.jpg.*max_broken_images"):
        list(eval_batches(with_broken, 2, **changes))


class OnlyBroken:
    """A source of three broken images that loses its patience with who reads on and on."""

    class_names = ["one"]
    reads = 0

    def __len__(self):
        return 3

    def __getitem__(self, i):
        self.reads += 1
        assert self.reads < 1000, "reads broken images for ever"
        return b"", 0

    def describe(self, i):
        return f"image {i}"


@IN_MEMORY
def test_training_gives_up_where_all_images_are_broken(in_memory):
    config = input_config(crop="pad", in_memory=in_memory)
    with pytest.raises(ValueError, match="cannot be decoded"):
        next(data.make_train(OnlyBroken(), config, 2, seed=0))


# Sources


def open_folder(root, train=True):
    return data.open_source(input_config(source=f"folder:{root}"), train)


def test_folder_takes_image_files_of_either_case_and_no_others(tmp_path):
    names = ("a.JPEG", "b.jpg", "c.PNG", "d.png", "e.txt", "README")
    write_images(tmp_path / "train" / "cat", *names)
    source = open_folder(tmp_path)
    described = [source.describe(i).rpartition("/")[2] for i in range(len(source))]
    assert described == ["a.JPEG", "b.jpg", "c.PNG", "d.png"]
    assert source[1][0] == encode(noise(1))


def test_missing_folder_says_where_images_belong(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder.*nowhere/train/CLASS/"):
        open_folder(tmp_path / "nowhere")


def test_missing_split_lists_those_that_are_there(tmp_path):
    write_images(tmp_path / "train" / "cat", "a.jpg")
    write_images(tmp_path / "test" / "cat", "a.jpg")
    with pytest.raises(FileNotFoundError, match=r"'val'.* test, train.*eval_split"):
        open_folder(tmp_path, train=False)


def test_folder_without_images_says_where_they_belong(tmp_path):
    write_images(tmp_path / "train" / "cat", "notes.txt")
    with pytest.raises(FileNotFoundError, match=r"no images in .*train/CLASS/"):
        open_folder(tmp_path)


@pytest.mark.parametrize("name", ["", "imagenet", "folder:", "tfds:", "digit"])
def test_unknown_source_lists_the_choices(name):
    with pytest.raises(
        ValueError, match="tfds:NAME, folder:PATH, tar:PATTERN, hf:NAME, digits or synthetic"
    ):
        data.open_source(input_config(source=name), train=True)


def test_every_fifth_digit_is_for_the_test():
    config = input_config(source="digits", eval_split="test")
    train, test = data.open_source(config, train=True), data.open_source(config, train=False)
    assert (len(train), len(test)) == (1437, 360)
    whole = load_digits()
    np.testing.assert_array_equal(test.labels, whole.target[::5])
    np.testing.assert_array_equal(test.images[..., 0], np.rint(whole.images[::5] * (255 / 16)))
    assert train.images.shape[1:] == (8, 8, 1) and train.images.max() == 255
    assert set(train.labels) == set(test.labels) == set(range(10))
    with pytest.raises(ValueError, match="'validation'.* train and test"):
        data.open_source(input_config(source="digits", eval_split="validation"), train=False)


def test_images_in_memory_of_another_size_are_refused():
    config = input_config(source="digits", image_size=16, resize=16, crop="pad")
    with pytest.raises(ValueError, match="image_size 16.*8 pixels"):
        data.make_train(data.open_source(config, train=True), config, 4, seed=0)


def test_synthetic_images_have_the_size_that_is_asked_for():
    config = input_config(source="synthetic", image_size=16)
    batch = next(data.make_train(data.open_source(config, train=True), config, 4, seed=0))
    assert batch["image"].shape == (4, 16, 16, 3)
    assert len(np.unique(batch["image"])) > 200


@pytest.fixture
def tfds_root(tmp_path):
    """Returns a folder with the TFDS set "tiny", three records, made without TensorFlow."""
    root = tmp_path / "tiny" / "1.0.0"
    root.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        }
    )
    features.save_config(str(root))
    serializer = ExampleSerializer(features.get_serialized_info())
    writer = ArrayRecordWriter(str(root / "tiny-train.array_record-00000-of-00001"), "group_size:1")
    for i in range(3):
        writer.write(serializer.serialize_example({"image": encode(noise(i)), "label": i % 2}))
    writer.close()
    split = {
        "name": "train",
        "shardLengths": ["3"],
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    info = {"name": "tiny", "version": "1.0.0", "fileFormat": "array_record", "splits": [split]}
    (root / "dataset_info.json").write_text(json.dumps(info))
    return tmp_path


def open_tfds(root, name, split="train"):
    config = input_config(source=f"tfds:{name}", data_dir=str(root), train_split=split)
    return data.open_source(config, train=True)


@pytest.mark.parametrize("name", ["tiny", "tiny:1.0.0"])
@pytest.mark.parametrize("split, numbers", [("train", [0, 1, 2]), ("train[1:]", [1, 2])])
def test_prepared_tfds_set_gives_its_encoded_images(tfds_root, name, split, numbers):
    source = open_tfds(tfds_root, name, split)
    assert source.class_names == ["cat", "dog"]
    examples = [source[i] for i in range(len(source))]
    assert examples == [(encode(noise(i)), i % 2) for i in numbers]


def test_a_tfds_set_takes_the_classes_that_are_given(tfds_root):
    config = input_config(source="tfds:tiny", data_dir=str(tfds_root))
    source = data.open_source(config, True, ["dog", "cow", "cat"])
    assert source.class_names == ["dog", "cow", "cat"]
    assert [source[i][1] for i in range(3)] == [2, 0, 2]
    with pytest.raises(ValueError, match="tiny.*cat not among the 2 classes.*dog, cow"):
        data.open_source(config, True, ["dog", "cow"])


def test_tfds_trains_from_the_environments_folder(tfds_root, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_root))
    config = input_config(source="tfds:tiny")
    batch = next(data.make_train(data.open_source(config, train=True), config, 3, seed=0))
    assert sorted(batch["label"]) == [0, 0, 1]


def test_unprepared_tfds_set_gives_the_command_that_prepares_it(tmp_path):
    command = f"python scripts/prepare_data.py imagenet2012 --data_dir={tmp_path}"
    with pytest.raises(FileNotFoundError) as caught:
        open_tfds(tmp_path, "imagenet2012")
    assert command in str(caught.value)


def test_misspelt_tfds_set_is_told_its_neighbour(tfds_root):
    with pytest.raises(FileNotFoundError, match="there is tiny"):
        open_tfds(tfds_root, "tinny")


def test_missing_tfds_version_is_named(tfds_root):
    with pytest.raises(FileNotFoundError, match=r"tiny:2\.0\.0.*1\.0\.0"):
        open_tfds(tfds_root, "tiny:2.0.0")


def test_tfds_set_with_configs_lists_them(tfds_root):
    (tfds_root / "nette").mkdir()
    (tfds_root / "tiny").rename(tfds_root / "nette" / "160px")
    with pytest.raises(FileNotFoundError, match="tfds:nette/160px"):
        open_tfds(tfds_root, "nette")


def test_missing_tfds_split_lists_those_that_are_there(tfds_root):
    with pytest.raises(ValueError, match="'val'.* train"):
        open_tfds(tfds_root, "tiny", "val")


# Augmentation

KEY = jax.random.key(0)


def random_images(count, size=4, channels=3):
    return np.random.default_rng(0).random((count, size, size, channels), np.float32)


def test_padding_0_leaves_images_as_they_are():
    images = random_images(3)
    np.testing.assert_array_equal(augment.pad_crop(KEY, images, 0), images)


def test_pad_crop_cuts_every_window_out_of_the_padded_image():
    image = random_images(1)[0]
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    windows = {padded[i : i + 4, j : j + 4].tobytes() for i in range(3) for j in range(3)}
    cropped = np.asarray(augment.pad_crop(KEY, np.stack([image] * 300), 1))
    assert {crop.tobytes() for crop in cropped} == windows


def test_flip_mirrors_half_of_the_images_left_to_right():
    images = random_images(1000)
    flipped = np.asarray(augment.random_flip(KEY, images))
    same = (flipped == images).all((1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 450 < mirrored.sum() < 550


def test_color_jitter_stays_in_range_and_changes_each_image_its_own_way():
    image = random_images(1)
    jittered = np.asarray(augment.color_jitter(KEY, np.repeat(image, 50, axis=0), 0.9))
    assert jittered.min() >= 0 and jittered.max() <= 1
    assert len(np.unique(jittered, axis=0)) == 50


def test_color_jitter_scales_brightness_by_its_strength():
    jittered = np.asarray(augment.color_jitter(KEY, np.full((500, 2, 2, 3), 0.5, np.float32), 0.4))
    scales = jittered[:, 0, 0, 0] / 0.5
    assert 0.599 < scales.min() < 0.61 and 1.39 < scales.max() < 1.401


@pytest.mark.parametrize("order", [*itertools.permutations(FACTORS)], ids="-".join)
def test_colors_are_those_of_torchvision_in_each_order(order):
    images = photographs().astype(np.float32) / 255
    factors = np.repeat([[FACTORS[name]] for name in list(FACTORS)[:3]], len(images), axis=1)
    numbers = np.array([[list(FACTORS).index(name) for name in order]] * len(images))
    turns = np.full(len(images), FACTORS["hue"])
    changed = jax.jit(augment.change_colors)(images, numbers, factors, turns)
    expected = RECORDED[f"jitter/{' '.join(order)}"]
    np.testing.assert_allclose(changed[:, ::5, ::5], expected, atol=3e-4)  # 0.2989 there, of red


def test_color_jitter_draws_every_order_as_often(monkeypatch):
    drawn = []
    monkeypatch.setattr(augment, "change_colors", lambda images, order, *_: drawn.append(order))
    for hue, orders in ((0.0, 6), (0.1, 24)):
        augment.color_jitter(KEY, np.zeros((9600, 1, 1, 3)), 0.4, hue)
        found, counts = np.unique(drawn.pop(), axis=0, return_counts=True)
        assert len(found) == orders
        np.testing.assert_allclose(counts, 9600 / orders, rtol=0.2)


def test_color_jitter_draws_each_factor_evenly_and_by_itself(monkeypatch):
    drawn = []
    monkeypatch.setattr(augment, "change_colors", lambda *arguments: drawn.extend(arguments))
    augment.color_jitter(KEY, np.zeros((10_000, 1, 1, 3)), 0.4, 0.1)
    factors = np.stack([*drawn[2], drawn[3]])
    lowest, highest = [0.6] * 3 + [-0.1], [1.4] * 3 + [0.1]
    quantiles = np.quantile(factors, [0, 0.25, 0.5, 0.75, 1], axis=1)
    np.testing.assert_allclose(quantiles, np.linspace(lowest, highest, 5), atol=0.02)
    np.testing.assert_allclose(np.corrcoef(factors), np.eye(4), atol=0.05)


def test_hues_of_grey_images_cannot_be_turned():
    config = input_config(mean=(0.5,), std=(0.25,), hue=0.1)
    with pytest.raises(ValueError, match="input.hue shifts colours"):
        data.input_shape(config)


def test_color_jitter_of_no_strength_leaves_images_as_they_are():
    images = random_images(3)
    np.testing.assert_allclose(augment.color_jitter(KEY, images, 0.0), images, atol=1e-6)


def test_color_jitter_keeps_grey_images_grey():
    images = np.repeat(random_images(20, channels=1), 3, axis=-1)
    jittered = np.asarray(augment.color_jitter(KEY, images, 0.9))
    np.testing.assert_allclose(np.ptp(jittered, axis=-1), 0, atol=1e-6)
    one_channel = augment.color_jitter(KEY, images[..., :1], 0.9)
    np.testing.assert_allclose(one_channel, jittered[..., :1], atol=1e-6)


def test_pca_lighting_shifts_a_whole_image_by_one_colour():
    images = random_images(3)
    shift = np.asarray(augment.pca_lighting(KEY, images, 0.1)) - images
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1, :1], shift.shape), atol=1e-6)
    assert np.abs(shift).max() > 1e-3


def test_pca_lighting_varies_along_the_principal_components():
    images = np.zeros((50_000, 1, 1, 3), np.float32)
    shift = np.asarray(augment.pca_lighting(KEY, images, 0.1))[:, 0, 0]
    vectors, values = np.array(augment.PCA_VECTORS), np.array(augment.PCA_VALUES)
    expected = vectors @ np.diag((0.1 * values) ** 2) @ vectors.T
    np.testing.assert_allclose(np.cov(shift.T), expected, rtol=0.03)
    np.testing.assert_allclose(shift.mean(0), 0, atol=3e-4)


def test_boxes_are_erased_with_the_sizes_and_at_the_places_of_timm():
    ones = np.ones((DRAWS, *SIZE, 1), np.float32)
    found = boxes(np.asarray(augment.random_erase(KEY, ones, 0.6))[..., 0] == 0)
    for name, atol in {"area": 0.015, "aspect": 0.1, "places": 0.015}.items():
        np.testing.assert_allclose(found[name], RECORDED[f"erasing/{name}"], atol=atol)


def test_what_is_erased_becomes_the_mean_one_colour_or_noise():
    images = np.full((400, 8, 8, 3), 9, np.float32)
    for mode, values in {"const": 1, "rand": 3, "pixel": None}.items():
        erased = np.asarray(augment.random_erase(KEY, images, 1.0, mode))
        new = [image[image != 9] for image in erased]
        assert all(len(values) for values in new)
        if values:
            assert {len(np.unique(values)) for values in new} == {values}
        else:
            assert all(len(np.unique(values)) == len(values) for values in new)
        if mode != "const":
            assert np.std(np.concatenate(new)) == pytest.approx(1, abs=0.1)


def test_an_unknown_policy_lists_the_choices():
    with pytest.raises(ValueError, match="auto_augment 'aa': choose one of ra, ra_timm, ta_wide"):
        data.make_preprocess(input_config(auto_augment="aa"), train=True)


def test_an_unknown_way_to_erase_lists_the_choices():
    with pytest.raises(ValueError, match="random_erase_mode 'black': choose one of const, rand"):
        data.make_preprocess(input_config(random_erase_mode="black"), train=True)


def test_ten_crops_are_corners_and_centre_and_their_mirror_images():
    image = np.arange(16).reshape(1, 4, 4, 1)
    crops = np.asarray(augment.ten_crops(image, 2))[:, 0, :, :, 0].tolist()
    straight = [
        [[0, 1], [4, 5]],
        [[2, 3], [6, 7]],
        [[8, 9], [12, 13]],
        [[10, 11], [14, 15]],
        [[5, 6], [9, 10]],
    ]
    assert crops == straight + [[row[::-1] for row in crop] for crop in straight]


def bytes_images(count=4, size=8):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def test_evaluation_only_normalises():
    images = bytes_images()
    views = data.make_preprocess(input_config(), train=False)(images)
    expected = (images / 255 - common.IMAGENET_MEAN) / common.IMAGENET_STD
    assert views.dtype == np.float32
    np.testing.assert_allclose(views, expected[None], rtol=1e-5, atol=1e-6)


def test_evaluation_of_ten_crops_gives_ten_views():
    images = bytes_images(size=10)
    views = data.make_preprocess(input_config(), train=False, crops=10)(images)
    one = data.make_preprocess(input_config(), train=False)(images[:, 1:9, 1:9])
    assert views.shape == (10, 4, 8, 8, 3)
    np.testing.assert_array_equal(views[4], one[0])


def test_training_without_augmentation_sees_what_evaluation_sees():
    config = input_config(flip=False)
    images = bytes_images()
    seen = data.make_preprocess(config, train=True)(KEY, images)
    np.testing.assert_array_equal(seen, data.make_preprocess(config, train=False)(images)[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"flip": True},
        {"crop": "pad"},
        {"color_jitter": 0.4},
        {"hue": 0.1},
        {"auto_augment": "ra"},
        {"auto_augment": "ta_wide"},
        {"pca_lighting": 0.1},
        {"random_erase": 0.5},
    ],
    ids=str,
)
def test_augmentation_is_a_function_of_the_key(changes):
    preprocess = data.make_preprocess(input_config(**{"flip": False} | changes), train=True)
    images = bytes_images(count=16)
    first, again, other = (preprocess(jax.random.key(seed), images) for seed in (0, 0, 1))
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
