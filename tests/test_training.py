"""Small real runs: they learn, they do not depend on the devices, and they resume exactly."""

import functools
import json
import signal
import subprocess
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import AS_USERS_COMPILE, SMALLEST, command, few_digits, train_until

import data
import models
import train
from configs import digits as handwriting
from training import checkpoints, evaluation, metrics, runs, sharding, state, steps


def lines(workdir, name="train/loss"):
    return {line["step"]: line[name] for line in metrics.read_lines(workdir) if name in line}


def run(config, devices, batches):
    """Runs a few training steps on the first `devices` devices; returns losses and the state."""
    mesh = sharding.make_mesh(jax.devices()[:devices])
    _, train_state, step, *_ = train.build(config, mesh, 100, 10.0)
    key = steps.make_key(config.seed, mesh)
    losses = []
    for batch in batches:
        train_state, values = step(train_state, sharding.to_global(batch, mesh), key)
        losses.append(float(values["loss"]))
    return losses, train_state, mesh


def first_batches(config, number):
    source = data.open_source(config.input, train=True)
    iterator = data.make_train(source, config.input, config.batch_size, config.seed)
    return [next(iterator) for _ in range(number)]


def test_the_training_step_has_the_numbers_of_the_config(digits, monkeypatch):
    given = {}
    monkeypatch.setattr(steps, "make_train_step", lambda *_, **named: given.update(named))
    expected = {"label_smoothing": 0.2, "aux_weight": 0.7, "accumulate_steps": 4}
    digits.update(expected | {"loss": "bce", "bce_threshold": 0.5}, log_norms=True)
    digits.class_weights = ("balanced",)
    digits.optimizer.freeze_batch_stats = True
    labels = np.repeat(np.arange(10), 7)
    train.build(digits, sharding.make_mesh(jax.devices()[:1]), 40, 10.0, labels=labels)
    expected |= {"total_steps": 40, "freeze_batch_stats": True, "norms": True}
    assert {name: given[name] for name in expected} == expected
    assert given["loss"](jnp.zeros((2, 10)), jnp.ones((2, 10))) == pytest.approx(np.log(2))


@pytest.mark.slow
def test_the_embedded_default_reads_handwriting(tmp_path):
    done = subprocess.run(**command("train.py", f"--workdir={tmp_path}", env=AS_USERS_COMPILE))
    assert done.returncode == 0, done.stderr
    (top1,) = (top1 for step, top1 in lines(tmp_path, "eval/top1").items() if step == 330)
    assert top1 >= 0.97


@pytest.mark.slow
def test_bfloat16_trains_as_float32_does():
    """The mean difference of top-1 between networks of one seed has an interval near 0."""
    mesh, total, found = sharding.make_mesh(jax.devices()[:1]), 50, {}
    config = handwriting.get_config()
    source = data.open_source(config.input, train=False)
    for dtype in ("float32", "bfloat16"):
        config.model.dtype = dtype
        for seed in range(3):
            config.seed = seed
            _, now, of_seed, eval_of_seed, _ = train.build(config, mesh, total, 11.0)
            if seed == 0:  # the steps are the same for all, and compiled once
                step, eval_step = of_seed, eval_of_seed
            for batch in first_batches(config, total):
                now, _ = step(now, sharding.to_global(batch, mesh), steps.make_key(seed, mesh))
            batches = data.make_eval(source, config.input, 128)
            top1 = evaluation.evaluate(eval_step, now, batches, mesh)["top1"]
            found.setdefault(dtype, []).append(top1)
    assert min(found["float32"]) > 0.9
    differences = np.subtract(found["bfloat16"], found["float32"])
    half = 4.30 * differences.std(ddof=1) / 3**0.5  # of the 95 % interval: Student's t, 2 degrees
    assert abs(differences.mean()) + half < 0.05, found


def test_one_device_and_eight_give_the_same_losses_and_statistics(digits):
    batches = first_batches(digits, 4)
    losses, one, _ = run(digits, 1, batches)
    losses_8, eight, _ = run(digits, 8, batches)
    np.testing.assert_allclose(losses, losses_8, rtol=1e-4)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_of_eight_devices_restores_on_one_and_on_two(digits, tmp_path):
    batches = first_batches(digits, 2)
    _, eight, _ = run(digits, 8, batches)
    saved = checkpoints.Checkpoints(tmp_path)
    saved.save(2, eight, None)
    saved.wait()
    for devices in (1, 2):
        _, like, mesh = run(digits, devices, [])
        restored = saved.restore_latest(like)
        for a, b in zip(jax.tree.leaves(eight), jax.tree.leaves(restored), strict=True):
            np.testing.assert_array_equal(a, b)
            assert b.sharding.mesh.size == devices
    saved.close()


@functools.cache
def one_step_and_its_logits():
    """Returns the state after a step on one device, and its logits of all test images.

    It takes black images, which fill the last batch up, for what they are labelled as: class 0. So
    whoever counts them is found out.
    """
    digits = few_digits()
    _, train_state, _ = run(digits, 1, first_batches(digits, 1))
    source = data.open_source(digits.input, train=False)
    model = models.create(**digits.model)
    params = jax.tree.map(np.array, train_state.params)

    def logits(images):
        images = (images.astype(np.float32) / 255 - digits.input.mean) / digits.input.std
        variables = {"params": params, "batch_stats": train_state.batch_stats}
        return np.asarray(model.apply(variables, images))

    black = np.zeros_like(source.images[:1])
    of_black = logits(black)[0]
    params["fc"]["bias"][0] += of_black.max() - of_black[0] + 0.01
    assert logits(black)[0].argmax() == 0
    return train_state.replace(params=params), logits(source.images)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
@pytest.mark.parametrize("devices", [1, 8])
def test_evaluation_counts_each_image_once(digits, batch_size, devices):
    train_state, logits = one_step_and_its_logits()
    mesh = sharding.make_mesh(jax.devices()[:devices])
    train_state = jax.device_put(train_state, sharding.replicated(mesh))
    model = models.create(**digits.model)
    eval_step = steps.make_eval_step(model, data.make_preprocess(digits.input, train=False), mesh)
    source = data.open_source(digits.input, train=False)
    batches = data.make_eval(source, digits.input, -(-batch_size // devices) * devices)
    result = evaluation.evaluate(eval_step, train_state, batches, mesh)

    order = np.argsort(-logits, axis=-1, kind="stable")
    hits = order == source.labels[:, None]
    losses = -jax.nn.log_softmax(logits)[np.arange(360), source.labels]
    assert result["images"] == 360
    assert result["top1"] == pytest.approx(hits[:, 0].mean(), abs=1e-6)
    assert result["top5"] == pytest.approx(hits[:, :5].any(1).mean(), abs=1e-6)
    assert result["loss"] == pytest.approx(float(losses.mean()), rel=1e-5)


def test_ten_crops_are_judged_by_their_mean_probability():
    class FirstPixel:
        def apply(self, variables, images, train):
            value = images[:, 0, 0, 0]
            return jnp.stack([value, jnp.zeros_like(value)], -1)

    mesh = sharding.make_mesh(jax.devices()[:1])
    views = jnp.arange(10.0).reshape(10, 1, 1, 1, 1) - 4
    step = steps.make_eval_step(FirstPixel(), lambda images: views, mesh)
    empty = state.TrainState(jnp.zeros((), jnp.int32), {}, {}, {})
    batch = {"image": np.zeros((1, 1, 1, 1), np.uint8), "label": np.zeros(1, np.int32)}
    sums = step(empty, sharding.to_global(batch | {"mask": np.ones(1, np.float32)}, mesh))
    mean = (1 / (1 + np.exp(-views))).mean()
    np.testing.assert_allclose(sums["loss"], -np.log(mean), rtol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        pytest.param(
            {
                "accumulate_steps": 2,
                "optimizer.name": "muon",
                "optimizer.sam_rho": 0.05,
                "optimizer.lookahead_steps": 3,
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"optimizer.schedule_free": True, "optimizer.schedule": "constant"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_resumed_run_equals_one_that_was_not_stopped(fields, digits, trained, tmp_path):
    digits.update_from_flattened_dict(fields)
    if fields:
        trained = tmp_path / "whole"
        train.train(digits, trained)

    train_until(4, digits, tmp_path / "stopped")
    train.train(digits, tmp_path / "stopped")
    assert lines(tmp_path / "stopped") == lines(trained)
    assert lines(tmp_path / "stopped", "eval/loss") == lines(trained, "eval/loss")
    states = [restore(digits, workdir) for workdir in (trained, tmp_path / "stopped")]
    for a, b in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(a, b)


def restore(config, workdir, which="latest"):
    _, like, _ = run(config, 1, [])
    saved = checkpoints.Checkpoints(workdir, read_only=True)
    restored = saved.restore(which, like)
    saved.close()
    return restored


SMALL = [
    "train.py",
    "--config=configs/digits.py",
    "--config.batch_size=64",
    "--config.log_steps=1",
    "--config.eval_steps=20",
    "--config.checkpoint_steps=10",
]


def start(workdir, *arguments, **options):
    return subprocess.Popen(**command(*SMALL, f"--workdir={workdir}", *arguments, **options))


def wait_for_step(process, workdir, step):
    while process.poll() is None and max(lines(workdir), default=0) < step:
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_where_an_undisturbed_one_ends(tmp_path):
    whole, workdir = tmp_path / "whole", tmp_path / "killed"
    undisturbed = start(whole, "--config.total_steps=40")
    killed = start(workdir, "--config.total_steps=40")
    wait_for_step(killed, workdir, 23)
    killed.kill()
    killed.communicate()
    # The second time by the run's own config.
    again = subprocess.Popen(**command("train.py", f"--workdir={workdir}"))
    for process in (undisturbed, again):
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    logged = [line["step"] for line in metrics.read_lines(workdir) if "train/loss" in line]
    assert logged == list(range(1, 41))
    assert lines(workdir) == lines(whole)


def test_after_sigterm_a_run_saves_first_and_says_so(tmp_path):
    length = ("--config.total_steps=100000", "--config.checkpoint_steps=100000")
    process = start(tmp_path, *length)
    wait_for_step(process, tmp_path, 5)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate()
    step = max(lines(tmp_path))
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert f"saved step {step}" in output
    assert (tmp_path / "checkpoints" / f"{step:08d}").is_dir()


def two_processes(workdir, *arguments):
    cluster = {
        "SLURM_JOB_ID": str(time.time_ns() % 100_000),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
    }
    return [
        start(
            workdir,
            *arguments,
            devices=2,
            env=cluster | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)},
        )
        for i in (0, 1)
    ]


@pytest.mark.slow
def test_two_processes_with_two_devices_are_one_process_with_four(tmp_path):
    fields = "--config.total_steps=8", "--config.ema_decay=0.5"
    one = start(tmp_path / "one", *fields, devices=4)
    processes = [one, *two_processes(tmp_path / "two", *fields)]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    a, b = lines(tmp_path / "one"), lines(tmp_path / "two")
    assert sorted(a) == sorted(b) == list(range(1, 9))
    np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=1e-4)
    assert lines(tmp_path / "one", "eval/images") == lines(tmp_path / "two", "eval/images")
    for name in ("eval/loss", "eval_raw/loss"):
        found = (lines(tmp_path / workdir, name)[8] for workdir in ("one", "two"))
        assert next(found) == pytest.approx(next(found), rel=1e-4)


@pytest.mark.slow
def test_after_sigterm_to_one_of_two_processes_both_save_the_same_step(tmp_path):
    processes = two_processes(tmp_path, "--config.total_steps=100000")
    wait_for_step(processes[0], tmp_path, 5)
    processes[1].send_signal(signal.SIGTERM)
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [128 + signal.SIGTERM] * 2, outputs
    step = max(lines(tmp_path))
    assert f"saved step {step}" in outputs[0][0]
    assert (tmp_path / "checkpoints" / f"{step:08d}").is_dir()


def evaluate(workdir, *arguments):
    done = subprocess.run(**command("eval.py", f"--workdir={workdir}", *arguments))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The folder of a run that was evaluated at steps 20 and 40."""
    workdir, digits = tmp_path_factory.mktemp("evaluated"), few_digits()
    digits.update(total_steps=40, eval_steps=20, checkpoint_steps=20)
    train.train(digits, workdir)
    return workdir


def test_eval_prints_what_training_measured_by_the_runs_own_config(evaluated):
    at_20, at_40 = lines(evaluated, "eval/top1")[20], lines(evaluated, "eval/top1")[40]
    for arguments, expected in (
        (["--checkpoint=20"], at_20),
        (["--checkpoint=best"], max(at_20, at_40)),
    ):
        result, told = evaluate(evaluated, *arguments)
        assert result["top1"] == pytest.approx(expected, abs=1e-6)
        assert set(result) == {"step", "loss", "top1", "top5", "images"}
        assert told == ""


def test_eval_tells_what_is_other_than_the_run(evaluated):
    result, told = evaluate(evaluated, "--config.input.mean=(5.0,)", "--config.batch_size=100")
    assert abs(result["loss"] - lines(evaluated, "eval/loss")[40]) > 0.01
    assert told == "other than the run: input.mean was [0.31] and is [5.0]\n"


def test_training_images_are_evaluated_without_augmentation(digits, tmp_path):
    digits.total_steps = digits.eval_steps = 2
    digits.eval_train, digits.input.eval_split = True, "train"  # so both must agree
    train.train(digits, tmp_path)
    found = {k: v for line in metrics.read_lines(tmp_path) for k, v in line.items()}
    for name in ("loss", "top1", "top5", "images"):
        assert found[f"eval_train/{name}"] == found[f"eval/{name}"]
    assert found["eval_train/images"] == 1437


def test_the_best_checkpoint_outlives_the_latest(digits, tmp_path):
    _, train_state, _ = run(digits, 1, [])
    saved = checkpoints.Checkpoints(tmp_path, keep=2)
    for step, top1 in enumerate([0.5, 0.9, 0.6, 0.7, 0.8], 1):
        saved.save(step, train_state, {"top1": top1})
    saved.wait()
    assert saved.best_step() == 2
    saved.close()
    kept = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir())
    assert kept == [2, 4, 5]


@pytest.mark.slow
def test_training_needs_no_tensorflow(tmp_path):
    script = f"""
import sys
sys.modules["tensorflow"] = None
import train
from configs import digits
from ml_collections import ConfigDict
config = digits.get_config()
config.model = ConfigDict({SMALLEST})
config.batch_size = 8
config.total_steps = 2
train.train(config, {str(tmp_path)!r})
"""
    done = subprocess.run(**command("-c", script))
    assert done.returncode == 0, done.stderr


def test_a_run_can_go_without_any_evaluation(digits, tmp_path, capsys):
    digits.update(total_steps=2, eval_steps=0, eval_epochs=0.0, eval_last=False)
    assert train.train(digits, str(tmp_path)) == {}
    assert lines(tmp_path, "eval/top1") == {}
    assert "done: not evaluated, at step 2 (" in capsys.readouterr().out
    assert (tmp_path / "checkpoints" / "00000002").is_dir()


def test_a_run_ends_where_evaluations_get_no_better_and_stays_ended(digits, tmp_path, capsys):
    digits.update(total_steps=6, eval_steps=1, checkpoint_steps=1, stop_after_evals=2)
    digits.optimizer.learning_rate = 0.0
    digits.optimizer.freeze_batch_stats = True  # nothing learns, so the first is the best

    top1s = []
    for _ in range(2):
        train.train(digits, str(tmp_path))
        assert "at step 3 of 6: 2 evaluation(s) brought no better" in capsys.readouterr().out
        top1s.append(lines(tmp_path, "eval/top1"))
    assert list(top1s[0]) == [1, 2, 3] and top1s[0] == top1s[1]


def test_norms_in_the_log_are_those_of_gradients_and_parameters(digits, trained, tmp_path):
    digits.update(log_norms=True, log_steps=2)
    train.train(digits, str(tmp_path / "run"))
    logged, without = lines(tmp_path / "run"), lines(trained)
    np.testing.assert_allclose(logged[2], (without[1] + without[2]) / 2, rtol=1e-6)
    for name in ("train/gradient_norm", "train/parameter_norm"):
        found = lines(tmp_path / "run", name)
        assert list(found) == [2, 3, 4, 6] and min(found.values()) > 0

    # Plain gradient descent moves the parameters by the gradients.
    digits.optimizer.update(name="sgd", learning_rate=0.5 * 256 / 64, momentum=0.0)
    digits.optimizer.update(weight_decay=0.0, schedule="constant", warmup_epochs=0.0)
    for devices in (1, 8):
        mesh = sharding.make_mesh(jax.devices()[:devices])
        _, train_state, step, *_ = train.build(digits, mesh, 100, 10.0)
        before = jax.tree.map(np.array, train_state.params)
        batch = sharding.to_global(first_batches(digits, 1)[0], mesh)
        train_state, values = step(train_state, batch, steps.make_key(0, mesh))
        moved = jax.tree.map(lambda old, new: (old - new) / 0.5, before, train_state.params)
        for name, tree in (("parameter_norm", before), ("gradient_norm", moved)):
            squares = sum(
                np.sum(np.square(leaf, dtype=np.float64)) for leaf in jax.tree.leaves(tree)
            )
            np.testing.assert_allclose(values[name], np.sqrt(squares), rtol=1e-4)


def test_a_run_stalls_after_evaluations_without_a_better_one():
    assert not runs.stalled([0.5, 0.4, 0.4], 0)
    assert not runs.stalled([0.5, 0.4], 2)
    assert runs.stalled([0.5, 0.4], 1) and not runs.stalled([0.5], 1)
    assert runs.stalled([0.5, 0.4, 0.5], 2)
    assert not runs.stalled([0.5, 0.4, 0.6], 2)
    assert runs.evaluations([{"step": 1, "eval/top1": 0.1}, {"step": 2, "eval/top1": 0.2}], 1) == [
        0.1
    ]
