"""Drop path: residual branches, or paths of a cell, that some images do without in training."""

import itertools

import jax
import jax.numpy as jnp


def drop_path(x, drop=None):
    """Returns x [N, ...] with all of an image as zeros, or else scaled up by as much as is lost on average.

    Args:
      x: what a path has computed.
      drop: (key, probability with which an image keeps it); None: all keep it.
    """
    if drop is None:
        return x
    key, keep = drop
    kept = jax.random.bernoulli(key, keep, (len(x), *[1] * (x.ndim - 1)))
    return jnp.where(kept, x / keep, 0).astype(x.dtype)


def stochastic_depth(rate: float, blocks: tuple[int, ...]) -> list[tuple[float, ...]]:
    """Returns how probably the branch of each block is kept, for each stage.

    It falls in proportion to the depth, from 1 for the input of the first block to 1 - `rate` for the last
    block: Deep Networks with Stochastic Depth (Huang et al., 2016), arXiv:1603.09382, equation 4.

    Args:
      rate: with which the branch of the last block is dropped; 0: nothing is, and () comes for each stage.
      blocks: the number of them in each stage.
    """
    if not rate:
        return [()] * len(blocks)
    ends = list(itertools.accumulate(blocks))
    return [
        tuple(1 - rate * (end - number + i) / ends[-1] for i in range(1, number + 1))
        for number, end in zip(blocks, ends, strict=True)
    ]
