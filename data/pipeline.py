"""Iterators of host-local batches.

A training batch is a pure function of (seed, step): image number j of step s is number
s * batch_size + j of an endless sequence that goes through the set in a new order each epoch. So a
run resumes at any step without a saved iterator, and processes share the work without talking.
With repeated augmentation (arXiv:1901.09335) a batch has so many times fewer images, all of them
once, then all of them again: its place j is what place j of such a smaller batch would be.
"""

import dataclasses
import functools
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grain
import jax
import numpy as np
from tqdm import tqdm

from data import decode, sizes
from data.messages import one_of, tell
from data.sources import InMemory

RANDOM_CROPS = ("random_resized", "scale_jitter")  # cut out of the whole image, on the host
CROPS = (*RANDOM_CROPS, "pad", "center")


def input_shape(config) -> tuple[int, int, int]:
    """Returns (height, width, channels) of the images that a network is made for: a channel for each mean.

    Raises:
      ValueError: there is not one mean and one std, for grey images, or three of each.
    """
    channels = len(config.mean)
    if channels not in (1, 3) or len(config.std) != channels:
        raise ValueError(
            f"input.mean has {channels} values and input.std {len(config.std)}: "
            "give each 1, for grey images, or 3, for colours"
        )
    for name in ("pca_lighting", "hue"):
        if channels == 1 and config.get(name):
            raise ValueError(f"input.{name} shifts colours: set it to 0 for grey images")
    return config.image_size, config.image_size, channels


def eval_shape(config) -> tuple[int, int, int]:
    """Returns (height, width, channels) of the images that a network sees in evaluation."""
    size = sizes.eval_size(config)
    return size, size, input_shape(config)[2]


def make_train(source, config, batch_size: int, seed: int, start_step: int = 0):
    """Returns an endless iterator of training batches, from `start_step` on.

    Args:
      source: what `open_source` returned.
      config: the `input` section of a config.
      batch_size: images a step over all processes; a multiple of the number of processes.
      seed: of the order and the random crops.
      start_step: the step of the first batch.

    Returns:
      An iterator of {"image": uint8 [local_batch, H, W, C], "label": int32 [local_batch]}; H and W grow
      where the config says so.

    Raises:
      ValueError: a mistake in the config; or, in a batch, too many images that cannot be read.
    """
    one_of("input.crop", config.crop, CROPS)
    one_of("input.aspect", config.aspect, decode.ASPECTS)
    if config.crop in RANDOM_CROPS and config.in_memory and not isinstance(source, InMemory):
        raise ValueError(
            f"input.crop {config.crop!r} needs whole images, which input.in_memory does not keep: "
            "choose pad or center, or in_memory=False"
        )
    if len(config.scales) != 2 or config.scales[0] > config.scales[1]:
        raise ValueError(
            f"input.scales {config.scales}: let them be the smallest and the largest side"
        )
    distinct, rest = divmod(batch_size, config.aug_repeats)
    if rest:
        raise ValueError(
            f"input.aug_repeats {config.aug_repeats}: batch_size {batch_size} is no multiple of it"
        )
    sizes.check(config)
    images_of_an_epoch = len(source)  # as the plan of sizes has it, which knows of no broken ones
    source = _maybe_load(source, config)
    form = image_form(config)
    local = batch_size // jax.process_count()
    first = jax.process_index() * local
    order = functools.lru_cache(maxsize=4)(
        lambda epoch: np.random.default_rng([seed, epoch]).permutation(len(source))
    )

    def index(position: int) -> int:
        step, place = divmod(position, batch_size)
        epoch, i = divmod(step * distinct + place % distinct, len(source))
        return order(epoch)[i]

    def positions(step: int):
        return range(step * batch_size + first, step * batch_size + first + local)

    def size_of(step: int) -> int:
        return sizes.train_size(config, step * batch_size // images_of_an_epoch)

    if isinstance(source, InMemory):

        def batches():
            step = start_step
            while True:
                chosen = np.array([index(p) for p in positions(step)])
                images = _shrink(source.images[chosen], size_of(step))
                yield {"image": images, "label": source.labels[chosen]}
                step += 1

        return batches()

    broken = BrokenImages(config.max_broken_images, len(source))

    def example(position: int, size: int):
        rng = np.random.default_rng([seed, position])
        i = index(position)
        while True:  # in place of a broken image comes the one after it
            try:
                encoded, label = source[i]
                image = train_image(encoded, rng, config, form, size)
            except (ValueError, OSError) as error:
                broken.add(source.describe(i), error)
                i = (i + 1) % len(source)
            else:
                return image, label

    def batch(step: int):
        size = size_of(step)
        images = np.empty((local, size, size, form["channels"]), np.uint8)
        labels = np.empty(local, np.int32)
        for i, position in enumerate(positions(step)):
            images[i], labels[i] = example(position, size)
        return {"image": images, "label": labels}

    return _read_ahead(batch, range(start_step, sys.maxsize), _threads(config))


def _shrink(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes images [N, height, width, C] to `size` x `size`."""
    if images.shape[1] == size:
        return images
    return np.stack([decode.crop(image, (0, 0, *image.shape[:2]), size) for image in images])


def train_image(
    encoded: bytes, rng: np.random.Generator, config, form: dict, size: int
) -> np.ndarray:
    """Decodes an image, cuts out of it what `config.crop` says, and resizes that to `size` x `size`.

    What is cut out does not depend on the size.

    Args:
      encoded: the file.
      rng: of the crop.
      config: the `input` section of a config.
      form: what `image_form` returned.
      size: pixels a side.
    """

    def draw_box(height: int, width: int):
        if config.crop == "random_resized":
            return decode.random_resized_box(rng, height, width, config.min_area, config.aspect)
        return decode.scale_jitter_box(rng, height, width, config.image_size, config.scales)

    if config.crop in RANDOM_CROPS:
        return decode.decode_crop(encoded, draw_box, size, **form)
    image = decode.decode(encoded, exact=False, **form)
    return _shrink(center(image, config.image_size, config)[None], size)[0]


def eval_image(image: bytes | np.ndarray, size: int, config, form: dict) -> np.ndarray:
    """Decodes an image exactly, if it is encoded, resizes it, and cuts out its centre of `size` x `size`."""
    if isinstance(image, bytes):
        image = decode.decode(image, exact=True, **form)
    return center(decode.to_channels(image, form["channels"]), size, config)


def center(image: np.ndarray, size: int, config) -> np.ndarray:
    """Resizes an image as the section `input` of a config says, and cuts out its centre of `size` x `size`."""
    return decode.center(image, config.resize, size, config.interpolation, config.squash)


def image_form(config) -> dict:
    """Returns how `decode` is to hand over images, once for all of them.

    Runs from before EXIF's orientation was a field have none, and did not look at it.

    Raises:
      ValueError: a mistake in the config.
    """
    one_of("input.interpolation", config.interpolation, decode.INTERPOLATIONS)
    return {
        "channels": input_shape(config)[2],
        "exif_orientation": config.get("exif_orientation", False),
    }


def make_eval(source, config, batch_size: int, crops: int = 1):
    """Returns the batches of one evaluation, as a list-like iterable: each image once.

    All processes get the same number of batches, all batches have one shape; what fills the last
    ones up, and an image that cannot be decoded, has mask 0.

    Args:
      source: what `open_source` returned.
      config: the `input` section of a config.
      batch_size: images a step over all processes; a multiple of the number of processes.
      crops: 1 for images of eval_size, 10 for larger ones of resize, to be cropped on the device.

    Returns:
      An iterable of {"image": uint8 [local_batch, H, W, C], "label": int32, "mask": float32}.
    """
    if crops not in (1, 10):
        raise ValueError(f"crops {crops}: choose 1 or 10")
    size = sizes.eval_size(config)
    if crops == 10 and config.resize <= size:
        raise ValueError(f"10 crops need an input.resize above {_side(config, size)}")
    size = size if crops == 1 else config.resize
    form = image_form(config)
    source = _maybe_load(source, config, size)
    local = batch_size // jax.process_count()
    first = jax.process_index() * local
    broken = BrokenImages(config.max_broken_images, len(source))

    def example(i: int):
        try:
            image, label = source[i]
            if not isinstance(source, InMemory):
                image = eval_image(image, size, config, form)
            return image, label, 1.0
        except (ValueError, OSError) as error:
            broken.add(source.describe(i), error)
            return np.zeros((size, size, form["channels"]), np.uint8), 0, 0.0

    def batch(number: int):
        start = number * batch_size + first
        examples = [example(i) for i in range(start, min(start + local, len(source)))]
        padding = local - len(examples)
        if not examples:
            examples, padding = [(*example(0)[:2], 0.0)], local - 1
        images, labels, mask = zip(*examples, strict=True)
        fill = ((0, padding),)
        return {
            "image": np.pad(np.stack(images), (*fill, (0, 0), (0, 0), (0, 0))),
            "label": np.pad(np.array(labels, np.int32), fill),
            "mask": np.pad(np.array(mask, np.float32), fill),
        }

    numbers = range(-(-len(source) // batch_size))
    if isinstance(source, InMemory):
        return Batches(lambda: map(batch, numbers), len(numbers))
    return Batches(lambda: _read_ahead(batch, numbers, _threads(config)), len(numbers))


class Batches:
    """The batches of an evaluation, as often as one asks for them."""

    def __init__(self, make_iterator, length: int):
        self._make_iterator, self._length = make_iterator, length

    def __len__(self) -> int:
        return self._length

    def __iter__(self):
        return iter(self._make_iterator())


def _read_ahead(batch, steps: range, threads: int):
    """Makes batch(step) for each step, in order, a few ahead in `threads` threads."""
    dataset = grain.MapDataset.range(steps.start, steps.stop).map(batch)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 2)
    return iter(dataset.to_iter_dataset(options))


def load(source, config, size: int | None = None) -> InMemory:
    """Decodes all of `source` into memory, resized and cropped in the centre to `size`."""
    if isinstance(source, InMemory):
        return source
    size, form = size or config.image_size, image_form(config)
    broken = BrokenImages(config.max_broken_images, len(source))

    def example(i: int):
        try:
            encoded, label = source[i]
            return eval_image(encoded, size, config, form), label
        except (ValueError, OSError) as error:
            broken.add(source.describe(i), error)

    with ThreadPoolExecutor(_threads(config)) as pool:
        decoded = pool.map(example, range(len(source)))
        progress = tqdm(decoded, "decoding", len(source), unit=" images", leave=False, disable=None)
        examples = [e for e in progress if e is not None]
    images, labels = zip(*examples, strict=True)
    return InMemory(np.stack(images), np.array(labels, np.int32), source.class_names)


def _maybe_load(source, config, size: int | None = None):
    size = size or config.image_size
    if config.resize < size and not isinstance(source, InMemory):
        raise ValueError(f"input.resize {config.resize} is below {_side(config, size)}")
    if config.in_memory and not isinstance(source, InMemory):
        source = load(source, config, size)
    channels = input_shape(config)[2]
    if isinstance(source, InMemory) and source.images.shape[3] != channels:
        images = np.stack([decode.to_channels(image, channels) for image in source.images])
        source = dataclasses.replace(source, images=images)
    if isinstance(source, InMemory) and source.images.shape[1] != size:
        raise ValueError(
            f"{_side(config, size)}: the images of {config.source} have "
            f"{source.images.shape[1]} pixels a side"
        )
    return source


def _side(config, size: int) -> str:
    """Returns the field that has images of this size, and its value, for a message."""
    other = size == config.get("eval_size", 0)
    return f"input.eval_size {size}" if other else f"input.image_size {config.image_size}"


def _threads(config) -> int:
    has_affinity = hasattr(os, "sched_getaffinity")  # what Slurm and taskset grant; not on macOS
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 2
    return config.threads or max(2, cores)


class BrokenImages:
    """Counts images that cannot be read, names each once, and gives up beyond `limit` of `total`."""

    def __init__(self, limit: int, total: int):
        self._limit, self._total = min(limit, total - 1), total
        self._names = set()
        self._lock = threading.Lock()

    def add(self, name: str, error: Exception) -> None:
        if isinstance(error, ConnectionError):  # of a bucket: the image may be whole
            raise error
        with self._lock:
            known = name in self._names
            self._names.add(name)
            count = len(self._names)
            if not known:
                tell(f"skipped {name}: {_reason(error)} ({count} so far)")
        if count > self._limit:
            remedy = "repair or remove them, or raise input.max_broken_images"
            raise ValueError(
                f"{count} images cannot be decoded, the last is {name} ({_reason(error)}); "
                + (
                    "there are no others"
                    if count == self._total
                    else f"{remedy} (now {self._limit})"
                )
            )


def _reason(error: Exception) -> object:
    return getattr(error, "strerror", None) or error
