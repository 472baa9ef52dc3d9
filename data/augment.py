"""Augmentation and normalisation inside the compiled step: uint8 images in, float32 out."""

import jax
import jax.numpy as jnp

from data import randaugment
from data.messages import one_of
from data.sizes import eval_size

# Principal components of ImageNet's RGB values in [0, 1], as AlexNet's section 4.1 uses them; the
# figures are those of fb.resnet.torch (datasets/imagenet.lua).
PCA_VALUES = (0.2175, 0.0188, 0.0045)
PCA_VECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
# Numbers of the keys that later augmentations draw from, after those of `train_views` itself.
ERASE, AUTO_AUGMENT = 4, 5
LUMA = (0.299, 0.587, 0.114)
ERASE_MODES = ("const", "rand", "pixel")


def make_preprocess(config, train: bool, crops: int = 1):
    """Returns the function that turns uint8 images into what a network sees.

    Args:
      config: the `input` section of a config.
      train: for training: `f(key, images [N, H, W, C]) -> float32 [N, H, W, C]`, augmented.
        Otherwise: `f(images) -> float32 [crops, N, size, size, C]`.
      crops: 1, or 10 as in AlexNet's section 4.1: the four corners and the centre, mirrored too.

    Raises:
      ValueError: a mistake in the config.
    """
    mean, std = jnp.array(config.mean), jnp.array(config.std)
    if train:
        one_of("input.auto_augment", config.auto_augment, (*randaugment.SPACES, ""))
        randaugment.check(config)
        one_of("input.random_erase_mode", config.random_erase_mode, ERASE_MODES)

    def normalise(images):
        return (images - mean) / std

    def train_views(key, images):
        keys = jax.random.split(key, 4)
        if config.auto_augment:
            own_key = jax.random.fold_in(key, AUTO_AUGMENT)
            images = randaugment.auto_augment(
                own_key,
                images,
                config.auto_augment,
                config.ra_num_ops,
                config.ra_magnitude,
                config.ra_magnitude_std,
                config.mean,
            )
        images = images.astype(jnp.float32) / 255
        if config.color_jitter or config.hue:
            images = color_jitter(keys[0], images, config.color_jitter, config.hue)
        if config.pca_lighting:
            images = pca_lighting(keys[1], images, config.pca_lighting)
        images = normalise(images)
        if config.crop == "pad":
            images = pad_crop(keys[2], images, config.padding)
        if config.flip:
            images = random_flip(keys[3], images)
        if config.random_erase:
            own_key = jax.random.fold_in(key, ERASE)
            images = random_erase(own_key, images, config.random_erase, config.random_erase_mode)
        return images

    def eval_views(images):
        images = normalise(images.astype(jnp.float32) / 255)
        return images[None] if crops == 1 else ten_crops(images, eval_size(config))

    return train_views if train else eval_views


def pad_crop(key, images, padding: int):
    """Pads with zeros (the mean) and cuts out a random window per image (arXiv:1512.03385, 4.2)."""
    n, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    corners = jax.random.randint(key, (n, 2), 0, 2 * padding + 1)

    def cut(image, corner):
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (height, width, channels))

    return jax.vmap(cut)(padded, corners)


def random_flip(key, images):
    """Mirrors each image left to right with probability one half."""
    flip = jax.random.bernoulli(key, shape=(len(images), 1, 1, 1))
    return jnp.where(flip, images[:, :, ::-1], images)


def color_jitter(key, images, strength: float, hue: float = 0.0):
    """Changes brightness, contrast and saturation of each image by 1 +- strength, and turns its hue.

    In an order of each image's own, as torchvision and fb.resnet.torch do it. The first cuts values
    off at 0 and 1 after each change, and so does this; the second does not.

    Args:
      key: of the draws.
      images: [N, H, W, C] in [0, 1].
      strength: 0 to 1.
      hue: at most this part of the colour circle, 0 to 0.5; 0: hues stay.
    """
    n, changes = len(images), 4 if hue else 3
    factors = jax.random.uniform(key, (3, n, 1, 1, 1), minval=1 - strength, maxval=1 + strength)
    turns = jax.random.uniform(jax.random.fold_in(key, 3), (n,), minval=-hue, maxval=hue)
    ranks = jax.random.uniform(jax.random.fold_in(key, 4), (n, changes))
    order = jnp.argsort(ranks, axis=1)
    return change_colors(images, order, factors.reshape(3, n), turns if hue else None)


def change_colors(images, order, factors, turns=None):
    """Changes colours of images in [0, 1], as torchvision's `adjust_brightness` and its like do.

    Args:
      images: [N, H, W, C].
      order: [N, 3 or 4], of 0 for brightness, 1 for contrast, 2 for saturation, 3 for hue.
      factors: [3, N], of the first three; 1 changes nothing.
      turns: [N], parts of the colour circle; None where no hue is turned.
    """
    for change in order.T[:, :, None, None, None]:
        grey = jnp.sum(images * jnp.array(LUMA), axis=-1, keepdims=True)
        mean = jnp.mean(grey, axis=(1, 2), keepdims=True)
        which = [change == 0, change == 1, change == 2]
        away_from = jnp.select(which, [jnp.zeros_like(grey), mean, grey])
        factor = jnp.select(which, list(factors[:, :, None, None, None]))
        changed = jnp.clip(away_from + factor * (images - away_from), 0, 1)
        if turns is not None:
            changed = jnp.where(change == 3, turn_hue(images, turns), changed)
        images = changed
    return images


def turn_hue(images, turns):
    """Turns the hues of [N, H, W, 3] by parts [N] of the colour circle; value and saturation stay."""
    red, green, blue = jnp.moveaxis(images, -1, 0)
    value, chroma = images.max(axis=-1), jnp.ptp(images, axis=-1)
    divisor = jnp.where(chroma > 0, chroma, 1)
    sixths = jnp.select(
        [value == red, value == green],
        [(green - blue) / divisor, 2 + (blue - red) / divisor],
        4 + (red - green) / divisor,
    )
    sixths += 6 * turns[:, None, None]

    def channel(start: int):
        place = (start + sixths) % 6
        return value - chroma * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)], axis=-1)


def pca_lighting(key, images, std: float):
    """Adds one random multiple of each principal component of RGB (AlexNet, section 4.1)."""
    amounts = std * jax.random.normal(key, (len(images), 3)) * jnp.array(PCA_VALUES)
    shift = amounts @ jnp.array(PCA_VECTORS).T
    return images + shift[:, None, None]


def random_erase(key, images, prob: float, mode: str = "const"):
    """Erases a box in a part of the normalised images (random erasing, arXiv:1708.04896).

    Ranges as in timm: 2 % to a third of the area, the height 0.3 to 1 / 0.3 times the width, evenly in
    the logarithm. Of ten draws the first box counts that fits into the image.

    Args:
      key: of the draws.
      images: [N, H, W, C].
      prob: the part of the images.
      mode: what takes the box's place: "const", zeros, which are the mean; "rand", one normal colour;
        "pixel", normal noise.
    """
    n, height, width, channels = images.shape
    keys = jax.random.split(key, 6)
    area = height * width * jax.random.uniform(keys[0], (n, 10), minval=0.02, maxval=1 / 3)
    narrowest = jnp.log(0.3)
    aspect = jnp.exp(jax.random.uniform(keys[1], (n, 10), minval=narrowest, maxval=-narrowest))
    heights, widths = jnp.round(jnp.sqrt(area * aspect)), jnp.round(jnp.sqrt(area / aspect))
    fits = (heights < height) & (widths < width)
    first = jnp.argmax(fits, axis=1)[:, None]

    def inside(key, length: int, sides):
        side = jnp.take_along_axis(sides, first, axis=1)
        start = jnp.floor(jax.random.uniform(key, (n, 1)) * (length - side + 1))
        pixels = jnp.arange(length)
        return (pixels >= start) & (pixels < start + side)

    box = inside(keys[2], height, heights)[:, :, None] & inside(keys[3], width, widths)[:, None]
    erased = jax.random.bernoulli(keys[4], prob, (n,)) & fits.any(axis=1)
    fills = {"const": (), "rand": (n, 1, 1, channels), "pixel": images.shape}
    fill = jax.random.normal(keys[5], fills[mode]) if fills[mode] else 0.0
    return jnp.where((box & erased[:, None, None])[..., None], fill, images)


def ten_crops(images, size: int):
    """Cuts the corners and the centre out of [N, H, W, C], mirrored too: [10, N, size, size, C]."""
    bottom, right = images.shape[1] - size, images.shape[2] - size
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    views = [images[:, top : top + size, left : left + size] for top, left in corners]
    return jnp.stack(views + [view[:, :, ::-1] for view in views])
