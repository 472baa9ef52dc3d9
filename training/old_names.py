"""Reads checkpoints of before November 2026, when Flax named the layers: "Conv_0" for "conv1".

Flax numbered the layers of a class within their parent, in the order of their calls. Where no such
checkpoint is left that matters, this file can go, with what imports it.
"""

import collections

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

Names = dict[tuple[str, ...], tuple[str, ...]]  # paths of layers -> paths of the same layers


def are_old(saved) -> bool:
    """Whether arrays of these names, such as "params/conv1/kernel", are those of an old checkpoint."""
    return "params/Dense_0/kernel" in saved  # the classifier, which every network had


def find(model, input_shape: tuple[int, int, int], variables, saved, *more) -> Names:
    """Returns the old path of each layer by its path.

    Args:
      model: a module of `models`.
      input_shape: (height, width, channels) of one image.
      variables: "params" and "batch_stats" of the network, or their shapes.
      saved: names of the old checkpoint's arrays.
      *more: what the network takes beside the image.
    """
    paths = [name.split("/")[1:-1] for name in saved]  # without collection and parameter
    known = {tuple(path[:end]) for path in paths for end in range(len(path) + 1)}
    layers = {path[:-1] for path in flatten_dict(variables["params"])}
    old, numbers = {(): ()}, collections.Counter()

    def note(call, arguments, named, context):
        path = context.module.path
        if path not in old:
            parent, kind = old[path[:-1]], type(context.module).__name__
            given, numbered = (*parent, path[-1]), (*parent, f"{kind}_{numbers[parent, kind]}")
            numbers[parent, kind] += 1
            is_new_level = numbered not in known and path not in layers
            old[path] = given if given in known else parent if is_new_level else numbered
        return call(*arguments, **named)

    switches = {name: False for name in ("scan", "remat") if hasattr(model, name)}
    one_by_one = model.clone(**switches)  # each block is called under its own path
    image = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    with nn.intercept_methods(note):
        jax.eval_shape(lambda v, x: one_by_one.apply(v, x, *more, mutable=True), variables, image)
    return {path: old[path] for path in layers}


def rename(state, names: Names):
    """Returns a state whose layers have the paths that `names` gives for theirs, if it does.

    Its dicts, outermost, are of the network's layers: parameters, statistics, and what an optimizer keeps
    of each parameter.
    """

    def renamed(tree):
        if not isinstance(tree, dict):
            return tree
        return unflatten_dict(
            {(*names.get(p[:-1], p[:-1]), p[-1]): leaf for p, leaf in flatten_dict(tree).items()}
        )

    return jax.tree.map(renamed, state, is_leaf=lambda node: isinstance(node, dict))


def rename_back(state, names: Names):
    """Undoes `rename`."""
    return rename(state, {old: path for path, old in names.items()})
