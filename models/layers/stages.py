"""How the blocks of a stage are run: each for itself or as one loop, with or without its memory."""

from collections.abc import Callable
from functools import partial
from operator import itemgetter

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def call(block, *x, remat: bool):
    """Returns block(*x); `remat`: the backward pass computes its inside again (arXiv:1604.06174)."""
    if not remat or block.is_initializing():
        return block(*x)
    return nn.remat(lambda block, *x: block(*x))(block, *x)


class Stage(nn.Module):
    """Blocks one after another, each with parameters of its own: "block1", "block2", ..."""

    blocks: tuple[Callable, ...]  # what makes each, given its name; all but the first are alike
    scan: bool = False  # the alike blocks are compiled once, as a loop
    remat: bool = False  # only the input of each block is kept for the backward pass, see `call`
    keeps: tuple[float, ...] = ()  # of layers.stochastic_depth: blocks take (key, keep) beside x

    @nn.compact
    def __call__(self, x):
        blocks = [make(name=f"block{i}") for i, make in enumerate(self.blocks, 1)]
        drops = ()
        if self.keeps:
            keys = jax.random.split(self.make_rng("dropout"), len(blocks))
            drops = ((keys, np.float32(self.keeps)),)
        return _chain(blocks, x, drops, self.scan, self.remat)


def _chain(blocks, x, drops, scan: bool, remat: bool):
    """`drops`: what blocks take beside x, each its own: (keys, probabilities), or nothing."""
    head, *rest = blocks
    x = call(head, x, *jax.tree.map(itemgetter(0), drops), remat=remat)
    if not rest:
        return x
    alike = rest[0].clone(parent=None)
    initialises = head.is_initializing()
    if initialises:  # all alike parameters at once: each draw adds to the compilation
        keys = jax.random.split(rest[0].make_rng("params"), len(rest))
        _put(rest, jax.vmap(alike.init, (0, None))(keys, x))
    if not (scan or initialises):
        for i, block in enumerate(rest, 1):
            x = call(block, x, *jax.tree.map(itemgetter(i), drops), remat=remat)
        return x

    mutable = ["batch_stats"] if head.is_mutable_collection("batch_stats") else []
    one = nn.apply(partial(call, remat=remat), alike, mutable=mutable)
    variables = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(b.variables for b in rest))
    drops = jax.tree.map(lambda of_all: of_all[1:], drops)
    x, changed = jax.lax.scan(lambda x, own: one(own[0], x, *own[1]), x, (variables, drops))
    _put(rest, changed)
    return x


def _put(blocks, stacked) -> None:
    """Gives each block its part of `stacked` variables."""
    for i, block in enumerate(blocks):
        for collection, modules in jax.tree.map(itemgetter(i), dict(stacked)).items():
            for name, values in modules.items():
                block.put_variable(collection, name, values)
