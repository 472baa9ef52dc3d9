"""AlexNet on two devices computes the undivided network, and exchanges what section 3.5 says."""

import json
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import assert_alike, command
from ml_collections import ConfigDict

import models
from analysis.communication import collectives, parse
from training import ema, metrics, sharding, state, steps

FIELDS = {"stem": "small", "hidden": 32, "initialization": "he", "response_norm": "tower"}
SHAPE = (32, 32, 3)
EXCHANGES = ["conv3", "fc6", "fc7", "fc8"]


def one_step(devices, model_devices):
    """Returns a compiled training step with dropout, and what it takes."""
    mesh = sharding.make_mesh(jax.devices()[:devices], model_devices)
    model, tx = models.create("alexnet", num_classes=10, **FIELDS), optax.sgd(0.1, momentum=0.9)
    before = ema.begin(state.create(model, tx, SHAPE, 0, mesh))
    average = ema.make(ConfigDict({"ema_decay": 0.9, "ema_every": 1, "ema_warmup": False}))
    step = steps.make_train_step(
        model,
        tx,
        lambda key, images: images / 255.0,
        mesh,
        label_smoothing=0.1,
        aux_weight=0.0,
        total_steps=10,
        state_sharding=sharding.of_state(mesh, before),
        ema=average,
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, *SHAPE), np.uint8)
    batch = sharding.to_global({"image": images, "label": rng.integers(0, 10, 8, np.int32)}, mesh)
    arguments = before, batch, steps.make_key(0, mesh)
    return step.lower(*arguments).compile(), arguments


@pytest.mark.slow
def test_two_devices_and_four_learn_what_one_learns():
    step, arguments = one_step(1, 1)
    whole, figures = step(*arguments)
    for devices in (2, 4):
        step, arguments = one_step(devices, 2)
        split, split_figures = step(*arguments)
        assert_alike(jax.tree.leaves(split_figures), jax.tree.leaves(figures))
        assert_alike(jax.tree.leaves(split), jax.tree.leaves(whole))
    kernel = split.params["conv2"]["kernel"]
    assert kernel.shape == (5, 5, 48, 256)
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(5, 5, 48, 128)}
    averaged = split.ema["params"]["conv2"]["kernel"]
    assert averaged.addressable_shards[0].data.shape == (5, 5, 48, 128)
    momentum = split.opt_state[0].trace["fc6"]["kernel"]
    assert momentum.addressable_shards[0].data.shape[-1] == FIELDS["hidden"] // 2


@pytest.mark.slow
def test_the_forward_pass_exchanges_before_conv3_and_the_fully_connected_layers_alone():
    mesh = sharding.make_mesh(jax.devices()[:2], 2)
    model = models.create("alexnet", num_classes=10, **FIELDS)
    image = jax.ShapeDtypeStruct((4, *SHAPE), jnp.float32)
    variables = models.shapes(model, SHAPE)
    shardings = sharding.of_state(mesh, variables)
    forward = jax.jit(sharding.split(model, mesh).apply, in_shardings=(shardings, None))
    found = collectives(forward.lower(variables, image).compile())
    scopes = [one.scope.partition("exchange_for_")[2].partition("/")[0] for one in found]
    assert sorted(scopes) == EXCHANGES  # none at conv1, conv2, conv4, conv5, nor anywhere else
    # Each device receives the half that the other has: of 3 x 3 x 256 pooled maps before conv3.
    assert found[scopes.index("conv3")].bytes == 4 * 4 * 3 * 3 * 128


@pytest.mark.slow
def test_the_training_step_exchanges_gradients_at_the_same_places():
    step, _ = one_step(2, 2)
    found = [one.scope for one in collectives(step) if "/Model/" in one.scope]
    for layer in EXCHANGES:
        of_layer = [scope for scope in found if f"/exchange_for_{layer}/" in scope]
        assert len(of_layer) == 2 and sum("transpose" in scope for scope in of_layer) == 1
    assert len(found) == 2 * len(EXCHANGES)
    assert not [scope for scope in found if "/conv" in scope]


@pytest.mark.slow
def test_a_split_run_is_evaluated_on_one_device(tmp_path):
    flags = [
        "--config=configs/small.py:alexnet",
        f"--workdir={tmp_path}",
        "--config.input.source=synthetic",
        "--config.model.num_classes=1000",
        *(f"--config.model.{field}={value}" for field, value in FIELDS.items()),
    ]
    length = ["--config.batch_size=16", "--config.total_steps=2", "--config.model_devices=2"]
    done = subprocess.run(**command("train.py", *flags, *length, devices=4))
    assert done.returncode == 0, done.stderr
    expected = metrics.read_lines(tmp_path)[-1]["eval/loss"]
    done = subprocess.run(**command("eval.py", *flags))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["loss"] == pytest.approx(expected, rel=1e-5)


def test_collectives_are_read_from_every_form_of_the_text():
    text = """
  %p = f32[4,13]{1,0} collective-permute(%a), metadata={op_name="jit(f)/exchange_for_conv3/ppermute"}
  %r = (f32[8]{0}, bf16[2,2]{1,0}) all-reduce(%b, %c), to_apply=%add
  %s = (f32[6]{0}, f32[12]{0}, u32[], u32[]) all-gather-start(%d), metadata={op_name="jit(f)/gather"}
  %e = f32[12]{0} all-gather-done(%s)
  %n = f32[8]{0} add(%r, %r)
"""
    assert parse(text) == [
        ("collective-permute", 208, "jit(f)/exchange_for_conv3/ppermute"),
        ("all-reduce", 40, ""),
        ("all-gather", 48, "jit(f)/gather"),
    ]


def test_a_split_that_cannot_be_is_told():
    def split(name, model_devices=2, **fields):
        module = models.create(name, num_classes=8, **fields)
        mesh = sharding.make_mesh(model_devices=model_devices)
        apply = sharding.split(module, mesh).apply
        return jax.eval_shape(
            lambda x: apply(module.init(jax.random.key(0), x), x), jnp.ones((1, *SHAPE))
        )

    assert split("alexnet", **FIELDS).shape == (1, 8)
    with pytest.raises(ValueError, match="response_norm=tower or none"):
        split("alexnet", **FIELDS | {"response_norm": "across"})
    with pytest.raises(ValueError, match="form=grouped"):
        split("alexnet", **FIELDS | {"form": "ungrouped"})
    with pytest.raises(ValueError, match="only alexnet is split, into its 2 towers"):
        split("resnet", depth=18)
    with pytest.raises(ValueError, match="model_devices 4: alexnet has 2 towers"):
        split("alexnet", 4, **FIELDS)
    with pytest.raises(ValueError, match="model_devices 3: a process has 8 devices"):
        sharding.make_mesh(model_devices=3)
    with pytest.raises(ValueError, match="7 outputs.*even model.num_classes"):
        sharding.of_state(sharding.make_mesh(model_devices=2), np.zeros((4, 7)))
