"""Whether a network takes images of other sizes than that which it was made for."""

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import optax
from flax import errors

from training import state


def check(model, shape, train_sizes: Iterable[int], eval_size: int, mesh) -> None:
    """Checks that the weights for images of one size fit the others, too.

    Args:
      model: a module of `models`.
      shape: (height, width, channels) of the images that the weights are made for.
      train_sizes: pixels a side of those in training.
      eval_size: of those in evaluation.
      mesh: of the devices.

    Raises:
      ValueError: they do not, since a classifier, or an auxiliary one, which is only there in training, has
        a weight for each place of a feature map; or nothing is left of the feature maps.
    """
    wanted = [(size, True) for size in train_sizes] + [(eval_size, False)]
    if all(size == shape[0] for size, _ in wanted):
        return
    made = state.shapes(model, optax.identity(), shape, mesh)
    variables = {"params": made.params, "batch_stats": made.batch_stats}
    for size, train in wanted:
        image = jax.ShapeDtypeStruct((1, size, size, shape[2]), jnp.float32)
        try:
            jax.eval_shape(functools.partial(_apply, model, train), variables, image)
        except errors.ScopeParamShapeError:
            raise ValueError(
                f"{'in training ' if train else ''}the network, made for images of {shape[0]} pixels a side, cannot "
                f"see {size}: its classifier, or an auxiliary one, has a weight for each place of a feature map. Leave "
                f"input.{'start_size' if train else 'eval_size'} 0, or choose a network without"
            ) from None


def _apply(model, train: bool, variables, images):
    return model.apply(
        {**variables, "schedule": {"progress": jnp.zeros(())}},
        images,
        train=train,
        mutable=["aux_logits", "batch_stats"] if train else False,
        rngs={"dropout": jax.random.key(0)},
    )
