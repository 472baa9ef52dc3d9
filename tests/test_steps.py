"""What a training step computes, which keys it draws from, and what it tells the network."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import assert_alike

from configs import common
from training import distill, loss, optimizer, sharding, state, steps

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
LABELS = np.arange(6, dtype=np.int32) % 3


class Network(nn.Module):
    """Logits of a layer, scaled by the progress of training, and an auxiliary head."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = x.mean((1, 2))
        if self.is_mutable_collection("aux_logits"):
            self.sow("aux_logits", "aux", nn.Dense(3, name="head")(x))
        return nn.Dense(3, name="last")(x) * self.get_variable("schedule", "progress", 1.0)


def one_step(
    aux_weight,
    step=5,
    total_steps=10,
    label_smoothing=0.0,
    devices=1,
    images=IMAGES,
    labels=LABELS,
    **more,
):
    """Returns (loss, parameters before, parameters after) of one step of SGD with rate 1."""
    mesh = sharding.make_mesh(jax.devices()[:devices])
    network, tx = Network(), optax.sgd(1.0)
    before = state.create(network, tx, (4, 4, 3), 0, mesh)
    before = before.replace(step=jnp.array(step, jnp.int32))
    params = jax.device_get(before.params)
    train_step = steps.make_train_step(
        network,
        tx,
        lambda key, images: images / 255.0,
        mesh,
        label_smoothing=label_smoothing,
        aux_weight=aux_weight,
        total_steps=total_steps,
        **more,
    )
    batch = sharding.to_global({"image": images, "label": labels}, mesh)
    after, metrics = train_step(before, batch, steps.make_key(0, mesh))
    return float(metrics["loss"]), params, jax.device_get(after.params)


def test_auxiliary_heads_reach_the_loss_with_their_weight():
    without, params, after = one_step(aux_weight=0.0)
    np.testing.assert_array_equal(after["head"]["kernel"], params["head"]["kernel"])
    a_third, _, after = one_step(aux_weight=0.3)
    assert np.abs(after["head"]["kernel"] - params["head"]["kernel"]).min() > 0
    whole, _, _ = one_step(aux_weight=1.0)
    assert a_third - without == pytest.approx(0.3 * (whole - without), rel=1e-4)
    assert whole - without > 0.5  # a cross-entropy of three classes, about log 3


def test_the_network_is_told_how_far_training_has_come():
    def moved(step):
        _, params, after = one_step(0.0, step)
        return np.abs(after["last"]["kernel"] - params["last"]["kernel"]).max()

    assert moved(0) == 0  # logits times 0
    assert 0 < moved(2) < moved(10)


def test_a_step_is_that_of_softmax_regression_by_the_formulas():
    smoothing, weights, progress = 0.3, {"last": 1.0, "head": 0.4}, {"last": 0.7, "head": 1.0}
    found, before, after = one_step(0.4, step=7, label_smoothing=smoothing)
    x = np.float64(IMAGES).mean((1, 2)) / 255
    targets = (1 - smoothing) * np.eye(3)[LABELS] + smoothing / 3  # arXiv:1512.00567, section 7
    loss = 0
    for name, weight in weights.items():
        logits = (x @ before[name]["kernel"] + before[name]["bias"]) * progress[name]
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        loss -= weight * (targets * np.log(p)).sum(1).mean()
        gradient = weight * progress[name] * (p - targets) / len(x)
        expected = {"kernel": x.T @ gradient, "bias": gradient.sum(0)}
        for leaf, value in expected.items():
            moved = before[name][leaf] - after[name][leaf]
            np.testing.assert_allclose(moved, value, atol=1e-6)
    assert found == pytest.approx(loss, rel=1e-5)


def test_the_network_sees_and_answers_what_the_mixing_makes():
    def swap(key, images, targets):
        assert targets.shape == (6, 3)
        return images[::-1], jnp.roll(targets, 1, axis=0)

    mixed = one_step(0.3, label_smoothing=0.1, mix=swap)
    given = one_step(0.3, label_smoothing=0.1, images=IMAGES[::-1], labels=np.roll(LABELS, 1))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), mixed, given)


@pytest.mark.parametrize("fields", [{"loss": "bce"}, {"class_weights": (1.0, 2.0, 7.0)}])
def test_another_loss_is_that_of_each_head_on_any_number_of_devices(fields):
    config = common.get_config()
    config.update(fields)
    function = loss.make(config, 3)
    found, before, after = one_step(0.4, loss=function)
    x = np.float32(IMAGES).mean((1, 2)) / 255
    last, head = (x @ before[name]["kernel"] + before[name]["bias"] for name in ("last", "head"))
    targets = np.eye(3, dtype=np.float32)[LABELS]
    expected = function(last * 0.5, targets) + 0.4 * function(head, targets)
    assert found == pytest.approx(float(expected), rel=1e-5)
    of_two, _, after_two = one_step(0.4, loss=function, devices=2)
    assert of_two == pytest.approx(found, rel=1e-6)
    assert_alike(jax.tree.leaves(after_two), jax.tree.leaves(after))


def test_micro_batches_have_the_loss_and_the_gradients_of_the_whole_batch():
    kernel = np.random.default_rng(1).standard_normal((3, 3), np.float32)
    teacher = distill.Teacher(
        lambda variables, images: images.mean((1, 2)) @ variables, kernel, {}, 2.0, 0.5
    )
    whole, before, after = one_step(0.4, teacher=teacher)
    found, _, after_parts = one_step(0.4, teacher=teacher, devices=2, accumulate_steps=3)
    assert found == pytest.approx(whole, rel=1e-6)
    for name in ("last", "head"):
        for leaf in ("kernel", "bias"):
            moved, expected = (
                before[name][leaf] - each[name][leaf] for each in (after_parts, after)
            )
            assert np.abs(expected).max() > 0.01
            np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_micro_batches_draw_their_own_dropout_and_pass_the_statistics_on():
    class Keys:
        """Sums up as statistics which images and keys it was given."""

        num_classes = 3

        def apply(self, variables, images, train, mutable, rngs):
            seen, keys = variables["batch_stats"]["images"], variables["batch_stats"]["keys"]
            number = seen.astype(bool).sum(dtype=jnp.int32) // 2
            keys = keys.at[number].set(jax.random.key_data(rngs["dropout"]))
            seen = jax.lax.dynamic_update_slice(seen, images[:, 0, 0, 0], (2 * number,))
            return jnp.zeros((len(images), 3)), {"batch_stats": {"images": seen, "keys": keys}}

    mesh = sharding.make_mesh(jax.devices()[:2])
    train_step = steps.make_train_step(
        Keys(),
        optax.sgd(1.0),
        lambda key, images: images,
        mesh,
        label_smoothing=0.0,
        aux_weight=0.0,
        total_steps=10,
        accumulate_steps=3,
    )
    images = np.arange(1, 7, dtype=np.uint8).reshape(6, 1, 1, 1)
    nothing = {"images": jnp.zeros(6, jnp.uint8), "keys": jnp.zeros((3, 2), jnp.uint32)}
    now = state.TrainState(jnp.zeros((), jnp.int32), {}, nothing, optax.sgd(1.0).init({}))
    batch = sharding.to_global({"image": images, "label": LABELS}, mesh)
    after, metrics = train_step(now, batch, steps.make_key(0, mesh))
    assert after.batch_stats["images"].tolist() == [1, 4, 2, 5, 3, 6]  # each device's first, ...
    assert len({tuple(key) for key in after.batch_stats["keys"].tolist()}) == 3
    assert metrics["top1"] == pytest.approx(1 / 3)


class Line:
    """The logits of softmax regression; its statistics are the weights that it was called with."""

    num_classes = 3

    def apply(self, variables, images, train, mutable, rngs):
        w = variables["params"]["w"]
        return images[:, 0, 0] @ w, {"batch_stats": {"w": w}}


def gradient_of_line(w):
    """Returns (loss, gradient) of `Line` on `IMAGES` / 255 and `LABELS`."""
    x = IMAGES[:, 0, 0] / 255
    p = np.exp(x @ w) / np.exp(x @ w).sum(1, keepdims=True)
    return -np.log(p[np.arange(6), LABELS]).mean(), x.T @ (p - np.eye(3)[LABELS]) / 6


def steps_of_line(number, parts, **fields):
    """Yields (state, metrics) after each step of softmax regression, with weights W."""
    config = common.get_config().optimizer
    config.update({"schedule": "constant", "weight_decay": 0.0, "learning_rate": 0.5} | fields)
    tx, _ = optimizer.make(config, 256, number, 1.0)
    mesh = sharding.make_mesh(jax.devices()[:1])
    train_step = steps.make_train_step(
        Line(),
        tx,
        lambda key, images: images / 255,
        mesh,
        label_smoothing=0.0,
        aux_weight=0.0,
        total_steps=number,
        accumulate_steps=parts,
    )
    params = {"w": jnp.asarray(W, jnp.float32)}
    now = state.TrainState(
        jnp.zeros((), jnp.int32), params, {"w": params["w"] * 0}, tx.init(params)
    )
    batch = sharding.to_global({"image": IMAGES, "label": LABELS}, mesh)
    for _ in range(number):
        now, metrics = train_step(now, batch, steps.make_key(0, mesh))
        yield jax.device_get(now), metrics


W = np.random.default_rng(3).standard_normal((3, 3))


def test_sam_takes_the_gradient_of_the_weights_above():
    w = W
    for now, metrics in steps_of_line(2, parts=2, sam_rho=0.3, momentum=0.0):
        loss, g = gradient_of_line(w)
        _, above = gradient_of_line(w + 0.3 * g / np.linalg.norm(g))
        np.testing.assert_allclose(now.batch_stats["w"], w, rtol=1e-5)
        w = w - 0.5 * above
        np.testing.assert_allclose(now.params["w"], w, rtol=1e-5)
        assert np.abs(above - g).max() > 0.01 and metrics["loss"] == pytest.approx(loss, rel=1e-5)


def test_lookahead_evaluates_the_slow_weights_and_learns_by_the_fast():
    slow = fast = W
    velocity, rho = 0.0, 0.3  # with SAM around the fast ones
    fields = {"lookahead_steps": 2, "lookahead_rate": 0.6, "weight_decay": 0.1, "decay": "all"}
    for step, (now, metrics) in enumerate(steps_of_line(5, 1, sam_rho=rho, **fields), 1):
        loss, g = gradient_of_line(fast)
        _, g = gradient_of_line(fast + rho * g / np.linalg.norm(g))
        velocity = 0.9 * velocity + g + 0.1 * fast
        fast = fast - 0.5 * velocity
        if step % 2 == 0:
            slow = fast = slow + 0.6 * (fast - slow)
        np.testing.assert_allclose(now.params["w"], slow, rtol=1e-5)
        assert metrics["loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("name", ["sgd", pytest.param("adamw", marks=pytest.mark.slow)])
def test_schedule_free_evaluates_the_mean_and_learns_between_it_and_the_newest(name):
    x = z = W
    total = square = 0.0
    fields = {"schedule_free": True, "momentum": 0.9, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-3}
    fields |= {"name": name, "warmup_epochs": 3.0, "weight_decay": 0.1, "decay": "all"}
    for step, (now, metrics) in enumerate(steps_of_line(5, 1, **fields)):
        y = 0.1 * z + 0.9 * x
        loss, g = gradient_of_line(y)
        rate = 0.5 * min(1, step / 3)
        square = 0.95 * square + 0.05 * g**2
        of_adam = g / (np.sqrt(square / (1 - 0.95 ** (step + 1))) + 1e-3)
        z = z - rate * ((of_adam if name == "adamw" else g) + 0.1 * y)
        total += rate**2
        x = x + (rate**2 / total if total else 0) * (z - x)
        np.testing.assert_allclose(now.params["w"], x, rtol=1e-4)
        assert metrics["loss"] == pytest.approx(loss, rel=1e-5)


def test_each_step_of_each_seed_augments_and_drops_by_keys_of_its_own():
    class Keys:
        """Leaves behind which keys augmentation and dropout were given."""

        num_classes = 3

        def apply(self, variables, images, train, mutable, rngs):
            keys = {"augment": images, "dropout": jax.random.key_data(rngs["dropout"])}
            return jnp.zeros((len(LABELS), 3)), {"batch_stats": keys}

    mesh = sharding.make_mesh(jax.devices()[:1])
    train_step = steps.make_train_step(
        Keys(),
        optax.sgd(1.0),
        lambda key, images: jax.random.key_data(key),
        mesh,
        label_smoothing=0.0,
        aux_weight=0.0,
        total_steps=10,
    )
    batch = sharding.to_global({"image": IMAGES, "label": LABELS}, mesh)

    def keys(seed, step):
        now = state.TrainState(jnp.array(step, jnp.int32), {}, {}, optax.sgd(1.0).init({}))
        after, _ = train_step(now, batch, steps.make_key(seed, mesh))
        return [tuple(np.asarray(key)) for key in after.batch_stats.values()]

    drawn = [key for seed in (0, 1) for step in (0, 1, 2, 9) for key in keys(seed, step)]
    assert len(set(drawn)) == len(drawn) == 16
    assert keys(1, 9) == drawn[-2:]  # which a run that resumes at this step draws, too


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("views", [1, 2])
def test_a_network_that_answers_nan_is_wrong(classes, views):
    class Answers:
        """NaN for black images, class 0 for others."""

        def apply(self, variables, images, train):
            black = images[:, 0, 0, 0] == 0
            right = jax.nn.one_hot(jnp.zeros(len(images), int), classes)
            return jnp.where(black[:, None], jnp.nan, right)

    mesh = sharding.make_mesh(jax.devices()[:1])
    step = steps.make_eval_step(Answers(), lambda x: jnp.stack([x * 1.0] * views), mesh)
    empty = state.TrainState(jnp.zeros((), jnp.int32), {}, {}, {})
    images = np.array([0, 1, 1, 0], np.uint8).reshape(4, 1, 1, 1)
    batch = {"image": images, "label": np.zeros(4, np.int32), "mask": np.ones(4, np.float32)}
    sums = step(empty, sharding.to_global(batch, mesh))
    assert (float(sums["top1"]), float(sums["top5"]), float(sums["images"])) == (2, 2, 4)
    assert np.isnan(sums["loss"])
