"""Augmentation and normalisation inside the compiled step: uint8 images in, float32 out."""

import jax
import jax.numpy as jnp

from data.sizes import eval_size

# Principal components of ImageNet's RGB values in [0, 1], as AlexNet's section 4.1 uses them; the
# figures are those of fb.resnet.torch (datasets/imagenet.lua).
PCA_VALUES = (0.2175, 0.0188, 0.0045)
PCA_VECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
LUMA = (0.299, 0.587, 0.114)


def make_preprocess(config, train: bool, crops: int = 1):
    """Returns the function that turns uint8 images into what a network sees.

    Args:
      config: the `input` section of a config.
      train: for training: `f(key, images [N, H, W, C]) -> float32 [N, H, W, C]`, augmented.
        Otherwise: `f(images) -> float32 [crops, N, size, size, C]`.
      crops: 1, or 10 as in AlexNet's section 4.1: the four corners and the centre, mirrored too.
    """
    mean, std = jnp.array(config.mean), jnp.array(config.std)

    def normalise(images):
        return (images - mean) / std

    def train_views(key, images):
        keys = jax.random.split(key, 4)
        images = images.astype(jnp.float32) / 255
        if config.color_jitter:
            images = color_jitter(keys[0], images, config.color_jitter)
        if config.pca_lighting:
            images = pca_lighting(keys[1], images, config.pca_lighting)
        images = normalise(images)
        if config.crop == "pad":
            images = pad_crop(keys[2], images, config.padding)
        if config.flip:
            images = random_flip(keys[3], images)
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


def color_jitter(key, images, strength: float):
    """Scales brightness, contrast and saturation of images in [0, 1], each by 1 +- strength."""
    scales = jax.random.uniform(
        key, (3, len(images), 1, 1, 1), minval=1 - strength, maxval=1 + strength
    )
    brightness, contrast, saturation = scales
    images = jnp.clip(images * brightness, 0, 1)
    grey = jnp.sum(images * jnp.array(LUMA), axis=-1, keepdims=True)
    mean = jnp.mean(grey, axis=(1, 2), keepdims=True)
    images = jnp.clip(mean + (images - mean) * contrast, 0, 1)
    grey = jnp.sum(images * jnp.array(LUMA), axis=-1, keepdims=True)
    return jnp.clip(grey + (images - grey) * saturation, 0, 1)


def pca_lighting(key, images, std: float):
    """Adds one random multiple of each principal component of RGB (AlexNet, section 4.1)."""
    amounts = std * jax.random.normal(key, (len(images), 3)) * jnp.array(PCA_VALUES)
    shift = amounts @ jnp.array(PCA_VECTORS).T
    return images + shift[:, None, None]


def ten_crops(images, size: int):
    """Cuts the corners and the centre out of [N, H, W, C], mirrored too: [10, N, size, size, C]."""
    bottom, right = images.shape[1] - size, images.shape[2] - size
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    views = [images[:, top : top + size, left : left + size] for top, left in corners]
    return jnp.stack(views + [view[:, :, ::-1] for view in views])
