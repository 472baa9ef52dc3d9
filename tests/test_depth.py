"""The depth experiment: fair pairs, right statistics, honest verdicts, measurements that mean what they say."""

import json
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import command
from flax.traverse_util import flatten_dict, unflatten_dict
from PIL import Image

import models
from analysis import depth as verdict
from analysis import signals
from configs import depth
from sweeps import expand, watch
from sweeps import folder as sweep_folder


def made_up(layers, residual, seed, train, test=50.0, **more):
    config = {"seed": seed, "model": {"depth": layers, "residual": residual}, **more}
    return verdict.Run(config, 100 * layers, 1000, 100, [(1, 90.0), (2, train)], [(2, test)])


def experiment(plain, residual):
    """Returns runs of 20 and 56 layers: a pair of training errors for each seed."""
    return [
        made_up(layers, kind, seed, error)
        for kind, pairs in ((False, plain), (True, residual))
        for seed, pair in enumerate(pairs)
        for layers, error in zip((20, 56), pair, strict=True)
    ]


def test_an_interval_is_that_of_students_t():
    found = verdict.interval([1.0, 2.0, 3.0])
    half = 4.302653 / 3**0.5  # t for 97.5 % and 2 degrees of freedom, times s / sqrt(n)
    assert found == pytest.approx((2.0, 2.0 - half, 2.0 + half, 3), rel=1e-5)
    one = verdict.interval([2.0])
    assert (one.mean, one.n) == (2.0, 1) and np.isnan(one.low) and "no interval" in str(one)


def test_all_claims_hold_where_plain_networks_get_worse_and_residual_ones_do_not():
    runs = experiment([(10, 30), (11, 33), (9, 31)], [(10, 8), (11, 8.5), (9, 7.5)])
    claims = verdict.claims(runs)
    assert [claim.holds for claim in claims] == [True, True, True]
    assert json.loads(json.dumps([claim._asdict() for claim in claims]))[0]["holds"] is True
    assert [claim.found.mean for claim in claims] == pytest.approx([64 / 3, -2.0, 70 / 3])


@pytest.mark.parametrize(
    ("plain", "residual", "holds"),
    [
        # all three seeds point the right way, but they vary too much
        ([(10, 11), (10, 40), (10, 12)], [(10, 10), (10, 10.1), (10, 9.9)], [False, True, False]),
        # residual networks get worse, too, though less
        ([(10, 40), (10, 41), (10, 42)], [(10, 15), (10, 16), (10, 17)], [True, False, True]),
        # less than the margin in the mean, but the interval reaches beyond it
        ([(10, 40), (10, 41), (10, 42)], [(10, 10), (10, 12), (10, 10)], [True, False, True]),
        # one seed says nothing, whatever its mean
        ([(10, 40)], [(10, 8)], [None, None, None]),
        ([(10, 5)], [(10, 60)], [None, None, None]),
    ],
)
def test_a_claim_that_the_runs_do_not_bear_out_does_not_hold(plain, residual, holds):
    claims = verdict.claims(experiment(plain, residual))
    assert [claim.holds for claim in claims] == holds
    assert verdict.claimed(claims).count("**holds**") == holds.count(True)
    assert verdict.claimed(claims).count("open: one seed") == holds.count(None)


def test_differences_are_taken_within_a_seed_that_has_all_its_runs():
    runs = experiment([(10, 30), (50, 80)], [(10, 10), (50, 45)])
    assert verdict.differences(runs, "train") == [20, 35]
    assert verdict.differences(runs[:-1], "train") == [20]  # the last run of seed 1 is missing
    with pytest.raises(ValueError, match="no seed has"):
        verdict.claims(runs[:4])


def test_twins_that_differ_in_more_than_the_shortcut_are_refused():
    twins = [made_up(20, False, 0, 1.0, batch_size=128), made_up(20, True, 0, 1.0, batch_size=64)]
    with pytest.raises(ValueError, match="batch_size"):
        verdict.check_control(twins)
    twins[1] = made_up(20, True, 0, 1.0, batch_size=128)
    verdict.check_control(twins)
    with pytest.raises(ValueError, match="parameters"):
        verdict.check_control([twins[0], twins[1]._replace(parameters=1)])


@pytest.mark.parametrize("name", depth.PRESETS)
def test_twins_have_one_config_but_for_the_shortcut(name):
    runs = expand.runs(depth.sweep(name), depth.get_config(name))
    for plain, residual in zip(runs[::2], runs[1::2], strict=True):
        assert (plain.config.model.residual, residual.config.model.residual) == (False, True)
        plain.config.model.residual = True
        assert plain.config == residual.config


@pytest.mark.parametrize(("layout", "layers"), [("cifar", 14), ("imagenet", 18)])
@pytest.mark.slow
def test_twins_begin_with_the_same_weights(layout, layers):
    x = jnp.zeros((1, 32, 32, 3))
    plain, residual = (
        models.create(
            "resnet", num_classes=10, depth=layers, layout=layout, shortcut="A", residual=kind
        )
        for kind in (False, True)
    )
    weights = [jax.jit(twin.init)(jax.random.key(3), x)["params"] for twin in (plain, residual)]
    jax.tree.map(np.testing.assert_array_equal, *weights)


@pytest.fixture(scope="module")
def network():
    """A residual network of 14 layers, its variables, and digits."""
    config = depth.get_config("quick")
    batch = signals.sample(config.input, train=False, count=32)
    model = models.create(**config.model.to_dict() | {"depth": 14})
    variables = jax.jit(model.init)(jax.random.key(0), batch.images[:1])
    return model, variables, batch


def without_branch(variables, number: int):
    """Returns variables with which the branch of a block, counted from 0, is zero."""
    params = flatten_dict(variables["params"], sep="/")
    for name in ("scale", "bias"):
        params[f"stage{number // 2 + 1}/block{number % 2 + 1}/bn2/{name}"] *= 0
    return variables | {"params": unflatten_dict(params, sep="/")}


@pytest.mark.slow
def test_a_block_is_removed_as_if_its_branch_were_zero(network):
    model, variables, batch = network
    for number in (0, 2, 3):  # 2 changes the shape
        logits = model.apply(without_branch(variables, number), batch.images)
        answers = batch._replace(labels=jnp.argmax(logits, -1))
        whole, *without = signals.top1_without(model, variables, answers)
        assert len(without) == 6 and without[number] == 1.0
    assert whole == jnp.mean(jnp.argmax(model.apply(variables, batch.images), -1) == answers.labels)


def test_the_size_of_a_branch_is_relative_to_its_shortcut(network):
    model, variables, batch = network
    sizes = signals.responses(model, variables, batch.images)
    assert len(sizes.layers) == 13 and len(sizes.branches) == 6 and min(sizes.branches) > 0
    params = dict(variables["params"])
    params["bn1"] = jax.tree.map(lambda p: 2 * p, params["bn1"])
    doubled = signals.responses(model, variables | {"params": params}, batch.images)
    assert doubled.layers[0] == pytest.approx(2 * sizes.layers[0], rel=1e-5)
    none = signals.responses(model, without_branch(variables, 4), batch.images)
    assert none.branches[4] == 0 and none.branches[:4] == pytest.approx(sizes.branches[:4])


@pytest.mark.slow
def test_gradients_go_from_the_first_layer_to_the_last(network):
    model, variables, batch = network

    ends = "conv1/kernel", "stage3/block2/conv2/kernel"
    params = flatten_dict(variables["params"], sep="/")

    def loss(first, last):
        changed = params | dict(zip(ends, (first, last), strict=True))
        changed = variables | {"params": unflatten_dict(changed, sep="/")}
        logits, _ = model.apply(changed, batch.images, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels).mean()

    kernels = [params[name] for name in ends]
    expected = [
        float(jnp.linalg.norm(g.ravel())) for g in jax.jit(jax.grad(loss, (0, 1)))(*kernels)
    ]
    norms = signals.gradient_norms(model, variables, batch)
    assert len(norms) == 13
    assert [norms[0], norms[-1]] == pytest.approx(expected, rel=1e-4)


def test_the_time_that_is_left_is_told_from_the_work_that_is_done(tmp_path, monkeypatch):
    folder = str(tmp_path)
    sweep = sweep_folder.describe("x", {}, {}, None)
    sweep_folder.record(folder, sweep | {"runs": {"a": {}, "b": {}}})
    clock = 1000.0
    monkeypatch.setattr(watch.time, "monotonic", lambda: clock)
    pace = watch.Pace(folder, {"a": 100, "b": 300})
    assert pace.text() == "0 of 2 runs done"
    (tmp_path / "a").mkdir()
    sweep_folder.write_state(folder, "a", "finished")
    clock += 60.0
    assert pace.text().startswith("1 of 2 runs done, all in 03:00, at ")


@pytest.mark.slow
def test_the_experiment_trains_reports_and_goes_on(tmp_path):
    """With networks of 8 and 14 layers, and too short for a verdict that means something."""
    flags = (
        "--preset=quick",
        "--depths=8,14",
        "--seeds=1",
        "--epochs=0.2",
        f"--workdir={tmp_path}",
    )
    done = subprocess.run(**command("scripts/depth_experiment.py", *flags))
    found = json.loads((tmp_path / "report.json").read_text())
    assert [claim["holds"] for claim in found["claims"]] == [None] * 3
    assert found["claims"][0]["found"]["low"] is None  # one seed
    assert done.returncode == 3, done.stderr  # no mistake, but no verdict either
    assert "4 of 4 runs done" in done.stdout
    assert [(run["depth"], run["residual"]) for run in found["runs"]] == [
        (8, False), (8, True), (14, False), (14, True),
    ]  # fmt: skip
    for run in found["runs"]:
        name = f"seed=0,depth={run['depth']},residual={run['residual']}"
        log = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        last = {k: v for line in log for k, v in json.loads(line).items()}
        assert run["train"][-1] == [2, pytest.approx(100 * (1 - last["eval_train/top1"]))]
        assert run["test"][-1] == [2, pytest.approx(100 * (1 - last["eval/top1"]))]
        assert (last["eval_train/images"], last["eval/images"]) == (1437, 360)
    inside = found["networks"]["ResNet-14"]
    assert list(inside["gradients"]) == ["at the start", "at step 1", "at step 2"]
    text = (tmp_path / "report.md").read_text()
    assert text.count("open: one seed") == 3 and "| ResNet-14 | 172,218 |" in text
    for name in ("depth.png", "why.png"):
        with Image.open(tmp_path / name) as image:
            assert len(image.convert("RGB").getcolors(100_000)) > 50

    sweep_folder.write_state(str(tmp_path), "seed=0,depth=14,residual=True", "stopped")
    again = command("scripts/depth_experiment.py", "--report", flags[-1])
    done = subprocess.run(**again)
    assert done.returncode == 2, done.stderr
    assert "missing: seed=0,depth=14,residual=True, stopped" in done.stdout


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--preset=quick", "--data=tfds:cifar10"], "choose --preset=laptop or paper"),
        (["--depths=56"], "two or more"),
    ],
)
def test_a_mistake_is_told_in_one_line(flags, says):
    done = subprocess.run(**command("scripts/depth_experiment.py", *flags))
    assert done.returncode == 1 and says in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
