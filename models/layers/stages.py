"""How the blocks of a stage are run: each for itself or as one loop, with or without its memory."""

from functools import partial
from operator import itemgetter

import flax.linen as nn
import jax
import jax.numpy as jnp


def call(block, x, *, remat: bool):
    """Returns block(x); `remat`: the backward pass computes its inside again (arXiv:1604.06174)."""
    if not remat or block.is_initializing():
        return block(x)
    return nn.remat(lambda block, x: block(x))(block, x)


def chain(blocks, x, *, scan: bool, remat: bool):
    """Applies the blocks of a stage one after another, each with parameters of its own.

    Args:
      blocks: modules of the network that calls this; all but the first are alike.
      x: what the first takes.
      scan: the alike blocks are compiled once, as a loop.
      remat: only the input of each block is kept for the backward pass, see `call`.
    """
    head, *rest = blocks
    x = call(head, x, remat=remat)
    if not rest:
        return x
    alike = rest[0].clone(parent=None)
    initialises = head.is_initializing()
    if initialises:  # all alike parameters at once: each draw adds to the compilation
        keys = jax.random.split(rest[0].make_rng("params"), len(rest))
        _put(rest, jax.vmap(alike.init, (0, None))(keys, x))
    if not (scan or initialises):
        for block in rest:
            x = call(block, x, remat=remat)
        return x

    mutable = ["batch_stats"] if head.is_mutable_collection("batch_stats") else []
    one = nn.apply(partial(call, remat=remat), alike, mutable=mutable)
    variables = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(b.variables for b in rest))
    x, changed = jax.lax.scan(lambda x, v: one(v, x), x, variables)
    _put(rest, changed)
    return x


def _put(blocks, stacked) -> None:
    """Gives each block its part of `stacked` variables."""
    for i, block in enumerate(blocks):
        for collection, modules in jax.tree.map(itemgetter(i), dict(stacked)).items():
            for name, values in modules.items():
                block.put_variable(collection, name, values)
