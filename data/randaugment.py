"""RandAugment (arXiv:1909.13719) and TrivialAugment (arXiv:2103.10158) inside the compiled step.

Each operation moves pixels, maps their values by a table, or blends the image with another form of
it; all three are done to every image, and leave it alone where they are not asked for. So a batch
needs no branches, of which a batched program would run all, and no loop over its images. The pixels
are those of torchvision's transforms of uint8 tensors.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

BINS = 31  # of the magnitudes


class Operation(NamedTuple):
    """What one operation does, by its magnitude."""

    name: str
    magnitudes: np.ndarray  # [BINS]
    signed: bool = False  # half of the draws are the other way


def rand_augment(height: int, width: int) -> list[Operation]:
    """Returns the operations of RandAugment, with torchvision's ranges: its default magnitude is 9."""
    sides = 150 / 331 * height, 150 / 331 * width  # AutoAugment's 150 of 331 pixels
    return _operations(0.3, sides, 30, 0.9, posterize=4)


def trivial_augment_wide(height: int, width: int) -> list[Operation]:
    """Returns the operations of TrivialAugment with the ranges "wide", of its table 1."""
    return _operations(0.99, (32, 32), 135, 0.99, posterize=6)


SPACES = {"ra": rand_augment, "ta_wide": trivial_augment_wide}


def _operations(shear, sides, degrees, factor, posterize) -> list[Operation]:
    def up_to(most):
        return np.linspace(0, most, BINS)

    bits = 8 - np.round(np.arange(BINS) / ((BINS - 1) / posterize))
    return [
        Operation("Identity", up_to(0)),
        Operation("ShearX", up_to(shear), signed=True),
        Operation("ShearY", up_to(shear), signed=True),
        Operation("TranslateX", up_to(sides[1]), signed=True),
        Operation("TranslateY", up_to(sides[0]), signed=True),
        Operation("Rotate", up_to(degrees), signed=True),
        Operation("Brightness", up_to(factor), signed=True),
        Operation("Color", up_to(factor), signed=True),
        Operation("Contrast", up_to(factor), signed=True),
        Operation("Sharpness", up_to(factor), signed=True),
        Operation("Posterize", bits),
        Operation("Solarize", 255 - up_to(255)),
        Operation("AutoContrast", up_to(0)),
        Operation("Equalize", up_to(0)),
    ]


def auto_augment(key, images, policy: str, num_ops: int = 2, magnitude: int = 9):
    """Changes each image by operations that are drawn for it.

    Args:
      key: of the draws.
      images: uint8 [N, H, W, C].
      policy: "ra", RandAugment: `num_ops` operations, one after the other, of one magnitude; or
        "ta_wide", TrivialAugment: one operation of a random magnitude.
      num_ops: of RandAugment.
      magnitude: of RandAugment, 0 to BINS - 1.
    """
    operations, n = SPACES[policy](*images.shape[1:3]), len(images)
    magnitudes = jnp.array([operation.magnitudes for operation in operations], jnp.float32)
    signed = jnp.array([operation.signed for operation in operations])
    names = [operation.name for operation in operations]
    for key_of_one in jax.random.split(key, num_ops if policy == "ra" else 1):
        keys = jax.random.split(key_of_one, 3)
        chosen = jax.random.randint(keys[0], (n,), 0, len(operations))
        numbers = jax.random.randint(keys[1], (n,), 0, BINS) if policy == "ta_wide" else magnitude
        other_way = signed[chosen] & jax.random.bernoulli(keys[2], shape=(n,))
        amounts = jnp.where(other_way, -1, 1) * magnitudes[chosen, numbers]
        images = jax.vmap(functools.partial(apply, names))(chosen, amounts, images)
    return images


def apply(names: list[str], chosen, amount, image):
    """Returns uint8 [H, W, C] changed by the operation number `chosen` of `names`."""

    def is_(name: str):
        return chosen == names.index(name)

    image = _move(is_, amount, image)
    image = _map(is_, amount, image)
    return _blend(is_, amount, image)


def _move(is_, amount, image):
    """Shears about the upper left corner, translates, rotates about the centre; black comes in."""
    height, width, _ = image.shape
    angle = jnp.deg2rad(jnp.where(is_("Rotate"), amount, 0))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    shear_x, shear_y = jnp.where(is_("ShearX"), amount, 0), jnp.where(is_("ShearY"), amount, 0)
    right, down = (jnp.where(is_(f"Translate{axis}"), jnp.trunc(amount), 0) for axis in "XY")
    y, x = jnp.meshgrid(jnp.arange(height) + 0.5, jnp.arange(width) + 0.5, indexing="ij")
    from_x, from_y = x - width / 2, y - height / 2
    columns = width / 2 + cos * from_x - sin * from_y + shear_x * y - right
    rows = height / 2 + sin * from_x + cos * from_y + shear_y * x - down
    columns, rows = jnp.int32(jnp.floor(columns)), jnp.int32(jnp.floor(rows))
    return image.at[rows, columns].get(mode="fill", fill_value=0, wrap_negative_indices=False)


def _map(is_, amount, image):
    """Maps values by a table for each channel: what depends on a pixel alone, or on counts of values."""
    channels = image.shape[-1]
    values = jnp.arange(256)
    counts = jax.vmap(lambda channel: jnp.bincount(channel, length=256))(
        jnp.moveaxis(image, -1, 0).reshape(channels, -1)
    )
    there = counts > 0
    lowest = jnp.argmax(there, axis=1)[:, None]
    highest = 255 - jnp.argmax(there[:, ::-1], axis=1)[:, None]
    stretched = (values - lowest) * (255 / jnp.maximum(highest - lowest, 1))
    step = (counts.sum(1) - jnp.take_along_axis(counts, highest, axis=1)[:, 0])[:, None] // 255
    before = jnp.cumsum(counts, axis=1) - counts
    equal = (before + step // 2) // jnp.maximum(step, 1)
    bits = jnp.int32(jnp.where(is_("Posterize"), amount, 8))
    tables = {
        "Posterize": values & -(1 << (8 - bits)),
        "Solarize": jnp.where(values >= amount, 255 - values, values),
        "AutoContrast": jnp.where(highest > lowest, stretched, values),
        "Equalize": jnp.where(step > 0, equal, values),
        "Brightness": values * (1 + amount),
    }
    table = jnp.broadcast_to(values, (channels, 256))
    for name, of_name in tables.items():
        table = jnp.where(is_(name), of_name, table)
    return _to_uint8(table)[jnp.arange(channels), image]


def _blend(is_, amount, image):
    """Goes away from a form of the image by 1 + amount: from grey, its mean, or a smooth image."""
    pixels = image.astype(jnp.float32)
    grey = pixels
    if image.shape[-1] == 3:
        grey = jnp.floor(pixels @ jnp.array((0.2989, 0.587, 0.114)))[:, :, None]
    asked = [is_("Color"), is_("Contrast"), is_("Sharpness")]
    forms = [
        jnp.broadcast_to(grey, pixels.shape),
        jnp.full_like(pixels, grey.mean()),
        _smooth(pixels),
    ]
    factor = 1 + jnp.select(asked, [amount] * 3, 0)
    return _to_uint8(factor * pixels + (1 - factor) * jnp.select(asked, forms, pixels))


def _smooth(pixels):
    """Averages each pixel, counted five times, with its eight neighbours; the border stays."""
    height, width, _ = pixels.shape
    rows = pixels[:-2] + pixels[1:-1] + pixels[2:]
    sums = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * pixels[1:-1, 1:-1]
    return pixels.at[1:-1, 1:-1].set(jnp.round(sums / 13)) if min(height, width) > 2 else pixels


def _to_uint8(values):
    return jnp.clip(values, 0, 255).astype(jnp.uint8)
