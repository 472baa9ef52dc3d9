"""An exponential moving average of the weights, which is judged in their place (arXiv:1512.00567, section 8).

BatchNorm's running statistics are averaged, too, as timm's ModelEmaV3 and torchvision's recipes do: those of
the last weights are of other feature maps than the averaged weights make.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from training.state import TrainState, quick_compilation


def make(config) -> Callable | None:
    """Returns `f(average, state after a step) -> average`; None: the config wants no average.

    The warm-up is that of TensorFlow's ExponentialMovingAverage: update number t, from 0, has a decay of
    min(decay, (1 + t) / (10 + t)), so that the first weights are soon forgotten.

    Args:
      config: whole.
    """
    if not config.ema_decay:
        return None
    every = config.ema_every

    def update(average, state: TrainState):
        part = 1 - config.ema_decay  # of the new weights
        if config.ema_warmup:
            updates = state.step // every - 1  # before this one
            part = jnp.maximum(part, 9 / (10 + updates))
        part = jnp.where(state.step % every == 0, part, 0)
        return jax.tree.map(lambda old, new: old + part * (new - old), average, _weights(state))

    return update


def begin(state: TrainState) -> TrainState:
    """Returns the state with an average that is its weights, as copies: a step donates both."""
    weights = _weights(state)
    copy = jax.jit(
        lambda tree: jax.tree.map(jnp.copy, tree),
        out_shardings=jax.tree.map(lambda leaf: leaf.sharding, weights),
        compiler_options=quick_compilation(),
    )
    return state.replace(ema=copy(weights))


def judged(state: TrainState) -> TrainState:
    """Returns the state whose weights are the average, where there is one: what evaluations count."""
    return state if state.ema is None else state.replace(**state.ema)


def _weights(state: TrainState) -> dict:
    return {"params": state.params, "batch_stats": state.batch_stats}
