"""Mixes each image of a batch, and what the network should answer, with another image's."""

import jax
import jax.numpy as jnp

OWN_KEY = 2**31  # beside those of `make_preprocess`, which counts from 0


def make_mix(config):
    """Returns the function that mixes a batch, or None where the config asks for none.

    It is `f(key, images [N, H, W, C], targets [N, classes]) -> (images, targets)`, after the other
    augmentations. One draw serves the whole batch (timm's mode "batch", and torchvision's way), and
    an image's partner is the one before it, the last one for the first (as in torchvision): of a
    batch that several devices share, each hands one image to the next.

    Args:
      config: the `input` section of a config.
    """
    mixup, cutmix = config.mixup_alpha, config.cutmix_alpha
    if not mixup and not cutmix:
        return None
    switch_prob = config.mixup_switch_prob if mixup and cutmix else float(cutmix > 0)

    def mix(key, images, targets):
        keys = jax.random.split(jax.random.fold_in(key, OWN_KEY), 4)
        height, width = images.shape[1:3]
        of_mixup = jnp.full((height, width), jax.random.beta(keys[0], mixup or 1, mixup or 1))
        of_cutmix = outside_of_patch(keys[1], height, width, cutmix or 1)
        weights = jnp.where(jax.random.bernoulli(keys[2], switch_prob), of_cutmix, of_mixup)
        weights = jnp.where(jax.random.bernoulli(keys[3], config.mixup_prob), weights, 1.0)
        return blend(images, targets, weights)

    return mix


def blend(images, targets, weights):
    """Blends images and targets with those before them.

    Args:
      images: [N, H, W, C].
      targets: [N, classes].
      weights: [H, W], the part of the image itself in each pixel. Their mean is its part in the
        targets: the lambda of mixup, and that of CutMix by the pixels that were pasted.
    """
    share, weights = weights.mean(), weights[:, :, None]
    return (
        weights * images + (1 - weights) * jnp.roll(images, 1, axis=0),
        share * targets + (1 - share) * jnp.roll(targets, 1, axis=0),
    )


def outside_of_patch(key, height: int, width: int, alpha: float):
    """Returns [height, width]: 0 in a random patch, 1 elsewhere (CutMix, arXiv:1905.04899).

    The patch has the shape of the image and the part 1 - Beta(alpha, alpha) of its area; its centre
    is anywhere in the image, which cuts off what lies outside.
    """
    keys = jax.random.split(key, 3)
    side = jnp.sqrt(1 - jax.random.beta(keys[0], alpha, alpha))

    def inside(key, length: int):
        centre, cut = jax.random.randint(key, (), 0, length), jnp.int32(side * length)
        from_start = jnp.arange(length) - (centre - cut // 2)
        return (from_start >= 0) & (from_start < cut)

    patch = inside(keys[1], height)[:, None] & inside(keys[2], width)
    return 1.0 - patch
