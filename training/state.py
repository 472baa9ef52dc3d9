"""All that training changes, in one pytree."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from training import sharding


@flax.struct.dataclass
class TrainState:
    """What a checkpoint holds."""

    step: jax.Array  # int32: optimizer steps done
    params: Any
    batch_stats: Any  # BatchNorm's running means and variances; {} for networks without
    opt_state: Any
    ema: Any = None  # {"params", "batch_stats"}, their moving average; None: there is none


def create(model, optimizer, input_shape: tuple[int, int, int], seed: int, mesh) -> TrainState:
    """Initialises the network and the optimizer in place, on the devices of `mesh`.

    Args:
      model: a module of `models`.
      optimizer: an optax transform.
      input_shape: (height, width, channels) of one image.
      seed: of the weights.
      mesh: of `training.sharding.make_mesh`.
    """

    init = _make_init(model, optimizer, input_shape)
    key = jax.random.key(seed)
    shardings = sharding.of_state(mesh, jax.eval_shape(init, key))
    return jax.jit(init, out_shardings=shardings, compiler_options=quick_compilation())(key)


def shapes(model, optimizer, input_shape: tuple[int, int, int], mesh) -> TrainState:
    """Returns the state that `create` would, as shapes: for `Checkpoints.restore` to fill."""
    found = jax.eval_shape(_make_init(model, optimizer, input_shape), jax.random.key(0))
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
        found,
        sharding.of_state(mesh, found),
    )


def _make_init(model, optimizer, input_shape):
    def init(key):
        variables = model.init({"params": key}, jnp.zeros((1, *input_shape)), train=False)
        params = variables["params"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=variables.get("batch_stats", {}),
            opt_state=optimizer.init(params),
        )

    return init


def classifier(model, input_shape: tuple[int, int, int]) -> set[str]:
    """Returns the parameters whose shape depends on the number of classes, such as "params/fc/kernel".

    They are those of the classifier and of auxiliary ones.

    Args:
      model: a module of `models`.
      input_shape: (height, width, channels) of one image.
    """
    image = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    found, of_more = (
        flatten_dict(jax.eval_shape(m.init, jax.random.key(0), image)["params"], sep="/")
        for m in (model, model.clone(num_classes=model.num_classes + 1))
    )
    return {f"params/{name}" for name, leaf in found.items() if leaf.shape != of_more[name].shape}


def layers(model, input_shape: tuple[int, int, int]) -> tuple[dict[str, int], set[str]]:
    """Returns (depth of each layer by its name, names of the classifier's parameters, such as "fc/kernel").

    Layers are the uppermost ones, in the order of their calls: "conv1", "bn1", "stage1". One without a
    kernel, such as a BatchNorm, is as deep as the one before it.

    Args:
      model: a module of `models`.
      input_shape: (height, width, channels) of one image.
    """
    depths, depth = {}, 0

    def init(key):
        params = model.init(key, jnp.zeros((1, *input_shape)))["params"]
        depths.update(dict.fromkeys(params))  # in that order, which a pytree does not keep
        return params

    params = jax.eval_shape(init, jax.random.key(0))
    for name in depths:
        depth += any(path[-1] == "kernel" for path in flatten_dict(params[name]))
        depths[name] = depth
    names = classifier(model, input_shape)
    return depths, {name.removeprefix("params/") for name in names}


def quick_compilation() -> dict | None:
    """Returns options of `jax.jit` for what runs once, such as the making of weights.

    On the CPU compiling less well takes less time in all; the bits are the same.
    """
    return {"xla_backend_optimization_level": "1"} if jax.default_backend() == "cpu" else None
