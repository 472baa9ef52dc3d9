"""Trains a network, or goes on with a run that was stopped.

Examples:
  python train.py --config=configs/digits.py
  python train.py --config=configs/resnet50.py --workdir=runs/resnet50 --config.model.dtype=bfloat16
  python train.py --config=configs/resnet50.py --help    # the fields of this config, and their values

Results go to WORKDIR: metrics.jsonl, tensorboard/ and checkpoints/. The same command resumes, as
does --workdir=WORKDIR alone.
"""

if __name__ == "__main__":
    from training import start

    start.early()

import contextlib
import functools
import signal
import sys
import time
from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

import analysis
import configs
import data
import inference
import models
from training import (
    checkpoints,
    command,
    distill,
    ema,
    evaluation,
    initial,
    loss,
    metrics,
    optimizer,
    profile,
    ranges,
    runs,
    sharding,
    sizes,
    state,
    steps,
)

flags.adopt_module_key_flags(command)  # --config and --workdir
ALLOW = flags.DEFINE_bool(
    "allow_changes", False, "Resume with other fields of the optimizer than the run had."
)
PROFILE = flags.DEFINE_string(
    "profile", "", "Steps to trace, 10:15; WORKDIR/profile gets the trace, the terminal its sum."
)


def main() -> None:
    models.resolve(command.CONFIG.value.model)
    train(command.CONFIG.value, command.workdir(), ALLOW.value, PROFILE.value)


def train(
    config: ConfigDict, workdir: str, allow_changes: bool = False, profiled: str = ""
) -> dict[str, float]:
    """Trains as `config` says, and returns the figures of the last evaluation.

    Args:
      config: what a file of configs/ returns.
      workdir: folder or bucket for the results; holds the run to resume, if any.
      allow_changes: whether a resumed run may have other fields of the optimizer than before.
      profiled: steps to trace, "10:15", the first and the last; "": none.

    Raises:
      ValueError, FileNotFoundError: a mistake in the config, or data that are not there.
      FloatingPointError: the loss is not finite.
    """
    began = time.monotonic()
    ranges.check(config)
    workdir = runs.writable(workdir)
    with contextlib.ExitStack() as stack:  # closes what it opened, in any case
        runs.hold(workdir, stack)
        saved = checkpoints.Checkpoints(workdir, config.keep_checkpoints)
        stack.callback(saved.close)
        previous = metrics.read_lines(workdir)
        before = runs.before(previous, workdir) if saved.steps() else {}
        origin = inference.find(config.init) if config.init and not saved.steps() else None
        initial.fill(config, before, origin)  # fields that they decide
        changes = runs.resumes(config, before, previous, allow_changes)

        # Data, network, optimizer: each part gets its own section of the config.
        mesh = sharding.make_mesh(model_devices=config.model_devices)
        sharding.check_batch_size(config.batch_size, mesh.shape["data"], config.accumulate_steps)
        train_source = data.open_source(config.input, train=True)
        eval_source = data.open_source(config.input, train=False)
        changes += runs.check_same_images(before, train_source)
        runs.check_classes(train_source, eval_source, config.model)
        steps_per_epoch = len(train_source) / config.batch_size
        total_steps, eval_steps, checkpoint_steps = steps.intervals(config, steps_per_epoch)
        shape = data.input_shape(config.input)
        plan = data.plan_sizes(config.input, len(train_source), config.batch_size, total_steps)
        teacher = distill.make(
            config, inference.find, before, train_source, shape, mesh, plan.values()
        )

        labels = getattr(train_source, "labels", None)  # where they can be had without the images
        model, train_state, train_step, eval_step, schedule = build(
            config, mesh, total_steps, steps_per_epoch, teacher, labels
        )
        sizes.check(model, shape, plan.values(), data.eval_shape(config.input)[0], mesh)
        count = analysis.count(model, shape)
        key = steps.make_key(config.seed, mesh)
        saved.network = model, shape
        train_state = saved.restore_latest(train_state) or train_state
        started = before.get("started")
        if origin:
            train_state, started = initial.take(train_state, origin, config, model, train_source)
        step = int(train_state.step)
        batches = data.make_train(train_source, config.input, config.batch_size, config.seed, step)
        eval_batch_size = sharding.eval_batch_size(config.batch_size, mesh.shape["data"])
        eval_sets = {"eval": data.make_eval(eval_source, config.input, eval_batch_size)}
        if config.eval_train:
            eval_sets["eval_train"] = data.make_eval(train_source, config.input, eval_batch_size)

        made = runs.header(config, count, total_steps, train_source, changes, started, teacher)
        writer = saved.log = stack.enter_context(metrics.Writer(workdir, previous, made, step))
        if config.log_images and step < total_steps and jax.process_index() == 0:
            from analysis.look import training as look  # with Matplotlib, which takes a while

            writer.picture(step, "train/images", look.drawn(config, config.log_images, step))
        progress = metrics.Progress(step, total_steps, config.batch_size)
        stack.callback(progress.close)
        tracer = stack.enter_context(profile.Profile(profiled, workdir, progress.say))
        told = data.tell_sizes(config.input, plan)
        progress.say(runs.banner(made, train_source, eval_source, workdir, step, told))

        stop = stack.enter_context(command.StopSignal())
        if step < total_steps:
            progress.say("compiling the training step, or taking it from the cache")
        pending = []  # metrics of the steps since the last log, still on the device
        result, top1s = runs.last_evaluation(previous, step), runs.evaluations(previous, step)
        first, clock, timed_from = step + 1, time.monotonic(), step
        # The order matters for exact resumption. The batch of a step is a function of the step, and
        # the step donates the old state; so log, evaluate and save the new one, then go on. Each
        # save is also a log, so that a resumed run averages its metrics over the same steps.
        while step < total_steps and not runs.stalled(top1s, config.stop_after_evals):
            tracer.before(step + 1)
            batch = sharding.to_global(next(batches), mesh)
            train_state, step_metrics = train_step(train_state, batch, key)
            step += 1
            tracer.after(step, step_metrics)
            pending.append(step_metrics)
            progress.advance()
            if step == first or step - 1 in plan:  # the clock leaves out the compilation
                jax.block_until_ready(step_metrics)
                clock, timed_from = time.monotonic(), step

            stopping = stop.received(step)
            evaluates = steps.due(step, eval_steps) or (config.eval_last and step == total_steps)
            saves = (
                evaluates or steps.due(step, checkpoint_steps) or stopping or step == total_steps
            )
            if not (saves or steps.due(step, config.log_steps)):
                continue

            values = jax.device_get(pending)  # the only wait for the device
            runs.check_finite(values, step, schedule, saved)
            logged = metrics.mean(values) | {"train/learning_rate": float(schedule(step - 1))}
            if step > timed_from:
                images = (step - timed_from) * config.batch_size
                logged["train/images_per_second"] = images / (time.monotonic() - clock)
            writer.write(step, logged)
            progress.train(step, logged)
            pending = []
            if evaluates:
                results = evaluation.evaluate_sets(eval_step, train_state, eval_sets, mesh)
                for name, found in results.items():
                    runs.check_evaluation(name, found, step, schedule, saved)
                    writer.write(step, {f"{name}/{key}": value for key, value in found.items()})
                    progress.evaluation(step, name, found)
                result = results["eval"]
                top1s.append(result["top1"])
            if saves:
                if not steps.all_finite(train_state):
                    raise runs.not_finite("the network's weights are", step, schedule, saved)
                saved.save(step, train_state, result if evaluates else None)
            if stopping and step < total_steps:
                saved.wait()
                progress.say(f"stopped by a signal; saved step {step}. The same command goes on")
                sys.exit(128 + signal.SIGTERM)
            clock, timed_from = time.monotonic(), step
        saved.wait()
        if not result and config.eval_last:  # complete, but its metrics are lost
            judged = ema.judged(train_state)
            result = evaluation.evaluate(eval_step, judged, eval_sets["eval"], mesh)

        progress.say(
            f"{runs.ended(step, total_steps, result, config.stop_after_evals)} "
            f"({time.monotonic() - began:.0f} s). {runs.to_do_next(workdir)}"
        )
    return result


def build(
    config: ConfigDict,
    mesh: jax.sharding.Mesh,
    total_steps: int,
    steps_per_epoch: float,
    teacher: distill.Teacher | None = None,
    labels: np.ndarray | None = None,
) -> tuple[nn.Module, state.TrainState, Callable, Callable, Callable]:
    """Returns (network, state before the first step, steps of training and of evaluation, schedule).

    The schedule ends at `total_steps`; `steps_per_epoch` is for its durations in epochs. `teacher` is of
    `distill.make`, and `labels` those of the images to train on, where they are known.
    """
    model, shape = models.create(**config.model), data.input_shape(config.input)
    layers = functools.partial(state.layers, model, shape)
    tx, schedule = optimizer.make(
        config.optimizer, config.batch_size, total_steps, steps_per_epoch, layers
    )
    train_state = state.create(model, tx, shape, config.seed, mesh)
    if config.ema_decay:
        train_state = ema.begin(train_state)
    state_sharding = sharding.of_state(mesh, train_state)
    train_step = steps.make_train_step(
        model,
        tx,
        data.make_preprocess(config.input, train=True),
        mesh,
        total_steps=total_steps,
        state_sharding=state_sharding,
        mix=data.make_mix(config.input),
        loss=loss.make(config, model.num_classes, labels),
        teacher=teacher,
        ema=ema.make(config),
        **steps.fields(config),
    )
    eval_step = steps.make_eval_step(
        model, data.make_preprocess(config.input, train=False), mesh, state_sharding
    )
    return model, train_state, train_step, eval_step, schedule


if __name__ == "__main__":
    command.run(main, configs)
