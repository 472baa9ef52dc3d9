"""Trains a network, or goes on with a run that was stopped.

Examples:
  python train.py --config=configs/digits.py
  python train.py --config=configs/resnet50.py --workdir=runs/resnet50 --config.model.dtype=bfloat16

Results go to WORKDIR: metrics.jsonl, tensorboard/ and checkpoints/. The same command resumes, as
does --workdir=WORKDIR alone.
"""

if __name__ == "__main__":
    from training import start

    start.early()

import contextlib
import datetime
import importlib.metadata
import math
import pathlib
import platform
import signal
import subprocess
import sys
import time

import jax
from absl import flags
from etils import epath

import analysis
import data
import models
from data.messages import tell
from training import (
    checkpoints,
    command,
    evaluation,
    files,
    metrics,
    optimizer,
    ranges,
    sharding,
    state,
    steps,
)

flags.adopt_module_key_flags(command)  # --config and --workdir
ALLOW = flags.DEFINE_bool(
    "allow_changes", False, "Resume with other fields of the optimizer than the run had."
)

# Fields that a resumed run may change. Another length changes the learning rates that are to come.
MAY_DIFFER = {
    "total_steps",
    "total_epochs",
    "log_steps",
    "eval_steps",
    "eval_epochs",
    "eval_train",
    "checkpoint_steps",
    "checkpoint_epochs",
    "keep_checkpoints",
    "input.data_dir",
    "input.threads",
    "input.max_broken_images",
}
EVALUATES = {"eval": "evaluation", "eval_train": "training images"}


def main() -> None:
    train(command.CONFIG.value, command.workdir(), ALLOW.value)


def train(config, workdir: str, allow_changes: bool = False) -> dict[str, float]:
    """Trains as `config` says, and returns the figures of the last evaluation.

    Args:
      config: what a file of configs/ returns.
      workdir: folder or bucket for the results; holds the run to resume, if any.
      allow_changes: whether a resumed run may have other fields of the optimizer than before.

    Raises:
      ValueError, FileNotFoundError: a mistake in the config, or data that are not there.
      FloatingPointError: the loss is not finite.
    """
    began = time.monotonic()
    ranges.check(config)
    workdir = writable(workdir)
    with contextlib.ExitStack() as stack:  # closes what it opened, in any case
        hold(workdir, stack)
        saved = checkpoints.Checkpoints(workdir, config.keep_checkpoints)
        stack.callback(saved.close)
        previous = metrics.read_lines(workdir)
        before = metrics.newest_header(previous) if saved.steps() else {}
        if saved.steps() and not before:
            tell(f"{workdir} does not say what config its run had; this one is taken on trust")
        of_optimizer = {f"optimizer.{field}" for field in config.optimizer}
        allowed = allow_changes or any("diverged" in line for line in previous[-1:])
        may_differ = MAY_DIFFER | (of_optimizer if allowed else set())
        changes = metrics.check_same_config(
            before.get("config"), config.to_dict(), may_differ, of_optimizer
        )

        # Data, network, optimizer: each part gets its own section of the config.
        mesh = sharding.make_mesh(model_devices=config.model_devices)
        sharding.check_batch_size(config.batch_size, mesh.shape["data"])
        train_source = data.open_source(config.input, train=True)
        eval_source = data.open_source(config.input, train=False)
        changes += check_same_images(before, train_source)
        check_classes(train_source, eval_source, config.model.num_classes)
        steps_per_epoch = len(train_source) / config.batch_size
        total_steps = steps.interval(config.total_steps, config.total_epochs, steps_per_epoch)
        eval_steps = steps.interval(config.eval_steps, config.eval_epochs, steps_per_epoch)
        checkpoint_steps = steps.interval(
            config.checkpoint_steps, config.checkpoint_epochs, steps_per_epoch
        )

        model, train_state, train_step, schedule = build(config, mesh, total_steps, steps_per_epoch)
        count = analysis.count(model, data.input_shape(config.input))
        key = steps.make_key(config.seed, mesh)
        eval_step = steps.make_eval_step(
            model,
            data.make_preprocess(config.input, train=False),
            mesh,
            sharding.of_state(mesh, train_state),
        )

        restored = saved.restore_latest(train_state)
        train_state = train_state if restored is None else restored
        step = int(train_state.step)
        batches = data.make_train(train_source, config.input, config.batch_size, config.seed, step)
        eval_batch_size = sharding.eval_batch_size(config.batch_size, mesh.shape["data"])
        eval_sets = {"eval": data.make_eval(eval_source, config.input, eval_batch_size)}
        if config.eval_train:
            eval_sets["eval_train"] = data.make_eval(train_source, config.input, eval_batch_size)

        made = header(config, count, total_steps, train_source, changes)
        writer = stack.enter_context(metrics.Writer(workdir, previous, made, step))
        progress = metrics.Progress(step, total_steps, config.batch_size)
        stack.callback(progress.close)
        progress.say(
            f"model: {config.model.name}, "
            f"{', '.join(f'{k}={v}' for k, v in config.model.items() if k != 'name')}\n"
            f"{count.parameters:,} parameters, {count.multiply_adds:,} multiply-adds\n"
            f"data: {config.input.source}, {len(train_source):,} images to train, "
            f"{len(eval_source):,} to evaluate, {len(train_source.class_names)} classes\n"
            f"devices: {jax.device_count()} x {jax.devices()[0].device_kind}, "
            f"{jax.process_count()} process(es)\n"
            f"results: {workdir}"
            + (f", resumed at step {step}" if step else "")
            + (f" with changes: {'; '.join(changes)}" if step and changes else "")
        )

        stop = stack.enter_context(command.StopSignal())
        if step < total_steps:
            progress.say("compiling the training step, or taking it from the cache")
        pending = []  # metrics of the steps since the last log, still on the device
        result = last_evaluation(previous, step)
        first, clock, timed_from = step + 1, time.monotonic(), step
        # The order matters for exact resumption. The batch of a step is a function of the step, and
        # the step donates the old state; so log, evaluate and save the new one, then go on. Each
        # save is also a log, so that a resumed run averages its metrics over the same steps.
        while step < total_steps:
            batch = sharding.to_global(next(batches), mesh)
            train_state, step_metrics = train_step(train_state, batch, key)
            step += 1
            pending.append(step_metrics)
            progress.advance()
            if step == first:  # the clock leaves out the compilation
                jax.block_until_ready(step_metrics)
                clock, timed_from = time.monotonic(), step

            stopping = stop.received(step)
            evaluates = due(step, eval_steps) or step == total_steps
            saves = evaluates or due(step, checkpoint_steps) or stopping
            logs = saves or due(step, config.log_steps)
            if not logs:
                continue

            values = jax.device_get(pending)  # the only wait for the device
            check_finite(values, step, schedule, saved)
            logged = {
                "train/loss": float(sum(v["loss"] for v in values) / len(values)),
                "train/top1": float(sum(v["top1"] for v in values) / len(values)),
                "train/learning_rate": float(schedule(step - 1)),
            }
            if step > timed_from:
                images = (step - timed_from) * config.batch_size
                logged["train/images_per_second"] = images / (time.monotonic() - clock)
            writer.write(step, logged)
            progress.train(step, logged)
            pending = []
            if evaluates:
                results = {
                    name: evaluation.evaluate(eval_step, train_state, batches, mesh)
                    for name, batches in eval_sets.items()
                }
                for name, found in results.items():
                    if not math.isfinite(found["loss"]):
                        what = f"the loss of the {EVALUATES[name]} is {found['loss']}"
                        raise not_finite(what, step, schedule, saved)
                    writer.write(step, {f"{name}/{key}": value for key, value in found.items()})
                    progress.say(
                        f"step {step}: {EVALUATES[name]} top-1 {found['top1']:.2%}, "
                        f"top-5 {found['top5']:.2%}, loss {found['loss']:.4f} "
                        f"({found['images']:,} images)"
                    )
                result = results["eval"]
            if saves:
                if not steps.all_finite(train_state):
                    raise not_finite("the network's weights are", step, schedule, saved)
                saved.save(step, train_state, result if evaluates else None)
            if stopping and step < total_steps:
                saved.wait()
                progress.say(f"stopped by a signal; saved step {step}. The same command goes on")
                sys.exit(128 + signal.SIGTERM)
            clock, timed_from = time.monotonic(), step
        saved.wait()
        if not result:  # complete, but its metrics are lost
            result = evaluation.evaluate(eval_step, train_state, eval_sets["eval"], mesh)

        progress.say(
            f"done: evaluation top-1 {result['top1']:.2%} at step {step} "
            f"({time.monotonic() - began:.0f} s). Results are in {workdir}. "
            "Next: eval.py with the same flags, or your own images as in configs/imagenette.py"
        )
    return result


def build(config, mesh, total_steps: int, steps_per_epoch: float):
    """Returns (network, state before the first step, compiled training step, schedule).

    Args:
      config: what a file of configs/ returns.
      mesh: of the devices.
      total_steps: where the schedule ends.
      steps_per_epoch: for its durations in epochs.
    """
    model = models.create(**config.model)
    tx, schedule = optimizer.make(config.optimizer, config.batch_size, total_steps, steps_per_epoch)
    train_state = state.create(model, tx, data.input_shape(config.input), config.seed, mesh)
    preprocess = data.make_preprocess(config.input, train=True)
    train_step = steps.make_train_step(
        model,
        tx,
        preprocess,
        mesh,
        label_smoothing=config.label_smoothing,
        aux_weight=config.aux_weight,
        total_steps=total_steps,
        state_sharding=sharding.of_state(mesh, train_state),
    )
    return model, train_state, train_step, schedule


def writable(workdir: str) -> epath.Path:
    """Makes the folder, and raises ValueError where nothing can be written into it."""
    path = epath.Path(workdir).expanduser()
    try:
        files.make(path)
        (path / f".writable-{jax.process_index()}").write_text("")
        (path / f".writable-{jax.process_index()}").unlink()
    except Exception as error:  # clients of buckets raise errors of their own
        reason = getattr(error, "strerror", None) or command.explain(error) or error
        raise ValueError(f"cannot write into --workdir={workdir}: {reason}") from error
    return path


def hold(workdir, stack) -> None:
    """Keeps other runs out of the folder until `stack` closes; raises ValueError where one is in it."""
    if jax.process_index() > 0:
        return
    try:
        stack.enter_context(files.lock(workdir / "train.lock", wait=False))
    except BlockingIOError as error:
        raise ValueError(
            f"another run is training in --workdir={workdir}: let it end, stop it, or choose another one"
        ) from error
    except OSError as error:  # a disk without locks
        tell(f"--workdir={workdir} cannot be locked ({error}): start no other run in it")


def check_classes(train_source, eval_source, num_classes: int) -> None:
    for source in (train_source, eval_source):
        if len(source.class_names) != num_classes:
            raise ValueError(
                f"the data have {len(source.class_names)} classes ({data.some(source.class_names)}), "
                f"the network {num_classes}: set --config.model.num_classes={len(source.class_names)}"
            )


def check_same_images(before: dict, train_source) -> list[str]:
    """Compares the training images with those of the run that goes on.

    Args:
      before: header of that run, {} where there is none.
      train_source: of `data.open_source`.

    Returns:
      What has changed and may: the number of images, on which their order depends.

    Raises:
      ValueError: labels would now mean other classes.
    """
    if before and "classes" not in before:
        tell("the run has not recorded its classes: that they are still the same is taken on trust")
    names = before.get("classes", train_source.class_names)
    if names != train_source.class_names:
        pairs = zip(names, train_source.class_names, strict=False)
        moved = [f"{old} (now {new})" for old, new in pairs if old != new]
        gone = [name for name in names if name not in train_source.class_names] or moved
        new = [name for name in train_source.class_names if name not in names]
        raise ValueError(
            f"--workdir holds a run with other classes: {data.some(gone) or 'none'} gone, "
            f"{data.some(new) or 'none'} new. Choose another --workdir, or rename the classes back"
        )
    number = before.get("images", len(train_source))
    if number == len(train_source):
        return []
    return [f"the training images were {number:,} and are {len(train_source):,}"]


def due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def check_finite(values: list[dict], step: int, schedule, saved) -> None:
    """Raises FloatingPointError that names the first of these steps with a non-finite loss.

    The checkpoint that has this loss on its first batch is put aside.
    """
    for number, value in enumerate(values, step - len(values) + 1):
        if not math.isfinite(value["loss"]):
            saved.wait()
            if saved.latest_step() == number - 1:  # finite weights, but of no use
                saved.put_aside([number - 1], "diverged")
            raise not_finite(f"the loss is {value['loss']}", number, schedule, saved)


def not_finite(what: str, step: int, schedule, saved) -> FloatingPointError:
    saved.wait()
    good = saved.latest_step()
    return FloatingPointError(
        f"{what} at step {step}, learning rate {float(schedule(step - 1)):.4g}. "
        + (f"The last good checkpoint is that of step {good}" if good else "There is no checkpoint")
        + ": try the same command with a lower --config.optimizer.learning_rate, or another --workdir "
        "with a longer warm-up or clip_norm"
    )


def last_evaluation(lines: list[dict], step: int) -> dict[str, float]:
    """Returns the figures of the newest evaluation up to `step`, for a run that is complete."""
    found = {}
    for line in lines:
        if line.get("step", 0) <= step and "eval/top1" in line:
            found = {k.removeprefix("eval/"): v for k, v in line.items() if k != "step"}
    return found


def header(config, count, total_steps: int, train_source, changes: list[str]) -> dict:
    """Returns what made this run: the first line of metrics.jsonl."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    return {
        "config": config.to_dict(),
        "changes": changes,
        "classes": train_source.class_names,
        "images": len(train_source),
        "command": " ".join(sys.argv),
        "git": git_revision(),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "devices": {"kind": jax.devices()[0].device_kind, "count": jax.device_count()},
        "processes": jax.process_count(),
        "total_steps": total_steps,
        "parameters": count.parameters,
        "multiply_adds": count.multiply_adds,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def git_revision() -> str | None:
    """Returns the revision of this project's checkout, with "-dirty" where files were changed."""
    git = ["git", "-C", str(pathlib.Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


if __name__ == "__main__":
    command.run(main)
