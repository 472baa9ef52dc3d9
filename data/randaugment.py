"""RandAugment (arXiv:1909.13719), in two forms, and TrivialAugment (arXiv:2103.10158) inside the compiled step.

Each operation moves pixels, maps their values by a table, or blends the image with another form of
it; all three are done to every image, and leave it alone where they are not asked for. So a batch
needs no branches, of which a batched program would run all, and no loop over its images. The pixels
are those of torchvision's transforms of uint8 tensors, and for "ra_timm" those of timm's.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

BINS = 31  # of the magnitudes
TIMM_MAX = 10  # of the magnitudes of timm's RandAugment, which are not only whole


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


def rand_augment_timm(height: int, width: int) -> list[Operation]:
    """Returns the operations of timm's RandAugment that do more with a higher magnitude ("inc1").

    All are linear in it. The last one, which does nothing, takes the place of those that are drawn but not done.
    """
    identity, *alike = _operations(0.3, (0.45 * height, 0.45 * width), 30, 0.9, posterize=4)
    own = {
        "Posterize": np.linspace(4, 0, BINS),
        "Solarize": np.linspace(256, 0, BINS),
        "SolarizeAdd": np.linspace(0, 110, BINS),
        "Invert": np.zeros(BINS),
    }
    alike = [operation for operation in alike if operation.name not in own]
    return [*alike, *(Operation(name, values) for name, values in own.items()), identity]


SPACES = {"ra": rand_augment, "ra_timm": rand_augment_timm, "ta_wide": trivial_augment_wide}


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


def check(config) -> None:
    """Raises ValueError where the section `input` of a config asks for what its `auto_augment` does not do."""
    if config.auto_augment == "ra_timm" and config.ra_magnitude > TIMM_MAX:
        raise ValueError(
            f"input.ra_magnitude {config.ra_magnitude}: that of ra_timm is at most {TIMM_MAX}; 9 is usual"
        )
    if config.auto_augment != "ra_timm" and config.ra_magnitude_std:
        raise ValueError(
            f"input.ra_magnitude_std {config.ra_magnitude_std} is of ra_timm: set input.auto_augment=ra_timm, or 0"
        )


def auto_augment(
    key,
    images,
    policy: str,
    num_ops: int = 2,
    magnitude: int = 9,
    magnitude_std: float = 0.0,
    mean: tuple[float, ...] = (0.5,),
):
    """Changes each image by operations that are drawn for it.

    Args:
      key: of the draws.
      images: uint8 [N, H, W, C].
      policy: "ra", RandAugment: `num_ops` operations, one after the other, of one magnitude; "ra_timm",
        timm's: the same, but each is done with probability one half; or "ta_wide", TrivialAugment: one
        operation of a random magnitude.
      num_ops: of RandAugment.
      magnitude: of RandAugment, 0 to BINS - 1; of timm's, 0 to TIMM_MAX.
      magnitude_std: of timm's: of the normal distribution around `magnitude`, of each operation anew.
      mean: of timm's: one value or one a channel, 0 to 1, for what comes in from outside.
    """
    operations, n = SPACES[policy](*images.shape[1:3]), len(images)
    magnitudes = jnp.array([operation.magnitudes for operation in operations], jnp.float32)
    signed = jnp.array([operation.signed for operation in operations])
    names = [operation.name for operation in operations]
    fill = jnp.round(255 * jnp.array(mean)) if policy == "ra_timm" else None
    for key_of_one in jax.random.split(key, 1 if policy == "ta_wide" else num_ops):
        keys = jax.random.split(key_of_one, 3)
        if policy == "ra_timm":
            of_doing, of_magnitude = jax.random.split(keys[1])
            chosen = jax.random.randint(keys[0], (n,), 0, len(operations) - 1)
            does = jax.random.bernoulli(of_doing, shape=(n,))
            chosen = jnp.where(does, chosen, names.index("Identity"))
            drawn = magnitude + magnitude_std * jax.random.normal(of_magnitude, (n,))
            part = jnp.clip(drawn / TIMM_MAX, 0, 1)
            sizes = (1 - part) * magnitudes[chosen, 0] + part * magnitudes[chosen, -1]
        else:
            is_trivial = policy == "ta_wide"
            chosen = jax.random.randint(keys[0], (n,), 0, len(operations))
            numbers = jax.random.randint(keys[1], (n,), 0, BINS) if is_trivial else magnitude
            sizes = magnitudes[chosen, numbers]
        other_way = signed[chosen] & jax.random.bernoulli(keys[2], shape=(n,))
        amounts = jnp.where(other_way, -1, 1) * sizes
        change = functools.partial(apply, names, fill)
        images = jax.vmap(change)(chosen, amounts, images)
    return images


def apply(names: list[str], fill, chosen, amount, image):
    """Returns uint8 [H, W, C] changed by the operation number `chosen` of `names`.

    What moves takes the nearest pixel, and black comes in, as in torchvision; where `fill` has a value a
    channel, it is interpolated bilinearly, and `fill` comes in, as in timm.
    """

    def is_(name: str):
        return chosen == names.index(name)

    image = _move(is_, amount, image, fill)
    image = _map(is_, amount, image, names)
    return _blend(is_, amount, image)


def _move(is_, amount, image, fill):
    """Shears about the upper left corner, translates, rotates about the centre."""
    height, width, _ = image.shape
    angle = jnp.deg2rad(jnp.where(is_("Rotate"), amount, 0))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    shear_x, shear_y = jnp.where(is_("ShearX"), amount, 0), jnp.where(is_("ShearY"), amount, 0)
    pixels = jnp.trunc(amount) if fill is None else amount
    right, down = (jnp.where(is_(f"Translate{axis}"), pixels, 0) for axis in "XY")
    y, x = jnp.meshgrid(jnp.arange(height) + 0.5, jnp.arange(width) + 0.5, indexing="ij")
    from_x, from_y = x - width / 2, y - height / 2
    columns = width / 2 + cos * from_x - sin * from_y + shear_x * y - right
    rows = height / 2 + sin * from_x + cos * from_y + shear_y * x - down
    if fill is not None:
        return _between(image, rows, columns, fill)
    columns, rows = jnp.int32(jnp.floor(columns)), jnp.int32(jnp.floor(rows))
    return image.at[rows, columns].get(mode="fill", fill_value=0, wrap_negative_indices=False)


def _between(image, rows, columns, fill):
    """Interpolates between the four pixels around each place, as Pillow; at the border they repeat."""
    height, width, _ = image.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    top, left = jnp.floor(rows - 0.5), jnp.floor(columns - 0.5)
    down, right = (rows - 0.5 - top)[..., None], (columns - 0.5 - left)[..., None]

    def in_row(row):
        row = jnp.int32(jnp.clip(row, 0, height - 1))
        first, second = (jnp.int32(jnp.clip(left + i, 0, width - 1)) for i in (0, 1))
        return (1 - right) * image[row, first] + right * image[row, second]

    mixed = (1 - down) * in_row(top) + down * in_row(top + 1)
    return _to_uint8(jnp.where(inside[..., None], mixed, fill))


def _map(is_, amount, image, names):
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
    bits = jnp.int32(jnp.where(is_("Posterize"), jnp.ceil(amount), 8))
    tables = {
        "Posterize": values & -(1 << (8 - bits)),
        "Solarize": jnp.where(values >= amount, 255 - values, values),
        "AutoContrast": jnp.where(highest > lowest, stretched, values),
        "Equalize": jnp.where(step > 0, equal, values),
        "Brightness": values * (1 + amount),
        "SolarizeAdd": jnp.where(values < 128, values + jnp.floor(amount), values),
        "Invert": 255 - values,
    }
    table = jnp.broadcast_to(values, (channels, 256))
    for name in tables:
        if name in names:
            table = jnp.where(is_(name), tables[name], table)
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
