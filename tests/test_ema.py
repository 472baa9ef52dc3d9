"""The moving average of the weights: its formula, what it is used for, and that the run resumes."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import few_digits, train_until
from test_training import lines, restore

import data
import inference
import train
from training import ema, initial, sharding, state, steps


def config_of(decay=0.5, every=2, warmup=True):
    config = few_digits()
    config.update(ema_decay=decay, ema_every=every, ema_warmup=warmup)
    config.update(total_steps=4, eval_steps=4, checkpoint_steps=2)
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """The folder of a run whose weights are averaged after the steps 2 and 4."""
    workdir = tmp_path_factory.mktemp("averaged")
    train.train(config_of(), workdir)
    return workdir


def follow(average, weights, decays):
    """Returns the average in double precision."""
    for now, decay in zip(weights, decays, strict=True):
        average = jax.tree.map(
            lambda a, w, d=decay: d * np.float64(a) + (1 - d) * np.float64(w), average, now
        )
    return average


def assert_alike(one, other, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other)


@pytest.mark.parametrize(
    "every, warmup, decays",
    [
        (1, False, [0.9] * 4),
        (1, True, [1 / 10, 2 / 11, 3 / 12, 4 / 13]),
        (3, False, [1, 1, 0.9, 1]),
    ],
)
def test_the_average_follows_its_formula_and_equal_weights_keep_their_bits(every, warmup, decays):
    update = ema.make(config_of(0.9, every, warmup))
    drawn = np.random.default_rng(0).standard_normal((5, 2, 7), np.float32)
    same = np.random.default_rng(1).standard_normal(1000, np.float32)
    trees = [{"params": {"w": w, "frozen": same}, "batch_stats": {"mean": s}} for w, s in drawn]
    average = trees[0]
    for step, tree in enumerate(trees[1:], 1):
        average = update(average, state.TrainState(jnp.array(step), **tree, opt_state=()))
    assert_alike(average, follow(trees[0], trees[1:], decays), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(average["params"]["frozen"], same)


def test_a_run_judges_and_hands_out_its_average_and_keeps_the_raw_weights(workdir):
    before, found = inference.load(workdir, "2"), inference.load(workdir)
    raw = inference.load(workdir, raw=True)
    average = follow(before.variables, [raw.variables], [2 / 11])
    assert_alike(found.variables, average, rtol=1e-4, atol=1e-6)

    source = data.open_source(found.config.input, train=False)
    for name, one in (("eval", found), ("eval_raw", raw)):
        logits = one.module.apply(one.variables, one.preprocess(source.images))
        losses = -jax.nn.log_softmax(logits)[np.arange(360), source.labels]
        assert lines(workdir, f"{name}/loss")[4] == pytest.approx(float(losses.mean()), rel=1e-5)


@pytest.mark.slow
def test_a_resumed_run_has_the_same_average_to_the_bit(workdir, tmp_path):
    train_until(3, config_of(), tmp_path)
    result = train.train(config_of(), tmp_path)
    one, other = restore(config_of(), workdir), restore(config_of(), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert len(jax.tree.leaves(one.ema)) == len(jax.tree.leaves((one.params, one.batch_stats))) > 0
    assert result["loss"] == lines(workdir, "eval/loss")[4] != lines(workdir, "eval_raw/loss")[4]
    log = tmp_path / "metrics.jsonl"
    log.write_text(log.read_text().partition("\n")[0] + "\n")  # without any figures
    assert train.train(config_of(), tmp_path) == result


def test_a_run_does_not_go_on_with_another_average(workdir, digits):
    with pytest.raises(ValueError, match=r"ema_decay was 0\.5 and is 0\.0.* another --workdir"):
        train.train(digits, workdir)


def test_a_run_starts_from_an_average_and_averages_from_there(workdir, digits):
    digits.init, origin = str(workdir), inference.find(str(workdir))
    mesh = sharding.make_mesh(jax.devices()[:1])
    fresh = state.create(origin.module, optax.identity(), (8, 8, 1), 1, mesh)
    source = types.SimpleNamespace(class_names=[f"{i}" for i in range(10)])
    taken, _ = initial.take(ema.begin(fresh), origin, digits, origin.module, source)
    assert_alike(taken.ema, origin.variables)
    assert_alike(ema.judged(taken).params, taken.params)
    assert ema.judged(fresh) is fresh


def test_an_average_that_is_not_finite_is_seen():
    one = state.TrainState(jnp.array(1), {"w": jnp.ones(3)}, {}, ())
    assert steps.all_finite(ema.begin(one))
    assert not steps.all_finite(one.replace(ema={"params": {"w": jnp.array([1.0, np.nan, 1.0])}}))
