"""The mean of several networks, and the BatchNorm statistics of weights that no training step has seen."""

import dataclasses
import itertools
import subprocess

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import command, few_digits

import data
import inference
from models import layers
from training import checkpoints, metrics, sharding, state


def test_the_average_is_the_mean_in_double_precision_with_the_latest_step(few_digits_trained):
    runs = [inference.find(f"{few_digits_trained}:{step}") for step in (6, 3, 3)]
    found = inference.average(iter(runs))
    expected = jax.tree.map(
        lambda *leaves: np.float32(np.mean(np.float64(leaves), axis=0)),
        *(r.variables for r in runs),
    )
    jax.tree.map(np.testing.assert_array_equal, found.variables, expected)
    assert found.step == 6


@pytest.mark.parametrize(
    "fields, header, message",
    [
        ({"name": "resnet", "depth": 8}, {}, r"model.name was 'zoph_le' and is 'resnet', model\."),
        ({}, {"classes": ["a", "b"]}, "the classes are others"),
        ({"dropout": 0.5}, {}, None),
    ],
)
def test_networks_that_differ_have_no_average(few_digits_trained, fields, header, message):
    run = inference.find(str(few_digits_trained))
    config = run.config.copy_and_resolve_references()
    config.model.update(fields)
    other = dataclasses.replace(run, config=config, header=run.header | header)
    if message is None:
        assert inference.average([run, other]).step == 6
        return
    with pytest.raises(ValueError, match=f"networks that differ have no average: {message}"):
        inference.average([run, other])


class Network(nn.Module):
    """BatchNorm of the very images."""

    num_classes: int = 10

    @nn.compact
    def __call__(self, x, train: bool = False):
        norm = layers.batch_norm(train, momentum=0.99, dtype="float32")
        return nn.Dense(10, name="fc")(norm(name="bn1")(x).mean((1, 2)))


def statistics_of(config, batches, devices=1):
    """Returns (mean, var) as they are computed anew."""
    mesh = sharding.make_mesh(jax.devices()[:devices])
    stats = {"bn1": {"mean": jnp.full(1, 7.0), "var": jnp.full(1, 9.0)}}
    params = {
        "bn1": {"scale": jnp.ones(1), "bias": jnp.zeros(1)},
        "fc": {"kernel": jnp.ones((1, 10)), "bias": jnp.zeros(10)},
    }
    now = state.TrainState(np.int32(5), params, stats, {})
    run = inference.Trained(config, Network(), now, {}, mesh)
    source = data.open_source(config.input, train=True)
    found = inference.with_statistics_of(run, source, batches)
    assert found.step == 5 and found.variables["params"].keys() == params.keys()
    return [float(found.variables["batch_stats"]["bn1"][name][0]) for name in ("mean", "var")]


def test_statistics_are_the_moments_of_all_images_that_were_seen():
    config = few_digits()
    config.batch_size = 8  # so that their means differ
    config.input.crop = "center"  # so that they are known
    train = data.make_train(
        data.open_source(config.input, train=True), config.input, 8, config.seed
    )
    pixels = np.concatenate([batch["image"] for batch in itertools.islice(train, 3)])
    images = (np.float64(pixels) / 255 - 0.31) / 0.38
    expected = pytest.approx([images.mean(), images.var()], abs=1e-5)
    with layers.use_stock():  # whose BatchNorm obeys, too
        assert statistics_of(config, 3, devices=2) == expected

    config.input.crop = "pad"  # and is augmented, by the seed
    first = statistics_of(config, 3)
    config.seed = 1
    assert first != statistics_of(config, 3)
    assert abs(first[0] - images.mean()) > 0.01


def test_what_is_traced_afterwards_has_running_statistics_again():
    with layers.keep_batch_statistics():
        assert layers.batch_norm(True, dtype="float32").keywords["momentum"] == 0
    assert layers.batch_norm(True, dtype="float32").keywords["momentum"] == 0.9


@pytest.mark.slow
def test_the_command_makes_a_run_that_answers_and_can_be_started_from(few_digits_trained, tmp_path):
    workdir, runs = tmp_path / "averaged", f"{few_digits_trained}:all"
    flags = ["scripts/average.py", f"--workdir={workdir}", runs, "--batches=2", "--evaluate"]
    done = subprocess.run(**command(*flags))
    assert done.returncode == 0, done.stderr
    told = [line.partition(":")[0] for line in done.stdout.splitlines()[-3:]]
    assert told[:2] == ["the mean of 2", "with the statistics of 2 batches"]

    mean = inference.average(inference.find(f"{few_digits_trained}:{step}") for step in (3, 6))
    source = data.open_source(mean.config.input, train=True)
    expected, found = (
        inference.with_statistics_of(mean, source, 2),
        inference.find(f"{workdir}:best"),
    )
    assert found.step == 6
    assert checkpoints.Checkpoints(workdir, read_only=True).steps() == [6]
    for one, other in zip(*(jax.tree.leaves(r.variables) for r in (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    header, figures = metrics.read_lines(workdir)
    assert [one["step"] for one in header["averaged"]] == [3, 6] and header["batches"] == 2
    test = data.open_source(mean.config.input, train=False)
    judged = inference.evaluator(found, test)(found.state)
    assert judged["loss"] == pytest.approx(figures["eval/loss"], rel=1e-5)
