"""What the training step adds to the loss, and what it tells the network."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from training import sharding, state, steps


class Network(nn.Module):
    """Logits of a layer, scaled by the progress of training, and an auxiliary head."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = x.mean((1, 2))
        if self.is_mutable_collection("aux_logits"):
            self.sow("aux_logits", "aux", nn.Dense(3, name="head")(x))
        return nn.Dense(3, name="last")(x) * self.get_variable("schedule", "progress", 1.0)


def one_step(aux_weight, step=5, total_steps=10):
    """Returns (loss, parameters before, parameters after) of one step of SGD with rate 1."""
    mesh = sharding.make_mesh(jax.devices()[:1])
    network, tx = Network(), optax.sgd(1.0)
    before = state.create(network, tx, (4, 4, 3), 0, mesh)
    before = before.replace(step=jnp.array(step, jnp.int32))
    params = jax.device_get(before.params)
    train_step = steps.make_train_step(
        network,
        tx,
        lambda key, images: images / 255.0,
        mesh,
        label_smoothing=0.0,
        aux_weight=aux_weight,
        total_steps=total_steps,
    )
    batch = {
        "image": np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8),
        "label": np.arange(6, dtype=np.int32) % 3,
    }
    batch = sharding.to_global(batch, mesh)
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
