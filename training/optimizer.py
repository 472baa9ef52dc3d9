"""Optimizers and learning-rate schedules of the papers, through optax."""

import functools
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from data.messages import one_of

OPTIMIZERS = ("sgd", "rmsprop", "adamw", "lars", "lamb", "lion", "muon")
DECOUPLED = ("adamw", "lamb", "lion", "muon")  # whose weight decay is no part of the gradient
GROUPS = ("kernels", "depthwise", "biases", "norms")  # of parameters; norms: BatchNorm's
SCHEDULES = ("constant", "steps", "cosine", "linear", "exponential", "polynomial")


class Optimizer(NamedTuple):
    """An optax transform, with the weights at which it wants the gradient where those are others."""

    init: Callable
    update: Callable
    at: Callable | None = None  # `f(params, state) -> the weights` of the gradient; None: params
    climb: Callable | None = None  # see `sharpness_aware`


def kernels(params):
    """Marks the weights of convolutions and matrix products: not biases, not BatchNorm."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def is_depthwise(kernel) -> bool:
    """Whether a kernel is that of a convolution with one input channel, [height, width, 1, channels]."""
    return kernel.ndim == 4 and kernel.shape[2] == 1


def not_depthwise(params):
    """Marks the same but for depthwise kernels (MobileNet, section 3.2)."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: path[-1].key == "kernel" and not is_depthwise(leaf), params
    )


def matrices(params):
    """Returns which axes of a convolution's kernel are those of its matrix; None of what is no such kernel.

    Each channel of a depthwise kernel is a filter of its own.
    """
    axes = optax.contrib.MuonDimensionNumbers((0, 1, 2), 3)
    return jax.tree.map(
        lambda leaf, is_matrix: axes if is_matrix and leaf.ndim == 4 else None,
        params,
        not_depthwise(params),
    )


DECAYED = {"all": None, "kernels": kernels, "not_depthwise": not_depthwise}


def make(config, batch_size: int, total_steps: int, steps_per_epoch: float, layers=None):
    """Returns (optax transform, schedule); the schedule maps a step to the learning rate.

    With SAM, lookahead or schedule-free learning the transform is an `Optimizer`.

    Weight decay is L2 regularisation, added to the gradient before momentum, as in the papers and
    in PyTorch; that of DECOUPLED is not (arXiv:1711.05101).

    Args:
      config: the `optimizer` section of a config.
      batch_size: images a step; `config.learning_rate` is for 256 and scaled in proportion
        (arXiv:1706.02677, section 2.1).
      total_steps: where the schedule ends.
      steps_per_epoch: for the durations that are stated in epochs.
      layers: returns what `state.layers` says of the network; asked only where layers differ.

    Raises:
      ValueError: an unknown name; the message lists the right ones. Or an order for what an optimizer
        does not do.
    """
    one_of("optimizer.name", config.name, OPTIMIZERS)
    one_of("optimizer.decay", config.decay, DECAYED)
    schedule = make_schedule(config, batch_size, total_steps, steps_per_epoch)
    mask = DECAYED[config.decay]

    if config.schedule_free:
        config, weight_of_mean = _without_momentum(config)

    depths, classifier = layers() if _has_layers(config) else ({}, set())
    decay = optax.add_decayed_weights(config.weight_decay, mask)
    if config.decays:
        decayed = factors("decays", config.decays, list(depths), mask)
        decay = _with_factors(decayed, lambda u, p, factor: u + config.weight_decay * factor * p)

    parts = []
    if config.clip_norm:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    if config.weight_decay and config.name not in DECOUPLED:
        parts.append(decay)
    if config.clip_decayed:
        if len(parts) < 2:
            raise ValueError(
                "optimizer.clip_decayed needs a clip_norm, and a weight_decay that is a part of the gradient, "
                f"which that of {', '.join(DECOUPLED)} is not: leave it False"
            )
        parts.reverse()
    parts += _rule(config, schedule, decay)
    tx = optax.chain(*parts)
    if config.rates:
        rates = factors("rates", config.rates, list(depths))
        tx = optax.chain(tx, _with_factors(rates, lambda u, p, factor: u * factor))
    if config.freeze or config.layer_decay != 1 or config.head_factor != 1:
        tx = of_layers(tx, config, depths, classifier)
    if config.sam_rho:
        climb = sharpness_aware(config.sam_rho)
        if config.freeze:
            climb = but_frozen(climb, config.freeze, depths)
        tx = Optimizer(
            tx.init, tx.update, climb=lambda grads: climb.update(grads, climb.init(grads))[0]
        )
    if config.schedule_free:
        tx = schedule_free(tx, schedule, weight_of_mean)
    if config.lookahead_steps:
        tx = lookahead(tx, config.lookahead_steps, config.lookahead_rate)
    return tx, schedule


def _has_layers(config) -> bool:
    """Whether layers differ."""
    named = config.freeze or config.rates or config.decays
    return bool(named) or config.layer_decay != 1 or config.head_factor != 1


def _rule(config, schedule, decay) -> list:
    """Returns the transforms of an optimizer after its clipping and its L2 regularisation.

    `decay` adds the decayed weights, for those of DECOUPLED.
    """
    adam = {"b1": config.beta1, "b2": config.beta2, "eps": config.epsilon}
    rate = optax.scale_by_learning_rate(schedule)
    if config.name == "sgd":
        return [optax.sgd(schedule, config.momentum or None, config.nesterov)]
    if config.name == "rmsprop":  # as TensorFlow's: squares start at one, epsilon inside the root
        return [
            optax.rmsprop(
                schedule,
                decay=config.rms_decay,
                eps=config.epsilon,
                initial_scale=1.0,
                eps_in_sqrt=True,
                momentum=config.momentum or None,
                nesterov=config.nesterov,
            )
        ]
    if config.name == "adamw":
        return [optax.chain(optax.scale_by_adam(**adam), decay, rate)]
    if config.name == "lars":
        return [
            optax.lars(
                schedule,
                trust_coefficient=config.trust_coefficient,
                trust_ratio_mask=kernels,
                momentum=config.momentum,
                nesterov=config.nesterov,
            )
        ]
    if config.name == "lamb":  # optax.lamb has a ratio for biases and BatchNorm, too
        return [
            optax.scale_by_adam(**adam),
            decay,
            optax.masked(optax.scale_by_trust_ratio(), kernels),
            rate,
        ]
    if config.name == "muon":  # optax.contrib.muon decays all that Adam trains, or nothing of it
        direction = optax.contrib.muon(
            -1.0,
            beta=config.momentum,
            eps=config.epsilon,
            nesterov=config.nesterov,
            adam_b1=config.beta1,
            adam_b2=config.beta2,
            muon_weight_dimension_numbers=matrices,
        )
        return [direction, decay, rate]
    return [optax.chain(optax.scale_by_lion(config.beta1, config.beta2), decay, rate)]


def factors(field: str, entries: tuple[str, ...], parts: list[str], mask=None) -> Callable:
    """Returns `f(params) -> a factor for each array`; the last entry that matches an array counts.

    Args:
      field: of the config, for messages.
      entries: such as "biases:2.0" or "conv1:0.1": one of GROUPS, or names of parts as in `matching`.
      parts: of the network.
      mask: `f(params) -> factors` where no entry matches; None: 1.

    Raises:
      ValueError: an entry is none, or matches nothing, which `f` finds of groups; the message says what there is.
    """
    chosen = []
    for entry in entries:
        name, _, number = str(entry).rpartition(":")
        try:
            factor = float(number)
        except ValueError:
            factor = -1.0
        if not name or not 0 <= factor < math.inf:
            raise ValueError(
                f"optimizer.{field} {entry!r}: write NAME:FACTOR, such as 'biases:2.0', with a factor of 0 or more"
            )
        names = {name} if name in GROUPS else set(matching(name, parts, field, GROUPS))
        chosen.append((names, factor))

    def of_params(params):
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        with_kernel = {path[:-1] for path in paths if path[-1].key == "kernel"}
        groups = set()

        def factor(path, leaf, first) -> float:
            group = "biases" if path[:-1] in with_kernel else "norms"
            if path[-1].key == "kernel":
                group = "depthwise" if is_depthwise(leaf) else "kernels"
            groups.add(group)
            found = [value for names, value in chosen if names & {group, path[0].key}]
            return found[-1] if found else float(first)

        firsts = mask(params) if mask else jax.tree.map(lambda _: 1.0, params)
        found = jax.tree_util.tree_map_with_path(factor, params, firsts)
        for name in {name for names, _ in chosen for name in names} & set(GROUPS) - groups:
            raise ValueError(
                f"optimizer.{field} {name!r}: the network has the groups {', '.join(sorted(groups))}"
            )
        return found

    return of_params


def _with_factors(of_params, change):
    """Returns the transform by `change(update, parameter, factor)` of each array."""

    def init(params):
        of_params(params)  # which tells mistakes at the start
        return optax.EmptyState()

    def update(updates, state, params):
        return jax.tree.map(change, updates, params, of_params(params)), state

    return optax.GradientTransformation(init, update)


def of_layers(tx, config, depths: dict[str, int], classifier: set[str]):
    """Returns `tx` with frozen layers, and learning rates of their own for the others.

    Frozen ones have no state, no weight decay, and no part in the norm that `clip_norm` bounds.

    Args:
      tx: the optimizer of the whole network.
      config: the `optimizer` section of a config.
      depths: see `state.layers`, as is `classifier`.

    Raises:
      ValueError: `config.freeze` names a part that is not there; the message lists those that are.
    """
    last = max(depths.values())
    rates = {name: config.layer_decay ** (last - depth) for name, depth in depths.items()}
    rates["the classifier"] = config.head_factor

    def of_rate(path, _) -> str:
        is_of_classifier = "/".join(key.key for key in path) in classifier
        return "the classifier" if is_of_classifier else path[0].key

    scales = {name: optax.scale(rate) for name, rate in rates.items()}
    tx = optax.chain(tx, optax.partition(scales, _labels(of_rate)))
    return but_frozen(tx, config.freeze, depths)


def but_frozen(tx, freeze: tuple[str, ...], depths: dict[str, int]):
    """Returns `tx` for all layers but the frozen ones; see `of_layers`."""
    frozen = {name for part in freeze for name in matching(part, list(depths))}

    def of_learning(path, _) -> str:
        return "frozen" if path[0].key in frozen else "learns"

    return optax.partition({"learns": tx, "frozen": optax.set_to_zero()}, _labels(of_learning))


def _labels(of_path):
    return functools.partial(jax.tree_util.tree_map_with_path, of_path)


def sharpness_aware(rho: float):
    """Returns the transform of a gradient to SAM's step towards a higher loss, of length `rho`.

    The update is by the gradient there (arXiv:2010.01412, equation 2). The gradient has no weight decay,
    which is outside of the paper's maximum; the authors' code has it inside.
    """

    def of_length_rho(grads, _):
        return optax.tree.scale(rho / jnp.maximum(optax.tree.norm(grads), 1e-30), grads)

    return optax.stateless(of_length_rho)


class Ahead(NamedTuple):
    """The state of an optimizer whose weights are ahead of those that are evaluated and saved."""

    step: jax.Array
    ahead: Any  # by how much; 0 at the start, whatever the weights are
    inner: Any  # of the optimizer that moves them


def lookahead(tx, steps: int, rate: float) -> Optimizer:
    """Returns `tx` with lookahead (arXiv:1907.08610, algorithm 1).

    The parameters are the slow weights. The fast ones are ahead of them, and all `steps` the slow ones go
    `rate` of the way towards them, where they start anew. The state of `tx` goes on.
    """

    def init(params):
        return Ahead(jnp.zeros((), jnp.int32), optax.tree.zeros_like(params), tx.init(params))

    def at(params, state: Ahead):
        return optax.tree.add(params, state.ahead)

    def update(grads, state: Ahead, params):
        moved, inner = tx.update(grads, state.inner, at(params, state))
        step, ahead = state.step + 1, optax.tree.add(state.ahead, moved)
        meets = step % steps == 0
        updates = jax.tree.map(lambda leaf: jnp.where(meets, rate * leaf, 0), ahead)
        ahead = jax.tree.map(lambda leaf: jnp.where(meets, 0, leaf), ahead)
        return updates, Ahead(step, ahead, inner)

    return Optimizer(init, update, at, getattr(tx, "climb", None))


def _without_momentum(config):
    """Returns (`config` without the momentum, the momentum), for `schedule_free`, which replaces it.

    Raises:
      ValueError: `config` has something that does not go with it.
    """
    momentum = {"sgd": "momentum", "adamw": "beta1"}.get(config.name)
    if not momentum or config.schedule != "constant" or config.lookahead_steps:
        raise ValueError(
            "optimizer.schedule_free takes the optimizers sgd and adamw, and the place of a schedule and of "
            "lookahead: set name=sgd or adamw, schedule=constant, with a warm-up, and lookahead_steps=0"
        )
    config = config.copy_and_resolve_references()
    value, config[momentum] = config[momentum], 0.0
    return config, value


class Mean(NamedTuple):
    """The state of an optimizer whose weights are ahead of their mean, which is evaluated and saved."""

    step: jax.Array
    total: jax.Array  # of the weights of the mean's parts
    ahead: Any  # as in `Ahead`
    inner: Any


def schedule_free(tx, schedule, beta: float) -> Optimizer:
    """Returns `tx`, which has no momentum, with schedule-free learning (arXiv:2405.15682, section 2).

    The parameters are the mean x of the weights z that `tx` makes, each counted by the square of its learning
    rate, as in the authors' code. The gradient is that at (1 - beta) z + beta x.
    """

    def init(params):
        zero = jnp.zeros(())
        return Mean(zero.astype(jnp.int32), zero, optax.tree.zeros_like(params), tx.init(params))

    def at(params, state: Mean):
        return optax.tree.add_scale(params, 1 - beta, state.ahead)

    def update(grads, state: Mean, params):
        moved, inner = tx.update(grads, state.inner, at(params, state))
        ahead = optax.tree.add(state.ahead, moved)
        weight = schedule(state.step) ** 2
        total = state.total + weight
        part = jnp.where(total > 0, weight / total, 0.0)
        state = Mean(state.step + 1, total, optax.tree.scale(1 - part, ahead), inner)
        return optax.tree.scale(part, ahead), state

    return Optimizer(init, update, at, getattr(tx, "climb", None))


def matching(part: str, names: list[str], field: str = "freeze", groups=()) -> list[str]:
    """Returns the names that begin with `part`, but "conv10" not for "conv1".

    Raises:
      ValueError: there is none; the message lists the names.
    """
    found = [name for name in names if re.match(rf"{re.escape(part)}(?!(?<=\d)\d)", name)]
    if not found:
        more = f", and there are the groups {', '.join(groups)}" if groups else ""
        raise ValueError(
            f"optimizer.{field} {part!r}: the network has the parts {', '.join(names)}{more}"
        )
    return found


def make_schedule(config, batch_size: int, total_steps: int, steps_per_epoch: float):
    """Returns the learning rate as a function of the step: a linear warm-up, then the decay.

    The warm-up is part of the total. "steps" multiplies by `decay_factor` at each fraction of
    the run in `decay_at`, "exponential" by `decay_factor` every `decay_epochs` epochs;
    "polynomial" falls as (1 - progress) ** `power`, and "linear" is its power 1.
    """
    one_of("optimizer.schedule", config.schedule, SCHEDULES)
    peak = config.learning_rate * batch_size / 256
    warmup = min(round(config.warmup_epochs * steps_per_epoch), total_steps)
    rest = max(1, total_steps - warmup)
    if config.schedule == "constant":
        decay = optax.constant_schedule(peak)
    elif config.schedule == "steps":
        boundaries = [round(fraction * total_steps) - warmup for fraction in config.decay_at]
        decay = optax.piecewise_constant_schedule(
            peak, dict.fromkeys(boundaries, config.decay_factor)
        )
    elif config.schedule == "cosine":
        decay = optax.cosine_decay_schedule(peak, rest)
    elif config.schedule == "exponential":
        interval = max(1, round(config.decay_epochs * steps_per_epoch))
        decay = optax.exponential_decay(peak, interval, config.decay_factor, staircase=True)
    else:
        power = 1.0 if config.schedule == "linear" else config.power
        decay = optax.polynomial_schedule(peak, 0.0, power, rest)
    if not warmup:
        return decay
    start = peak * config.warmup_factor
    return optax.join_schedules([optax.linear_schedule(start, peak, warmup), decay], [warmup])
