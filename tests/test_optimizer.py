"""Tests training/optimizer.py against the update rules and schedules, written out in NumPy.

Example:
  pytest tests/test_optimizer.py
"""

import pathlib

import jax
import numpy as np
import optax
import pytest

import models
from configs import common
from training import optimizer, state

STEPS = 6
PARAMS = {
    "conv": {"kernel": np.array([[1.0, -2.0], [0.5, 3.0]]), "bias": np.array([0.3, -0.1])},
    "norm": {"scale": np.array([1.0, 1.5])},
}


def optimizer_config(**changes):
    config = common.get_config().optimizer
    config.update({"schedule": "constant", "weight_decay": 0.0} | changes)
    return config


def flatten(tree):
    return {(layer, name): np.asarray(v) for layer, ps in tree.items() for name, v in ps.items()}


def unflatten(flat):
    tree = {}
    for (layer, name), value in flat.items():
        tree.setdefault(layer, {})[name] = value.astype(np.float32)
    return tree


def random_gradients(params=PARAMS):
    rng = np.random.default_rng(0)
    shapes = {k: v.shape for k, v in flatten(params).items()}
    return [{k: rng.normal(size=shape) for k, shape in shapes.items()} for _ in range(STEPS)]


def train(gradients, params=PARAMS, **changes):
    """Returns the parameters after one update for each of the gradients."""
    tx, _ = optimizer.make(optimizer_config(**changes), 256, STEPS, steps_per_epoch=1)
    params = unflatten(flatten(params))
    state, update = tx.init(params), jax.jit(tx.update)
    for gradient in gradients:
        updates, state = update(unflatten(gradient), state, params)
        params = optax.apply_updates(params, updates)
    return flatten(params)


def assert_follows(rule, decayed=("kernel",), params=PARAMS, atol=1e-6, **changes):
    """Compares with `rule(weights, gradients, weight decay)` for each array on its own."""
    gradients = random_gradients(params)
    trained = train(gradients, params, **changes)
    for key, start in flatten(params).items():
        weight_decay = changes.get("weight_decay", 0.0) if key[1] in decayed else 0.0
        expected = rule(start, [g[key] for g in gradients], weight_decay)
        np.testing.assert_allclose(trained[key], expected, rtol=2e-5, atol=atol)


ALL = ("kernel", "bias", "scale")
DECAYS = pytest.mark.parametrize("decay, decayed", [("kernels", ("kernel",)), ("all", ALL)])


# Update rules


@DECAYS
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_follows_pytorchs_rule(nesterov, decay, decayed):
    def rule(w, gradients, weight_decay):
        buffer = 0.0
        for g in gradients:
            g = g + weight_decay * w
            buffer = 0.8 * buffer + g
            w = w - 0.1 * (g + 0.8 * buffer if nesterov else buffer)
        return w

    changes = {"momentum": 0.8, "nesterov": nesterov, "weight_decay": 0.05}
    assert_follows(rule, decayed, name="sgd", learning_rate=0.1, decay=decay, **changes)


def test_sgd_without_momentum_steps_along_the_gradient():
    def rule(w, gradients, _):
        return w - 0.1 * sum(gradients)

    assert_follows(rule, name="sgd", learning_rate=0.1, momentum=0.0)


@DECAYS
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop_follows_tensorflows_rule(momentum, decay, decayed):
    def rule(w, gradients, weight_decay):
        square, buffer = 1.0, 0.0
        for g in gradients:
            g = g + weight_decay * w
            square = 0.7 * square + 0.3 * g**2
            buffer = momentum * buffer + 0.1 * g / np.sqrt(square + 0.5)
            w = w - buffer
        return w

    changes = {"momentum": momentum, "rms_decay": 0.7, "epsilon": 0.5, "weight_decay": 0.05}
    assert_follows(rule, decayed, name="rmsprop", learning_rate=0.1, decay=decay, **changes)


ADAM = {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3}


def adams_steps(gradients):
    """Yields Adam's steps with the numbers ADAM, before the learning rate."""
    mean, square = 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        mean = 0.8 * mean + 0.2 * g
        square = 0.95 * square + 0.05 * g**2
        yield mean / (1 - 0.8**t) / (np.sqrt(square / (1 - 0.95**t)) + 1e-3)


@DECAYS
def test_adamw_decays_weights_apart_from_the_gradient(decay, decayed):
    def rule(w, gradients, weight_decay):
        for step in adams_steps(gradients):
            w = w - 0.1 * (step + weight_decay * w)
        return w

    changes = ADAM | {"weight_decay": 0.05}
    assert_follows(rule, decayed, name="adamw", learning_rate=0.1, decay=decay, **changes)


def of_norms(w, step):
    """Returns the trust ratio of a kernel, 1 of others; here kernels alone have two dimensions."""
    return np.linalg.norm(w) / np.linalg.norm(step) if w.ndim == 2 else 1.0


@DECAYS
@pytest.mark.parametrize("nesterov", [False, True])
def test_lars_steps_in_proportion_to_the_kernels(nesterov, decay, decayed):
    def rule(w, gradients, weight_decay):
        velocity = 0.0
        for g in gradients:
            g = g + weight_decay * w
            step = 0.1 * g * (0.01 * of_norms(w, g) if w.ndim == 2 else 1)
            velocity = 0.8 * velocity + step
            w = w - (step + 0.8 * velocity if nesterov else velocity)
        return w

    changes = {"momentum": 0.8, "nesterov": nesterov, "weight_decay": 0.05}
    changes["trust_coefficient"] = 0.01
    assert_follows(rule, decayed, name="lars", learning_rate=0.1, decay=decay, **changes)


@DECAYS
def test_lamb_steps_in_proportion_to_the_kernels(decay, decayed):
    def rule(w, gradients, weight_decay):
        for step in adams_steps(gradients):
            step = step + weight_decay * w
            w = w - 0.1 * of_norms(w, step) * step
        return w

    changes = ADAM | {"weight_decay": 0.05}
    assert_follows(rule, decayed, name="lamb", learning_rate=0.1, decay=decay, **changes)


@DECAYS
def test_lion_steps_by_the_sign(decay, decayed):
    def rule(w, gradients, weight_decay):
        mean = 0.0
        for g in gradients:
            w = w - 0.1 * (np.sign(0.7 * mean + 0.3 * g) + weight_decay * w)
            mean = 0.95 * mean + 0.05 * g
        return w

    changes = {"beta1": 0.7, "beta2": 0.95, "weight_decay": 0.05}
    assert_follows(rule, decayed, name="lion", learning_rate=0.1, decay=decay, **changes)


def orthogonal(matrix):
    """Returns Muon's five steps of Newton and Schulz towards the nearest orthogonal matrix."""
    x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = x / (np.linalg.norm(x) + 1e-3)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


@pytest.mark.parametrize(
    "decay, decayed, nesterov",
    [("kernels", ("kernel",), True), pytest.param("all", ALL, False, marks=pytest.mark.slow)],
)
def test_muon_orthogonalises_convolutions_and_leaves_the_rest_to_adam(decay, decayed, nesterov):
    def rule(w, gradients, weight_decay):
        mean, square = 0.0, 0.0
        is_matrix = w.ndim == 4 and w.shape[2] > 1
        momentum = 0.6 if is_matrix else 0.8
        for t, g in enumerate(gradients, 1):
            mean = momentum * mean + (1 - momentum) * g
            square = 0.95 * square + 0.05 * g**2
            step = mean / (1 - momentum**t)
            if nesterov:
                step = momentum * mean / (1 - momentum ** (t + 1))
                step = step + (1 - momentum) * g / (1 - momentum**t)
            if is_matrix:
                flat = step.reshape(-1, w.shape[-1])
                scale = max(1, flat.shape[1] / flat.shape[0]) ** 0.5
                step = scale * orthogonal(flat).reshape(w.shape)
            else:
                step = step / (np.sqrt(square / (1 - 0.95**t)) + 1e-3)
            w = w - 0.1 * (step + weight_decay * w)
        return w

    rng = np.random.default_rng(1)
    shapes = {"tall": (1, 2, 2, 3), "wide": (1, 1, 2, 3), "depthwise": (2, 1, 1, 3)}
    params = {name: {"kernel": rng.normal(size=shape)} for name, shape in shapes.items()} | PARAMS
    changes = ADAM | {
        "momentum": 0.6,
        "nesterov": nesterov,
        "weight_decay": 0.05,
        "params": params,
        "atol": 1e-5,
    }
    assert_follows(rule, decayed, name="muon", learning_rate=0.1, decay=decay, **changes)


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_what_is_zero_learns_all_the_same(name):
    """Its ratio is 1: a kernel that begins at 0 has none."""
    tx, _ = optimizer.make(optimizer_config(name=name), 256, STEPS, steps_per_epoch=1)
    params = {"fc": {"kernel": np.zeros((2, 3), np.float32)}}
    updates, _ = tx.update({"fc": {"kernel": np.ones((2, 3))}}, tx.init(params), params)
    np.testing.assert_allclose(updates["fc"]["kernel"], -0.1, rtol=1e-5)


@pytest.mark.parametrize("name", optimizer.OPTIMIZERS)
def test_each_optimizer_is_compared_with_its_rule(name):
    rules = pathlib.Path(__file__).read_text("utf-8")
    assert f'rule, decayed, name="{name}"' in rules, f"write the rule of {name} in NumPy here"


@pytest.mark.parametrize("clip_norm", [0.5, 100.0])  # below and above the norms that occur
def test_clip_norm_shortens_long_gradients_only(clip_norm):
    gradients = random_gradients()
    clipped = []
    for gradient in gradients:
        norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
        assert 0.5 < norm < 100
        clipped.append({k: g * min(1, clip_norm / norm) for k, g in gradient.items()})
    trained, expected = train(gradients, clip_norm=clip_norm), train(clipped)
    for key in expected:
        np.testing.assert_allclose(trained[key], expected[key], rtol=1e-5)


def test_weight_decay_is_not_clipped():
    zero = [{k: np.zeros_like(v) for k, v in flatten(PARAMS).items()}]
    trained = train(zero, clip_norm=1e-3, learning_rate=0.1, weight_decay=0.5)
    expected = 0.95 * PARAMS["conv"]["kernel"]
    np.testing.assert_allclose(trained["conv", "kernel"], expected, rtol=1e-6)


def test_weight_decay_is_clipped_with_the_gradient_where_that_is_asked_for():
    zero = [{k: np.zeros_like(v) for k, v in flatten(PARAMS).items()}]
    changes = {"clip_norm": 1e-3, "learning_rate": 0.1, "weight_decay": 0.5, "clip_decayed": True}
    kernel = PARAMS["conv"]["kernel"]
    expected = (1 - 0.1 * 1e-3 / np.linalg.norm(kernel)) * kernel
    np.testing.assert_allclose(train(zero, **changes)["conv", "kernel"], expected, rtol=1e-6)
    for wrong in ({"clip_norm": 0.0}, {"weight_decay": 0.0}, {"name": "adamw"}):
        with pytest.raises(ValueError, match="clip_decayed needs a clip_norm, and a weight_decay"):
            train(zero, **changes | wrong)


@pytest.mark.parametrize(
    "wrong", [{"name": "lion"}, {"schedule": "cosine"}, {"lookahead_steps": 5}]
)
def test_what_does_not_go_with_schedule_free_is_told(wrong):
    config = optimizer_config(schedule_free=True, **wrong)
    with pytest.raises(
        ValueError, match="schedule_free takes .*: set name=sgd or adamw, schedule="
    ):
        optimizer.make(config, 256, STEPS, 1.0)


def test_updates_follow_the_schedule():
    gradients = [{k: np.ones_like(v) for k, v in flatten(PARAMS).items()}] * STEPS
    trained = train(gradients, momentum=0.0, learning_rate=0.1, schedule="steps", decay_at=(0.5,))
    moved = PARAMS["conv"]["bias"] - trained["conv", "bias"]
    np.testing.assert_allclose(moved, 3 * 0.1 + 3 * 0.01, rtol=1e-5)


# Schedules


def rates(batch_size=256, total_steps=90, steps_per_epoch=1.0, **changes):
    """Returns the learning rate at steps 0 to total_steps; the peak is 0.4 for 256 images."""
    config = optimizer_config(**{"learning_rate": 0.4} | changes)
    _, schedule = optimizer.make(config, batch_size, total_steps, steps_per_epoch)
    return np.array([float(schedule(step)) for step in range(total_steps + 1)])


@pytest.mark.parametrize("schedule", optimizer.SCHEDULES)
@pytest.mark.parametrize("batch_size", [64, 1024])
def test_learning_rate_is_proportional_to_the_batch_size(schedule, batch_size):
    changes = {"schedule": schedule, "warmup_epochs": 3.0, "total_steps": 20}
    expected = rates(**changes) * batch_size / 256
    np.testing.assert_allclose(rates(batch_size=batch_size, **changes), expected, rtol=1e-6)


@pytest.mark.parametrize("schedule", optimizer.SCHEDULES)
@pytest.mark.parametrize("factor", [0.0, 0.25])
def test_warm_up_is_linear_up_to_the_peak(schedule, factor):
    warmup_epochs, steps_per_epoch = 2.5, 4.0
    found = rates(
        schedule=schedule,
        total_steps=40,
        steps_per_epoch=steps_per_epoch,
        warmup_epochs=warmup_epochs,
        warmup_factor=factor,
        decay_at=(0.9,),
    )
    np.testing.assert_allclose(found[:11], np.linspace(0.4 * factor, 0.4, 11), rtol=1e-5)


def test_constant_stays_at_the_peak():
    np.testing.assert_allclose(rates(schedule="constant"), 0.4, rtol=1e-6)


@pytest.mark.parametrize("warmup", [0, 5])
def test_steps_fall_at_fractions_of_the_whole_run(warmup):
    changes = {"schedule": "steps", "warmup_epochs": float(warmup), "decay_factor": 0.1}
    found = rates(decay_at=(30 / 90, 60 / 90), **changes)
    expected = np.repeat([0.4, 0.04, 0.004], [30, 30, 31])
    np.testing.assert_allclose(found[warmup:], expected[warmup:], rtol=1e-5)


@pytest.mark.parametrize("warmup", [0, 10])
def test_cosine_is_half_at_half_way_and_nothing_at_the_end(warmup):
    found = rates(schedule="cosine", warmup_epochs=float(warmup))[warmup:]
    middle = len(found) // 2
    np.testing.assert_allclose(found[[0, middle]], [0.4, 0.2], rtol=1e-5)
    assert abs(found[-1]) < 1e-7
    assert (np.diff(found) < 0).all()


@pytest.mark.parametrize("warmup", [0, 10])
@pytest.mark.parametrize("schedule, power", [("linear", 1), ("polynomial", 3)])
def test_linear_and_polynomial_fall_as_a_power_of_what_is_left(schedule, power, warmup):
    field = 3.0  # which "linear" has no use for
    found = rates(schedule=schedule, power=field, warmup_epochs=float(warmup))[warmup:]
    expected = 0.4 * np.linspace(1, 0, len(found)) ** power
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_exponential_falls_in_stairs_of_some_epochs():
    changes = {"schedule": "exponential", "decay_epochs": 2.0, "decay_factor": 0.94}
    found = rates(total_steps=30, steps_per_epoch=5.0, **changes)
    np.testing.assert_allclose(found, 0.4 * 0.94 ** (np.arange(31) // 10), rtol=1e-5)


@pytest.mark.parametrize("schedule", optimizer.SCHEDULES)
def test_warm_up_longer_than_the_run_reaches_the_peak_at_its_end(schedule):
    found = rates(schedule=schedule, total_steps=4, warmup_epochs=10.0, decay_at=(0.5,))
    np.testing.assert_allclose(found[:4], [0, 0.1, 0.2, 0.3], rtol=1e-5)
    assert np.isfinite(found).all()


# Layers of their own

DEPTHS = {"conv1": 1, "bn1": 1, "conv10": 2, "fc": 3}
HEAD = {"fc/kernel"}


def updates_of(shape=(2, 2), **changes):
    """Returns how far each layer moves where all gradients are 1 and the learning rate is 0.1."""
    config = optimizer_config(momentum=0.9, learning_rate=0.1, **changes)
    tx, _ = optimizer.make(config, 256, STEPS, 1.0, lambda: (DEPTHS, HEAD))
    params = {name: {"kernel": np.ones(shape, np.float32)} for name in DEPTHS}
    start = tx.init(params)
    updates, _ = tx.update(params, start, params)
    return {name: -float(leaf["kernel"].ravel()[0]) for name, leaf in updates.items()}, start


def test_the_learning_rate_falls_from_the_classifier_to_the_first_layer():
    found, _ = updates_of(layer_decay=0.5, head_factor=10.0)
    assert found == pytest.approx({"conv1": 0.025, "bn1": 0.025, "conv10": 0.05, "fc": 1.0})


def test_a_frozen_part_does_not_learn_has_no_momentum_and_does_not_count_for_the_clipping():
    found, start = updates_of(freeze=("conv1", "bn"), weight_decay=0.1)
    assert found == pytest.approx({"conv1": 0.0, "bn1": 0.0, "conv10": 0.11, "fc": 0.11})
    assert sum(leaf.size for leaf in jax.tree.leaves(start) if leaf.ndim) == 2 * 4
    found, _ = updates_of(freeze=("conv1", "bn1", "conv10"), clip_norm=1.0)
    assert found["fc"] == pytest.approx(0.05)  # a norm of 2, not of 4


@pytest.mark.slow
def test_muon_trains_the_layers_that_learn_at_their_rates():
    plain, _ = updates_of((1, 1, 2, 2), name="muon")
    found, start = updates_of((1, 1, 2, 2), name="muon", freeze=("conv1",), layer_decay=0.5)
    factors = {"conv1": 0.0, "bn1": 0.25, "conv10": 0.5, "fc": 1.0}
    assert found == pytest.approx({name: factors[name] * plain[name] for name in DEPTHS})
    assert sum(leaf.size for leaf in jax.tree.leaves(start) if leaf.ndim > 1) == 3 * 4


def test_sam_does_not_climb_by_frozen_layers():
    config = optimizer_config(sam_rho=0.5, freeze=("fc",))
    tx, _ = optimizer.make(config, 256, STEPS, 1.0, lambda: (DEPTHS, HEAD))
    step = tx.climb({name: {"kernel": np.full(3, 2.0, np.float32)} for name in DEPTHS})
    np.testing.assert_array_equal(step["fc"]["kernel"], 0)
    np.testing.assert_allclose(step["conv1"]["kernel"], 0.5 / 3, rtol=1e-6)
    nothing = tx.climb({"conv1": {"kernel": np.zeros(3, np.float32)}})
    np.testing.assert_array_equal(nothing["conv1"]["kernel"], 0)


GROUPED = {
    "conv": {"kernel": (1, 1, 2, 2), "bias": (2,)},
    "depthwise": {"kernel": (2, 2, 1, 2)},
    "bn": {"scale": (2,), "bias": (2,)},
    "fc": {"kernel": (2, 2), "bias": (2,)},
}


def updates_of_groups(gradient, **changes):
    """Returns how far the arrays of `GROUPED`, all 1, move by equal gradients at a rate of 0.1."""
    config = optimizer_config(learning_rate=0.1, **changes)
    depths = {name: depth for depth, name in enumerate(GROUPED)}
    tx, _ = optimizer.make(config, 256, STEPS, 1.0, lambda: (depths, HEAD))
    is_shape = {"is_leaf": lambda leaf: isinstance(leaf, tuple)}
    params, grads = (
        jax.tree.map(
            lambda shape, value=value: np.full(shape, value, np.float32), GROUPED, **is_shape
        )
        for value in (1, gradient)
    )
    updates, _ = tx.update(grads, tx.init(params), params)
    moved = {key: -float(leaf.ravel()[0]) for key, leaf in flatten(updates).items()}
    return [moved[layer, name] for layer, names in GROUPED.items() for name in names]


def test_groups_and_layers_have_rates_of_their_own():
    found = updates_of_groups(
        1, rates=("biases:2", "norms:0.5", "depthwise:3", "fc:10", "kernels:1")
    )
    assert found == pytest.approx([0.1, 0.2, 0.3, 0.05, 0.05, 0.1, 1.0])
    found = updates_of_groups(1, rates=("kernels:2", "fc:0"), freeze=("conv",), head_factor=5.0)
    assert found == pytest.approx([0, 0, 0.1, 0.1, 0.1, 0, 0])


@pytest.mark.parametrize("name", ["sgd", "adamw", pytest.param("lion", marks=pytest.mark.slow)])
def test_groups_and_layers_decay_as_told(name):
    decays = ("biases:0.5", "depthwise:0", "bn:2")
    found = updates_of_groups(0, name=name, weight_decay=0.1, decays=decays, momentum=0.0)
    assert found == pytest.approx([0.01, 0.005, 0, 0.02, 0.02, 0.01, 0.005])


@pytest.mark.parametrize(
    "entry, message",
    [
        (
            "stage1:2",
            "rates 'stage1': .* conv, depthwise, bn, fc, and there are the groups kernels,",
        ),
        ("biases", "rates 'biases': write NAME:FACTOR, such as 'biases:2.0'"),
        ("biases:-1", "rates 'biases:-1': write NAME:FACTOR"),
    ],
)
def test_a_wrong_group_is_told_with_the_right_ones(entry, message):
    with pytest.raises(ValueError, match=message):
        updates_of_groups(1, rates=(entry,))


def test_a_group_that_the_network_has_not_is_told():
    config = optimizer_config(rates=("norms:2",))
    tx, _ = optimizer.make(config, 256, STEPS, 1.0, lambda: (DEPTHS, HEAD))
    with pytest.raises(ValueError, match="rates 'norms': the network has the groups kernels"):
        tx.init({"conv1": {"kernel": np.ones((2, 2), np.float32)}})


def test_parts_that_are_not_there_are_told_with_those_that_are():
    with pytest.raises(ValueError, match="freeze 'stage1': .* conv1, bn1, conv10, fc"):
        updates_of(freeze=("fc", "stage1"))


def test_the_state_has_the_structure_of_before_where_no_layer_differs():
    config = optimizer_config(weight_decay=0.1)
    params = unflatten(flatten(PARAMS))
    states = [
        optimizer.make(config, 256, STEPS, 1.0, layers)[0].init(params)
        for layers in (None, lambda: {})
    ]
    plain = optax.chain(
        optax.add_decayed_weights(0.1, optimizer.kernels), optax.sgd(lambda _: 0.1, 0.9)
    )
    for start in states:
        assert jax.tree.structure(start) == jax.tree.structure(plain.init(params))


@pytest.mark.parametrize(
    "name, fields, expected",
    [
        (
            "resnet",
            {"depth": 8, "layout": "cifar"},
            "conv1 1, bn1 1, stage1 2, stage2 3, stage3 4, fc 5",
        ),
        ("zoph_le", {"genotype": "[[3,3,8,1,[0]]]"}, "layer1_conv 1, layer1_bn 1, fc 2"),
    ],
)
def test_layers_are_as_deep_as_they_are_called(name, fields, expected):
    module = models.create(name, num_classes=7, **fields)
    depths, classifier = state.layers(module, (8, 8, 3))
    assert ", ".join(f"{name} {depth}" for name, depth in depths.items()) == expected
    assert classifier == {"fc/kernel", "fc/bias"}


# Mistakes


@pytest.mark.parametrize(
    "field, choices",
    [
        ("name", "sgd, rmsprop, adamw, lars, lamb, lion, muon"),
        ("decay", "all, kernels, not_depthwise"),
        ("schedule", "constant, steps, cosine, linear, exponential, polynomial"),
    ],
)
def test_unknown_name_lists_the_choices(field, choices):
    with pytest.raises(ValueError, match=rf"optimizer\.{field} 'magic'.*{choices}"):
        optimizer.make(optimizer_config(**{field: "magic"}), 256, 10, 1.0)


def test_decay_can_spare_depthwise_kernels():
    params = {
        "depthwise": {"kernel": np.ones((3, 3, 1, 8)), "bias": np.ones(8)},
        "pointwise": {"kernel": np.ones((1, 1, 8, 8))},
        "fc": {"kernel": np.ones((1, 8))},
        "bn1": {"scale": np.ones(8)},
    }
    assert optimizer.not_depthwise(params) == {
        "depthwise": {"kernel": False, "bias": False},
        "pointwise": {"kernel": True},
        "fc": {"kernel": True},
        "bn1": {"scale": False},
    }
