"""A trained network as a program that needs neither this project nor Flax."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

import data
from inference.trained import Trained
from models import layers

PLATFORMS = ("cpu", "cuda", "tpu")


def stablehlo(run: Trained, preprocesses: bool = True) -> bytes:
    """Returns the network as StableHLO in the form of `jax.export`, weights and all, for each of PLATFORMS.

    The program maps images [N, image_size, image_size, channels] to float32 logits [N, num_classes], for
    any N. The images are uint8 where it `preprocesses`, which is to normalise them; else they are float32,
    normalised. It computes with JAX's own operations, not those that are fast in training on the CPU.
    """
    variables, shape = jax.device_get(run.variables), data.input_shape(run.config.input)
    normalise = data.make_preprocess(run.config.input, train=False)

    def logits(images):
        images = normalise(images)[0] if preprocesses else images
        return run.module.apply(variables, images, train=False)

    number = export.symbolic_shape("N")[0]
    images = jax.ShapeDtypeStruct((number, *shape), jnp.uint8 if preprocesses else jnp.float32)
    layers.use_stock()
    try:
        return bytes(export.export(jax.jit(logits), platforms=PLATFORMS)(images).serialize())
    finally:
        layers.use_stock(False)


def largest_difference(run: Trained, program: bytes, preprocesses: bool = True) -> float:
    """Returns how far the logits of a program, loaded anew, are from the network's, on images of noise.

    Of 1 is a difference as large as the largest logit.
    """
    shape = (3, *data.input_shape(run.config.input))
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    images = data.make_preprocess(run.config.input, train=False)(pixels)[0]
    expected = jax.jit(run.module.apply)(jax.device_get(run.variables), images)
    found = export.deserialize(bytearray(program)).call(pixels if preprocesses else images)
    return float(jnp.abs(found - expected).max() / jnp.abs(expected).max())
